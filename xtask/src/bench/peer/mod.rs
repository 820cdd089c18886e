//! The programs of the benchmark that are not under test, and the relay that is: subcommands of this executable, so
//! that one release build brings them all.

mod backend;
mod load;
mod message;
mod relay;

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Subcommand;

pub(super) use load::Measured;

/// The header whose value the load generator varies, and the backend sends back.
const ID: &str = "x-telepresence-id";

#[derive(Debug, Subcommand)]
pub(crate) enum Peer {
    /// Answers each request with the value of its x-telepresence-id
    Backend {
        #[arg(long)]
        port: u16,
    },
    /// Does nothing but relay: one thread and one connection to the backend per client connection
    Relay {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        backend: SocketAddr,
    },
    /// Asks a daemon for flow events, and never reads them
    Stall {
        #[arg(long)]
        socket: PathBuf,
    },
    /// Sends requests, one at a time on each connection, and prints what it measured as JSON
    Load {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long)]
        connections: usize,
        /// Requests a second, on all connections
        #[arg(long)]
        rate: Option<f64>,
        #[arg(long)]
        warm_up_seconds: f64,
        #[arg(long)]
        seconds: f64,
        /// The cgroup directory whose CPU time counts
        #[arg(long)]
        observe: PathBuf,
    },
}

/// Holds a connection to `socket` until the process is ended.
fn stall(socket: &Path) -> Result<()> {
    let _held = UnixStream::connect(socket).with_context(|| format!("no daemon at {}", socket.display()))?;
    loop {
        std::thread::park();
    }
}

pub(crate) fn run(peer: Peer) -> Result<()> {
    match peer {
        Peer::Backend { port } => backend::run(port),
        Peer::Relay { port, backend } => relay::run(port, backend),
        Peer::Stall { socket } => stall(&socket),
        Peer::Load { target, connections, rate, warm_up_seconds, seconds, observe } => load::run(&load::Plan {
            target,
            connections,
            rate,
            warm_up: Duration::from_secs_f64(warm_up_seconds),
            measured: Duration::from_secs_f64(seconds),
            observe,
        }),
    }
}

//! The programs of the benchmark that are not under test, and the relay that is: subcommands of this executable, so
//! that one release build brings them all.

mod backend;
mod bulk;
mod idle;
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
pub(super) use load::REQUEST_LINES;

/// The header whose value the load generator varies, and the backend sends back, if none is named.
const HEADER: &str = "x-telepresence-id";

#[derive(Debug, Subcommand)]
pub(crate) enum Peer {
    /// Answers each request with the value of one of its headers
    Backend {
        #[arg(long)]
        port: u16,
        /// That header
        #[arg(long, default_value = HEADER)]
        header: String,
        /// Bytes of each answer's body
        #[arg(long, default_value_t = 64)]
        body: usize,
    },
    /// Does nothing but relay: one thread and one connection to the backend per client connection
    Relay {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        backend: SocketAddr,
        /// Copies this header of each request to its own
        #[arg(long)]
        forward: Option<String>,
    },
    /// Answers `GET /N` with so many bytes, and takes what `PUT` brings
    Bulk {
        #[arg(long)]
        port: u16,
    },
    /// Holds connections to itself, and listens on the port once they are there
    Idle {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        connections: usize,
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
        /// The header whose value is another one in each request
        #[arg(long, default_value = HEADER)]
        header: String,
        /// Header lines of each request
        #[arg(long, default_value_t = REQUEST_LINES)]
        lines: usize,
        /// A new connection for each request
        #[arg(long)]
        fresh: bool,
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
        Peer::Backend { port, header, body } => backend::run(port, &header, body),
        Peer::Relay { port, backend, forward } => relay::run(port, backend, forward),
        Peer::Bulk { port } => bulk::run(port),
        Peer::Idle { port, connections } => idle::run(port, connections),
        Peer::Stall { socket } => stall(&socket),
        Peer::Load { target, connections, rate, warm_up_seconds, seconds, header, lines, fresh, observe } => {
            load::run(&load::Plan {
                target,
                connections,
                rate,
                warm_up: Duration::from_secs_f64(warm_up_seconds),
                measured: Duration::from_secs_f64(seconds),
                header,
                lines,
                fresh,
                observe,
            })
        }
    }
}

//! Connections that do nothing.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, setrlimit};

/// Descriptors besides those of the connections.
const OTHERS: u64 = 64;

/// Opens so many to itself, then listens on `port` and holds them until the process is ended.
pub(super) fn run(port: u16, connections: usize) -> Result<()> {
    let files = 2 * connections as u64 + OTHERS;
    setrlimit(Resource::RLIMIT_NOFILE, files, files).context("failed to raise the limit of open files")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let pair = |_| Ok((TcpStream::connect(address)?, listener.accept()?.0));
    let _held = (0..connections).map(pair).collect::<Result<Vec<(TcpStream, TcpStream)>>>()?;
    let ready = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        drop(ready.accept()?);
    }
}

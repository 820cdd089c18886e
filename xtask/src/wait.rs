//! Waiting for a condition with a deadline, never for a length of time.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::interrupt;
use crate::process::Service;

const POLL: Duration = Duration::from_millis(5);

/// Repeats `attempt` until it returns something. `what` names the condition in the error.
pub(crate) fn until<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_regardless(what, limit, || interrupt::check().and_then(|()| attempt()).transpose())?
}

/// As [`until`], even when a signal asked this task to end: for cleaning up.
pub(crate) fn until_regardless<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// Waits until `service` accepts connections on a loopback port.
pub(crate) fn until_listening(service: &mut Service, port: u16, limit: Duration) -> Result<()> {
    let what = format!("waiting for {} on port {port}", service.name());
    until(&what, limit, || {
        service.check_alive()?;
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
    })?;
    Ok(())
}

/// Loopback ports that were free just now, all different.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("failed to find a free port on the loopback interface")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

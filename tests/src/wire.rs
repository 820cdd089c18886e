//! A raw TCP server that keeps every byte and answers by a script, and the comparison of two recordings.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};

use crate::wait;

/// What a [`Wire`] answers: each reply goes out when the bytes before it have arrived.
#[derive(Clone, Debug, Default)]
pub struct Script {
    steps: Vec<(Vec<u8>, Vec<u8>)>,
    repeat: bool,
    receive_buffer: Option<usize>,
    forward: Option<SocketAddr>,
}

impl Script {
    /// Answers nothing.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Passes everything on to a real server, and its answers back.
    pub fn forward(server: SocketAddr) -> Self {
        Self { forward: Some(server), ..Self::default() }
    }

    /// After `seen` has arrived (later than what earlier steps waited for), sends `reply`.
    #[must_use]
    pub fn after(mut self, seen: &[u8], reply: &[u8]) -> Self {
        self.steps.push((seen.to_vec(), reply.to_vec()));
        self
    }

    /// Starts over after the last step.
    #[must_use]
    pub fn repeat(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// Reads slowly through a small receive buffer, so that the sender's queue fills.
    #[must_use]
    pub fn slow(mut self) -> Self {
        self.receive_buffer = Some(4096);
        self
    }
}

/// What one connection brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Every byte in order.
    pub bytes: Vec<u8>,
    /// Whether it ended with a reset.
    pub reset: bool,
}

/// The server; it stops on drop.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    streams: Arc<Mutex<Vec<Option<Stream>>>>,
    stopping: Arc<AtomicBool>,
}

impl Wire {
    /// Listens on a loopback port of its own.
    pub fn start(script: Script) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to bind")?;
        if let Some(size) = script.receive_buffer {
            // Accepted sockets inherit it.
            setsockopt(&listener, sockopt::RcvBuf, &size)?;
        }
        let address = listener.local_addr()?;
        let streams: Arc<Mutex<Vec<Option<Stream>>>> = Arc::default();
        let stopping = Arc::new(AtomicBool::new(false));
        let (kept, stop) = (Arc::clone(&streams), Arc::clone(&stopping));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let mut slots = lock(&kept);
                let slot = slots.len();
                slots.push(None);
                drop(slots);
                let (kept, script) = (Arc::clone(&kept), script.clone());
                std::thread::spawn(move || {
                    let stream = record(stream, &script);
                    if let Some(place) = lock(&kept).get_mut(slot) {
                        *place = Some(stream);
                    }
                });
            }
        });
        Ok(Self { address, streams, stopping })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until `count` connections have ended; takes their recordings in the order of accept.
    pub fn take(&self, count: usize) -> Result<Vec<Stream>> {
        wait::until(&format!("{count} finished connections"), Duration::from_secs(30), || {
            let mut slots = lock(&self.streams);
            let done = slots.iter().flatten().count();
            Ok((done >= count && done == slots.len()).then(|| std::mem::take(&mut *slots)))
        })
        .map(|slots| slots.into_iter().flatten().collect())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn record(mut stream: TcpStream, script: &Script) -> Stream {
    let mut recording = Stream { bytes: Vec::new(), reset: false };
    let mut server = script.forward.and_then(|server| forward(server, &stream).ok());
    let (mut step, mut searched) = (0, 0);
    let mut buffer = vec![0; if script.receive_buffer.is_some() { 1024 } else { 64 * 1024 }];
    let _ = stream.set_read_timeout(Some(wait::scaled(Duration::from_secs(60))));
    loop {
        let arrived = match stream.read(&mut buffer) {
            Ok(count) => &buffer[..count],
            Err(_) => {
                recording.reset = true;
                &[]
            }
        };
        if let Some(server) = &mut server {
            // An error shows at the client, which then gets no answer.
            let _ = if arrived.is_empty() { server.shutdown(Shutdown::Write) } else { server.write_all(arrived) };
        }
        if arrived.is_empty() {
            return recording;
        }
        recording.bytes.extend(arrived);
        while let Some((seen, reply)) = script.steps.get(step) {
            let Some(at) = find(&recording.bytes[searched..], seen) else {
                // What has been searched cannot hold more than the beginning of it.
                searched = searched.max((recording.bytes.len() + 1).saturating_sub(seen.len()));
                break;
            };
            searched += at + seen.len();
            // A client that does not wait for the reply may be gone.
            let _ = stream.write_all(reply);
            step += 1;
            if script.repeat {
                step %= script.steps.len();
            }
        }
    }
}

/// Connects to the server and passes its answers to the client.
fn forward(server: SocketAddr, client: &TcpStream) -> Result<TcpStream> {
    let server = TcpStream::connect(server)?;
    server.set_nodelay(true)?;
    let (mut answers, mut client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        // Ends with either side.
        let _ = std::io::copy(&mut answers, &mut client);
        let _ = client.shutdown(Shutdown::Write);
    });
    Ok(server)
}

/// Where `needle` begins in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// Compares what arrived without baton to what arrived with it. They may differ only in whole `name: value` lines at
/// the ends of heads; returns how many there are.
pub fn inserted_lines(plain: &[u8], with: &[u8], lines: &[String]) -> Result<usize> {
    let (mut plain_at, mut with_at, mut count) = (0, 0, 0);
    loop {
        let same = common_prefix(&plain[plain_at..], &with[with_at..]);
        plain_at += same;
        with_at += same;
        if plain_at == plain.len() && with_at == with.len() {
            return Ok(count);
        }
        // An inserted line stands after a line end and, as the last, before the blank line.
        let at_end_of_head = plain[..plain_at].ends_with(b"\r\n") && plain[plain_at..].starts_with(b"\r\n");
        let inserted = lines.iter().find(|line| with[with_at..].starts_with(format!("{line}\r\n").as_bytes()));
        match inserted {
            Some(line) if at_end_of_head => {
                with_at += line.len() + 2;
                count += 1;
            }
            _ => bail!(
                "byte {plain_at} of {}: {} became {}",
                plain.len(),
                around(plain, plain_at),
                around(with, with_at)
            ),
        }
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()))
}

fn around(bytes: &[u8], at: usize) -> String {
    format!("\"{}\"", bytes[at.saturating_sub(60)..bytes.len().min(at + 100)].escape_ascii())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_at_the_end_of_a_head_may_differ() -> Result<()> {
        let lines = ["a: 1".to_owned(), "b: 2".to_owned()];
        let plain = b"GET / HTTP/1.1\r\nhost: h\r\n\r\nbody";
        let both = b"GET / HTTP/1.1\r\nhost: h\r\na: 1\r\nb: 2\r\n\r\nbody";
        assert_eq!(inserted_lines(plain, both, &lines)?, 2);
        assert_eq!(inserted_lines(plain, plain, &lines)?, 0);
        assert!(inserted_lines(plain, b"GET / HTTP/1.1\r\na: 1\r\nhost: h\r\n\r\nbody", &lines).is_err());
        assert!(inserted_lines(plain, &plain[..30], &lines).is_err());
        assert!(inserted_lines(b"x\r\n\r\n", b"x\r\na: 2\r\n\r\n", &lines).is_err());
        Ok(())
    }
}

//! The backend: an HTTP/1.1 server that keeps every request as it came.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::baton::HEADERS;
use crate::http::{self, Head};

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which connection, counted from 0.
    pub connection: u64,
    /// The head, raw and parsed.
    pub head: Head,
    /// The body, with its transfer coding removed.
    pub body: Vec<u8>,
    /// When it was complete.
    pub at: Instant,
}

impl Recorded {
    /// The only value of the first of the propagated headers; an error if there are several.
    pub fn carried(&self) -> Result<Option<&str>> {
        let values: Vec<_> = self.head.values(HEADERS[0]).collect();
        ensure!(values.len() < 2, "the header came {} times: {values:?}", values.len());
        Ok(values.first().copied())
    }
}

/// Answers `/body/N` with N bytes that are the same each time, and anything else with its target.
pub fn bodies(head: &Head) -> Reply {
    match head.target.strip_prefix("/body/").and_then(|size| size.parse().ok()) {
        Some(size) => Reply::ok(pattern(size)),
        None => Reply::ok(head.target.as_bytes()),
    }
}

/// Bytes without a short period.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 15)).to_le_bytes()[0]).collect()
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Reply {
    /// 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into() }
    }
}

type Answer = dyn Fn(&Head) -> Reply + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    requests: Mutex<Vec<Recorded>>,
    errors: Mutex<Vec<String>>,
    open: Mutex<HashMap<u64, TcpStream>>,
    connections: AtomicU64,
    stopping: AtomicBool,
}

/// An HTTP/1.1 server on a loopback port of its own; it stops on drop.
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Answers every request with its own target, so that replies differ in content and length.
    pub fn echoing_targets() -> Result<Self> {
        Self::start(|head| Reply::ok(head.target.as_bytes()))
    }

    /// Answers with what `answer` makes of the request's head.
    pub fn start(answer: impl Fn(&Head) -> Reply + Send + Sync + 'static) -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0), answer)
    }

    /// As [`Recorder::start`], on an address that the caller chooses.
    pub fn start_at(
        address: impl ToSocketAddrs,
        answer: impl Fn(&Head) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address).context("failed to bind the recorder")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            requests: Mutex::default(),
            errors: Mutex::default(),
            open: Mutex::default(),
            connections: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let acceptor = Arc::clone(&shared);
        std::thread::spawn(move || acceptor.accept(&listener));
        Ok(Self { address, shared })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests that arrived since the last call.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut lock(&self.shared.requests))
    }

    /// How many requests have arrived and were not taken.
    pub fn count(&self) -> usize {
        lock(&self.shared.requests).len()
    }

    /// Requests that could not be parsed, and connections that broke within one.
    pub fn errors(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.errors))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then ends.
        let _ = TcpStream::connect(self.address);
        for stream in lock(&self.shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let id = self.connections.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(&self);
            std::thread::spawn(move || {
                if let Err(error) = shared.serve(id, &stream) {
                    lock(&shared.errors).push(format!("connection {id}: {error:#}"));
                }
                lock(&shared.open).remove(&id);
            });
        }
    }

    fn serve(&self, connection: u64, stream: &TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        lock(&self.open).insert(connection, stream.try_clone()?);
        let mut reader = BufReader::with_capacity(32 * 1024, stream);
        let mut writer = stream;
        while let Some(raw) = http::read_head(&mut reader)? {
            let head = Head::request(raw)?;
            if head.says("expect", "100-continue") {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let body = http::read_request_body(&head, &mut reader)?;
            let reply = (self.answer)(&head);
            let closes = head.closes();
            lock(&self.requests).push(Recorded { connection, head, body, at: Instant::now() });
            let connection = if closes { "close" } else { "keep-alive" };
            let mut message = format!(
                "HTTP/1.1 {} Recorded\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
                reply.status,
                reply.body.len()
            )
            .into_bytes();
            message.extend(reply.body);
            writer.write_all(&message)?;
            if closes {
                break;
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

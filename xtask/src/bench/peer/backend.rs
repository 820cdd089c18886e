//! The backend: one thread, so that it takes as little as possible of the CPUs that the relay is measured on. It also
//! stands for a collector of spans.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context as _, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::message;

/// The value of the request's header, or this.
const NONE: &[u8] = b"-";

pub(super) fn run(port: u16, header: &str, body: usize) -> Result<()> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("failed to listen on port {port}"))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let accepting = listener.as_raw_fd();
    // Not its edges: one connection is accepted at a time, others may wait meanwhile.
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, accepting as u64))?;
    let mut connections: HashMap<RawFd, Connection> = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
    let reply = Reply { header, body };
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            let fd = event.data() as RawFd;
            if fd == accepting {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let fd = stream.as_raw_fd();
                epoll.add(&stream, self::event(fd))?;
                connections.insert(fd, Connection { stream, received: Vec::with_capacity(4096), unsent: Vec::new() });
            } else if connections.get_mut(&fd).is_some_and(|connection| connection.serve(&reply).is_err()) {
                // Closing it takes it out of the epoll set.
                connections.remove(&fd);
            }
        }
    }
}

/// Edges: nothing is asked for again, whether there is room to send or not.
fn event(fd: RawFd) -> EpollEvent {
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    EpollEvent::new(flags, fd as u64)
}

/// What every request is answered with.
struct Reply<'a> {
    /// The header whose value is sent back.
    header: &'a str,
    /// The length of the body; longer values are cut.
    body: usize,
}

impl Reply<'_> {
    /// Appends the answer to a request with this head.
    fn append(&self, head: &[u8], to: &mut Vec<u8>) {
        let value = message::header(head, self.header).unwrap_or(NONE);
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: backend\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            self.body
        );
        to.extend_from_slice(head.as_bytes());
        let end = to.len() + self.body;
        to.extend_from_slice(&value[..value.len().min(self.body)]);
        to.resize(end, b' ');
    }
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

impl Connection {
    /// Reads what is there, and answers each complete request. An error ends the connection.
    fn serve(&mut self, reply: &Reply<'_>) -> std::io::Result<()> {
        let mut chunk = [0; 65_536];
        // What comes after a read that leaves room is told of.
        let mut is_more = true;
        while is_more {
            let length = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.received.extend_from_slice(&chunk[..length]);
            is_more = length == chunk.len();
            while let Some(length) = message::length(&self.received).filter(|length| *length <= self.received.len()) {
                reply.append(&self.received[..length], &mut self.unsent);
                self.received.drain(..length);
            }
        }
        self.send()
    }

    fn send(&mut self) -> std::io::Result<()> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match self.stream.write(&self.unsent[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..sent);
        Ok(())
    }
}

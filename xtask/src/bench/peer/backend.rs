//! The backend: one thread, so that it takes as little as possible of the CPUs that the relay is measured on.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context as _, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{ID, message};

/// The value of the request's id, or this.
const NO_ID: &[u8] = b"-";
const BODY: usize = 64;

pub(super) fn run(port: u16) -> Result<()> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("failed to listen on port {port}"))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let accepting = listener.as_raw_fd();
    epoll.add(&listener, event(accepting))?;
    let mut connections: HashMap<RawFd, Connection> = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
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
                connections.insert(fd, Connection { stream, received: Vec::with_capacity(4096) });
            } else if connections.get_mut(&fd).is_some_and(|connection| connection.serve().is_err()) {
                // Closing it takes it out of the epoll set.
                connections.remove(&fd);
            }
        }
    }
}

fn event(fd: RawFd) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, fd as u64)
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Reads what is there and answers each complete request. An error ends the connection.
    fn serve(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.received.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        while let Some(length) = message::head_length(&self.received) {
            let head = &self.received[..length];
            let response = response(message::header(head, ID).unwrap_or(NO_ID));
            // Small enough for any send buffer.
            self.stream.write_all(&response)?;
            self.received.drain(..length);
        }
        Ok(())
    }
}

fn response(id: &[u8]) -> Vec<u8> {
    let mut response = Vec::with_capacity(256);
    let head = "HTTP/1.1 200 OK\r\nServer: backend\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n";
    response.extend_from_slice(head.as_bytes());
    response.extend_from_slice(&id[..id.len().min(BODY)]);
    response.resize(head.len() + BODY, b' ');
    response
}

//! A server of large bodies: as many bytes as a `GET` asks for in its path, and whatever a `PUT` brings.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result, bail};

use super::message;

/// Bytes of one system call.
const CHUNK: usize = 256 << 10;

pub(super) fn run(port: u16) -> Result<()> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("failed to listen on port {port}"))?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("bulk: {error:#}");
            }
        });
    }
    Ok(())
}

/// Answers requests one after the other, until the client closes the connection.
fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut chunk = vec![0; CHUNK];
    let mut received = Vec::new();
    loop {
        let Some(head) = message::head_length(&received) else {
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                length => received.extend_from_slice(&chunk[..length]),
            }
            continue;
        };
        let body: usize = message::length(&received).unwrap_or(head) - head;
        let line = String::from_utf8_lossy(&received[..head]).into_owned();
        let early = received.len() - head;
        received.clear();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["GET", path, ..] => {
                let length = path.trim_start_matches('/').parse().context("a path that is no number of bytes")?;
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                send(&mut stream, &chunk, length)?;
            }
            ["PUT", ..] => {
                take(&mut stream, &mut chunk, body.saturating_sub(early))?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            }
            _ => bail!("neither GET nor PUT: {line:?}"),
        }
    }
}

fn send(stream: &mut TcpStream, chunk: &[u8], length: usize) -> Result<()> {
    let mut left = length;
    while left > 0 {
        left -= stream.write(&chunk[..left.min(chunk.len())])?;
    }
    Ok(())
}

fn take(stream: &mut TcpStream, chunk: &mut [u8], length: usize) -> Result<()> {
    let mut left = length;
    while left > 0 {
        let room = left.min(chunk.len());
        match stream.read(&mut chunk[..room])? {
            0 => bail!("the client closed the connection {left} bytes before the body's end"),
            length => left -= length,
        }
    }
    Ok(())
}

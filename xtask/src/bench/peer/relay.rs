//! The relay under test: reads a request, sends one of its own to the backend, and sends the answer back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, bail};

use super::message;

pub(super) fn run(port: u16, backend: SocketAddr, forward: Option<String>) -> Result<()> {
    let forward: Option<Arc<str>> = forward.map(Arc::from);
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("failed to listen on port {port}"))?;
    for client in listener.incoming() {
        let (client, forward) = (client?, forward.clone());
        thread::spawn(move || {
            if let Err(error) = serve(client, backend, forward.as_deref()) {
                eprintln!("relay: {error:#}");
            }
        });
    }
    Ok(())
}

fn serve(mut client: TcpStream, backend: SocketAddr, forward: Option<&str>) -> Result<()> {
    let mut upstream = TcpStream::connect(backend).context("failed to connect to the backend")?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(4096);
    let mut answer = Vec::with_capacity(4096);
    let mut outbound = Vec::with_capacity(256);
    loop {
        request.clear();
        // No body and no pipelining here: the request is complete when the bytes end with a blank line.
        while !request.ends_with(b"\r\n\r\n") {
            if read(&mut client, &mut request)? == 0 {
                return Ok(());
            }
        }
        let path = request.split(|byte| *byte == b' ').nth(1).context("a request without a path")?;
        outbound.clear();
        outbound.extend_from_slice(b"GET ");
        outbound.extend_from_slice(path);
        outbound.extend_from_slice(b" HTTP/1.1\r\nHost: backend\r\nUser-Agent: relay\r\nAccept: */*\r\n");
        if let Some((name, value)) = forward.and_then(|name| Some((name, message::header(&request, name)?))) {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                outbound.extend_from_slice(part);
            }
        }
        outbound.extend_from_slice(b"\r\n");
        upstream.write_all(&outbound)?;

        answer.clear();
        while message::length(&answer).is_none_or(|length| answer.len() < length) {
            if read(&mut upstream, &mut answer)? == 0 {
                bail!("the backend closed the connection");
            }
        }
        client.write_all(&answer)?;
    }
}

/// Appends what one read returns.
fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<usize> {
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(length) => {
                bytes.extend_from_slice(&chunk[..length]);
                return Ok(length);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A client that has what it wanted may reset its connections.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
}

//! A FastCGI client (FastCGI 1.0 §3, §5), for what web servers never send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// One record.
pub fn record(kind: u8, id: u8, content: &[u8]) -> Result<Vec<u8>> {
    let [high, low] = u16::try_from(content.len())?.to_be_bytes();
    Ok([&[1, kind, 0, id, high, low, 0, 0], content].concat())
}

/// The beginning of a request that keeps the connection.
pub fn begin(id: u8) -> Result<Vec<u8>> {
    record(BEGIN_REQUEST, id, &[0, 1, 1, 0, 0, 0, 0, 0])
}

/// Some of a request's variables, in one record.
pub fn params(id: u8, variables: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    for (name, value) in variables {
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(len @ 0..128) => content.push(len),
                _ => content.extend((u32::try_from(text.len())? | 1 << 31).to_be_bytes()),
            }
        }
        content.extend(name.bytes().chain(value.bytes()));
    }
    record(PARAMS, id, &content)
}

/// The end of a request's variables and of its body, which is empty.
pub fn end(id: u8) -> Result<Vec<u8>> {
    Ok([record(PARAMS, id, &[])?, record(STDIN, id, &[])?].concat())
}

/// A connection to a FastCGI server.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects.
    pub fn new(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(crate::wait::scaled(Duration::from_secs(30))))?;
        Ok(Self(stream))
    }

    /// Writes each of `pieces` by itself.
    pub fn send<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        pieces.into_iter().try_for_each(|piece| self.0.write_all(piece)).context("failed to write")
    }

    /// What the response's standard output is, when its end has come.
    pub fn response(&mut self) -> Result<String> {
        let mut output = Vec::new();
        loop {
            let mut header = [0; 8];
            self.0.read_exact(&mut header).context("no end of the response")?;
            let [version, kind, _, _, high, low, padding, _] = header;
            ensure!(version == 1, "no FastCGI: {header:?}");
            let len = usize::from(u16::from_be_bytes([high, low]));
            let mut content = vec![0; len + usize::from(padding)];
            self.0.read_exact(&mut content)?;
            match kind {
                STDOUT => output.extend(&content[..len]),
                END_REQUEST => return Ok(String::from_utf8_lossy(&output).into_owned()),
                _ => {}
            }
        }
    }
}

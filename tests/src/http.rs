//! HTTP/1.x as the tests need it: heads kept as raw bytes, bodies read by their framing (RFC 9112 §6).

use std::io::{BufRead, Read};

use anyhow::{Context, Result, bail};

const MAX_HEAD: usize = 128 * 1024;
const MAX_FIELDS: usize = 512;

/// A request's or a response's head, as it came and taken apart.
#[derive(Clone, Debug)]
pub struct Head {
    /// Every byte from the start line to the blank line.
    pub raw: Vec<u8>,
    /// Request: method. Response: empty.
    pub method: String,
    /// Request: target. Response: empty.
    pub target: String,
    /// Response: status. Request: 0.
    pub status: u16,
    /// 0 or 1, as in HTTP/1.x.
    pub minor: u8,
    /// Field names and values in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Parses a request head strictly; a damaged head is an error.
    pub fn request(raw: Vec<u8>) -> Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        if parsed.parse(&raw).with_context(|| describe(&raw))?.is_partial() {
            bail!("incomplete request head: {}", describe(&raw));
        }
        Ok(Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            status: 0,
            minor: parsed.version.unwrap_or_default(),
            fields: owned(parsed.headers),
            raw,
        })
    }

    /// Parses a response head strictly.
    pub fn response(raw: Vec<u8>) -> Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        if parsed.parse(&raw).with_context(|| describe(&raw))?.is_partial() {
            bail!("incomplete response head: {}", describe(&raw));
        }
        Ok(Self {
            method: String::new(),
            target: String::new(),
            status: parsed.code.unwrap_or_default(),
            minor: parsed.version.unwrap_or_default(),
            fields: owned(parsed.headers),
            raw,
        })
    }

    /// All values of a field, whatever the case of its name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a field has this value, whatever the case.
    pub fn says(&self, name: &str, value: &str) -> bool {
        self.values(name).any(|found| found.eq_ignore_ascii_case(value))
    }

    /// Whether the connection ends after this message.
    pub fn closes(&self) -> bool {
        self.says("connection", "close") || (self.minor == 0 && !self.says("connection", "keep-alive"))
    }

    fn length(&self) -> Result<Option<usize>> {
        self.values("content-length").next().map(|value| value.parse().context("bad content-length")).transpose()
    }
}

fn owned(fields: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    fields.iter().map(|f| (f.name.to_owned(), String::from_utf8_lossy(f.value).into_owned())).collect()
}

fn describe(raw: &[u8]) -> String {
    format!("head {:?}", String::from_utf8_lossy(&raw[..raw.len().min(400)]))
}

/// Reads up to and including the blank line; `None` when the stream ends before the first byte.
pub fn read_head(stream: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let mut raw = Vec::new();
    loop {
        let line = stream.take((MAX_HEAD - raw.len()) as u64).read_until(b'\n', &mut raw)?;
        if line == 0 && raw.is_empty() {
            return Ok(None);
        }
        if !raw.ends_with(b"\n") {
            bail!("the stream ended within a head: {}", describe(&raw));
        }
        if raw.ends_with(b"\r\n\r\n") {
            return Ok(Some(raw));
        }
    }
}

/// Reads a request's body.
pub fn read_request_body(head: &Head, stream: &mut impl BufRead) -> Result<Vec<u8>> {
    if head.says("transfer-encoding", "chunked") {
        return read_chunks(stream);
    }
    read_exactly(stream, head.length()?.unwrap_or(0))
}

/// Reads a response's body.
pub fn read_response_body(head: &Head, stream: &mut impl BufRead) -> Result<Vec<u8>> {
    if head.says("transfer-encoding", "chunked") {
        return read_chunks(stream);
    }
    if let Some(length) = head.length()? {
        return read_exactly(stream, length);
    }
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    Ok(body)
}

fn read_exactly(stream: &mut impl BufRead, length: usize) -> Result<Vec<u8>> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).with_context(|| format!("a body shorter than {length} bytes"))?;
    Ok(body)
}

fn read_chunks(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = read_line(stream)?;
        let size = size.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("bad chunk size {size:?}"))?;
        body.extend(read_exactly(stream, size)?);
        // After a chunk's data, and after the last chunk when there are no trailers, an empty line.
        let end = read_line(stream)?;
        if !end.is_empty() {
            bail!("expected the end of a chunk, found {end:?}");
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_request_with_its_body_and_stops_there() -> Result<()> {
        let mut stream: &[u8] = b"POST /a HTTP/1.1\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhiGET";
        let head = Head::request(read_head(&mut stream)?.context("a head")?)?;
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/a"));
        assert!(head.says("x-a", "1") && !head.closes());
        assert_eq!(read_request_body(&head, &mut stream)?, b"hi");
        assert_eq!(stream, b"GET");
        Ok(())
    }

    #[test]
    fn reads_chunks() -> Result<()> {
        let mut stream: &[u8] = b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\nrest";
        assert_eq!(read_chunks(&mut stream)?, b"abcde");
        assert_eq!(stream, b"rest");
        Ok(())
    }

    #[test]
    fn a_cut_head_is_an_error_and_an_empty_stream_is_none() -> Result<()> {
        assert!(read_head(&mut &b"GET / HT"[..]).is_err());
        assert!(read_head(&mut &b""[..])?.is_none());
        Ok(())
    }
}

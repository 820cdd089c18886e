//! The same findings from the whole stream at once, with httparse and slices.

use std::string::{String, ToString as _};
use std::vec::Vec;

use super::driver::{Found, Head};
use crate::limits::{MAX_LINE_COUNT, MAX_LINES, MAX_PATH};

/// What a complete and well-formed stream of requests contains.
pub(super) fn requests(stream: &[u8], names: &[&str]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = first_line_at(stream, 0);
    while at < stream.len() {
        let mut headers = [httparse::EMPTY_HEADER; 512];
        let mut request = httparse::Request::new(&mut headers);
        let len = request.parse(&stream[at..]).expect("well-formed").unwrap();
        let path = request.path.expect("complete").as_bytes();
        let method = request.method.expect("complete").as_bytes();
        found.push(Found::Head(Head {
            method: method.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
            path: path[..path.len().min(MAX_PATH)].to_vec(),
            ..head(stream, at, len, request.headers, names)
        }));
        at = body_end(stream, at + len, request.headers).unwrap_or(at + len);
        found.push(Found::End(at));
        at = first_line_at(stream, at);
    }
    found
}

/// What a complete and well-formed stream of responses contains.
pub(super) fn responses(stream: &[u8], names: &[&str], to_head: &[bool]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut to_head = to_head.iter();
    let mut at = first_line_at(stream, 0);
    while at < stream.len() {
        let mut headers = [httparse::EMPTY_HEADER; 512];
        let mut response = httparse::Response::new(&mut headers);
        let len = response.parse(&stream[at..]).expect("well-formed").unwrap();
        let status = u32::from(response.code.expect("complete"));
        let mut head = head(stream, at, len, response.headers, names);
        head.lines.clear();
        found.push(Found::Head(Head { status, dropped: 0, present: occurring(response.headers, names), ..head }));
        at += len;
        if status >= 200 {
            let no_body = *to_head.next().unwrap_or(&false) || status == 204 || status == 304;
            if !no_body {
                // `None`: until the connection's end.
                let Some(end) = body_end(stream, at, response.headers) else { return found };
                at = end;
            }
            found.push(Found::End(at));
        }
        at = first_line_at(stream, at);
    }
    found
}

/// RFC 9112 §2.2: empty lines before a first line do not count.
fn first_line_at(stream: &[u8], at: usize) -> usize {
    at + stream[at..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

fn head(stream: &[u8], at: usize, len: usize, headers: &[httparse::Header<'_>], names: &[&str]) -> Head {
    let end = at + len;
    let blank = end - if stream[..end].ends_with(b"\r\n") { 2 } else { 1 };
    let lines = &stream[at..end];
    let bare = (0..lines.len()).any(|at| lines[at] == b'\n' && (at == 0 || lines[at - 1] != b'\r'));
    let mut head = Head { blank, end, len: len as u32, bare, ..Head::default() };
    let mut size = 0;
    let mut count = 0;
    for header in headers {
        let Some(name) = index(header.name, names) else { continue };
        let line = line(stream, header);
        let value = &line[header.name.len() + 1..];
        let fits = size + line.len() <= MAX_LINES - 2 && count < MAX_LINE_COUNT;
        if !fits || value.iter().any(|byte| !matches!(byte, b'\t' | b' '..=b'~')) {
            head.dropped |= 1 << name;
        }
        if head.dropped >> name & 1 == 1 || header.value.is_empty() {
            continue;
        }
        let text = [header.name.to_ascii_lowercase().as_bytes(), b":", value, b"\r\n"].concat();
        size += text.len();
        count += 1;
        head.present |= 1 << name;
        head.lines.push((name as u8, text));
    }
    head.present &= !head.dropped;
    let dropped = head.dropped;
    head.lines.retain(|(name, _)| dropped >> name & 1 == 0);
    head
}

/// The header's line as it stands in the stream, without its line end.
fn line<'a>(stream: &'a [u8], header: &httparse::Header<'_>) -> &'a [u8] {
    let from = header.name.as_ptr() as usize - stream.as_ptr() as usize;
    let line = stream[from..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn index(name: &str, names: &[&str]) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    let longest = name.len() < 64;
    let is = |wanted: &&str| wanted.strip_suffix('*').map_or(name == **wanted, |prefix| name.starts_with(prefix));
    names.iter().position(|wanted| name == **wanted).or_else(|| names.iter().position(is)).filter(|_| longest)
}

fn occurring(headers: &[httparse::Header<'_>], names: &[&str]) -> u64 {
    headers.iter().filter_map(|header| index(header.name, names)).fold(0, |bits, name| bits | 1 << name)
}

/// Where the body that begins at `at` ends; `None` if no header tells.
fn body_end(stream: &[u8], at: usize, headers: &[httparse::Header<'_>]) -> Option<usize> {
    let last = |name: &str| -> Option<String> {
        let header = headers.iter().rfind(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(header.value).trim().to_string())
    };
    if last("transfer-encoding").is_some() {
        return Some(chunks_end(stream, at));
    }
    Some(at + last("content-length")?.parse::<usize>().expect("a number"))
}

fn chunks_end(stream: &[u8], mut at: usize) -> usize {
    loop {
        let (line, size) = httparse::parse_chunk_size(&stream[at..]).expect("a chunk's size").unwrap();
        at += line;
        if size == 0 {
            break;
        }
        at += size as usize + 2;
    }
    loop {
        let line = stream[at..].split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        at += line.len();
        if line == b"\r\n" || line == b"\n" {
            return at;
        }
    }
}

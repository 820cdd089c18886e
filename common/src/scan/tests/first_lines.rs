//! Request lines and status lines (RFC 9112 §2.2, §3, §4).

use std::format;
use std::vec::Vec;

use super::driver::{Found, Stream};
use super::{cuts, ends, head, lost, names, only_head, requests, responses};
use crate::scan::lost::NOT_HTTP1;
use crate::words::literal;

#[test]
fn request_lines_are_recognised() {
    for (line, method, path) in [
        ("GET / HTTP/1.1", "GET", "/"),
        ("POST /a?b=c HTTP/1.0", "POST", "/a?b=c"),
        ("OPTIONS * HTTP/1.1", "OPTIONS", "*"),
        ("GET http://host/path HTTP/1.1", "GET", "http://host/path"),
        ("M-SEARCH * HTTP/1.1", "M-SEARCH", "*"),
        // Only eight bytes are kept.
        ("VERSION-CONTROL /v HTTP/1.1", "VERSION-", "/v"),
        ("GET / HTTP/1.9", "GET", "/"),
    ] {
        let head = head(format!("{line}\r\nhost: a\r\n\r\n").as_bytes());
        assert_eq!(head.method, literal(method), "{line}");
        assert_eq!(head.path, path.as_bytes(), "{line}");
    }
}

#[test]
fn what_is_no_request_line_is_not_http1() {
    for line in [
        "GET  / HTTP/1.1",
        // Longer than what is kept of an unfinished line.
        "GET  /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1",
        "GET /",
        "GET / HTTP/2.0",
        "PRI * HTTP/2.0",
        "GET  HTTP/1.1",
        "GET HTTP/1.1",
        " / HTTP/1.1",
        "get / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.",
        "GET / HTTP/1.x",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.11",
        "GET\t/\tHTTP/1.1",
        "AMETHODOFTWENTYFIVELETTERS / HTTP/1.1",
        "HTTP/1.1 200 OK",
        "\0\0\0",
    ] {
        for end in ["\r\n", "\n"] {
            let bytes = format!("{line}{end}\r\n");
            assert_eq!(lost(bytes.as_bytes()), NOT_HTTP1, "{line}");
            for cut in cuts(bytes.as_bytes()) {
                let found = requests(&cut);
                assert!(!found.iter().any(|found| matches!(found, Found::Head(_))), "{line} in {cut:?}");
            }
        }
    }
}

#[test]
fn a_beginning_that_no_method_has_is_refused_at_once() {
    for bytes in
        [&b"\x16\x03\x01\x02\x00"[..], b"{\"a\":1}", b" GET", b"SSH-2.0-x", b"PING\x00", b"AMETHODOFTWENTYFIVELETTERS"]
    {
        assert_eq!(lost(bytes), NOT_HTTP1, "{bytes:?}");
    }
    for bytes in [&b"G"[..], b"GET", b"GET ", b"GET /", b"\r", b"SSH"] {
        assert_eq!(lost(bytes), 0, "{bytes:?}");
    }
}

#[test]
fn empty_lines_before_a_request_do_not_count() {
    for before in ["\r\n", "\n", "\r\n\r\n"] {
        let bytes = format!("{before}GET / HTTP/1.1\r\n\r\n");
        for cut in cuts(bytes.as_bytes()) {
            let head = only_head(requests(&cut));
            assert_eq!((head.len, head.end), (18, before.len() + 18), "{cut:?}");
        }
    }
}

#[test]
fn a_target_of_any_length_is_followed() {
    for len in (1..200).chain([7_000, 8_100, 15_000]) {
        let target = "/".repeat(len);
        let bytes = format!("DELETE {target} HTTP/1.1\r\n\r\n");
        let head = head(bytes.as_bytes());
        assert_eq!(head.len as usize, bytes.len(), "{len}");
        assert!(head.path.len() == len.min(64) || len > 7_000, "{len}");
        let halves: Vec<&[u8]> = bytes.as_bytes().chunks(bytes.len().div_ceil(2)).collect();
        assert_eq!(only_head(requests(&halves)).len, head.len, "{len}");
    }
}

#[test]
fn the_noted_target_has_no_byte_from_behind_it() {
    let names = names();
    let bytes = format!("OPTIONS /{} HTTP/1.1\r\n\r\n", "a".repeat(60));
    for at in 1..bytes.len() {
        let mut stream = Stream::requests(&names, true);
        stream.litter(b'Z', bytes.len());
        stream.event(&[&bytes.as_bytes()[..at]]);
        stream.litter(b'Z', bytes.len());
        stream.event(&[&bytes.as_bytes()[at..]]);
        let head = only_head(stream.found);
        assert_eq!(head.path[0], b'/');
        assert!(head.path[1..].iter().all(|byte| *byte == b'a'), "{:?} when cut at {at}", head.path);
    }
}

#[test]
fn status_lines_are_recognised() {
    for (line, status) in
        [("HTTP/1.1 200 OK", 200), ("HTTP/1.0 404 ", 404), ("HTTP/1.1 599", 599), ("HTTP/1.1 304 a b", 304)]
    {
        let bytes = format!("{line}\r\ncontent-length: 0\r\n\r\n");
        for cut in cuts(bytes.as_bytes()) {
            let found = responses(&cut, &[]);
            assert_eq!(ends(&found), [bytes.len()], "{line}");
            assert_eq!(only_head(found).status, status, "{line}");
        }
    }
}

#[test]
fn empty_lines_before_a_response_do_not_count() {
    let stream = b"\r\nHTTP/1.1 204 No Content\r\n\r\n";
    for cut in cuts(stream) {
        assert_eq!(ends(&responses(&cut, &[])), [stream.len()], "{cut:?}");
    }
}

#[test]
fn what_is_no_status_line_is_not_http1() {
    for line in [
        "HTTP/1.1 20",
        "HTTP/1.1  200",
        "HTTP/2 200",
        "http/1.1 200",
        "HTTP/1.1 2x0 ",
        "HTTP/1.1\t200",
        "ICY 200 OK",
        "GET / HTTP/1.1",
    ] {
        let found = responses(&[format!("{line}\r\n\r\n").as_bytes()], &[]);
        assert_eq!(found, [Found::Lost(NOT_HTTP1)], "{line}");
    }
}

#[test]
fn a_long_status_line_does_not_take_the_status_of_the_one_before() {
    let first = b"HTTP/1.1 204 No Content\r\n\r\n".as_slice();
    let bad = format!("HTTP/1.1 abc {}", "x".repeat(80));
    let found = responses(&[first, bad.as_bytes(), b"\r\n\r\n"], &[]);
    assert_eq!(found[1..], [Found::End(first.len()), Found::Lost(NOT_HTTP1)]);
}

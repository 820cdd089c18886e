//! Bodies as the scanner follows them (RFC 9112 §6, §7).

use std::format;
use std::vec::Vec;

use super::driver::Found;
use super::*;
use crate::scan::lost::{FRAMING, UPGRADED};

const END: &str = "GET / HTTP/1.1\r\n\r\n";

/// A POST request with these header lines and this body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\n{lines}\r\n{body}").into_bytes()
}

/// Checks that the message ends where it ends, in every cut.
fn check(message: &[u8]) {
    let stream = [message, END.as_bytes()].concat();
    for cut in cuts(&stream) {
        assert_eq!(ends(&requests(&cut)), [message.len(), stream.len()], "{cut:?}");
    }
}

#[test]
fn bodies_of_known_length_are_passed() {
    check(&post("Content-Length: 5\r\n", "abcde"));
    check(&post("content-length:\t05 \r\ncontent-length: 5\r\n", "\r\n\r\n\n"));
    check(&post("content-length: 0\r\n", ""));
    check(&post("content-length: 18\r\n", END));
    check(&post("", ""));
}

#[test]
fn chunked_bodies_are_passed() {
    let chunked = |body: &str| check(&post("Transfer-Encoding: chunked\r\n", body));
    chunked("0\r\n\r\n");
    chunked("5\r\nabcde\r\n0\r\n\r\n");
    chunked("005\r\n\r\n\r\n\n\r\nA;x=\"y\";z\r\n0123456789\r\na \t;b\r\n0123456789\r\n00;last\r\n\r\n");
    chunked("0\r\ntrailer: a\r\nbaggage: b\r\ncontent-length: 7\r\n\r\n");
    chunked(&format!("0\r\ntrailer: {}\r\n\r\n", "a".repeat(200)));
    // Whoever understands chunks ignores the length (RFC 9112 §6.3).
    check(&post("content-length: 3\r\ntransfer-encoding: gzip, Chunked\r\n", "1\r\na\r\n0\r\n\r\n"));
}

#[test]
fn trailers_are_no_headers() {
    let found = requests(&[&post("transfer-encoding: chunked\r\n", "0\r\nbaggage: b\r\n\r\n")]);
    assert_eq!(only_head(found).present, 0);
}

#[test]
fn large_chunks_are_counted() {
    let data = "GET / HTTP/1.1\r\n\r\n".repeat(3000);
    let bytes = post("transfer-encoding: chunked\r\n", &format!("{:x}\r\n{data}\r\n0\r\n\r\n", data.len()));
    for size in [1000, 8000, 8064, 100_000] {
        let events: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(ends(&requests(&events)), [bytes.len()], "events of {size}");
    }
}

#[test]
fn framing_that_makes_no_sense_is_lost() {
    for (lines, body) in [
        ("content-length: 5\r\ncontent-length: 6\r\n", ""),
        ("content-length: 5, 5\r\n", ""),
        ("content-length: -1\r\n", ""),
        ("content-length:\r\n", ""),
        ("content-length: 99999999999999999999\r\n", ""),
        ("transfer-encoding: gzip\r\n", ""),
        ("transfer-encoding: chunked, gzip\r\n", ""),
        ("transfer-encoding: xchunked\r\n", ""),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", ""),
        ("transfer-encoding: chunked\r\n", "\r\n"),
        ("transfer-encoding: chunked\r\n", "x\r\n"),
        ("transfer-encoding: chunked\r\n", "5\r\nabcdefg\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\n", "1000000000000000\r\n"),
        ("transfer-encoding: chunked\r\n", ";a\r\n"),
    ] {
        let bytes = post(lines, body);
        assert_eq!(lost(&bytes), FRAMING, "{lines:?} {body:?}");
        for cut in cuts(&bytes) {
            assert_eq!(lost_of(&requests(&cut)), FRAMING, "{cut:?}");
        }
    }
}

#[test]
fn other_protocols_are_not_followed() {
    assert_eq!(lost(b"CONNECT a:1 HTTP/1.1\r\n\r\n"), UPGRADED);
    assert_eq!(lost(&post("Upgrade: websocket\r\nConnection: upgrade\r\n", "")), UPGRADED);
    let found = responses(&[b"HTTP/1.1 101 Switching Protocols\r\n\r\nanything"], &[]);
    assert_eq!(lost_of(&found), UPGRADED);
}

#[test]
fn interim_responses_end_no_message() {
    let stream =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nlink: a\r\n\r\nHTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok";
    for cut in cuts(stream.as_bytes()) {
        let found = responses(&cut, &[]);
        assert_eq!(ends(&found), [stream.len()], "{cut:?}");
        assert_eq!(found.len(), 4, "{cut:?}");
    }
}

#[test]
fn responses_without_a_body_end_with_their_heads() {
    for (status, to_head) in [("204 No Content", false), ("304 Not Modified", false), ("200 OK", true)] {
        for lines in ["content-length: 10\r\n", "transfer-encoding: chunked\r\n", ""] {
            let one = format!("HTTP/1.1 {status}\r\n{lines}\r\n");
            let stream = one.repeat(2);
            for cut in cuts(stream.as_bytes()) {
                assert_eq!(ends(&responses(&cut, &[to_head; 2])), [one.len(), stream.len()], "{cut:?}");
            }
        }
    }
}

#[test]
fn a_response_of_unknown_length_lasts_until_the_connection_ends() {
    for lines in ["", "transfer-encoding: gzip\r\n", "content-length: 3\r\ntransfer-encoding: gzip\r\n"] {
        let stream = format!("HTTP/1.1 200 OK\r\n{lines}\r\nHTTP/1.1 200 OK\r\n\r\n");
        let found = responses(&[stream.as_bytes(), b"more"], &[]);
        assert!(matches!(found[..], [Found::Head(_)]), "{found:?}");
    }
}

#[test]
fn a_chunk_extension_longer_than_what_is_kept_is_lost_only_when_cut() {
    let bytes = post("transfer-encoding: chunked\r\n", &format!("0;{}\r\n\r\n", "e".repeat(80)));
    assert_eq!(lost(&bytes), 0);
    assert_eq!(lost_of(&requests(&[&bytes[..bytes.len() - 6], &bytes[bytes.len() - 6..]])), FRAMING);
}

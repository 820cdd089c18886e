//! What happens at the limits: heads, lines, and the memory for them.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::limits::{MAX_HEAD, MAX_LINE_COUNT, MAX_LINES};
use crate::scan::lost::HEAD_TOO_LARGE;

/// A request with a head of `len` bytes.
fn of_len(len: usize, line_len: usize) -> Vec<u8> {
    let mut head = String::from("GET / HTTP/1.1\r\n");
    while head.len() + 2 < len {
        let line = line_len.min(len - 2 - head.len());
        // A rest that is too short for a line of its own joins this one.
        let line = if len - 2 - head.len() - line < 5 { len - 2 - head.len() } else { line };
        head += &format!("x: {}\r\n", "y".repeat(line - 5)).replacen('x', "z", 1);
    }
    (head + "\r\n").into_bytes()
}

#[test]
fn a_head_of_the_greatest_length_is_followed_and_a_longer_one_is_not() {
    let most = MAX_HEAD as usize;
    for line in [20, 100, 5000, 20_000] {
        for (len, reason) in [(most - 1, 0), (most, 0), (most + 1, HEAD_TOO_LARGE), (most + 5000, HEAD_TOO_LARGE)] {
            let bytes = of_len(len, line);
            assert_eq!(bytes.len(), len);
            for size in [1, 63, 64, 65, 1000, 8000, 20_000] {
                let events: Vec<&[u8]> = bytes.chunks(size).collect();
                let found = requests(&events);
                assert_eq!(lost_of(&found), reason, "{len} bytes, lines of {line}, events of {size}");
                assert_eq!(ends(&found).len(), usize::from(reason == 0));
            }
        }
    }
}

#[test]
fn a_head_without_an_end_is_lost_soon_after_the_limit() {
    for line in ["x: y\r\n", "baggage: ", "GET /"] {
        let begin = if line.starts_with("GET") { "" } else { "GET / HTTP/1.1\r\n" };
        let filler = if line.ends_with('\n') {
            line
        } else {
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        };
        let bytes = format!("{begin}{line}{}", filler.repeat((MAX_HEAD as usize + 200) / filler.len()));
        let events: Vec<&[u8]> = bytes.as_bytes().chunks(100).collect();
        assert_eq!(lost_of(&requests(&events)), HEAD_TOO_LARGE, "{line}");
    }
}

#[test]
fn lines_fill_their_memory_and_stay_as_they_were() {
    // Lines that fill all but `free` bytes, then one of `last` bytes.
    for free in [0, 1, 20, 63, 64, 65, 130] {
        for last in [10, 20, 64, 65, 100] {
            let long = format!("traceparent: {}\r\n", "a".repeat(MAX_LINES - free - 15));
            let line = format!("b3: {}\r\n", "b".repeat(last - 6));
            let head = head(format!("GET / HTTP/1.1\r\n{long}{line}\r\n").as_bytes());
            let texts: Vec<&[u8]> = head.lines.iter().map(|(_, line)| line.as_slice()).collect();
            if last <= free {
                assert_eq!(
                    (texts, head.dropped),
                    (Vec::from([long.as_bytes(), line.as_bytes()]), 0),
                    "{last} in {free}"
                );
            } else {
                assert_eq!((texts, head.dropped), (Vec::from([long.as_bytes()]), B3), "{last} in {free}");
            }
        }
    }
}

#[test]
fn a_line_longer_than_the_memory_is_dropped_whole() {
    let long = format!("GET / HTTP/1.1\r\nb3: 1\r\nbaggage: {}\r\ntraceparent: 2\r\n\r\n", "a".repeat(MAX_LINES));
    for size in [1, 100, 9000] {
        let events: Vec<&[u8]> = long.as_bytes().chunks(size).collect();
        let head = only_head(requests(&events));
        assert_eq!((head.dropped, head.lines.len()), (BAGGAGE, 2), "events of {size}");
    }
}

#[test]
fn more_lines_than_can_be_kept_drop_their_name() {
    let bytes =
        |count: usize| format!("GET / HTTP/1.1\r\nb3: 1\r\n{}\r\n", "baggage: a\r\n".repeat(count)).into_bytes();
    let most = head(&bytes(MAX_LINE_COUNT - 1));
    assert_eq!((most.dropped, most.lines.len()), (0, MAX_LINE_COUNT));
    let more = head(&bytes(MAX_LINE_COUNT));
    assert_eq!((more.dropped, more.lines.len()), (BAGGAGE, 1));
}

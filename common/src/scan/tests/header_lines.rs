//! Header lines (RFC 9112 §5, RFC 9110 §5): which are taken, and how.

use std::borrow::ToOwned as _;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::driver::{Found, Head, Stream};
use super::*;
use crate::scan::lost::FRAMING;

fn with(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

fn texts(head: &Head) -> Vec<String> {
    head.lines.iter().map(|(_, line)| String::from_utf8(line.clone()).expect("text")).collect()
}

/// The lines that are taken, the same for every cut.
fn taken(lines: &str) -> Vec<String> {
    let bytes = with(lines);
    let whole = head(&bytes);
    for cut in cuts(&bytes) {
        assert_eq!(only_head(requests(&cut)).lines, whole.lines, "{cut:?}");
    }
    texts(&whole)
}

/// The names of which lines are dropped, the same for every cut.
fn dropped(lines: &str) -> u64 {
    let bytes = with(lines);
    let whole = head(&bytes).dropped;
    for cut in cuts(&bytes) {
        assert_eq!(only_head(requests(&cut)).dropped, whole, "{cut:?}");
    }
    whole
}

#[test]
fn wanted_lines_are_taken_in_order_with_their_names_in_lower_case() {
    let lines = "Host: a\r\nBaggage: K=V\r\nx-other: c\r\nX-REQUEST-ID:  AbC-1 \r\nbaggage:k=w\r\n";
    assert_eq!(taken(lines), ["baggage: K=V\r\n", "x-request-id:  AbC-1 \r\n", "baggage:k=w\r\n"]);
    let head = head(&with(lines));
    assert_eq!(head.present, BAGGAGE | REQUEST_ID);
    assert_eq!(head.lines.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [2, 4, 2]);
}

#[test]
fn prefixes_take_every_name_that_begins_so() {
    assert_eq!(taken("OT-Baggage-User: a\r\not-baggage: b\r\n"), ["ot-baggage-user: a\r\n"]);
    assert_eq!(head(&with("ot-baggage-a: b\r\n")).present, PREFIX);
}

#[test]
fn the_longest_name_is_found_and_a_longer_one_is_not() {
    let long = NAMES[6].to_ascii_uppercase();
    assert_eq!(long.len(), crate::limits::MAX_NAME_LEN);
    assert_eq!(taken(&format!("{long}: v\r\n")), [format!("{}: v\r\n", NAMES[6])]);
    assert_eq!(head(&with(&format!("{long}: v\r\n"))).present, LONG);
    assert_eq!(taken(&format!("{long}x: v\r\n")), [""; 0]);
    assert_eq!(taken(&format!("ot-baggage-{}: v\r\n", "x".repeat(53))), [""; 0]);
}

#[test]
fn values_of_every_length_are_taken_whole() {
    for len in (1..300).chain([1000, 3000]) {
        let value: String = ('!'..='~').cycle().take(len).collect();
        let line = format!("baggage: {value}\r\n");
        let bytes = with(&line);
        assert_eq!(texts(&head(&bytes)).concat(), line, "{len}");
        let halves: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(3)).collect();
        assert_eq!(texts(&only_head(requests(&halves))).concat(), line, "{len} in three parts");
    }
}

#[test]
fn a_line_feed_alone_ends_a_line_and_is_completed() {
    assert_eq!(taken("baggage: a\nb3: 1\n"), ["baggage: a\r\n", "b3: 1\r\n"]);
}

#[test]
fn empty_values_are_not_taken() {
    for value in ["", " ", "\t \t", "                                                                                "]
    {
        assert_eq!(taken(&format!("baggage:{value}\r\nb3: 1\r\n")), ["b3: 1\r\n"]);
        assert_eq!(head(&with(&format!("baggage:{value}\r\n"))).present, 0, "a context without lines has no names");
    }
    assert_eq!(taken("baggage:\r\nbaggage: a\r\n"), ["baggage: a\r\n"]);
}

#[test]
fn an_application_s_own_empty_header_counts_as_its_own() {
    let names = names();
    let mut stream = Stream::requests(&names, false);
    stream.event(&[&with("baggage:\r\n")]);
    assert_eq!(only_head(stream.found).present, BAGGAGE);
}

#[test]
fn values_with_illegal_bytes_drop_every_line_of_the_name() {
    for illegal in ["\0", "\x01", "\x0b", "\x1f", "\x7f", "\u{80}", "é", "a\rb", "\r"] {
        for at in [0, 1, 50, 54, 55, 56, 100, 120] {
            let pad = "v".repeat(at);
            let lines =
                format!("traceparent: 1\r\nbaggage: first\r\nbaggage: {pad}{illegal}{pad}\r\nbaggage: last\r\n");
            assert_eq!(taken(&lines), ["traceparent: 1\r\n"], "{illegal:?} at {at}");
            assert_eq!(dropped(&lines), BAGGAGE, "{illegal:?} at {at}");
        }
    }
}

#[test]
fn dropping_one_long_line_does_not_drop_the_next() {
    // The first ends an event with a carriage return; the second spans events.
    let first = format!("GET / HTTP/1.1\r\nbaggage: \x01{}\r", "a".repeat(80));
    let second = format!("\r\ntraceparent: {}", "b".repeat(80));
    let head = only_head(requests(&[first.as_bytes(), second.as_bytes(), b"c\r\n\r\n"]));
    assert_eq!((head.dropped, head.lines.len()), (BAGGAGE, 1));
}

#[test]
fn a_second_carriage_return_is_illegal_wherever_the_line_is_cut() {
    assert_eq!(dropped(&format!("baggage: {}\r\r\n", "a".repeat(80))), BAGGAGE);
}

#[test]
fn folded_lines_drop_what_they_continue() {
    for fold in [" b", "\tb", " ", "  long                                                                     fold"] {
        assert_eq!(dropped(&format!("baggage: a\r\n{fold}\r\nb3: 1\r\n")), BAGGAGE, "{fold:?}");
        assert_eq!(taken(&format!("baggage: a\r\n{fold}\r\nb3: 1\r\n")), ["b3: 1\r\n"]);
        assert_eq!(taken(&format!("x-other: a\r\n{fold}\r\nb3: 1\r\n")), ["b3: 1\r\n"]);
    }
    // What continues an uninteresting line is no line of its own.
    assert_eq!(taken("x-other: a\r\n baggage: b\r\n"), [""; 0]);
    assert_eq!(dropped("baggage: a\r\nx-other: b\r\n c\r\n"), 0);
    // RFC 9112 §2.2: whitespace before the first header line.
    assert_eq!(taken(" baggage: b\r\nb3: 1\r\n"), ["b3: 1\r\n"]);
}

#[test]
fn folded_framing_is_lost() {
    for line in ["content-length: 1", "Transfer-Encoding: gzip,", "upgrade: a"] {
        assert_eq!(lost(&with(&format!("{line}\r\n chunked\r\n"))), FRAMING, "{line}");
    }
}

#[test]
fn malformed_names_are_lost_where_they_could_matter() {
    for line in [
        "Content-Length : 5",
        "baggage\t: a",
        "content length: 5",
        "transfer-encoding",
        "content-l\u{e9}: b",
        "bagg\0: b",
        "Content-Length                                                                  : 5",
    ] {
        assert_eq!(lost(&with(&format!("{line}\r\n"))), FRAMING, "{line:?}");
    }
}

#[test]
fn a_short_line_is_judged_without_the_next_one() {
    // The ninth byte from its beginning is that of `content-length`.
    assert_eq!(taken("cont\0\r\nyl: 1\r\nb3: 1\r\n"), ["b3: 1\r\n"]);
}

#[test]
fn the_blank_line_is_found_where_it_begins() {
    let bytes = with("b3: 1\r\nhost: a\r\n");
    for cut in cuts(&bytes) {
        let head = only_head(requests(&cut));
        assert_eq!((head.blank, head.end, head.len as usize), (bytes.len() - 2, bytes.len(), bytes.len()), "{cut:?}");
    }
}

#[test]
fn a_head_whose_last_line_feed_is_to_come_is_complete() {
    let bytes = with("b3: 1\r\n");
    let (head, line_feed) = bytes.split_at(bytes.len() - 1);
    let found = requests(&[head]);
    assert_eq!(only_head(found.clone()).blank, bytes.len() - 2, "nothing can be inserted before it later");
    assert_eq!(ends(&found), vec![0; 0]);
    assert_eq!(ends(&requests(&[head, line_feed])), [bytes.len()]);
    let next = [line_feed, &bytes].concat();
    assert_eq!(ends(&requests(&[head, &next])), [bytes.len(), 2 * bytes.len()]);
}

#[test]
fn a_second_message_starts_afresh() {
    let found = requests(&[&with("baggage: \x01\r\nb3: 1\r\n"), &with("baggage: a\r\n")]);
    let heads: Vec<&Head> =
        found.iter().filter_map(|one| if let Found::Head(head) = one { Some(head) } else { None }).collect();
    assert_eq!(heads[0].dropped | heads[1].dropped << 32, BAGGAGE);
    assert_eq!((heads[1].present, texts(heads[1])), (BAGGAGE, vec![String::from("baggage: a\r\n")]));
    assert_eq!(heads[0].present, B3);
}

/// What is inserted ends as lines should; servers differ in what they make of a mix.
#[test]
fn lines_that_end_with_a_line_feed_alone_are_noted_in_any_split() {
    let long = "y".repeat(200);
    for (text, bare) in [
        (format!("GET / HTTP/1.1\r\nHost: a\r\nx-long: {long}\r\nbaggage: {long}\r\n\r\n"), false),
        (format!("\r\n\nGET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), false),
        (format!("GET /{long} HTTP/1.1\nHost: a\r\n\r\n"), true),
        ("GET / HTTP/1.1\r\nHost: a\nAccept: b\r\n\r\n".to_owned(), true),
        (format!("GET / HTTP/1.1\r\nx-long: {long}\nAccept: b\r\n\r\n"), true),
        (format!("GET / HTTP/1.1\r\nbaggage: {long}\nAccept: b\r\n\r\n"), true),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n".to_owned(), true),
    ] {
        for events in cuts(text.as_bytes()).into_iter().chain([vec![text.as_bytes()]]) {
            let lengths: Vec<usize> = events.iter().map(|event| event.len()).collect();
            assert_eq!(only_head(requests(&events)).bare, bare, "{text:?} in {lengths:?}");
        }
    }
}

//! Strategies for well-formed streams and for cutting them up.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Header lines, with wanted ones among them in any case.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        4 => select(&super::NAMES[..5]).prop_map(String::from),
        1 => select(&super::NAMES[6..]).prop_map(String::from),
        1 => "ot-baggage-[a-z]{0,70}",
        3 => "x-other-[a-zA-Z0-9_.!~-]{0,80}",
        1 => "(host|accept|content-type|connection|te|content-lengths|transfer-encodin)",
    ];
    let case = any::<u64>();
    let value = prop_oneof![
        10 => "[ \t]{0,2}[!-~]([ -~\t]{0,120}[!-~])?[ \t]{0,2}",
        2 => "[ \t]{0,3}",
        1 => " [!-~]{60,70}",
        1 => "[ -~é]{0,30}",
        1 => " [a-z]{100,2500}",
    ];
    (name, case, value, line_end()).prop_map(|(name, case, value, end)| {
        let cased = name
            .bytes()
            .enumerate()
            .map(|(index, byte)| if case >> (index % 64) & 1 == 1 { byte.to_ascii_uppercase() } else { byte });
        cased.chain(*b":").chain(value.bytes()).chain(end.bytes()).collect()
    })
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just("\r\n"), 1 => Just("\n")]
}

/// The header that frames a body, and the body.
fn body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let data = || {
        prop_oneof![
            // What looks like a head must not be taken for one.
            Just(b"GET / HTTP/1.1\r\nbaggage: in-body\r\n\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..200),
            (7_900usize..8_100).prop_map(|len| vec![b'\n'; len]),
        ]
    };
    let length = (data(), "0{0,3}", "[ \t]{0,2}").prop_map(|(data, zeros, space)| {
        (format!("Content-Length:{space}{zeros}{}{space}\r\n", data.len()).into_bytes(), data)
    });
    let size = (any::<bool>(), "0{0,3}", "(;[a-z]{1,5}(=[a-z\"]{0,20})?)?");
    let chunk = (data(), size).prop_map(|(data, (upper, zeros, extension))| {
        let size = if upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
        if data.is_empty() {
            return Vec::new();
        }
        [format!("{zeros}{size}{extension}\r\n").as_bytes(), &data, b"\r\n"].concat()
    });
    let trailer = "(x-trailer|baggage|content-length): [ -~]{0,100}\r\n";
    let chunks = (prop::collection::vec(chunk, 0..5), prop::collection::vec(trailer, 0..3), codings());
    let chunked = chunks.prop_map(|(chunks, trailers, codings)| {
        let body = [&chunks.concat(), b"0\r\n".as_slice(), trailers.concat().as_bytes(), b"\r\n"].concat();
        (codings.into_bytes(), body)
    });
    prop_oneof![2 => Just((Vec::new(), Vec::new())), 2 => length, 2 => chunked]
}

fn codings() -> impl Strategy<Value = String> {
    "(Transfer-Encoding: (gzip, ?)?[cC]hunked ?|transfer-encoding: gzip\r\nTRANSFER-ENCODING:chunked)\r\n"
}

/// The lines of a head after the first, with `framing` at some place.
fn fields(headers: Vec<Vec<u8>>, framing: Vec<u8>, place: Index, end: &str) -> Vec<u8> {
    let mut lines = headers;
    lines.insert(place.index(lines.len() + 1), framing);
    [lines.concat().as_slice(), end.as_bytes()].concat()
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = "(GET|HEAD|POST|OPTIONS|DELETE|M-SEARCH|VERSION-CONTROL|BASELINE_CONTROL)";
    let target = prop_oneof![4 => "/[!-~]{0,40}", 1 => "[!-~]{40,300}", 1 => Just(String::from("*"))];
    let first = (method, target, 0..=1u8, line_end())
        .prop_map(|(method, target, version, end)| format!("{method} {target} HTTP/1.{version}{end}"));
    let empty = prop_oneof![8 => Just(""), 1 => Just("\r\n"), 1 => Just("\n")];
    let headers = prop::collection::vec(header(), 0..12);
    (empty, first, headers, body(), any::<Index>(), line_end()).prop_map(
        |(empty, first, headers, (framing, body), place, end)| {
            [empty.as_bytes(), first.as_bytes(), &fields(headers, framing, place, end), &body].concat()
        },
    )
}

/// Several requests.
pub(super) fn requests() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(request(), 1..5).prop_map(|requests| requests.concat())
}

/// A final response, perhaps after interim ones, and whether it answers HEAD.
fn response() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let interim = "(HTTP/1\\.1 10(0 Continue|2|3 Early Hints)\r\n(link: [a-z]{0,99}\r\n)?\r\n){0,2}";
    let status = prop_oneof![5 => Just(200u16), 1 => Just(204), 1 => Just(304), 2 => 205u16..=599];
    let line = (status, "( [ -~]{0,100})?", 0..=1u8, line_end());
    let headers = prop::collection::vec(header(), 0..8);
    (interim, line, headers, body(), any::<bool>(), any::<Index>(), line_end()).prop_map(
        |(interim, (status, reason, version, line_end), headers, (framing, body), to_head, place, end)| {
            let first = format!("{interim}HTTP/1.{version} {status}{reason}{line_end}");
            let body = if to_head || status == 204 || status == 304 { Vec::new() } else { body };
            ([first.as_bytes(), &fields(headers, framing, place, end), &body].concat(), to_head)
        },
    )
}

/// Several responses, and which of them answer HEAD.
pub(super) fn responses() -> impl Strategy<Value = (Vec<u8>, Vec<bool>)> {
    prop::collection::vec(response(), 1..5).prop_map(|responses| {
        let (bytes, to_head): (Vec<_>, Vec<_>) = responses.into_iter().unzip();
        (bytes.concat(), to_head)
    })
}

/// Bytes near to HTTP, in which anything may be wrong.
pub(super) fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let token = select(
        &[
            "GET / HTTP/1.1\r\n",
            "HEAD ",
            "POST /a HTTP/1.0\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 100\r\n",
            "HTTP/1.",
            "baggage: a=b",
            "Baggage:",
            "traceparent:\t",
            "x:y",
            "ot-baggage-",
            "Content-Length: 3",
            "Content-Length:5, 5",
            "content-length: ",
            "Transfer-Encoding: chunked",
            "transfer-encoding:gzip\r\n",
            "Upgrade: h2c\r\n",
            "\r\n",
            "\r\n\r\n",
            "\r",
            "\n",
            "\n ",
            ": ",
            " ",
            "\t",
            "0\r\n",
            "5;e=",
            "a\r\n",
            "ffffffffffffffff",
            "\0",
            "\u{e9}",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ][..],
    );
    let piece = prop_oneof![6 => token.prop_map(|token| token.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..70)];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// How a stream comes: cut into events, and these into pieces of memory.
#[derive(Clone, Debug)]
pub(super) struct Split {
    sizes: Vec<usize>,
    pieces: usize,
    /// What stale memory holds.
    pub(super) litter: u8,
    /// Sequence number of the first byte.
    pub(super) seq: u32,
}

pub(super) fn split() -> impl Strategy<Value = Split> {
    let size = prop_oneof![3 => 1usize..4, 3 => 1usize..100, 1 => 1usize..2000, 1 => 1usize..20_000];
    // All bytes alone, the same size again and again, or anything.
    let sizes = prop_oneof![Just(vec![1]), prop::collection::vec(size, 1..40)];
    let litter = select(&b"\n\r: Gz0\0\xff"[..]);
    let seq = prop_oneof![any::<u32>(), (0u32..300).prop_map(|back| 0u32.wrapping_sub(back))];
    (sizes, 1usize..4, litter, seq).prop_map(|(sizes, pieces, litter, seq)| Split { sizes, pieces, litter, seq })
}

impl Split {
    /// The events of `stream`, each as its pieces.
    pub(super) fn events<'a>(&self, stream: &'a [u8]) -> Vec<Vec<&'a [u8]>> {
        let mut events = Vec::new();
        let mut rest = stream;
        let mut sizes = self.sizes.iter().cycle();
        while !rest.is_empty() {
            let (event, after) = rest.split_at((*sizes.next().expect("endless")).min(rest.len()));
            events.push(event.chunks(event.len().div_ceil(self.pieces)).collect());
            rest = after;
        }
        events
    }
}

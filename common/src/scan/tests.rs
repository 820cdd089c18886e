use crate as baton;

mod arbitrary;
mod bodies;
mod checks;
mod driver;
mod first_lines;
mod header_lines;
mod limits;
mod reference;
mod splits;
mod streams;

use std::vec;
use std::vec::Vec;

use crate::names::Names;
use driver::{Found, Head, Stream};

/// The configured names of all tests, one of each kind and length class.
const NAMES: [&str; 8] = [
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-request-id",
    "ot-baggage-*",
    "x-a-very-long-but-still-configurable-header-name-of-63-bytes-ok",
    "xyz",
];
const BAGGAGE: u64 = 1 << 2;
const B3: u64 = 1 << 3;
const REQUEST_ID: u64 = 1 << 4;
const PREFIX: u64 = 1 << 5;
const LONG: u64 = 1 << 6;

fn names() -> Names {
    Names::build(&NAMES, &[0; 8]).expect("fits")
}

/// What the scanner finds in a stream of requests that comes in `events`.
fn requests(events: &[&[u8]]) -> Vec<Found> {
    let names = names();
    let mut stream = Stream::requests(&names, true);
    events.iter().for_each(|event| stream.event(&[event]));
    stream.found
}

/// What the scanner finds in a stream of responses; `to_head` says which answer HEAD.
fn responses(events: &[&[u8]], to_head: &[bool]) -> Vec<Found> {
    let names = names();
    let mut stream = Stream::responses(&names, to_head);
    events.iter().for_each(|event| stream.event(&[event]));
    stream.found
}

/// The only head in `bytes`, read at once.
fn head(bytes: &[u8]) -> Head {
    only_head(requests(&[bytes]))
}

fn only_head(found: Vec<Found>) -> Head {
    match found.into_iter().next() {
        Some(Found::Head(head)) => head,
        other => panic!("no head but {other:?}"),
    }
}

/// Why the scanner gives `bytes` up, or 0.
fn lost(bytes: &[u8]) -> u32 {
    lost_of(&requests(&[bytes]))
}

fn lost_of(found: &[Found]) -> u32 {
    found.iter().find_map(|found| if let Found::Lost(reason) = found { Some(*reason) } else { None }).unwrap_or(0)
}

/// The end of each message, as an offset in the stream.
fn ends(found: &[Found]) -> Vec<usize> {
    found.iter().filter_map(|found| if let Found::End(at) = found { Some(*at) } else { None }).collect()
}

/// `bytes` in all ways to cut it in two, and byte by byte.
fn cuts(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all: Vec<Vec<&[u8]>> = (1..bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]).collect();
    all.push(bytes.chunks(1).collect());
    all
}

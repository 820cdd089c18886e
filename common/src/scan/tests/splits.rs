//! Any split of a well-formed stream gives what the whole stream says.

use std::vec::Vec;

use proptest::prelude::*;

use super::driver::{Found, Stream};
use super::streams::{self, Split, split};
use super::{NAMES, names, reference};
use crate::scan::phase;

/// Feeds `stream` as `split` says.
fn feed(scanner: &mut Stream<'_>, stream: &[u8], split: &Split) {
    scanner.start_at(split.seq);
    for event in split.events(stream) {
        scanner.litter(split.litter, event.iter().map(|piece| piece.len()).sum());
        scanner.event(&event);
    }
}

/// Compares what was found, but for targets: one whose line came in pieces may
/// be noted shorter than it is.
fn same(mut found: Vec<Found>, mut expected: Vec<Found>) -> Result<(), TestCaseError> {
    for (found, expected) in found.iter_mut().zip(&mut expected) {
        if let (Found::Head(found), Found::Head(expected)) = (found, expected) {
            prop_assert!(expected.path.starts_with(&found.path), "{:?} is not the target's beginning", found.path);
            prop_assert!(found.path.len() >= expected.path.len().min(32));
            found.path.clear();
            expected.path.clear();
        }
    }
    prop_assert_eq!(found, expected);
    Ok(())
}

proptest! {
    #[test]
    fn requests_read(stream in streams::requests(), split in split()) {
        let names = names();
        let mut scanner = Stream::requests(&names, true);
        feed(&mut scanner, &stream, &split);
        same(scanner.found, reference::requests(&stream, &NAMES))?;
    }

    #[test]
    fn requests_written(stream in streams::requests(), split in split()) {
        let names = names();
        let mut scanner = Stream::requests(&names, false);
        feed(&mut scanner, &stream, &split);
        let mut expected = reference::requests(&stream, &NAMES);
        for found in &mut expected {
            if let Found::Head(head) = found {
                // Without copying, every occurrence counts and no line is looked at.
                head.lines.clear();
                head.dropped = 0;
            }
        }
        for (found, expected) in scanner.found.iter_mut().zip(&mut expected) {
            if let (Found::Head(found), Found::Head(expected)) = (found, expected) {
                prop_assert_eq!(expected.present & !found.present, 0);
                found.present = expected.present;
            }
        }
        same(scanner.found, expected)?;
    }

    #[test]
    fn responses_written((stream, to_head) in streams::responses(), split in split()) {
        let names = names();
        let mut scanner = Stream::responses(&names, &to_head);
        feed(&mut scanner, &stream, &split);
        let mut expected = reference::responses(&stream, &NAMES, &to_head);
        for found in &mut expected {
            if let Found::Head(head) = found {
                // Of a response only its framing matters.
                head.present = 0;
            }
        }
        same(scanner.found, expected)?;
    }

    #[test]
    fn bytes_of_bodies_may_pass_unseen(stream in streams::requests(), split in split()) {
        let names = names();
        let mut scanner = Stream::requests(&names, true);
        scanner.start_at(split.seq);
        let mut at = 0;
        for event in split.events(&stream) {
            let len: usize = event.iter().map(|piece| piece.len()).sum();
            let counted = matches!(scanner.scan.phase, phase::BODY | phase::CHUNK_DATA);
            if counted && len as u64 <= scanner.scan.body - scanner.unseen_bytes() as u64 {
                scanner.unseen(len);
            } else {
                scanner.event(&event);
            }
            at += len;
        }
        scanner.event(&[]);
        prop_assert_eq!(at, stream.len());
        same(scanner.found, reference::requests(&stream, &NAMES))?;
    }
}

/// A line that is too short to be a wanted header says nothing, or the stream is
/// given up; which of the two must not depend on the reads.
#[test]
fn short_lines_in_any_split() {
    let names = names();
    for first in b'!'..=b'~' {
        for second in b'!'..=b'~' {
            let stream = [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], &[first, second], b"\r\nAccept: b\r\n\r\n"].concat();
            let line = b"GET / HTTP/1.1\r\nHost: a\r\n".len();
            let mut whole = Stream::requests(&names, true);
            whole.event(&[&stream]);
            for at in line..line + 5 {
                let mut cut = Stream::requests(&names, true);
                cut.event(&[&stream[..at]]);
                cut.event(&[&stream[at..]]);
                assert_eq!(whole.found, cut.found, "{} cut at {at}", stream.escape_ascii());
            }
        }
    }
}

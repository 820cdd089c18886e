//! Bytes of any kind: nothing panics or goes on for ever, nothing is made up,
//! and a split changes nothing.

use std::vec::Vec;

use proptest::prelude::*;

use super::driver::{Found, Stream};
use super::streams::{Split, nearly_http, split};
use super::{NAMES, names};

/// A scanner after `stream`, cut by `split`, or in one event.
fn scanned<'a>(mut scanner: Stream<'a>, stream: &[u8], split: Option<&Split>) -> Stream<'a> {
    match split {
        None => scanner.event(&[stream]),
        Some(split) => {
            for event in split.events(stream) {
                scanner.litter(split.litter);
                scanner.event(&event);
            }
        }
    }
    scanner
}

/// Whether `line` is a line of `stream`, but for its name's case and its end.
fn occurs(line: &[u8], stream: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else { return false };
    let name = line.iter().position(|byte| *byte == b':').unwrap_or(0);
    stream.split(|byte| *byte == b'\n').map(|one| one.strip_suffix(b"\r").unwrap_or(one)).any(|one| {
        one.len() == line.len() && one[..name].to_ascii_lowercase() == line[..name] && one[name..] == line[name..]
    })
}

/// The split stream may be given up earlier, where a line that must be seen
/// whole is longer than what is kept of it.
fn agree(whole: &Stream<'_>, cut: &Stream<'_>, stream: &[u8]) -> Result<(), TestCaseError> {
    // A carriage return alone that begins a line counts as the blank line's
    // beginning where an event ends behind it. No line feed follows: no HTTP.
    if cut.expected_line_feeds.iter().any(|at| stream.get(*at).is_some_and(|byte| *byte != b'\n')) {
        return Ok(());
    }
    let found = |stream: &Stream<'_>| -> (Vec<Found>, bool) {
        let mut found = stream.found.clone();
        for one in &mut found {
            if let Found::Head(head) = one {
                head.path.clear();
            }
        }
        let lost = found.pop_if(|last| matches!(last, Found::Lost(_))).is_some();
        (found, lost)
    };
    let ((whole, whole_lost), (cut, cut_lost)) = (found(whole), found(cut));
    prop_assert!(cut_lost || !whole_lost, "only the whole stream is lost, after {:?}", whole);
    if cut_lost {
        prop_assert!(whole.starts_with(&cut), "{:?} does not begin with {:?}", whole, cut);
    } else {
        prop_assert_eq!(whole, cut);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn requests(stream in nearly_http(), split in split(), collect in any::<bool>()) {
        let names = names();
        let whole = scanned(Stream::requests(&names, collect), &stream, None);
        let cut = scanned(Stream::requests(&names, collect), &stream, Some(&split));
        for found in &cut.found {
            let Found::Head(head) = found else { continue };
            for (name, line) in &head.lines {
                prop_assert!(occurs(line, &stream), "{:?} was made up", line);
                prop_assert!(line.starts_with(NAMES[usize::from(*name)].trim_end_matches('*').as_bytes()));
                prop_assert!(line.strip_suffix(b"\r\n").is_some_and(|line| line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))));
            }
        }
        agree(&whole, &cut, &stream)?;
    }

    #[test]
    fn responses(stream in nearly_http(), split in split(), to_head in any::<[bool; 3]>()) {
        let names = names();
        let stream = [b"HTTP/1.1 200\r\n".as_slice(), &stream].concat();
        let whole = scanned(Stream::responses(&names, &to_head), &stream, None);
        let cut = scanned(Stream::responses(&names, &to_head), &stream, Some(&split));
        agree(&whole, &cut, &stream)?;
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000), begin in any::<bool>(), split in split()) {
        let names = names();
        let begin = if begin { b"GET / HTTP/1.1\r\n".as_slice() } else { b"" };
        let stream = [begin, &bytes].concat();
        let whole = scanned(Stream::requests(&names, true), &stream, None);
        let cut = scanned(Stream::requests(&names, true), &stream, Some(&split));
        agree(&whole, &cut, &stream)?;
    }

    #[test]
    fn gaps_and_repetitions(events in prop::collection::vec((nearly_http(), 0usize..40), 1..10)) {
        let names = names();
        let mut scanner = Stream::requests(&names, true);
        for (event, unseen) in &events {
            scanner.event(&[event]);
            scanner.unseen(*unseen);
        }
    }
}

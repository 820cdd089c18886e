//! Bytes of any kind: nothing panics or goes on for ever, nothing is made up,
//! and a split changes nothing.

use proptest::prelude::*;

use super::checks::{agree, verbatim};
use super::driver::Stream;
use super::streams::{Split, nearly_http, split};
use super::{NAMES, names};

/// A scanner after `stream`, cut by `split`, or in one event.
fn scanned<'a>(mut scanner: Stream<'a>, stream: &[u8], split: Option<&Split>) -> Stream<'a> {
    match split {
        None => scanner.event(&[stream]),
        Some(split) => {
            for event in split.events(stream) {
                scanner.litter(split.litter, event.iter().map(|piece| piece.len()).sum());
                scanner.event(&event);
            }
        }
    }
    scanner
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn requests(stream in nearly_http(), split in split(), collect in any::<bool>()) {
        let names = names();
        let whole = scanned(Stream::requests(&names, collect), &stream, None);
        let cut = scanned(Stream::requests(&names, collect), &stream, Some(&split));
        verbatim(&cut, &stream, &NAMES).map_err(TestCaseError::fail)?;
        agree(&whole, &cut, &stream).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn responses(stream in nearly_http(), split in split(), to_head in any::<[bool; 3]>()) {
        let names = names();
        let stream = [b"HTTP/1.1 200\r\n".as_slice(), &stream].concat();
        let whole = scanned(Stream::responses(&names, &to_head), &stream, None);
        let cut = scanned(Stream::responses(&names, &to_head), &stream, Some(&split));
        agree(&whole, &cut, &stream).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000), begin in any::<bool>(), split in split()) {
        let names = names();
        let begin = if begin { b"GET / HTTP/1.1\r\n".as_slice() } else { b"" };
        let stream = [begin, &bytes].concat();
        let whole = scanned(Stream::requests(&names, true), &stream, None);
        let cut = scanned(Stream::requests(&names, true), &stream, Some(&split));
        agree(&whole, &cut, &stream).map_err(TestCaseError::fail)?;
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

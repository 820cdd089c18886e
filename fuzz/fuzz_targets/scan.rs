//! The scanner over any bytes in any split: the split changes nothing, no line
//! is made up, and nothing panics or goes on for ever.
#![no_main]

use std::sync::LazyLock;

use baton_common as baton;
use baton_common::names::Names;
use libfuzzer_sys::fuzz_target;

#[path = "../../common/src/scan/tests/checks.rs"]
mod checks;
#[path = "../../common/src/scan/tests/driver.rs"]
mod driver;

use driver::Stream;

const NAMES: [&str; 6] = ["traceparent", "tracestate", "baggage", "x-request-id", "b3", "ot-baggage-*"];

static TABLE: LazyLock<Names> = LazyLock::new(|| Names::build(&NAMES, &[0; 6]).expect("six names fit"));

/// What comes before the stream in an input: options, and sizes of events.
const CONTROL: usize = 5;

/// Below what a window holds: else the whole stream would be cut, too.
const MOST: usize = 7000;

fuzz_target!(|input: &[u8]| {
    let Some((control, stream)) = input.split_at_checked(CONTROL) else { return };
    let stream = &stream[..stream.len().min(MOST)];
    let new = || match control[0] & 3 {
        0 => Stream::requests(&TABLE, true),
        1 => Stream::requests(&TABLE, false),
        2 => Stream::responses(&TABLE, &[]),
        _ => Stream::responses(&TABLE, &[true, false, true]),
    };
    let mut whole = new();
    whole.event(&[stream]);
    let mut cut = new();
    cut.start_at(0u32.wrapping_sub(u32::from(control[1]) * 4));
    let mut rest = stream;
    for size in control[1..].iter().cycle() {
        // Small sizes come often, and some as large as many lines.
        let size = if *size < 200 { usize::from(*size) + 1 } else { usize::from(*size - 199) * 50 };
        let (event, after) = rest.split_at(size.min(rest.len()));
        cut.litter(control[0], event.len());
        let (first, second) = event.split_at(event.len() / 2);
        if control[0] & 4 == 0 {
            cut.event(&[event])
        } else {
            cut.event(&[first, second])
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    if let Err(difference) = checks::agree(&whole, &cut, stream) {
        panic!("{difference}");
    }
    for scanned in [&whole, &cut] {
        if let Err(line) = checks::verbatim(scanned, stream, &NAMES) {
            panic!("{line}");
        }
    }
});

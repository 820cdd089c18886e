//! What holds for any bytes in any split. The fuzzer includes this file.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::driver::{Found, Stream};

/// Whether a split stream says the same as the whole one. It may be given up
/// earlier, where a line that must be seen whole is longer than what is kept
/// of it.
pub(crate) fn agree(whole: &Stream<'_>, cut: &Stream<'_>, bytes: &[u8]) -> Result<(), String> {
    // A carriage return alone that begins a line counts as the blank line's
    // beginning where an event ends behind it. No line feed follows: no HTTP.
    if cut.expected_line_feeds.iter().any(|at| bytes.get(*at).is_some_and(|byte| *byte != b'\n')) {
        return Ok(());
    }
    let (whole_found, whole_lost) = messages(whole);
    let (cut_found, cut_lost) = messages(cut);
    let same = if cut_lost { whole_found.starts_with(&cut_found) } else { !whole_lost && whole_found == cut_found };
    if same { Ok(()) } else { Err(format!("whole: {:?}\ncut: {:?}", whole.found, cut.found)) }
}

/// What was found before the stream was lost, and whether it was. Targets are
/// left out: one whose line came in pieces may be noted shorter than it is.
fn messages(stream: &Stream<'_>) -> (Vec<Found>, bool) {
    let mut found = stream.found.clone();
    for one in &mut found {
        if let Found::Head(head) = one {
            head.path.clear();
        }
    }
    let lost = found.pop_if(|last| matches!(last, Found::Lost(_))).is_some();
    (found, lost)
}

/// Whether every line that was taken is one of the input, legal, and of its name.
pub(crate) fn verbatim(stream: &Stream<'_>, bytes: &[u8], names: &[&str]) -> Result<(), String> {
    for found in &stream.found {
        let Found::Head(head) = found else { continue };
        for (name, line) in &head.lines {
            let of_name = line.starts_with(names[usize::from(*name)].trim_end_matches('*').as_bytes());
            if !of_name || !is_line_of(line, bytes) {
                return Err(format!("{:?} was made up", String::from_utf8_lossy(line)));
            }
        }
    }
    Ok(())
}

/// Whether `line` is a line of `bytes`, but for its name's case and its end.
fn is_line_of(line: &[u8], bytes: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else { return false };
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let legal = line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|one| one.strip_suffix(b"\r").unwrap_or(one));
    legal
        && lines.any(|one| {
            one.len() == line.len()
                && one[..colon].to_ascii_lowercase() == line[..colon]
                && one[colon..] == line[colon..]
        })
}

//! Passes over header lines that are of no interest, which most are.

use super::Window;
use crate::names::Names;
use crate::verifier::hide;
use crate::words::{controls, first_marked};

/// Steps of eight words in one call: 4 KiB, and less with each line end.
const MAX_STEPS: u32 = 64;

/// Bytes of a line that [`may_matter`] looks at.
const BEGINNING: u32 = 6;

/// Passes over complete lines that cannot matter, from the line that begins at
/// `start`. Returns where the first line begins that may: that of a wanted or
/// framing header, a folded one, the blank one, a very short one, one with
/// unusual characters, one that ends with a line feed alone or not before `end`, or simply the next one
/// when the call has looked at enough.
///
/// A loop of its own, because in the scanner's general steps each line costs
/// several times as much; and a function of its own, so that it has all registers.
#[inline(never)]
pub(super) fn skip(window: &Window, names: &Names, start: u32, end: u32) -> u32 {
    let mut line = start;
    if may_matter(window, names, line, window.at(line)) {
        return line;
    }
    let mut at = line.wrapping_add(BEGINNING);
    for _ in hide(0)..MAX_STEPS {
        let Some(control) = find_control(window, at) else {
            at = at.wrapping_add(64);
            if at >= end {
                break;
            }
            continue;
        };
        // The line's end, and the next one's beginning.
        let bytes = window.at(control);
        let next = control.wrapping_add(2);
        if bytes as u16 != CRLF || next > end {
            break;
        }
        line = next;
        at = next.wrapping_add(BEGINNING);
        // Where this is the end, what is found beyond it changes nothing.
        if may_matter(window, names, next, bytes >> 16) {
            break;
        }
    }
    line
}

/// A line's end.
const CRLF: u16 = u16::from_le_bytes(*b"\r\n");

/// The first byte below 0x20 in the 64 bytes from `from` on, or one before it that
/// is beyond ASCII.
#[inline(always)]
fn find_control(window: &Window, from: u32) -> Option<u32> {
    for word in 0..8 {
        let found = controls(window.at_after(from, word as usize));
        if found != 0 {
            return Some(hide(from.wrapping_add(word * 8).wrapping_add(first_marked(found))));
        }
    }
    None
}

/// Whether the line at `start`, whose first [`BEGINNING`] bytes are those of `bytes`, may
/// be more than an uninteresting header line that is longer than they are. Says so too
/// often rather than too seldom.
#[inline(always)]
fn may_matter(window: &Window, names: &Names, start: u32, bytes: u64) -> bool {
    // As `controls`, and for a space in the first place, too.
    bytes.wrapping_sub(0x2020_2020_2021) & 0x8080_8080_8080 != 0 || names.may_begin(window, start, bytes, u8::MAX)
}

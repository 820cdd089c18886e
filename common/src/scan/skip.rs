//! Passes over header lines that are of no interest, which most are.

use super::Window;
use crate::names::Names;
use crate::verifier::hide;
use crate::words::{controls, first, first_equal};

/// Steps of four words in one call: 1.5 KiB, and some for the line ends.
const MAX_STEPS: u32 = 64;

/// Passes over complete lines that cannot matter, from the line that begins at
/// `start`. Returns where the first line begins that may: that of a wanted or
/// framing header, a folded one, the blank one, a very short one, one that does
/// not end before `end`, or simply the next one when the call has looked at
/// enough.
///
/// A loop of its own, because in the scanner's general steps each line costs
/// several times as much.
#[inline(always)]
pub(super) fn skip(window: &Window, names: &Names, start: u32, end: u32) -> u32 {
    let mut line = start;
    if may_matter(window, names, line) {
        return line;
    }
    // The line's first eight bytes do not end it.
    let mut at = line.wrapping_add(8) & !7;
    for _ in hide(0)..MAX_STEPS {
        let words = [0, 1, 2, 3].map(|word| window.aligned_after(at, word));
        if controls(words[0]) | controls(words[1]) | controls(words[2]) | controls(words[3]) != 0 {
            let mut base = at;
            let mut found = 0;
            for word in words {
                found = first_equal(word, b'\n');
                if found != 0 {
                    break;
                }
                base = base.wrapping_add(8);
            }
            if found != 0 {
                let next = base.wrapping_add(first(found)).wrapping_add(1);
                if next > end {
                    break;
                }
                line = next;
                if next == end || may_matter(window, names, next) {
                    break;
                }
                at = next.wrapping_add(8) & !7;
                continue;
            }
        }
        at = at.wrapping_add(32);
        if at >= end {
            break;
        }
    }
    line
}

/// Whether the line at `start` may be more than an uninteresting header line of
/// at least eight bytes. Says so too often rather than too seldom.
#[inline(always)]
fn may_matter(window: &Window, names: &Names, start: u32) -> bool {
    let bytes = window.at(start);
    bytes as u8 == b' ' || controls(bytes) != 0 || names.may_begin(bytes)
}

//! Passes over header lines that are of no interest, which most are.

use super::Window;
use crate::names::Names;
use crate::verifier::hide;
use crate::words::{first, first_equal};

/// Pairs of words that one call looks at: 1 KiB.
const MAX_PAIRS: u32 = 64;

/// Bytes of the shortest line that is passed over: the first four of a shorter
/// one, which say whether it matters, are not all its own.
const MIN_LINE: u32 = 4 + 2;

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
    let mut at = line & !7;
    // Bytes before the line are no line ends.
    let mut before = (1u64 << ((line & 7) * 8)) - 1;
    for _ in hide(0)..MAX_PAIRS {
        let mut found = first_equal(window.aligned_after(at, 0) | before, b'\n');
        let second = first_equal(window.aligned_after(at, 1), b'\n');
        if found | second == 0 {
            before = 0;
            at = at.wrapping_add(16);
            if at >= end {
                break;
            }
            continue;
        }
        if found == 0 {
            found = second;
            at = at.wrapping_add(8);
        }
        let next = at.wrapping_add(first(found)).wrapping_add(1);
        if next > end || next.wrapping_sub(line) < MIN_LINE {
            break;
        }
        line = next;
        if next == end || may_matter(window, names, next) {
            break;
        }
        at = next & !7;
        before = (1u64 << ((next & 7) * 8)) - 1;
    }
    line
}

/// Whether the line at `start` may be more than an uninteresting header line.
/// Says so too often rather than too seldom.
#[inline(always)]
fn may_matter(window: &Window, names: &Names, start: u32) -> bool {
    let bytes = window.at(start);
    bytes as u8 <= b' ' || names.may_begin(bytes)
}

//! Copies the values of wanted lines.

use super::{Lines, Scan, Text, Turn, Window, phase, stop};
use crate::head;
use crate::limits::{MAX_LINE_COUNT, MAX_LINES};
use crate::verifier::hide;
use crate::words::{HIGH, above_space, keep_first, literal, not_text, plain};

/// Eight spaces.
const SPACES: u64 = literal("        ");

#[inline(always)]
pub(super) fn begin_copy(scan: &mut Scan, turn: &mut Turn, start: u32, end: u32, complete: bool) {
    scan.phase = phase::COPY;
    turn.copy = start;
    turn.copy_end = end;
    turn.copy_final = complete as u32;
}

/// Copies up to 64 bytes of a wanted line; ends the line after its last ones.
#[inline(always)]
pub(super) fn copy(scan: &mut Scan, turn: &mut Turn, window: &Window, lines: &mut Lines) -> u32 {
    let start = turn.copy;
    let count = turn.copy_end.wrapping_sub(start).min(64);
    let to = scan.lines_len.wrapping_add(scan.tail);
    let full = to.wrapping_add(count) > MAX_LINES as u32 - 2 || scan.line_count >= MAX_LINE_COUNT as u32;
    if full {
        scan.dropped |= scan.bit();
    }
    if scan.dropped & scan.bit() != 0 {
        return end_copy(scan, turn);
    }
    let (illegal, text) = words(window, start, count, &mut lines.text, to);
    if text {
        scan.flags |= head::HAS_TEXT;
        scan.present |= scan.bit();
    }
    if illegal {
        scan.dropped |= scan.bit();
        return end_copy(scan, turn);
    }
    scan.tail = scan.tail.wrapping_add(count);
    turn.copy = start.wrapping_add(count);
    if turn.copy < turn.copy_end {
        return stop::NO;
    }
    if turn.copy_final != 0 && scan.flags & head::HAS_TEXT != 0 {
        let end = scan.lines_len.wrapping_add(scan.tail);
        lines.text.put(end, literal("\r\n"));
        let index = scan.line_count as usize & (MAX_LINE_COUNT - 1);
        lines.ends[index] = end as u16 + 2;
        lines.names[index] = scan.name as u8;
        scan.lines_len = end.wrapping_add(2);
        scan.line_count += 1;
    }
    end_copy(scan, turn)
}

/// Copies `count` bytes (up to 64) from `start` in the window to `to` in `text`.
/// Returns whether one of them is illegal, and whether one is visible.
///
/// Up to eight bytes after the last one are written over by whoever goes on.
#[inline(always)]
fn words(window: &Window, start: u32, count: u32, text: &mut Text, to: u32) -> (bool, bool) {
    let mut seen = Seen::default();
    if count < 8 {
        let bytes = window.at(start);
        text.put(to, bytes);
        seen.look_at(own(bytes, count));
    } else {
        for word in 0..7 {
            if count <= word as u32 * 8 + 8 {
                break;
            }
            let bytes = window.at_after(start, word);
            text.put_after(to, word, bytes);
            seen.look_at(bytes);
        }
        // The last eight, of which some may have been copied before.
        let last = count.wrapping_sub(8);
        let bytes = window.at(start.wrapping_add(last));
        text.put(to.wrapping_add(last), bytes);
        seen.look_at(bytes);
    }
    if seen.is_plain() { (false, seen.others != 0) } else { unusual(window, start, count) }
}

/// What the bytes of a value are: all that is usual needs no branch for each word.
#[derive(Default)]
struct Seen {
    /// With a high bit, as in [`plain`], where one is not plain.
    unusual: u64,
    /// Not zero where one is no space.
    others: u64,
}

impl Seen {
    #[inline(always)]
    const fn look_at(&mut self, bytes: u64) {
        self.unusual |= plain(bytes);
        self.others |= bytes ^ SPACES;
    }

    #[inline(always)]
    const fn is_plain(&self) -> bool {
        self.unusual & HIGH == 0
    }
}

/// As [`words`], without copying, where tabs may be among them or what is no text at all.
#[inline(always)]
fn unusual(window: &Window, start: u32, count: u32) -> (bool, bool) {
    let mut illegal = 0;
    let mut visible = 0;
    for word in hide(0)..8 {
        let left = count.wrapping_sub(word * 8);
        let bytes = own(window.at_after(start, word as usize), left.min(8));
        illegal |= not_text(bytes);
        visible |= above_space(bytes);
        if left <= 8 {
            break;
        }
    }
    (illegal != 0, visible != 0)
}

/// The first `count` of `bytes` (up to 8), and spaces.
#[inline(always)]
const fn own(bytes: u64, count: u32) -> u64 {
    let own = keep_first(u64::MAX, count);
    bytes & own | SPACES & !own
}

#[inline(always)]
fn end_copy(scan: &mut Scan, turn: &mut Turn) -> u32 {
    if turn.copy_final != 0 {
        scan.phase = phase::HEADERS;
        scan.tail = 0;
    } else {
        scan.phase = if scan.dropped & scan.bit() != 0 { phase::SKIP } else { phase::VALUE };
    }
    stop::NO
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window whose every byte is another letter, with `bad` at `at`.
    fn window(at: u32, bad: Option<u8>) -> Window {
        let mut window = Window::default();
        for (index, word) in window.as_words_mut().iter_mut().enumerate() {
            *word = u64::from_le_bytes(core::array::from_fn(|byte| b'A' + ((index * 8 + byte) % 57) as u8));
        }
        if let Some(bad) = bad {
            let shift = (at & 7) * 8;
            let word = &mut window.as_words_mut()[at as usize >> 3];
            *word = *word & !(0xff << shift) | u64::from(bad) << shift;
        }
        window
    }

    #[test]
    fn every_alignment_and_length() {
        let plain = window(0, None);
        for (start, to, count) in
            (0..8).flat_map(|start| (32..40).flat_map(move |to| (0..=64).map(move |count| (start, to, count))))
        {
            let mut text = Text::default();
            for word in 3..13 {
                text.put(word * 8, u64::MAX);
            }
            assert_eq!(words(&plain, start, count, &mut text, to), (false, count > 0), "{start} {to} {count}");
            for byte in 24..to + count {
                let expected = if byte < to { 0xff } else { plain.byte(start + byte - to) };
                assert_eq!(text.byte(byte), expected, "{start} {to} {count}: byte {byte}");
            }
            for (at, within) in [(start.wrapping_sub(1) & 8191, false), (start, count > 0), (start + count, false)] {
                let (illegal, _) = words(&window(at, Some(1)), start, count, &mut Text::default(), to);
                assert_eq!(illegal, within, "{start} {to} {count}: at {at}");
            }
        }
    }
}

//! Copies the values of wanted lines.

use super::{Lines, Scan, Turn, Window, phase, stop};
use crate::head;
use crate::limits::{MAX_LINE_COUNT, MAX_LINES};
use crate::verifier::hide;
use crate::words::{above_space, keep_first, not_text};

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
    let mut illegal = 0;
    let mut text = 0;
    let mut low = window.aligned_after(start, 0);
    let mut held = lines.text.held(to);
    for word in 0..hide(8) {
        if word * 8 >= count {
            break;
        }
        let within = keep_first(u64::MAX, (count - word * 8).min(8));
        let bytes = window.next(start, word as usize, &mut low) & within;
        illegal |= not_text(bytes) & within;
        text |= above_space(bytes);
        lines.text.append(to, word as usize, bytes, &mut held);
    }
    if text != 0 {
        scan.flags |= head::HAS_TEXT;
        scan.present |= scan.bit();
    }
    if illegal != 0 {
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
        lines.text.put(end, crate::words::literal("\r\n"));
        let index = scan.line_count as usize & (MAX_LINE_COUNT - 1);
        lines.ends[index] = end as u16 + 2;
        lines.names[index] = scan.name as u8;
        scan.lines_len = end.wrapping_add(2);
        scan.line_count += 1;
    }
    end_copy(scan, turn)
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

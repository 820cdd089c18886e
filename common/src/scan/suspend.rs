//! What is left of an event when its bytes are used up: an unfinished line.

use super::copy::begin_copy;
use super::line::{Line, header};
use super::{CARRY, Lines, Scan, Turn, Window, lost, phase, stop};
use crate::head;
use crate::limits::MAX_HEAD;
use crate::names::Names;

/// Puts away what is left of the window: an unfinished line.
#[inline(always)]
pub(super) fn suspend(scan: &mut Scan, turn: &mut Turn, window: &Window, names: &Names, lines: &mut Lines) -> u32 {
    let start = turn.line;
    let end = turn.end;
    let len = end.wrapping_sub(start);
    // The search goes on in steps of 64 bytes and may have passed the end.
    turn.pos = end;
    turn.line = end;
    if len == 0 {
        return stop::INPUT;
    }
    match scan.phase {
        phase::START if !head::may_begin(scan, window, start, len) => {
            return scan.lose(lost::NOT_HTTP1);
        }
        phase::HEADERS if len == 1 && window.byte(start) == b'\r' => {
            // The head's last line feed is in the next event. Whoever inserts
            // must do so before this carriage return.
            scan.flags |= head::LF_PENDING;
            scan.head_len = scan.head_len.wrapping_add(2);
            if scan.head_len > MAX_HEAD {
                return scan.lose(lost::HEAD_TOO_LARGE);
            }
            turn.blank = start;
            return stop::HEAD;
        }
        phase::START | phase::HEADERS | phase::CHUNK_SIZE | phase::TRAILER if len <= CARRY => {
            keep(scan, window, end, len);
        }
        phase::START | phase::FIRST_REST => {
            if scan.phase == phase::START {
                head::begin_first_line(scan, window, start, len);
                scan.phase = phase::FIRST_REST;
            }
            scan.head_len = scan.head_len.wrapping_add(len.saturating_sub(CARRY));
            keep(scan, window, end, len);
        }
        phase::HEADERS => {
            scan.head_len = scan.head_len.wrapping_add(len);
            let said = header(scan, turn, window, names, lines, Line { start, end, complete: false });
            if said != stop::NO || scan.phase != phase::COPY {
                note_carriage_return(scan, window, end);
                return if said == stop::NO { stop::INPUT } else { said };
            }
            hold_carriage_return(scan, turn, window);
            return stop::NO;
        }
        phase::VALUE => {
            scan.head_len = scan.head_len.wrapping_add(len);
            if scan.flags & head::CR_HELD != 0 {
                scan.dropped |= scan.bit();
                scan.flags &= !head::CR_HELD;
            }
            begin_copy(scan, turn, start, end, false);
            hold_carriage_return(scan, turn, window);
            return stop::NO;
        }
        phase::SKIP => {
            scan.head_len = scan.head_len.wrapping_add(len);
            note_carriage_return(scan, window, end);
        }
        phase::TRAILER => scan.phase = phase::TRAILER_SKIP,
        phase::TRAILER_SKIP => {}
        _ => return scan.lose(lost::FRAMING),
    }
    if scan.head_len > MAX_HEAD {
        return scan.lose(lost::HEAD_TOO_LARGE);
    }
    stop::INPUT
}

/// A carriage return at the end of a piece of a value is its line's end, or
/// illegal; the next event tells.
#[inline(always)]
fn hold_carriage_return(scan: &mut Scan, turn: &mut Turn, window: &Window) {
    if window.byte(turn.copy_end.wrapping_sub(1)) == b'\r' {
        turn.copy_end = turn.copy_end.wrapping_sub(1);
        scan.flags |= head::CR_HELD;
    }
}

/// A piece of a line of no interest ends before `end`: the next event may begin with its line feed.
#[inline(always)]
fn note_carriage_return(scan: &mut Scan, window: &Window, end: u32) {
    scan.flags &= !head::CR_HELD;
    if window.byte(end.wrapping_sub(1)) == b'\r' {
        scan.flags |= head::CR_HELD;
    }
}

/// Keeps the last bytes before `end`, `len` of them or as many as fit.
#[inline(always)]
fn keep(scan: &mut Scan, window: &Window, end: u32, len: u32) {
    scan.carry_len = len.min(CARRY);
    let from = end.wrapping_sub(CARRY);
    for word in 0..8u32 {
        scan.carry[word as usize] = window.at(from.wrapping_add(word * 8));
    }
}

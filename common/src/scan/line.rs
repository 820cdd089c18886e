//! What a complete line means, by where the stream stands.

use super::copy::begin_copy;
use super::{CARRY, Lines, Scan, Turn, Window, lost, phase, stop};
use crate::head::{self, HEADER_CONTINUES};
use crate::limits::MAX_HEAD;
use crate::names::{FRAMING, NAME_WORDS, Name, Names};
use crate::verifier::hide;
use crate::words::keep_first;

/// Deals with the complete line `turn.line..end`; its line end lies before
/// `turn.pos`.
#[inline(always)]
pub(super) fn line(
    scan: &mut Scan,
    turn: &mut Turn,
    window: &Window,
    names: &Names,
    lines: &mut Lines,
    end: u32,
) -> u32 {
    let start = turn.line;
    let len = end.wrapping_sub(start);
    if scan.phase <= phase::COPY {
        scan.head_len = scan.head_len.wrapping_add(turn.pos.wrapping_sub(start));
        if scan.head_len > MAX_HEAD {
            return scan.lose(lost::HEAD_TOO_LARGE);
        }
    }
    match scan.phase {
        phase::START if len == 0 => {
            // RFC 9112 §2.2: empty lines before a request line are ignored. One may be the last head's line feed.
            scan.head_len = 0;
            scan.flags &= !head::BARE_LINE_FEED;
        }
        phase::START | phase::FIRST_REST => {
            if !head::first_line(scan, window, start, end) {
                return scan.lose(lost::NOT_HTTP1);
            }
            scan.phase = phase::HEADERS;
        }
        phase::HEADERS if len == 0 => {
            turn.blank = start;
            turn.line = turn.pos;
            return stop::HEAD;
        }
        phase::HEADERS => {
            turn.line = turn.pos;
            return header(scan, turn, window, names, lines, Line { start, end, complete: true });
        }
        phase::VALUE => {
            // After a carriage return that was held back, only a line feed is legal.
            if scan.flags & head::CR_HELD != 0 && turn.pos.wrapping_sub(start) != 1 {
                scan.dropped |= scan.bit();
            }
            scan.flags &= !head::CR_HELD;
            begin_copy(scan, turn, start, end, true);
        }
        phase::SKIP => {
            scan.phase = phase::HEADERS;
            scan.flags &= !head::CR_HELD;
        }
        phase::CHUNK_SIZE => {
            let Some(size) = head::chunk_size(window, start, end) else {
                return scan.lose(lost::FRAMING);
            };
            if size == 0 {
                scan.phase = phase::TRAILER;
            } else {
                // The line end after the data is counted with it.
                scan.body = size + 2;
                scan.phase = phase::CHUNK_DATA;
            }
        }
        phase::TRAILER if len == 0 => {
            turn.line = turn.pos;
            return stop::MESSAGE;
        }
        _ => scan.phase = phase::TRAILER,
    }
    turn.line = turn.pos;
    stop::NO
}

/// A header line in the window; `complete` is false for the beginning of a line
/// longer than the carry.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) complete: bool,
}

/// Deals with a header line.
#[inline(always)]
pub(super) fn header(
    scan: &mut Scan,
    turn: &mut Turn,
    window: &Window,
    names: &Names,
    lines: &mut Lines,
    Line { start, end, complete }: Line,
) -> u32 {
    scan.phase = if complete { phase::HEADERS } else { phase::SKIP };
    let begins = window.byte(start);
    if begins == b' ' || begins == b'\t' {
        // obs-fold (RFC 9112 §5.2): the line before it is longer than it seemed.
        if scan.flags & head::FRAMING_LINE != 0 {
            return scan.lose(lost::FRAMING);
        }
        if scan.flags & HEADER_CONTINUES != 0 {
            scan.dropped |= scan.bit();
        }
        return stop::NO;
    }
    scan.flags &= !head::OF_LINE;
    let (index, len, name) = match names.known(window, start) {
        Some(known) => (known.index, known.len, &known.line),
        None => match take_apart(scan, &mut turn.word, window, names, start, end) {
            Taken::Header { index, len } => (index, len, &turn.word),
            Taken::NoInterest => return stop::NO,
            Taken::NoName => return scan.lose(lost::FRAMING),
        },
    };
    let value = start.wrapping_add(len).wrapping_add(1);
    if index >= FRAMING {
        scan.flags |= head::FRAMING_LINE;
        if !complete || !head::framing(scan, window, index.wrapping_sub(FRAMING), value, end) {
            return scan.lose(lost::FRAMING);
        }
        return stop::NO;
    }
    if scan.flags & head::IN_REQUEST == 0 {
        // Of a response only its framing matters.
        return stop::NO;
    }
    scan.name = index;
    scan.name_len = len;
    scan.flags |= HEADER_CONTINUES;
    if turn.collect == 0 {
        scan.present |= scan.bit();
        return stop::NO;
    }
    begin(scan, lines, name);
    begin_copy(scan, turn, value, end, complete);
    stop::NO
}

/// Begins the line of the header that `scan` names; `name` is that name and its colon.
#[inline(always)]
pub(super) fn begin(scan: &mut Scan, lines: &mut Lines, name: &Name) {
    let len = scan.name_len;
    for (word, bytes) in name.iter().enumerate() {
        if word as u32 * 8 > len {
            break;
        }
        lines.text.put_after(scan.lines_len, word, *bytes);
    }
    scan.tail = len.wrapping_add(1);
    scan.flags &= !head::HAS_TEXT;
}

/// What a line's name says.
enum Taken {
    /// A wanted header, or from [`FRAMING`] on a framing one.
    Header { index: u32, len: u32 },
    /// Any other.
    NoInterest,
    /// It is no name.
    NoName,
}

/// Takes the name of the line `start..end` apart; of a wanted one, `name` is it
/// and its colon.
#[inline(always)]
fn take_apart(scan: &Scan, name: &mut Name, window: &Window, names: &Names, start: u32, end: u32) -> Taken {
    let len = end.wrapping_sub(start);
    // All ones if the line is longer than eight bytes.
    let ninth = (hide(8u32.wrapping_sub(len)) as i32 >> 31) as u8;
    if !names.may_begin(window, start, keep_first(window.at(start), len.min(8)), ninth) {
        return Taken::NoInterest;
    }
    if scan.flags & head::IN_REQUEST == 0 && !head::may_frame(window, start) {
        return Taken::NoInterest;
    }
    let len = head::name(window, start, end, name);
    // A name that is longer than any configured one is of no interest.
    let longer = len == 0 && end.wrapping_sub(start) >= CARRY;
    let named = if longer { CARRY } else { len };
    let found = if len == 0 { None } else { names.find(name, len) };
    // What matches a name exactly has no other bytes than a name has.
    let is_name = match found {
        Some(index) => names.is_exact(index) || head::is_token(name, len),
        None => named != 0 && head::is_token(name, named),
    };
    if !is_name {
        // "Content-Length : 5" is read differently by different servers.
        return Taken::NoName;
    }
    let Some(index) = found else { return Taken::NoInterest };
    end_name(name, len);
    Taken::Header { index, len }
}

/// Puts the colon behind the `len` bytes of `name`.
#[inline(always)]
pub(super) fn end_name(name: &mut Name, len: u32) {
    let colon = hide(len) as usize;
    name[colon >> 3 & (NAME_WORDS - 1)] |= u64::from(b':') << ((colon & 7) * 8);
}

//! The incremental HTTP/1 scanner.
//!
//! One [`Scan`] follows one direction of one connection through any split of
//! its bytes over reads or writes. The bytes of one event are looked at through
//! a [`Window`]; [`step`] does one small bounded piece of work on it, so that
//! the kernel side can drive it with `bpf_loop` and user space with a `for`.
//!
//! The scanner finds the ends of heads (RFC 9112 §2 to §6), which configured
//! names occur, and, where asked to, copies their lines. What follows a head is
//! counted, not looked at (see [`crate::framing`]).

use crate::head::{self, HEADER_CONTINUES, IN_REQUEST};
use crate::limits::{MAX_HEAD, MAX_LINE_COUNT, MAX_LINES};
use crate::names::Names;
use crate::words::{Words, above_space, equal_mask, first, keep_first, not_text};

/// Bytes kept from an event for the next one: an unfinished line's beginning.
pub const CARRY: u32 = 64;

/// Bytes of new input that one window holds.
pub const WINDOW_INPUT: u32 = 8000;

/// A piece of input: the carry right-aligned in the first 64 bytes, then input.
pub type Window = Words<1034, 1023>;

/// Text of header lines, see [`Lines`].
pub type Text = Words<530, 511>;

/// The header lines collected from one head, ready to be inserted: each is
/// `name: value\r\n` with the name in lower case.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// The lines, one after the other.
    pub text: Text,
    /// End of each line in `text`, in bytes.
    pub ends: [u16; MAX_LINE_COUNT],
    /// Index of the configured name of each line.
    pub names: [u8; MAX_LINE_COUNT],
}

impl Default for Lines {
    fn default() -> Self {
        Self { text: Text::default(), ends: [0; MAX_LINE_COUNT], names: [0; MAX_LINE_COUNT] }
    }
}

/// Where a stream stands.
pub mod phase {
    /// Between messages.
    pub const START: u32 = 0;
    /// In a first line longer than the carry.
    pub const FIRST_REST: u32 = 1;
    /// At the beginning of a header line.
    pub const HEADERS: u32 = 2;
    /// In the value of a wanted line.
    pub const VALUE: u32 = 3;
    /// In a line that is of no interest.
    pub const SKIP: u32 = 4;
    /// Copying a wanted line; only within one event.
    pub const COPY: u32 = 5;
    /// In a body of known length.
    pub const BODY: u32 = 6;
    /// At a chunk's size line.
    pub const CHUNK_SIZE: u32 = 7;
    /// In a chunk's data or the line end after it.
    pub const CHUNK_DATA: u32 = 8;
    /// In the trailer section.
    pub const TRAILER: u32 = 9;
    /// In a trailer line longer than the carry.
    pub const TRAILER_SKIP: u32 = 10;
    /// In a body that ends with the connection.
    pub const UNTIL_CLOSE: u32 = 11;
    /// Not followed any more; `Scan::lost` says why.
    pub const LOST: u32 = 12;
}

/// What [`step`] says.
pub mod stop {
    /// Call again.
    pub const NO: u32 = 0;
    /// The window is used up.
    pub const INPUT: u32 = 1;
    /// A head is complete; the blank line starts at `Turn::blank`.
    pub const HEAD: u32 = 2;
    /// A body or trailer section is complete.
    pub const MESSAGE: u32 = 3;
    /// The stream is lost.
    pub const LOST: u32 = 4;
}

/// Why a stream is not followed any more.
pub mod lost {
    /// The bytes are not an HTTP/1 message.
    pub const NOT_HTTP1: u32 = 1;
    /// The head is longer than [`crate::limits::MAX_HEAD`].
    pub const HEAD_TOO_LARGE: u32 = 2;
    /// Its end cannot be known: malformed or contradictory framing, or bytes
    /// that were not seen.
    pub const FRAMING: u32 = 3;
    /// It changed to another protocol: CONNECT or Upgrade.
    pub const UPGRADED: u32 = 4;
    /// A request followed in the same piece as the one before it.
    pub const PIPELINED: u32 = 5;
}

/// One direction of one connection, between events.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// A constant of [`phase`].
    pub phase: u32,
    /// Bits of [`crate::head`].
    pub flags: u32,
    /// TCP sequence number of the next byte.
    pub seq: u32,
    /// TCP sequence number of the head's first byte.
    pub head_seq: u32,
    /// Bytes of the head so far.
    pub head_len: u32,
    /// A constant of [`lost`].
    pub lost: u32,
    /// Bytes of body or chunk still to come.
    pub body: u64,
    /// Bits of the configured names that occurred; where lines are copied, with
    /// a value that is not empty.
    pub present: u64,
    /// Bits of names of which a line was dropped.
    pub dropped: u64,
    /// First bytes of the method.
    pub method: u64,
    /// Bytes of finished lines in [`Lines`].
    pub lines_len: u32,
    /// Number of finished lines.
    pub line_count: u32,
    /// Bytes of the line under way after `lines_len`.
    pub tail: u32,
    /// Name index of the line under way.
    pub name: u32,
    /// Length of the name of the line under way.
    pub name_len: u32,
    /// Response status.
    pub status: u32,
    /// Bytes of `carry` in use, right-aligned.
    pub carry_len: u32,
    /// Bytes of `path` in use.
    pub path_len: u32,
    /// End of the last event.
    pub carry: [u64; 8],
    /// The request target's beginning.
    pub path: [u64; 8],
}

/// One event's progress through its window.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// First byte not yet searched for a line end.
    pub pos: u32,
    /// First byte of the line under way.
    pub line: u32,
    /// End of the input in the window.
    pub end: u32,
    /// Where the blank line begins, in the window.
    pub blank: u32,
    /// Next byte to copy, and where to stop.
    pub copy: u32,
    /// End of the bytes to copy.
    pub copy_end: u32,
    /// Whether the copy ends its line.
    pub copy_final: u32,
    /// Whether lines are to be copied.
    pub collect: u32,
    /// What the last step said, a constant of [`stop`].
    pub stop: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
    /// The name of the line under way.
    pub word: [u64; 8],
}

impl Turn {
    /// Starts a window into which `input` bytes were put at offset [`CARRY`].
    #[inline(always)]
    pub fn open(&mut self, scan: &mut Scan, window: &mut Window, input: u32) {
        let words = window.as_words_mut();
        words[..8].copy_from_slice(&scan.carry);
        self.line = CARRY.wrapping_sub(scan.carry_len.min(CARRY));
        self.pos = CARRY;
        self.end = CARRY + input;
        scan.carry_len = 0;
        self.stop = stop::NO;
    }
}

impl Scan {
    /// Forgets the last message; the stream's position stays.
    #[inline(always)]
    pub fn begin_message(&mut self) {
        self.phase = phase::START;
        self.flags &= IN_REQUEST;
        self.head_len = 0;
        self.body = 0;
        self.present = 0;
        self.dropped = 0;
        self.lines_len = 0;
        self.line_count = 0;
        self.tail = 0;
        self.carry_len = 0;
        self.path_len = 0;
        self.status = 0;
    }

    /// Gives the stream up for `reason`, a constant of [`lost`].
    #[inline(always)]
    pub const fn lose(&mut self, reason: u32) -> u32 {
        self.phase = phase::LOST;
        self.lost = reason;
        stop::LOST
    }

    /// Whether the stream is within a head.
    #[inline(always)]
    #[must_use]
    pub const fn in_head(&self) -> bool {
        self.phase >= phase::FIRST_REST && self.phase <= phase::COPY || self.phase == phase::START && self.carry_len > 0
    }

    const fn bit(&self) -> u64 {
        1 << (self.name & 63)
    }
}

/// Does one piece of work: searches up to 64 bytes for a line end and deals
/// with the line that it ends, or copies up to 64 bytes of a wanted line.
#[inline(always)]
pub fn step(scan: &mut Scan, turn: &mut Turn, window: &Window, names: &Names, lines: &mut Lines) -> u32 {
    match scan.phase {
        phase::COPY => copy(scan, turn, window, lines),
        phase::BODY | phase::CHUNK_DATA => skip_body(scan, turn),
        phase::UNTIL_CLOSE | phase::LOST => stop::LOST,
        _ => search(scan, turn, window, names, lines),
    }
}

fn skip_body(scan: &mut Scan, turn: &mut Turn) -> u32 {
    let available = turn.end.wrapping_sub(turn.pos);
    if u64::from(available) < scan.body {
        scan.body -= u64::from(available);
        turn.pos = turn.end;
        turn.line = turn.end;
        return stop::INPUT;
    }
    turn.pos = turn.pos.wrapping_add(scan.body as u32);
    turn.line = turn.pos;
    scan.body = 0;
    if scan.phase == phase::CHUNK_DATA {
        scan.phase = phase::CHUNK_SIZE;
        return stop::NO;
    }
    stop::MESSAGE
}

/// The first line feed at or after `from`, within the 64 bytes from the word
/// that holds `from` on; `u32::MAX` for none.
#[inline(always)]
fn find_line_end(window: &Window, from: u32) -> u32 {
    let base = from & !7;
    // Bytes of the first word that lie before `from` do not count.
    let mut wanted = u64::MAX << ((from & 7) * 8);
    for word in 0..8 {
        let found = equal_mask(window.aligned_after(base, word as usize), b'\n') & wanted;
        if found != 0 {
            return base + word * 8 + first(found);
        }
        wanted = u64::MAX;
    }
    u32::MAX
}

#[inline(always)]
fn search(scan: &mut Scan, turn: &mut Turn, window: &Window, names: &Names, lines: &mut Lines) -> u32 {
    let from = turn.pos;
    if from >= turn.end {
        return suspend(scan, turn, window, names, lines);
    }
    let found = find_line_end(window, from);
    if found >= turn.end {
        turn.pos = (from & !7).wrapping_add(64);
        return stop::NO;
    }
    turn.pos = found.wrapping_add(1);
    let mut end = found;
    if found > turn.line && window.byte(found.wrapping_sub(1)) == b'\r' {
        end = found.wrapping_sub(1);
    }
    line(scan, turn, window, names, lines, end)
}

/// Deals with the complete line `turn.line..end`; its line end lies before
/// `turn.pos`.
#[inline(always)]
fn line(scan: &mut Scan, turn: &mut Turn, window: &Window, names: &Names, lines: &mut Lines, end: u32) -> u32 {
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
            // RFC 9112 §2.2: empty lines before a request line are ignored.
            scan.head_len = 0;
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
        phase::SKIP => scan.phase = phase::HEADERS,
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
struct Line {
    start: u32,
    end: u32,
    complete: bool,
}

/// Deals with a header line.
#[inline(always)]
fn header(
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
    scan.flags &= !(HEADER_CONTINUES | head::FRAMING_LINE | head::CR_HELD);
    if !names.may_begin(keep_first(window.at(start), end.wrapping_sub(start).min(8))) {
        return stop::NO;
    }
    let len = head::name(window, start, end, &mut turn.word);
    // A name that is longer than any configured one is of no interest.
    let longer = len == 0 && end.wrapping_sub(start) >= CARRY;
    let named = if longer { CARRY } else { len };
    if len != 0 && head::is_framing(&turn.word, len) {
        scan.flags |= head::FRAMING_LINE;
        if !complete || !head::framing(scan, window, &turn.word, start.wrapping_add(len).wrapping_add(1), end) {
            return scan.lose(lost::FRAMING);
        }
        return stop::NO;
    }
    let found = if len == 0 { None } else { names.find(&turn.word, len) };
    // What matches a name exactly has no other bytes than a name has.
    let is_name = match found {
        Some(index) => names.is_exact(index) || head::is_token(&turn.word, len),
        None => named != 0 && head::is_token(&turn.word, named),
    };
    if !is_name {
        // "Content-Length : 5" is read differently by different servers.
        return scan.lose(lost::FRAMING);
    }
    let Some(index) = found else {
        return stop::NO;
    };
    scan.name = index;
    scan.name_len = len;
    scan.flags |= HEADER_CONTINUES;
    if turn.collect == 0 {
        scan.present |= scan.bit();
        return stop::NO;
    }
    for word in 0..8 {
        lines.text.put_after(scan.lines_len, word, turn.word[word]);
    }
    lines.text.put(scan.lines_len.wrapping_add(len), u64::from(b':'));
    scan.tail = len.wrapping_add(1);
    scan.flags &= !head::HAS_TEXT;
    begin_copy(scan, turn, start.wrapping_add(len).wrapping_add(1), end, complete);
    stop::NO
}

#[inline(always)]
fn begin_copy(scan: &mut Scan, turn: &mut Turn, start: u32, end: u32, complete: bool) {
    scan.phase = phase::COPY;
    turn.copy = start;
    turn.copy_end = end;
    turn.copy_final = complete as u32;
}

/// Copies up to 64 bytes of a wanted line; ends the line after its last ones.
#[inline(always)]
fn copy(scan: &mut Scan, turn: &mut Turn, window: &Window, lines: &mut Lines) -> u32 {
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
    for word in 0..8u32 {
        let within = keep_first(u64::MAX, count.saturating_sub(word * 8).min(8));
        let bytes = window.at_after(start, word as usize) & within;
        illegal |= not_text(bytes) & within;
        text |= above_space(bytes) & within;
        lines.text.put_after(to, word as usize, bytes);
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

/// Puts away what is left of the window: an unfinished line.
#[inline(always)]
fn suspend(scan: &mut Scan, turn: &mut Turn, window: &Window, names: &Names, lines: &mut Lines) -> u32 {
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
        phase::SKIP => scan.head_len = scan.head_len.wrapping_add(len),
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

/// Keeps the last bytes before `end`, `len` of them or as many as fit.
#[inline(always)]
fn keep(scan: &mut Scan, window: &Window, end: u32, len: u32) {
    scan.carry_len = len.min(CARRY);
    let from = end.wrapping_sub(CARRY);
    for word in 0..8u32 {
        scan.carry[word as usize] = window.at(from.wrapping_add(word * 8));
    }
}

#[cfg(test)]
mod tests;

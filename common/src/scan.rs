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

mod copy;
mod line;
mod skip;
mod suspend;

use crate::head::{self, IN_REQUEST};
use crate::limits::{MAX_HEAD, MAX_LINE_COUNT};
use crate::names::{Name, Names};
use crate::words::{Words, first_equal, first_marked};

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
        if scan.carry_len != 0 {
            window.as_words_mut()[..8].copy_from_slice(&scan.carry);
        }
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

    /// Leaves out a line of the configured name `index`, and with it that name's group.
    #[inline(always)]
    pub const fn drop_line(&mut self, index: u32) {
        self.dropped |= 1 << (index & 63);
    }

    const fn bit(&self) -> u64 {
        1 << (self.name & 63)
    }
}

/// Begins the line of a configured header that was not found by scanning.
/// [`copy_line`] copies it.
///
/// `name` is the line's name, zero after its `len` bytes, and `index` the
/// configured name's; the value is `start..end` in the window.
#[inline(always)]
pub fn begin_line(
    scan: &mut Scan,
    turn: &mut Turn,
    lines: &mut Lines,
    (index, name, len): (u32, &mut Name, u32),
    (start, end): (u32, u32),
) {
    line::end_name(name, len);
    scan.name = index;
    scan.name_len = len;
    line::begin(scan, lines, name);
    copy::begin_copy(scan, turn, start, end, true);
}

/// Copies up to 64 bytes of a line that was begun with [`begin_line`]: to be called
/// while the phase is [`phase::COPY`].
#[inline(always)]
pub fn copy_line(scan: &mut Scan, turn: &mut Turn, window: &Window, lines: &mut Lines) {
    copy::copy(scan, turn, window, lines);
}

/// Does one piece of work: searches up to 64 bytes for a line end and deals
/// with the line that it ends, and copies up to 64 bytes of a wanted line.
#[inline(always)]
pub fn step(scan: &mut Scan, turn: &mut Turn, window: &Window, names: &Names, lines: &mut Lines) -> u32 {
    let said = match scan.phase {
        phase::COPY => stop::NO,
        phase::BODY | phase::CHUNK_DATA => skip_body(scan, turn),
        phase::UNTIL_CLOSE | phase::LOST => stop::LOST,
        _ => search(scan, turn, window, names, lines),
    };
    if said == stop::NO && scan.phase == phase::COPY { copy::copy(scan, turn, window, lines) } else { said }
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

/// The first line feed within the 64 bytes from `from` on; `u32::MAX` for none.
#[inline(always)]
fn find_line_end(window: &Window, from: u32) -> u32 {
    for word in 0..8 {
        let found = first_equal(window.at_after(from, word as usize), b'\n');
        if found != 0 {
            return from.wrapping_add(word * 8).wrapping_add(first_marked(found));
        }
    }
    u32::MAX
}

#[inline(always)]
fn search(scan: &mut Scan, turn: &mut Turn, window: &Window, names: &Names, lines: &mut Lines) -> u32 {
    let mut from = turn.pos;
    if scan.phase == phase::HEADERS && turn.line == from && from < turn.end {
        let next = skip::skip(window, names, from, turn.end);
        if next != from {
            scan.flags &= !head::OF_LINE;
            scan.head_len = scan.head_len.wrapping_add(next.wrapping_sub(from));
            if scan.head_len > MAX_HEAD {
                return scan.lose(lost::HEAD_TOO_LARGE);
            }
            turn.line = next;
            turn.pos = next;
            from = next;
        }
    }
    if from >= turn.end {
        return suspend::suspend(scan, turn, window, names, lines);
    }
    let found = find_line_end(window, from);
    if found >= turn.end {
        turn.pos = from.wrapping_add(64);
        return stop::NO;
    }
    turn.pos = found.wrapping_add(1);
    let mut end = found;
    if found > turn.line {
        if window.byte(found.wrapping_sub(1)) == b'\r' {
            end = found.wrapping_sub(1);
        } else {
            scan.flags |= head::BARE_LINE_FEED;
        }
    } else if scan.flags & head::CR_HELD == 0 {
        scan.flags |= head::BARE_LINE_FEED;
    }
    line::line(scan, turn, window, names, lines, end)
}

#[cfg(test)]
mod tests;

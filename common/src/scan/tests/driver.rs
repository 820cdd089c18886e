//! Drives the scanner over one direction of a connection, as the kernel side
//! does: `source.rs`, `inbound/read.rs`, `inbound/answer.rs` and
//! `outbound/write.rs` of agent-ebpf. Other than that, it goes on after a
//! second message in one event. The fuzzer includes this file.

use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

use super::baton::framing::{Follows, Position, after_request_head, after_response_head, synchronise};
use super::baton::head::{BARE_LINE_FEED, IN_REQUEST, LF_PENDING};
use super::baton::names::Names;
use super::baton::scan::{CARRY, Lines, Scan, Turn, WINDOW_INPUT, Window, phase, step, stop};

/// A complete head. Offsets count from the beginning of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Where the blank line begins: what is inserted goes here.
    pub(crate) blank: usize,
    /// Where the head ends.
    pub(crate) end: usize,
    pub(crate) len: u32,
    pub(crate) status: u32,
    pub(crate) method: u64,
    /// The target's beginning.
    pub(crate) path: Vec<u8>,
    /// Bits of the names that occurred and were not dropped.
    pub(crate) present: u64,
    pub(crate) dropped: u64,
    /// Whether a line of it ends with a line feed alone.
    pub(crate) bare: bool,
    /// Names and lines that were taken and whose names were not dropped.
    pub(crate) lines: Vec<(u8, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Head(Head),
    /// A message ends here.
    End(usize),
    /// The stream is given up.
    Lost(u32),
}

/// The bytes of one event that have not been loaded into the window.
struct Source<'a> {
    pieces: VecDeque<&'a [u8]>,
    /// The window's first new byte, counted from the event's beginning.
    offset: usize,
    passed: usize,
}

pub(crate) struct Stream<'a> {
    pub(crate) scan: Scan,
    pub(crate) found: Vec<Found>,
    /// Where the last line feeds of heads must be that had not been seen.
    pub(crate) expected_line_feeds: Vec<usize>,
    names: &'a Names,
    turn: Turn,
    window: Box<Window>,
    lines: Box<Lines>,
    collect: bool,
    to_head: VecDeque<bool>,
    /// TCP sequence number of the stream's first byte.
    first: u32,
    /// Bytes of the stream before the event.
    before: usize,
}

impl<'a> Stream<'a> {
    pub(crate) fn requests(names: &'a Names, collect: bool) -> Self {
        let mut stream = Self::responses(names, &[]);
        stream.scan.flags = IN_REQUEST;
        stream.collect = collect;
        stream
    }

    pub(crate) fn responses(names: &'a Names, to_head: &[bool]) -> Self {
        Self {
            scan: Scan::default(),
            found: Vec::new(),
            expected_line_feeds: Vec::new(),
            names,
            turn: Turn::default(),
            window: Box::default(),
            lines: Box::default(),
            collect: false,
            to_head: to_head.iter().copied().collect(),
            first: 0,
            before: 0,
        }
    }

    /// The stream's first byte, still to come, has TCP sequence number `seq`.
    pub(crate) fn start_at(&mut self, seq: u32) {
        self.first = seq;
        self.scan.seq = seq;
    }

    /// Leaves `byte` in all memory that an event of `len` bytes reaches and of
    /// which it may not use what another one left there.
    pub(crate) fn litter(&mut self, byte: u8, len: usize) {
        let word = u64::from_le_bytes([byte; 8]);
        let reach = (CARRY as usize + len.min(WINDOW_INPUT as usize)) / 8 + 18;
        self.window.as_words_mut().iter_mut().take(reach).for_each(|stale| *stale = word);
        let half = word as u32;
        self.turn = Turn { pos: half, line: half, end: half, blank: half, copy: half, ..self.turn };
        self.turn = Turn { copy_end: half, copy_final: half, word: [word; 8], ..self.turn };
        if self.scan.phase == phase::START && self.scan.carry_len == 0 {
            self.lines.text.as_words_mut().fill(word);
            self.lines.ends.fill(half as u16);
            self.lines.names.fill(byte);
        }
    }

    /// `len` bytes pass that no program sees.
    pub(crate) fn unseen(&mut self, len: usize) {
        self.before += len;
    }

    /// Bytes that passed unseen since the last event.
    pub(crate) fn unseen_bytes(&self) -> usize {
        self.seq().wrapping_sub(self.scan.seq) as usize
    }

    /// One read or write, of memory in `pieces`.
    pub(crate) fn event(&mut self, pieces: &[&[u8]]) {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut source = Source { pieces: pieces.iter().copied().collect(), offset: 0, passed: 0 };
        self.follow(&mut source, len);
        self.before += len;
    }

    fn follow(&mut self, source: &mut Source<'_>, len: usize) {
        let seq = self.seq();
        match synchronise(&mut self.scan, seq, 0) {
            Position::Known => {}
            Position::Ended => self.message_ends(0),
            Position::Lost => return self.give_up(),
        }
        self.scan.seq = seq.wrapping_add(len as u32);
        if matches!(self.scan.phase, phase::LOST | phase::UNTIL_CLOSE) {
            return;
        }
        if self.scan.phase == phase::BODY && self.scan.body > len as u64 {
            self.scan.body -= len as u64;
            return;
        }
        self.turn.pos = CARRY;
        self.turn.line = CARRY;
        self.turn.end = CARRY;
        self.turn.collect = u32::from(self.collect);
        // Each step takes a line, 64 bytes, or a window, and each line is copied once.
        let mut steps = 3 * len + 64 * (source.pieces.len() + 2);
        loop {
            match self.run(source, &mut steps) {
                stop::HEAD if self.head_ends(source, len) => return,
                stop::HEAD => {}
                stop::MESSAGE => self.message_ends(self.position(source)),
                stop::INPUT => {
                    assert!(source.pieces.iter().all(|piece| piece.is_empty()), "bytes were left");
                    return;
                }
                _ => return self.give_up(),
            }
        }
    }

    fn run(&mut self, source: &mut Source<'_>, steps: &mut usize) -> u32 {
        self.turn.stop = stop::NO;
        loop {
            *steps = steps.checked_sub(1).expect("the scanner makes no progress");
            let empty = self.turn.line >= self.turn.end && self.scan.phase != phase::COPY;
            let said = if empty {
                stop::INPUT
            } else {
                step(&mut self.scan, &mut self.turn, &self.window, self.names, &mut self.lines)
            };
            if said == stop::INPUT && self.load(source) {
                continue;
            }
            if said != stop::NO {
                return said;
            }
        }
    }

    fn load(&mut self, source: &mut Source<'_>) -> bool {
        let Some(piece) = source.pieces.front_mut() else { return false };
        let mut pass = 0;
        if matches!(self.scan.phase, phase::BODY | phase::CHUNK_DATA) {
            let most = self.scan.body.min(piece.len() as u64);
            let most = if most == self.scan.body { most.saturating_sub(1) } else { most };
            self.scan.body -= most;
            pass = most as usize;
        }
        let input = (piece.len() - pass).min(WINDOW_INPUT as usize);
        let bytes = &piece[pass..pass + input];
        for (word, eight) in self.window.as_words_mut()[CARRY as usize / 8..].iter_mut().zip(bytes.chunks(8)) {
            let mut stale = word.to_le_bytes();
            stale[..eight.len()].copy_from_slice(eight);
            *word = u64::from_le_bytes(stale);
        }
        *piece = &piece[pass + input..];
        if input == 0 {
            source.pieces.pop_front();
        }
        source.offset = source.passed + pass;
        source.passed = source.offset + input;
        self.turn.open(&mut self.scan, &mut self.window, input as u32);
        true
    }

    /// Bytes of the event up to the scanner's position.
    fn position(&self, source: &Source<'_>) -> usize {
        (source.offset as u32).wrapping_add(self.turn.pos).wrapping_sub(CARRY) as usize
    }

    /// Returns whether the event needs no further look.
    fn head_ends(&mut self, source: &Source<'_>, len: usize) -> bool {
        let position = self.position(source);
        assert!(position <= len, "the position {position} lies behind the event's end {len}");
        assert!(self.turn.blank >= CARRY, "the blank line began in an earlier event");
        let rest = (len - position) as u64;
        let pending = self.scan.flags & LF_PENDING != 0;
        let head = self.head(position, pending);
        if pending {
            self.expected_line_feeds.push(head.end - 1);
        }
        self.found.push(Found::Head(head));
        let follows = if self.scan.flags & IN_REQUEST != 0 {
            after_request_head(&mut self.scan)
        } else {
            let to_head = self.to_head.front().copied().unwrap_or(false);
            if self.scan.status >= 200 {
                self.to_head.pop_front();
            }
            after_response_head(&mut self.scan, to_head)
        };
        match follows {
            Follows::Unknown => {
                self.give_up();
                return true;
            }
            Follows::Final => self.scan.begin_message(),
            Follows::Nothing => self.message_ends(position),
            Follows::Body if self.scan.phase == phase::UNTIL_CLOSE => return true,
            Follows::Body if self.scan.phase == phase::BODY && self.scan.body >= rest => {
                self.scan.body -= rest;
                if self.scan.body == 0 {
                    self.message_ends(len);
                }
                return true;
            }
            Follows::Body => {}
        }
        false
    }

    fn head(&self, position: usize, pending: bool) -> Head {
        let scan = &self.scan;
        let path: Vec<u8> = scan.path.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut start = 0;
        let lines = (0..scan.line_count as usize).map(|line| {
            let end = u32::from(self.lines.ends[line]);
            let bytes = (start..end).map(|at| self.lines.text.byte(at)).collect();
            start = end;
            (self.lines.names[line], bytes)
        });
        Head {
            blank: self.before + position - (self.turn.pos - self.turn.blank) as usize,
            end: self.before + position + usize::from(pending),
            len: scan.head_len,
            status: scan.status,
            method: scan.method,
            path: path[..scan.path_len as usize].to_vec(),
            present: scan.present & !scan.dropped,
            dropped: scan.dropped,
            bare: scan.flags & BARE_LINE_FEED != 0,
            lines: lines.filter(|(name, _)| scan.dropped >> name & 1 == 0).collect(),
        }
    }

    fn message_ends(&mut self, position: usize) {
        self.found.push(Found::End(self.before + position));
        self.scan.begin_message();
    }

    fn give_up(&mut self) {
        assert_eq!(self.scan.phase, phase::LOST);
        self.found.push(Found::Lost(self.scan.lost));
    }

    /// The sequence number of the event's first byte.
    fn seq(&self) -> u32 {
        self.first.wrapping_add(self.before as u32)
    }
}

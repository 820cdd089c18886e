//! Copies some of a context's lines.

use crate::limits::{MAX_LINE_COUNT, MAX_LINES};
use crate::scan::{Lines, Text};

/// Turns that copying all lines of a context takes at most: one for each 64
/// bytes begun, and one for each line.
pub const MAX_TURNS: u32 = (MAX_LINES / 64 + 2 * MAX_LINE_COUNT) as u32;

/// How far the copying is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Select {
    /// Bits of the names whose lines are left out.
    pub skip: u64,
    /// Number of lines.
    pub count: u32,
    /// The line under way.
    pub line: u32,
    /// First byte not yet copied or left out.
    pub from: u32,
    /// Bytes copied.
    pub len: u32,
}

impl Select {
    /// At the beginning of `count` lines.
    #[inline(always)]
    #[must_use]
    pub const fn new(count: u32, skip: u64) -> Self {
        Self { skip, count, line: 0, from: 0, len: 0 }
    }
}

/// Copies up to 64 bytes of a line, or passes a line over. Returns false at the end.
#[inline(always)]
pub fn turn(select: &mut Select, from: &Lines, to: &mut Text) -> bool {
    let line = select.line;
    if line >= select.count || line >= MAX_LINE_COUNT as u32 {
        return false;
    }
    let index = line as usize & (MAX_LINE_COUNT - 1);
    let end = u32::from(from.ends[index]);
    if select.skip >> (from.names[index] & 63) & 1 == 1 {
        select.from = end;
    }
    let count = end.saturating_sub(select.from).min(64);
    for word in 0..8 {
        let bytes = from.text.at_after(select.from, word);
        to.put_after(select.len, word, bytes);
    }
    select.from = select.from.wrapping_add(count);
    select.len = select.len.wrapping_add(count);
    if select.from >= end {
        select.line = line.wrapping_add(1);
    }
    true
}

#[cfg(test)]
mod tests;

//! Recognises the usual header line by its first bytes, without taking its name apart.

use super::{NAME_WORDS, Name, folded, name_of};
use crate::head::FRAMING_NAMES;
use crate::limits::MAX_NAMES;
use crate::scan::Window;
use crate::verifier::hide;

/// Places in the table. Names that share one are found by [`super::Names::find`].
const PLACES: usize = 64;

/// Seeds that are tried.
const SEEDS: usize = 16;

/// The first four bytes of a line say where: with a shorter name they are not
/// all known.
const MIN_LEN: usize = 3;

/// Indices from here on are those of [`FRAMING_NAMES`].
pub const FRAMING: u32 = MAX_NAMES as u32;

/// How the lines of one header begin.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The name in lower case and its colon; zero after that.
    pub line: Name,
    /// The bits that such a line has in common with `line`: not those that tell
    /// upper from lower case.
    common: Name,
    /// Length of the name; 0 in a free place.
    pub len: u32,
    /// Its entry in [`super::Names`], or [`FRAMING`] and more.
    pub index: u32,
}

impl Known {
    /// Lines of the header `name` (in lower case, at most 63 bytes).
    fn of(name: &[u8], index: u32) -> Self {
        let mut text = [0; NAME_WORDS * 8];
        text[..name.len()].copy_from_slice(name);
        text[name.len()] = b':';
        let mut common = text;
        for byte in &mut common[..=name.len()] {
            *byte = if byte.is_ascii_lowercase() { 0xdf } else { 0xff };
        }
        Self { line: name_of(&text), common: name_of(&common), len: name.len() as u32, index }
    }
}

/// Headers by how their lines begin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    places: [Known; PLACES],
    /// Multiplier of the hash that says which place.
    seed: u64,
}

impl Table {
    /// The table of `headers` (names in lower case with their indices) that
    /// leaves out the fewest; the first ones, the framing headers, it never does.
    pub(super) fn build<'a>(headers: impl Iterator<Item = (&'a [u8], u32)> + Clone) -> Self {
        let mut best = Self::default();
        let mut most = 0;
        let all = headers.clone().filter(|(name, _)| name.len() >= MIN_LEN).count();
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..SEEDS {
            let mut table = Self { seed, ..Self::default() };
            for (name, index) in headers.clone().filter(|(name, _)| name.len() >= MIN_LEN) {
                table.note(name, index);
            }
            let framing = table.places.iter().filter(|known| known.len != 0 && known.index >= FRAMING).count();
            let placed = table.places.iter().filter(|known| known.len != 0).count();
            if framing == FRAMING_NAMES.len() && placed > most {
                (best, most) = (table, placed);
            }
            if most == all {
                break;
            }
            seed = seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
        }
        best
    }

    fn note(&mut self, name: &[u8], index: u32) {
        let known = Known::of(name, index);
        let place = &mut self.places[place(known.line[0], self.seed) as usize];
        if place.len == 0 {
            *place = known;
        }
    }

    /// The header whose line begins at `start`; `None` if it is none of the
    /// table's.
    #[inline(always)]
    pub(super) fn find(&self, window: &Window, start: u32) -> Option<&Known> {
        let mut bytes = window.at(start);
        let known = &self.places[hide(place(bytes, self.seed)) as usize & (PLACES - 1)];
        if known.len == 0 {
            return None;
        }
        for word in 0..NAME_WORDS {
            let common = known.common[word];
            if (bytes ^ known.line[word]) & common != 0 {
                return None;
            }
            // The colon is within this word.
            if common >> 56 == 0 {
                break;
            }
            bytes = window.at_after(start, word + 1);
        }
        Some(known)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { places: [Known::default(); PLACES], seed: 1 }
    }
}

/// The place for lines that begin with the first four of `bytes`, in any case.
#[inline(always)]
const fn place(bytes: u64, seed: u64) -> u32 {
    (folded(bytes).wrapping_mul(seed) >> 58) as u32
}

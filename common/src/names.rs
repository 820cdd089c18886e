//! The table of configured header names that the kernel side matches against.

mod folded;
mod known;

pub(crate) use folded::fold;
pub use known::{FRAMING, Known, Table};

use crate::limits::MAX_NAMES;
use crate::scan::Window;
use crate::verifier::hide;
use crate::words::keep_first;

/// Words that a header name of up to 64 bytes takes.
pub const NAME_WORDS: usize = 8;

/// A header name as the scanner hands it over: lower case, zero after its end.
pub type Name = [u64; NAME_WORDS];

/// Candidates that one lookup compares at most. [`Names::build`] picks a seed
/// for which no two names of one length share a bucket more often.
const MAX_CANDIDATES: usize = 4;

/// Prefixes that can be configured.
pub const MAX_PREFIXES: usize = 8;

/// Places of [`Names::beginnings`].
const BEGINNINGS: usize = 1024;

/// In [`Names::beginnings`]: the ninth byte says nothing.
const ANY: u8 = 1;

/// One configured name or prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name in lower case, zero after its end.
    pub words: Name,
    /// All ones for a name; ones over the given bytes for a prefix.
    pub mask: Name,
    /// Bits of all members of this entry's group, its own included.
    pub group: u64,
}

/// All configured names, as one map value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Entries; an entry's index is its bit everywhere else.
    pub entries: [Entry; MAX_NAMES],
    /// By length of the name: bits of the entries with that length.
    pub by_len: [u64; 128],
    /// By hash: bits of the entries with that hash.
    pub by_hash: [u64; 64],
    /// By a hash of its first four bytes: 0 if no name that matters begins so;
    /// the ninth byte that all have which do; or [`ANY`].
    pub beginnings: [u8; BEGINNINGS],
    /// How the lines of most of the names begin, and of the framing ones.
    pub known: Table,
    /// Multiplier of the hash.
    pub seed: u64,
    /// Indices of the prefix entries.
    pub prefixes: [u32; MAX_PREFIXES],
    /// Number of prefix entries.
    pub prefix_count: u32,
    /// Number of entries.
    pub count: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            entries: [Entry::default(); MAX_NAMES],
            by_len: [0; 128],
            by_hash: [0; 64],
            beginnings: [0; BEGINNINGS],
            known: Table::default(),
            seed: 1,
            prefixes: [0; MAX_PREFIXES],
            prefix_count: 0,
            count: 0,
        }
    }
}

/// Why a name table cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More than [`MAX_NAMES`] names.
    TooMany,
    /// More than [`MAX_PREFIXES`] prefixes.
    TooManyPrefixes,
    /// A name longer than [`crate::limits::MAX_NAME_LEN`] or empty.
    BadLength,
    /// No seed spreads the names well enough (not seen in practice).
    NoSeed,
}

/// The bucket of `name` under `seed`.
#[inline(always)]
fn bucket(name: &Name, seed: u64) -> usize {
    let mut folded = 0u64;
    for index in hide(0)..NAME_WORDS as u32 {
        let word = name[index as usize];
        if word == 0 {
            break;
        }
        folded = folded.rotate_left(9) ^ word;
    }
    (folded.wrapping_mul(seed) >> 58) as usize
}

/// The first four of `bytes`. Upper and lower case give the same, as do some
/// others, which does no harm.
#[inline(always)]
const fn folded(bytes: u64) -> u64 {
    bytes & 0xdfdf_dfdf
}

/// The place in [`Names::beginnings`] for the first four of `bytes`.
#[inline(always)]
const fn beginning(bytes: u64) -> usize {
    (folded(bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

impl Names {
    /// Builds the table from names in lower case. A trailing `*` marks a
    /// prefix. `groups` holds for each name the bits of its group.
    ///
    /// # Errors
    /// [`Refused`] says which limit was passed.
    pub fn build(names: &[&str], groups: &[u64]) -> Result<Self, Refused> {
        if names.len() > MAX_NAMES || groups.len() != names.len() {
            return Err(Refused::TooMany);
        }
        let mut table = Self { count: names.len() as u32, ..Self::default() };
        let framing = crate::head::FRAMING_NAMES.into_iter().zip(FRAMING..);
        for (name, _) in framing.clone() {
            table.note_beginning(name, false);
        }
        for (index, (name, group)) in names.iter().zip(groups).enumerate() {
            let prefix = name.strip_suffix('*');
            let text = prefix.unwrap_or(name).as_bytes();
            if text.is_empty() || text.len() > crate::limits::MAX_NAME_LEN {
                return Err(Refused::BadLength);
            }
            table.note_beginning(text, prefix.is_some());
            let entry = &mut table.entries[index];
            entry.group = group | 1 << index;
            entry.words = name_of(text);
            if prefix.is_some() {
                if table.prefix_count as usize == MAX_PREFIXES {
                    return Err(Refused::TooManyPrefixes);
                }
                entry.mask = core::array::from_fn(|word| {
                    keep_first(u64::MAX, text.len().saturating_sub(word * 8).min(8) as u32)
                });
                table.prefixes[table.prefix_count as usize] = index as u32;
                table.prefix_count += 1;
            } else {
                entry.mask = [u64::MAX; NAME_WORDS];
                table.by_len[text.len()] |= 1 << index;
            }
        }
        let whole = names.iter().zip(0..).filter(|(name, _)| !name.ends_with('*'));
        table.known = Table::build(framing.chain(whole.map(|(name, index)| (name.as_bytes(), index))));
        table.pick_seed()?;
        Ok(table)
    }

    /// Notes how lines with this name, or one that begins so, can begin.
    fn note_beginning(&mut self, text: &[u8], is_prefix: bool) {
        let ninth = text.get(8).map_or(ANY, |byte| byte | 0x20);
        match (text, is_prefix) {
            (&[a, b, c, d, ..], _) => self.set_beginning([a, b, c, d], ninth),
            (&[a, b, c], false) => self.set_beginning([a, b, c, b':'], ninth),
            (&[a, b], false) => {
                for fourth in 0..=u8::MAX {
                    self.set_beginning([a, b, b':', fourth], ninth);
                }
            }
            // Nearly anything: look at every line.
            _ => self.beginnings = [ANY; BEGINNINGS],
        }
    }

    fn set_beginning(&mut self, bytes: [u8; 4], ninth: u8) {
        let place = &mut self.beginnings[beginning(u64::from(u32::from_le_bytes(bytes)))];
        *place = if *place == 0 || *place == ninth { ninth } else { ANY };
    }

    /// Whether the header line at `start` whose first bytes are `bytes`, in any case,
    /// can be one of the names, or one that frames the message. Most lines cannot,
    /// and need not be looked at any closer. `ninth` is all ones where the line has a
    /// ninth byte (or where it is enough to say so too often), else 0: what follows a
    /// short line is the next one, or what was there before. (A mask, since the
    /// verifier walks what comes after a branch here twice, each time.)
    #[inline(always)]
    #[must_use]
    pub fn may_begin(&self, window: &Window, start: u32, bytes: u64, ninth: u8) -> bool {
        match self.beginnings[beginning(bytes)] {
            0 => false,
            ANY => true,
            expected => (window.byte(start.wrapping_add(8)) | 0x20) & ninth == expected,
        }
    }

    /// The wanted or framing header whose line begins at `start`, where it can be
    /// told at once. `None` says nothing: [`Self::find`] knows all names.
    #[inline(always)]
    #[must_use]
    pub fn known(&self, window: &Window, start: u32) -> Option<&Known> {
        self.known.find(window, start)
    }

    fn pick_seed(&mut self) -> Result<(), Refused> {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..64 {
            self.seed = seed;
            self.by_hash = [0; 64];
            for index in 0..self.count as usize {
                self.by_hash[bucket(&self.entries[index].words, seed)] |= 1 << index;
            }
            let crowded = self.by_len.iter().any(|of_len| {
                self.by_hash.iter().any(|of_hash| (of_len & of_hash).count_ones() as usize > MAX_CANDIDATES)
            });
            if !crowded {
                return Ok(());
            }
            seed = seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
        }
        Err(Refused::NoSeed)
    }

    /// The index of the entry that `name` (of `len` bytes) matches. Names win
    /// over prefixes.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, name: &Name, len: u32) -> Option<u32> {
        let mut candidates =
            self.by_len[hide(len) as usize & 127] & self.by_hash[hide(bucket(name, self.seed) as u32) as usize & 63];
        for _ in 0..MAX_CANDIDATES {
            if candidates == 0 {
                break;
            }
            let index = hide(lowest_bit(candidates)) & (MAX_NAMES as u32 - 1);
            if self.entries[index as usize].matches(name) {
                return Some(index);
            }
            candidates &= candidates - 1;
        }
        for slot in 0..MAX_PREFIXES {
            if slot as u32 >= self.prefix_count {
                break;
            }
            let index = hide(self.prefixes[slot]) & (MAX_NAMES as u32 - 1);
            if self.entries[index as usize].matches(name) {
                return Some(index);
            }
        }
        None
    }

    /// Whether the entry `index` is a name and not a prefix.
    #[inline(always)]
    #[must_use]
    pub fn is_exact(&self, index: u32) -> bool {
        // A prefix is shorter than a name's words.
        self.entries[hide(index) as usize & (MAX_NAMES - 1)].mask[NAME_WORDS - 1] == u64::MAX
    }

    /// `bits` and every bit that shares a group with one of them.
    #[inline(always)]
    #[must_use]
    pub fn with_groups(&self, bits: u64) -> u64 {
        // The usual case.
        if bits == 0 {
            return 0;
        }
        let mut all = bits;
        for index in 0..MAX_NAMES {
            // No branch: 64 of them would be 64 paths for the verifier.
            all |= self.entries[index].group & (bits >> index & 1).wrapping_neg();
        }
        all
    }
}

impl Entry {
    /// Whether this entry is `name`, or a prefix of it. Of an exact entry the
    /// caller knows that the lengths agree.
    #[inline(always)]
    fn matches(&self, name: &Name) -> bool {
        for index in hide(0)..NAME_WORDS as u32 {
            let index = index as usize;
            let word = self.words[index];
            if word == 0 {
                break;
            }
            if name[index] & self.mask[index] != word {
                return false;
            }
        }
        true
    }
}

/// The index of the lowest set bit of a `bits` that is not zero. Without
/// branches, as [`crate::words::first`].
#[inline(always)]
const fn lowest_bit(bits: u64) -> u32 {
    let mut below = (bits & bits.wrapping_neg()).wrapping_sub(1);
    below -= below >> 1 & 0x5555_5555_5555_5555;
    below = (below & 0x3333_3333_3333_3333) + (below >> 2 & 0x3333_3333_3333_3333);
    below = (below + (below >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    (below.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

/// `text` (up to 64 bytes) as a [`Name`].
#[must_use]
pub fn name_of(text: &[u8]) -> Name {
    core::array::from_fn(|word| {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(text.iter().skip(word * 8)) {
            *to = *from;
        }
        u64::from_le_bytes(bytes)
    })
}

#[cfg(test)]
mod tests;

//! Byte access to arrays of 64-bit words.
//!
//! Slices bring bounds checks that panic. Word arrays with masked byte offsets
//! have none. Words that are not aligned are read and written at once, which both
//! supported CPU architectures can. Words are little endian, as both are.

use crate::verifier::{load, store};

/// An array of `N` words whose byte offsets are masked so that
/// [`Words::at`] never leaves it.
///
/// `MASK + 10 <= N` must hold (checked at compile time): what follows a masked
/// offset is reached without masking again, up to eight words on.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Words<const N: usize, const MASK: usize> {
    words: [u64; N],
}

impl<const N: usize, const MASK: usize> Default for Words<N, MASK> {
    fn default() -> Self {
        Self { words: [0; N] }
    }
}

impl<const N: usize, const MASK: usize> Words<N, MASK> {
    const FITS: () = assert!(MASK + 10 <= N && (MASK + 1).is_power_of_two());

    /// Where byte `byte` is; 72 bytes from there on are the array's.
    #[inline(always)]
    const fn masked(byte: u32) -> usize {
        const { Self::FITS };
        byte as usize & (MASK * 8 + 7)
    }

    /// The eight bytes from byte offset `byte` on.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, byte: u32) -> u64 {
        self.at_after(byte, 0)
    }

    /// The eight bytes from byte offset `byte + 8 * after` on (`after` up to 8).
    #[inline(always)]
    #[must_use]
    pub fn at_after(&self, byte: u32, after: usize) -> u64 {
        debug_assert!(after <= 8);
        // SAFETY: `masked` leaves room for nine words.
        #[expect(unsafe_code, reason = "words that are not aligned")]
        unsafe {
            load(self.words.as_ptr().cast::<u8>().add(Self::masked(byte)), after)
        }
    }

    /// The byte at offset `byte`.
    #[inline(always)]
    #[must_use]
    pub const fn byte(&self, byte: u32) -> u8 {
        // SAFETY: as in `at_after`.
        #[expect(unsafe_code, reason = "a byte of a word")]
        unsafe {
            self.words.as_ptr().cast::<u8>().add(Self::masked(byte)).read()
        }
    }

    /// Writes the eight bytes of `value` at byte offset `byte`.
    #[inline(always)]
    pub fn put(&mut self, byte: u32, value: u64) {
        self.put_after(byte, 0, value);
    }

    /// As [`Words::put`] at byte offset `byte + 8 * after` (`after` up to 8).
    #[inline(always)]
    pub fn put_after(&mut self, byte: u32, after: usize, value: u64) {
        debug_assert!(after <= 8);
        // SAFETY: as in `at_after`.
        #[expect(unsafe_code, reason = "words that are not aligned")]
        unsafe {
            store(self.words.as_mut_ptr().cast::<u8>().add(Self::masked(byte)), after, value);
        }
    }

    /// The words, for whole-buffer copies.
    #[must_use]
    pub const fn as_words(&self) -> &[u64; N] {
        &self.words
    }

    /// The words, to be filled from outside.
    pub const fn as_words_mut(&mut self) -> &mut [u64; N] {
        &mut self.words
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
/// The high bit of every byte.
pub const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of every byte of `word` that equals `byte`, exactly (no byte
/// influences its neighbour).
#[inline(always)]
#[must_use]
pub const fn equal_mask(word: u64, byte: u8) -> u64 {
    let x = word ^ (ONES * byte as u64);
    !(((x & LOW7) + LOW7) | x) & HIGH
}

/// As [`equal_mask`], in fewer operations: marks the first byte of `word` that
/// equals `byte`; what is marked above that one means nothing.
#[inline(always)]
#[must_use]
pub const fn first_equal(word: u64, byte: u8) -> u64 {
    let x = word ^ (ONES * byte as u64);
    x.wrapping_sub(ONES) & !x & HIGH
}

/// The high bit of every byte of `word` within `low..=high`, for ASCII bounds.
#[inline(always)]
#[must_use]
pub const fn range_mask(word: u64, low: u8, high: u8) -> u64 {
    let seven = word & LOW7;
    let reaches = seven + ONES * (0x80 - low as u64);
    let passes = seven + ONES * (0x7f - high as u64);
    reaches & !passes & !word & HIGH
}

/// Has no bit of [`HIGH`] if every byte of `word` is within 0x20 to 0x7e. (A carry
/// or borrow comes only from a byte that is not.)
#[inline(always)]
#[must_use]
pub const fn plain(word: u64) -> u64 {
    word | word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)
}

/// Not zero if a byte of `word` is below 0x20, as line ends are; for some others, too.
#[inline(always)]
#[must_use]
pub const fn controls(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & HIGH
}

/// The high bit of every byte of `word` that no header value may have: others
/// than tab and 0x20 to 0x7e.
#[inline(always)]
#[must_use]
pub const fn not_text(word: u64) -> u64 {
    let reaches_space = (word | HIGH).wrapping_sub(ONES * 0x20);
    let delete = (word & LOW7) + ONES;
    (word | delete | !reaches_space) & !equal_mask(word, b'\t') & HIGH
}

/// The high bit of every byte of `word` that is greater than a space (and is
/// ASCII).
#[inline(always)]
#[must_use]
pub const fn above_space(word: u64) -> u64 {
    (word | HIGH).wrapping_sub(ONES * 0x21) & !word & HIGH
}

/// `word` with the letters `A` to `Z` in lower case.
#[inline(always)]
#[must_use]
pub const fn lower(word: u64) -> u64 {
    word | (range_mask(word, b'A', b'Z') >> 2)
}

/// The index of the lowest byte whose high bit is set in `mask`, which has no
/// other bits; 8 for none.
///
/// Without branches: each would be a path of its own for the verifier, with a
/// known result that multiplies the paths after it.
#[inline(always)]
#[must_use]
pub const fn first(mask: u64) -> u32 {
    let below = (mask & mask.wrapping_neg()).wrapping_sub(1) & HIGH;
    ((below >> 7).wrapping_mul(ONES) >> 56) as u32
}

/// As [`first`], in fewer operations: the index of the lowest byte that is marked in
/// `mask`, of which one is.
#[inline(always)]
#[must_use]
pub const fn first_marked(mask: u64) -> u32 {
    // The factor's bytes are their own places, counted from above.
    (((mask & mask.wrapping_neg()) >> 7).wrapping_mul(0x0001_0203_0405_0607) >> 56) as u32
}

/// `word` with all but its first `count` bytes cleared (`count` up to 8).
#[inline(always)]
#[must_use]
pub const fn keep_first(word: u64, count: u32) -> u64 {
    debug_assert!(count <= 8);
    // Two shifts, because a shift by 64 has no defined result.
    let bits = (count & 15) * 4;
    word & ((1u64 << bits) << bits).wrapping_sub(1)
}

/// Up to eight ASCII characters as a word.
#[must_use]
pub const fn literal(text: &str) -> u64 {
    let bytes = text.as_bytes();
    assert!(bytes.len() <= 8);
    let mut word = 0;
    let mut index = 0;
    while index < bytes.len() {
        word |= (bytes[index] as u64) << (index * 8);
        index += 1;
    }
    word
}

#[cfg(test)]
mod tests;

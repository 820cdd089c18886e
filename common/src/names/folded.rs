//! The table for names as CGI gives them.

use super::{MAX_PREFIXES, Names, Refused};
use crate::limits::MAX_NAMES;
use crate::words::equal_mask;

/// `word` with a hyphen for every underscore.
#[inline(always)]
#[must_use]
pub(crate) const fn fold(word: u64) -> u64 {
    word ^ ((equal_mask(word, b'_') >> 7) * (b'_' ^ b'-') as u64)
}

impl Names {
    /// The table of the same names with hyphens for underscores: CGI gives both
    /// as underscores (RFC 3875 §4.1.18). An entry's index stays the same.
    ///
    /// Where one name may stand for either of two entries then, and did not
    /// before, neither is in the table.
    ///
    /// # Errors
    /// [`Refused::NoSeed`], as [`Names::build`].
    pub fn folded(&self) -> Result<Self, Refused> {
        let mut table = *self;
        let all = (self.count as usize).min(MAX_NAMES);
        for entry in &mut table.entries[..all] {
            entry.words = entry.words.map(fold);
        }
        let mut refused = 0u64;
        for (one, other) in (0..all).flat_map(|one| (0..all).map(move |other| (one, other))) {
            if one != other && table.covers(one, other) && !self.covers(one, other) {
                refused |= 1 << one | 1 << other;
            }
        }
        for of_len in &mut table.by_len {
            *of_len &= !refused;
        }
        let prefixes = self.prefixes;
        table.prefixes = [0; MAX_PREFIXES];
        table.prefix_count = 0;
        for index in prefixes.into_iter().take(self.prefix_count as usize) {
            if refused >> index & 1 == 0 {
                table.prefixes[table.prefix_count as usize] = index;
                table.prefix_count += 1;
            }
        }
        table.pick_seed()?;
        Ok(table)
    }

    /// Whether the entry `one` matches all that the entry `other` does.
    fn covers(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.entries[one], &self.entries[other]);
        let pairs = one.words.iter().zip(one.mask).zip(other.words.iter().zip(other.mask));
        pairs.into_iter().all(|((word, mask), (other, given))| other & mask == *word && given & mask == mask)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::names::name_of;

    fn folded(names: &[&str]) -> Names {
        let groups: Vec<u64> = names.iter().map(|_| 0).collect();
        Names::build(names, &groups).expect("fits").folded().expect("fits")
    }

    fn find(table: &Names, name: &str) -> Option<u32> {
        table.find(&name_of(name.as_bytes()), name.len() as u32)
    }

    #[test]
    fn underscores_become_hyphens() {
        for byte in 0..=u8::MAX {
            let folded = if byte == b'_' { b'-' } else { byte };
            let word = |byte| u64::from_le_bytes([b'_', byte, b'a', byte, b'-', b'^', b'`', byte]);
            assert_eq!(fold(word(byte)) >> 8 & 0xff, u64::from(folded));
            assert_eq!(fold(word(byte)).to_le_bytes()[0], b'-');
        }
        let table = folded(&["x_tenant", "x-user-id", "ot_baggage_*"]);
        assert_eq!(find(&table, "x-tenant"), Some(0));
        assert_eq!(find(&table, "x-user-id"), Some(1));
        assert_eq!(find(&table, "ot-baggage-a"), Some(2));
        assert_eq!(find(&table, "x_tenant"), None, "names are folded before they are looked up");
    }

    #[test]
    fn names_that_become_one_are_refused() {
        let table = folded(&["x-a_b", "x-a-b", "x-a-c", "x_a_b"]);
        assert_eq!(find(&table, "x-a-b"), None);
        assert_eq!(find(&table, "x-a-c"), Some(2));
    }

    #[test]
    fn a_name_that_a_prefix_covers_only_now_is_refused_with_it() {
        let table = folded(&["x-a-*", "x_a_b", "y-*", "y-b"]);
        assert_eq!((find(&table, "x-a-b"), find(&table, "x-a-c")), (None, None));
        // These were so before, and the name wins.
        assert_eq!((find(&table, "y-b"), find(&table, "y-c")), (Some(3), Some(2)));
        let table = folded(&["x_*", "x-a-*", "z-*"]);
        assert_eq!((find(&table, "x-a-b"), find(&table, "x-b")), (None, None));
        assert_eq!(find(&table, "z-b"), Some(2));
    }
}

use proptest::prelude::*;

use super::*;

type Small = Words<18, 7>;

proptest! {
    #[test]
    fn masks_agree_with_bytes(bytes in any::<[u8; 8]>(), wanted in any::<u8>(), a in 0u8..0x80, b in 0u8..0x80) {
        let word = u64::from_le_bytes(bytes);
        let (low, high) = (a.min(b), a.max(b));
        for (index, byte) in bytes.iter().enumerate() {
            let bit = 0x80u64 << (index * 8);
            prop_assert_eq!(equal_mask(word, wanted) & bit != 0, *byte == wanted);
            prop_assert!((plain(word) & HIGH == 0) == bytes.iter().all(|byte| (0x20..=0x7e).contains(byte)));
            prop_assert_eq!(range_mask(word, low, high) & bit != 0, (low..=high).contains(byte));
        }
        prop_assert_eq!(lower(word).to_le_bytes(), bytes.map(|byte| byte.to_ascii_lowercase()));
        let position = bytes.iter().position(|byte| *byte == wanted).unwrap_or(8);
        prop_assert_eq!(first(equal_mask(word, wanted)), position as u32);
        prop_assert_eq!(first(first_equal(word, wanted)), position as u32);
        if position < 8 {
            prop_assert_eq!(first_marked(first_equal(word, wanted)), position as u32);
        }
    }

    #[test]
    fn put_and_at_are_inverse(offset in 0u32..56, value in any::<u64>(), before in any::<u64>()) {
        let mut words = Small::default();
        words.put(0, before);
        words.put(offset, value);
        prop_assert_eq!(words.at(offset), value);
        for index in 0..offset.min(8) {
            prop_assert_eq!(words.byte(index), before.to_le_bytes()[index as usize]);
        }
    }

    #[test]
    fn offsets_beyond_the_array_do_not_panic(offset in any::<u32>(), value in any::<u64>()) {
        let mut words = Small::default();
        words.put(offset, value);
        let _ = words.at(offset);
        let _ = words.byte(offset);
        let _ = words.at_after(offset, 8);
        words.put_after(offset, 8, value);
    }
}

#[test]
fn literals_are_little_endian() {
    assert_eq!(literal("ab"), 0x6261);
}

#[test]
fn keep_first_keeps_each_number_of_bytes() {
    for count in 0..=8 {
        assert_eq!(keep_first(literal("abcdefgh"), count), literal(&"abcdefgh"[..count as usize]), "{count}");
    }
}

#[test]
fn first_is_eight_where_nothing_is_marked() {
    assert_eq!(first(0), 8);
    assert_eq!(first(0x80), 0);
    assert_eq!(first(1 << 63), 7);
}

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::words::Words;

/// A context's lines: names and lengths.
fn lines(of: &[(u8, usize)]) -> (Lines, Vec<(u8, Vec<u8>)>) {
    let mut lines = Lines::default();
    let mut plain = Vec::new();
    let mut at = 0;
    for (index, (name, len)) in of.iter().enumerate() {
        let text: Vec<u8> = (0..*len).map(|byte| (index * 31 + byte) as u8 | 1).collect();
        for (offset, byte) in text.iter().enumerate() {
            lines.text.put((at + offset) as u32, u64::from(*byte));
        }
        at += len;
        lines.ends[index] = at as u16;
        lines.names[index] = *name;
        plain.push((*name, text));
    }
    (lines, plain)
}

/// Copies as the kernel side does; returns the text and the turns taken.
fn copied(from: &Lines, count: usize, skip: u64) -> (Vec<u8>, u32) {
    let mut to: Text = Words::default();
    to.as_words_mut().fill(u64::MAX);
    let mut select = Select::new(count as u32, skip);
    let mut turns = 1;
    while turn(&mut select, from, &mut to) {
        turns += 1;
        assert!(turns <= MAX_TURNS, "more turns than the kernel side takes");
    }
    ((0..select.len).map(|at| to.byte(at)).collect(), turns)
}

fn filtered(plain: &[(u8, Vec<u8>)], skip: u64) -> Vec<u8> {
    plain.iter().filter(|(name, _)| skip >> name & 1 == 0).flat_map(|(_, text)| text.clone()).collect()
}

#[test]
fn lines_of_names_to_skip_are_left_out() {
    let (from, plain) = lines(&[(0, 10), (63, 70), (5, 3), (0, 64), (7, 1)]);
    for skip in [0, 1, 1 << 63, 1 << 5 | 1 << 7, 1 << 2, u64::MAX] {
        assert_eq!(copied(&from, plain.len(), skip).0, filtered(&plain, skip), "{skip:#x}");
    }
}

#[test]
fn no_lines_are_no_text() {
    assert_eq!(copied(&Lines::default(), 0, 0), (Vec::new(), 1));
}

#[test]
fn lines_that_fill_their_memory_are_copied_as_they_are() {
    let short = [(1, MAX_LINES / MAX_LINE_COUNT); MAX_LINE_COUNT];
    let mut uneven = [(1, 1); MAX_LINE_COUNT];
    uneven[0].1 = MAX_LINES - MAX_LINE_COUNT + 1;
    for of in [&short[..], &uneven, &[(2, MAX_LINES)], &[(2, MAX_LINES - 1), (3, 1)]] {
        let (from, plain) = lines(of);
        assert_eq!(copied(&from, of.len(), 0).0, filtered(&plain, 0));
        assert_eq!(copied(&from, of.len(), 1 << 2).0, filtered(&plain, 1 << 2));
    }
}

#[test]
fn more_lines_than_there_can_be_do_no_harm() {
    let (from, _) = lines(&[(1, 1); MAX_LINE_COUNT]);
    assert_eq!(copied(&from, 1000, 0).0.len(), MAX_LINE_COUNT);
}

proptest! {
    #[test]
    fn copying_is_filtering(of in prop::collection::vec((0u8..64, 1usize..400), 0..MAX_LINE_COUNT), skip in any::<u64>(), all in any::<bool>()) {
        let fits = of.iter().scan(0, |sum, (_, len)| { *sum += len; Some(*sum) }).take_while(|sum| *sum <= MAX_LINES).count();
        let (from, plain) = lines(&of[..fits]);
        let skip = if all { 0 } else { skip };
        prop_assert_eq!(copied(&from, plain.len(), skip).0, filtered(&plain, skip));
    }
}

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn find(table: &Names, name: &str) -> Option<u32> {
    table.find(&name_of(name.as_bytes()), name.len() as u32)
}

#[test]
fn finds_names_and_prefixes() {
    let table = Names::build(&["traceparent", "ot-baggage-*", "b3", "ot-baggage-own"], &[0; 4]).expect("fits");
    assert_eq!(find(&table, "traceparent"), Some(0));
    assert_eq!(find(&table, "b3"), Some(2));
    assert_eq!(find(&table, "ot-baggage-x"), Some(1));
    assert_eq!(find(&table, "ot-baggage-own"), Some(3));
    assert_eq!(find(&table, "ot-baggage"), None);
    assert_eq!(find(&table, "traceparen"), None);
    assert_eq!(find(&table, "traceparents"), None);
}

#[test]
fn prefixes_of_every_length_match_only_what_begins_so() {
    for len in 1..=62 {
        let prefix = "p".repeat(len);
        let table = Names::build(&[&format!("{prefix}*")], &[0]).expect("fits");
        assert_eq!(find(&table, &format!("{prefix}q")), Some(0), "{len}");
        assert_eq!(find(&table, &format!("{}q", &prefix[1..])), None, "{len}");
    }
}

#[test]
fn groups_spread_to_all_members() {
    let table = Names::build(&["traceparent", "tracestate", "b3"], &[0b11, 0b11, 0]).expect("fits");
    assert_eq!(table.with_groups(0b10), 0b11);
    assert_eq!(table.with_groups(0b100), 0b100);
    assert_eq!(table.with_groups(0), 0);
}

#[test]
fn refuses_what_does_not_fit() {
    let long = "x".repeat(64);
    assert_eq!(Names::build(&[&long], &[0]).err(), Some(Refused::BadLength));
    assert_eq!(Names::build(&["*"], &[0]).err(), Some(Refused::BadLength));
    assert_eq!(Names::build(&["a"; 65], &[0; 65]).err(), Some(Refused::TooMany));
    assert_eq!(Names::build(&["a*"; 9], &[0; 9]).err(), Some(Refused::TooManyPrefixes));
}

#[test]
fn sixty_four_alike_names_are_all_found() {
    let names: Vec<String> = (0..64).map(|index| format!("x-header-{index:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let table = Names::build(&names, &[0; 64]).expect("fits");
    for (index, name) in names.iter().enumerate() {
        assert_eq!(find(&table, name), Some(index as u32));
    }
}

/// Whether a line that begins so is looked at.
fn looks_at(table: &Names, line: &str) -> bool {
    let mut window = Window::default();
    for (to, from) in window.as_words_mut().iter_mut().zip(name_of(line.as_bytes())) {
        *to = from;
    }
    table.may_begin(&window, 0, window.at(0), u8::MAX)
}

#[test]
fn only_lines_that_can_matter_are_looked_at() {
    let table = Names::build(&["traceparent", "b3", "x-a", "uberctx-*"], &[0; 4]).expect("fits");
    for line in ["TraceParent: 1", "b3: 1", "B3:1", "x-A: 1", "uberctx-a: 1", "Content-Length : 1", "Upgrade: a"] {
        assert!(looks_at(&table, line), "{line}");
    }
    assert!(!looks_at(&table, "Content-Type: text/plain"), "the ninth byte is another");
    let others = ["Host: a", "User-Agent: a", "Accept: a", "Cookie: a", "Referer: a", "Pragma: a", "Date: a"];
    // A hash lets some through; they are compared in full.
    assert!(others.iter().filter(|line| looks_at(&table, line)).count() < others.len() / 2);
    let any = Names::build(&["x*"], &[0]).expect("fits");
    assert!(looks_at(&any, "xy: 1") && looks_at(&any, "X-Long: 1"));
}

proptest! {
    #[test]
    fn names_are_always_looked_at(name in "[a-z-]{1,63}", value in "[ -~]{0,8}") {
        let table = Names::build(&[&name], &[0]).expect("fits");
        prop_assert!(looks_at(&table, &[name.to_uppercase(), ":".into(), value].concat()));
    }

    #[test]
    fn agrees_with_a_plain_search(names in prop::collection::hash_set("[a-z-]{1,63}", 1..40), probe in "[a-z-]{1,63}") {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let table = Names::build(&names, &std::vec![0; names.len()]).expect("fits");
        for (index, name) in names.iter().enumerate() {
            prop_assert_eq!(find(&table, name), Some(index as u32));
        }
        let expected = names.iter().position(|name| *name == probe).map(|index| index as u32);
        prop_assert_eq!(find(&table, &probe), expected);
    }
}

/// The window with `text` in it, and where.
fn window(text: &[u8]) -> (Window, u32) {
    const START: u32 = 67;
    let mut window = Window::default();
    for (index, byte) in text.iter().enumerate() {
        let at = START as usize + index;
        window.as_words_mut()[at / 8] |= u64::from(*byte) << (at % 8 * 8);
    }
    (window, START)
}

fn known(table: &Names, line: &str) -> Option<(u32, u32)> {
    let (window, start) = window(line.as_bytes());
    table.known(&window, start).map(|known| (known.index, known.len))
}

#[test]
fn framing_lines_are_always_known() {
    // Whatever else is configured: no other way recognises them.
    let names: Vec<String> = (0..64).map(|index| format!("name-{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let table = Names::build(&names, &[0; 64]).expect("fits");
    for (name, index) in crate::head::FRAMING_NAMES.iter().zip(FRAMING..) {
        let name = std::str::from_utf8(name).expect("ASCII");
        assert_eq!(known(&table, &format!("{name}: 1")), Some((index, name.len() as u32)));
        assert_eq!(known(&table, &format!("{}:", name.to_uppercase())), Some((index, name.len() as u32)));
        assert_eq!(known(&table, &format!("{name} : 1")), None);
        assert_eq!(known(&table, &format!("{name}x: 1")), None);
        assert_eq!(known(&table, &format!("{}: 1", &name[..name.len() - 1])), None);
    }
}

#[test]
fn names_up_to_the_longest_are_known() {
    for len in 3..=63 {
        let name: String = ('a'..='z').cycle().skip(len % 7).take(len).collect();
        let table = Names::build(&[&name], &[0]).expect("fits");
        assert_eq!(known(&table, &format!("{name}: value")), Some((0, len as u32)));
        for at in 0..len {
            let mut other = name.clone().into_bytes();
            other[at] ^= 1;
            let other = String::from_utf8(other).expect("ASCII");
            assert_eq!(known(&table, &format!("{other}: value")), None, "{other}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_known_is_what_find_finds(
        names in prop::collection::hash_set("[a-z][a-z0-9_-]{1,12}", 1..64), line in "[ -~]{0,14}", pick in any::<prop::sample::Index>(), upper in any::<u16>()
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let table = Names::build(&names, &[0; 64][..names.len()]).expect("fits");
        let mixed: String = pick.get(&names).chars().enumerate()
            .map(|(at, letter)| if upper >> (at % 16) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }).collect();
        for line in [format!("{mixed}: {line}"), format!("{mixed}{line}"), line] {
            if let Some((index, len)) = known(&table, &line) {
                let name = line[..len as usize].to_ascii_lowercase();
                prop_assert_eq!(&line[len as usize..][..1], ":");
                prop_assert_eq!(find(&table, &name).unwrap_or(index), index);
                prop_assert!(index >= FRAMING || names[index as usize] == name);
            }
        }
    }
}

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::names::name_of;
use crate::scan::CARRY;

/// A window with `text` at its input, and bytes behind it that mean something.
fn window(text: &[u8]) -> (Window, u32, u32) {
    let mut window = Window::default();
    let bytes: Vec<u8> = text.iter().copied().chain(*b"9:chunked GET ").collect();
    for (index, eight) in bytes.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..eight.len()].copy_from_slice(eight);
        window.put(CARRY + index as u32 * 8, u64::from_le_bytes(word));
    }
    (window, CARRY, CARRY + text.len() as u32)
}

#[test]
fn methods_are_capital_letters_up_to_a_space() {
    for (text, expected) in [
        ("GET /", Some(3)),
        ("A b", Some(1)),
        ("M-SEARCH *", Some(8)),
        ("BASELINE_CONTROL x", Some(16)),
        ("ABCDEFGHIJKLMNOPQRSTUVW x", Some(23)),
        ("ABCDEFGHIJKLMNOPQRSTUVWX x", None),
        // Too few to tell.
        ("", Some(0)),
        ("GET", Some(0)),
        ("ABCDEFGH", Some(0)),
        ("ABCDEFGHIJKLMNOPQRSTUVW", Some(0)),
        (" GET", None),
        ("Get /", None),
        ("GET1 /", None),
        ("GET\t/", None),
        ("GET\r\n", None),
    ] {
        let (window, start, end) = window(text.as_bytes());
        assert_eq!(method(&window, start, end - start), expected, "{text:?}");
    }
}

#[test]
fn numbers_are_decimal_with_whitespace_around_them() {
    for (text, expected) in [
        ("0", Some(0)),
        (" 17", Some(17)),
        ("\t17 \t", Some(17)),
        ("007", Some(7)),
        ("100000000000000000", Some(100_000_000_000_000_000)),
        ("", None),
        ("  ", None),
        ("1 2", None),
        ("1,1", None),
        ("+1", None),
        ("-1", None),
        ("0x10", None),
        ("1.0", None),
        ("18446744073709551617", None),
        // More whitespace than is looked at.
        ("                                        1", None),
    ] {
        let (window, start, end) = window(text.as_bytes());
        assert_eq!(decimal(&window, start, end), expected, "{text:?}");
    }
}

#[test]
fn chunk_sizes_are_hexadecimal() {
    for (text, expected) in [
        ("0", Some(0)),
        ("1aF", Some(0x1af)),
        ("00000a", Some(10)),
        ("5;name=value", Some(5)),
        ("5 ;name", Some(5)),
        ("5\t", Some(5)),
        ("fffffffffffffff", Some(0xfff_ffff_ffff_ffff)),
        ("", None),
        (";a", None),
        (" 5", None),
        ("0x5", None),
        ("-5", None),
        ("5\r", None),
        ("g", None),
        ("1000000000000000", None),
        ("00000000000000005", None),
    ] {
        let (window, start, end) = window(text.as_bytes());
        assert_eq!(chunk_size(&window, start, end), expected, "{text:?}");
    }
}

#[test]
fn chunked_must_be_the_last_coding() {
    for (text, expected) in [
        ("chunked", true),
        (" Chunked", true),
        ("gzip, CHUNKED \t", true),
        ("gzip,chunked", true),
        ("\tchunked", true),
        ("", false),
        ("chunke", false),
        ("xchunked", false),
        ("x-chunked", false),
        ("chunked, gzip", false),
        ("chunked;q=1", false),
        ("\"chunked\"", false),
        ("chunked         ", false),
    ] {
        let (window, start, end) = window(text.as_bytes());
        assert_eq!(ends_with_chunked(&window, start, end), expected, "{text:?}");
    }
}

#[test]
fn names_are_read_in_lower_case_up_to_the_colon() {
    let longest = "n".repeat(63);
    let longer = "n".repeat(64);
    for (line, expected) in [
        ("Host: a", "host"),
        ("X:", "x"),
        ("12345678:9", "12345678"),
        ("a:b:c", "a"),
        (&*format!("{longest}: a"), &*longest),
        ("no colon", ""),
        (": a", ""),
        ("", ""),
        (&*format!("{longer}: a"), ""),
    ] {
        let (window, start, end) = window(line.as_bytes());
        let mut read = [u64::MAX; 8];
        let len = name(&window, start, end, &mut read);
        assert_eq!(len as usize, expected.len(), "{line:?}");
        if len > 0 {
            assert_eq!(read, name_of(expected.as_bytes()), "{line:?}");
        }
    }
}

proptest! {
    #[test]
    fn decimal_agrees_with_the_standard_library(number in 0u64..1 << 56, before in "[ \t]{0,9}", after in "[ \t]{0,9}") {
        let (window, start, end) = window(format!("{before}{number}{after}").as_bytes());
        prop_assert_eq!(decimal(&window, start, end), Some(number));
    }

    #[test]
    fn chunk_size_agrees_with_httparse(line in "[0-9a-fA-F]{1,18}(;[a-z]{0,9})?") {
        let (window, start, end) = window(line.as_bytes());
        let expected = match httparse::parse_chunk_size(format!("{line}\r\n").as_bytes()) {
            Ok(httparse::Status::Complete((_, size))) if line.split(';').next().is_some_and(|size| size.len() < 16) => Some(size),
            _ => None,
        };
        prop_assert_eq!(chunk_size(&window, start, end), expected);
    }

    #[test]
    fn tokens_are_visible_characters(bytes in prop::collection::vec(prop_oneof![9 => b'!'..=b'~', 1 => any::<u8>()], 1..64)) {
        let expected = bytes.iter().all(u8::is_ascii_graphic);
        prop_assert_eq!(is_token(&name_of(&bytes), bytes.len() as u32), expected);
    }

    #[test]
    fn a_name_is_what_stands_before_the_colon(line in "[ -~]{0,90}") {
        let (window, start, end) = window(line.as_bytes());
        let mut read = Name::default();
        let len = name(&window, start, end, &mut read);
        let expected = line.find(':').filter(|at| *at < 64).unwrap_or(0);
        prop_assert_eq!(len as usize, expected);
        if len > 0 {
            let lower: String = line[..expected].to_ascii_lowercase();
            prop_assert_eq!(read, name_of(lower.as_bytes()));
        }
    }
}

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_LINE_COUNT;
use crate::scan::phase;

const NAMES: [&str; 5] = ["x-telepresence-id", "ot-baggage-*", "b3", "x_tenant", "traceparent"];

fn names() -> Names {
    Names::build(&NAMES, &[0; 5]).expect("fits")
}

/// Puts `bytes` into the window from byte `at` on, which begins a word.
fn put(window: &mut Window, at: u32, bytes: &[u8]) {
    for (word, bytes) in window.as_words_mut()[at as usize / 8..].iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0xff; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(whole);
    }
}

fn what(variable: &[u8]) -> (Variable, Name) {
    let (names, mut window, mut name) = (names(), Window::default(), Name::default());
    put(&mut window, 0, variable);
    let found = super::variable(&window, variable.len() as u32, &mut name, &names, &names.folded().expect("fits"));
    assert_eq!(Variable::from_raw(found.to_raw()), found);
    (found, name)
}

fn header(variable: &[u8]) -> Option<(u32, String)> {
    match what(variable) {
        (Variable::Header { index, len }, name) => {
            let bytes: Vec<u8> = name.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert!(bytes[len as usize..].iter().all(|byte| *byte == 0), "zero after its end");
            Some((index, String::from_utf8(bytes[..len as usize].to_vec()).expect("ASCII")))
        }
        _ => None,
    }
}

/// What is collected of `variables`, as the kernel side does it: lines, and bits of dropped names.
fn collect(variables: &[(Vec<u8>, Vec<u8>)]) -> (String, Vec<u8>, u64) {
    let names = names();
    let folded = names.folded().expect("fits");
    let (mut scan, mut turn, mut window) = (Scan::default(), Turn::default(), Window::default());
    let (mut lines, mut name) = (Lines::default(), Name::default());
    for (variable, value) in variables {
        put(&mut window, 0, &variable[..variable.len().min(VARIABLE_WORDS * 8)]);
        let found = super::variable(&window, variable.len() as u32, &mut name, &names, &folded);
        let Variable::Header { index, len } = found else { continue };
        if value.len() as u32 > MAX_VALUE {
            scan.drop_line(index);
            continue;
        }
        put(&mut window, VALUE_AT, value);
        begin_line(&mut scan, &mut turn, &mut window, &mut lines, (index, &mut name, len), value.len() as u32);
        let mut steps = 0;
        while scan.phase == phase::COPY {
            scan::copy_line(&mut scan, &mut turn, &window, &mut lines);
            steps += 1;
            assert!(steps <= MAX_LINES / 64 + 2);
        }
    }
    let bytes: Vec<u8> = lines.text.as_words().iter().flat_map(|word| word.to_le_bytes()).collect();
    let text = String::from_utf8(bytes[..scan.lines_len as usize].to_vec()).expect("ASCII");
    let ends = lines.ends[..scan.line_count as usize].iter().map(|end| usize::from(*end));
    assert_eq!(ends.max().unwrap_or_default(), text.len());
    (text, lines.names[..scan.line_count as usize].to_vec(), scan.dropped)
}

fn pair(name: &str, value: impl Into<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    (name.into(), value.into())
}

#[test]
fn headers_are_found_by_their_folded_names() {
    assert_eq!(header(b"HTTP_X_TELEPRESENCE_ID"), Some((0, "x-telepresence-id".into())));
    assert_eq!(header(b"HTTP_B3"), Some((2, "b3".into())));
    assert_eq!(header(b"HTTP_X_TENANT"), Some((3, "x_tenant".into())), "as it is configured");
    assert_eq!(header(b"HTTP_OT_BAGGAGE_USER_ID"), Some((1, "ot-baggage-user-id".into())));
    for other in ["HTTP_", "HTTP_B", "HTTP_B33", "B3", "http_b3", "HTTP-B3", "HTTP_OT_BAGGAGE", "X_TELEPRESENCE_ID", ""]
    {
        assert_eq!(what(other.as_bytes()).0, Variable::Other, "{other}");
    }
    assert_eq!(what(b"HTTP_OT_BAGGAGE_A B").0, Variable::Other, "no name of a header");
    let longest = format!("HTTP_OT_BAGGAGE_{}", "A".repeat(MAX_VARIABLE as usize - 16));
    assert!(header(longest.as_bytes()).is_some());
    assert_eq!(what(format!("{longest}A").as_bytes()).0, Variable::Other);
}

#[test]
fn the_others_of_interest_are_known() {
    assert_eq!(what(b"REQUEST_METHOD").0, Variable::Method);
    assert_eq!(what(b"REQUEST_URI").0, Variable::Target);
    assert_eq!(what(b"FCGI_ROLE").0, Variable::Role);
    for other in ["REQUEST_METHODS", "REQUEST_UR", "FCGI_ROLES", "FCGI_ROL", "REQUEST_"] {
        assert_eq!(what(other.as_bytes()).0, Variable::Other, "{other}");
    }
}

#[test]
fn lines_are_made_of_them() {
    let (text, names, dropped) = collect(&[
        pair("HTTP_X_TELEPRESENCE_ID", "dev1"),
        pair("HTTP_HOST", "shop"),
        pair("HTTP_X_TENANT", "a\tb  c"),
        pair("HTTP_OT_BAGGAGE_A", ""),
        pair("HTTP_B3", "0"),
    ]);
    assert_eq!(text, "x-telepresence-id: dev1\r\nx_tenant: a\tb  c\r\nb3: 0\r\n");
    assert_eq!((names, dropped), (Vec::from([0, 3, 2]), 0));
}

#[test]
fn values_that_are_no_text_or_too_long_are_dropped() {
    for bad in ["a\r\nx: y", "a\nb", "\0", "\u{7f}", "ü"] {
        let (text, _, dropped) = collect(&[pair("HTTP_B3", bad), pair("HTTP_TRACEPARENT", "1")]);
        assert_eq!((text.as_str(), dropped), ("traceparent: 1\r\n", 1 << 2), "{bad:?}");
    }
    let most = MAX_LINES - "b3: \r\n".len();
    for (len, fits) in [(most, true), (most + 1, false), (MAX_LINES, false), (MAX_LINES + 1, false), (9000, false)] {
        let (text, _, dropped) = collect(&[pair("HTTP_B3", "v".repeat(len))]);
        assert_eq!((text.is_empty(), dropped), (!fits, if fits { 0 } else { 1 << 2 }), "{len}");
    }
    let many: Vec<_> = (0..MAX_LINE_COUNT + 1).map(|at| pair(&format!("HTTP_OT_BAGGAGE_{at}"), "v")).collect();
    let (_, names, dropped) = collect(&many);
    assert_eq!((names.len(), dropped), (MAX_LINE_COUNT, 1 << 1));
}

/// The same by other means.
fn expected(variables: &[(Vec<u8>, Vec<u8>)]) -> (String, u64) {
    let (mut text, mut dropped) = (String::new(), 0u64);
    for (variable, value) in variables {
        let Some(name) = variable.strip_prefix(b"HTTP_") else { continue };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
        let found = NAMES.iter().position(|configured| match configured.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == configured.replace('_', "-"),
        });
        let Some(index) = found.filter(|_| variable.len() <= MAX_VARIABLE as usize) else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_graphic()) || dropped >> index & 1 == 1 {
            continue;
        }
        if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            dropped |= 1 << index;
        } else if value.iter().any(|byte| !byte.is_ascii_whitespace()) {
            let name = if NAMES[index].ends_with('*') { name } else { NAMES[index].into() };
            text += &format!("{name}: {}\r\n", String::from_utf8_lossy(value));
        }
    }
    (text, dropped)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(&[
        "HTTP_X_TELEPRESENCE_ID",
        "HTTP_OT_BAGGAGE_",
        "HTTP_B3",
        "HTTP_X_TENANT",
        "HTTP_TRACEPARENT",
        "HTTP_X_TELEPRESENCE",
        "HTTP_",
        "REQUEST_URI",
    ]);
    (known, prop_oneof![5 => Just(""), 1 => Just("_A"), 1 => Just("\u{1}"), 1 => Just("-b")])
        .prop_map(|(name, more)| format!("{name}{more}").into_bytes())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[ -~\t]{0,80}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    #[test]
    fn any_variables(variables in prop::collection::vec((name(), value()), 0..20)) {
        let (text, _, dropped) = collect(&variables);
        prop_assert_eq!((text, dropped), expected(&variables));
    }

    #[test]
    fn any_bytes(name in prop::collection::vec(any::<u8>(), 0..90), value in prop::collection::vec(any::<u8>(), 0..200)) {
        let (text, names, _) = collect(&[(name, value)]);
        prop_assert!(text.is_empty() == names.is_empty());
    }
}

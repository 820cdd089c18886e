//! FastCGI variables: which are headers, under any configured names; and what becomes of their values.
#![no_main]

use baton_common::cgi::{self, MAX_VALUE, MAX_VARIABLE, VALUE_AT, Variable};
use baton_common::names::{Name, Names};
use baton_common::scan::{self, Lines, Scan, Turn, Window, phase};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (Some(names), Some(variable), Some(value)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Ok(names) = std::str::from_utf8(names) else { return };
    let names: Vec<&str> = names.split(',').collect();
    if !names.iter().all(|name| baton_fuzz::is_name(name)) {
        return;
    }
    let Ok(table) = Names::build(&names, &vec![0; names.len()]) else { return };
    let Ok(folded) = table.folded() else { return };
    let (mut window, mut name) = (Window::default(), Name::default());
    put(&mut window, 0, &variable[..variable.len().min(MAX_VARIABLE as usize)]);
    let found = cgi::variable(&window, variable.len() as u32, &mut name, &table, &folded);
    assert_eq!(Variable::from_raw(found.to_raw()), found);
    let Variable::Header { index, len } = found else { return };
    // RFC 3875 §4.1.18: upper case, hyphens as underscores.
    let of_variable = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let expected: Vec<u8> = variable.strip_prefix(b"HTTP_").expect("a header").iter().map(of_variable).collect();
    let bytes: Vec<u8> = name.iter().flat_map(|word| word.to_le_bytes()).take(len as usize).collect();
    let fold = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('_', "-");
    assert_eq!(fold(&bytes), fold(&expected));
    let configured = names[index as usize];
    match configured.strip_suffix('*') {
        Some(prefix) => assert!(bytes.starts_with(prefix.as_bytes()), "{configured}"),
        None => assert_eq!(bytes, configured.as_bytes()),
    }
    if value.len() > MAX_VALUE as usize {
        return;
    }
    let (mut scan, mut turn, mut lines) = (Scan::default(), Turn::default(), Lines::default());
    put(&mut window, VALUE_AT, value);
    cgi::begin_line(&mut scan, &mut turn, &mut window, &mut lines, (index, &mut name, len), value.len() as u32);
    while scan.phase == phase::COPY {
        scan::copy_line(&mut scan, &mut turn, &window, &mut lines);
    }
    // An empty value is not worth a line.
    if scan.dropped == 0 && scan.lines_len != 0 {
        let line: Vec<u8> = lines.text.as_words().iter().flat_map(|word| word.to_le_bytes()).collect();
        let line = &line[..scan.lines_len as usize];
        let expected = [&bytes, &b": "[..], value, b"\r\n"].concat();
        assert_eq!(line, expected);
        assert!(value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "an illegal value was taken");
    }
});

/// Puts `bytes` into the window from byte `at` on, which begins a word.
fn put(window: &mut Window, at: u32, bytes: &[u8]) {
    for (word, bytes) in window.as_words_mut()[at as usize / 8..].iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0xff; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(whole);
    }
}

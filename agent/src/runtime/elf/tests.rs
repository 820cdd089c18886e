use std::time::{Duration, Instant};

use super::*;

/// More than enough for any of these, and far less than what the same takes without a limit.
const SOON: Duration = Duration::from_secs(20);

/// Sizes in ELF-64 files (elf(5)).
const HEADER: usize = 64;
const SECTION: usize = 64;
const SEGMENT: usize = 56;
const SYMBOL: usize = 24;

/// A part of a file: its name, kind, content, size of an entry, and the number of the section that goes with it.
struct Part {
    name: u32,
    kind: u32,
    content: Vec<u8>,
    entry: u64,
    link: u32,
}

/// An ELF file of these sections, the last of which names them, and of so many segments that are all of it.
fn file(parts: &[Part], segments: u16) -> Vec<u8> {
    let mut data = vec![0; HEADER];
    let program = data.len();
    data.resize(program + usize::from(segments) * SEGMENT, 0);
    let mut table = vec![0; SECTION];
    for part in parts {
        let mut section = Vec::new();
        section.extend(part.name.to_le_bytes());
        section.extend(part.kind.to_le_bytes());
        // Flags and address.
        section.extend([0; 16]);
        section.extend((data.len() as u64).to_le_bytes());
        section.extend((part.content.len() as u64).to_le_bytes());
        section.extend(part.link.to_le_bytes());
        section.extend([0; 12]);
        section.extend(part.entry.to_le_bytes());
        table.extend(section);
        data.extend(&part.content);
    }
    let sections = data.len();
    data.extend(table);
    // 64 bits, little endian; a shared library for x86-64.
    data[..20].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 0]);
    let count = u16::try_from(parts.len() + 1).expect("few sections");
    for (at, value) in [(32, program), (40, sections)] {
        data[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
    }
    let counts = [HEADER as u16, SEGMENT as u16, segments, SECTION as u16, count, count - 1];
    data[52..64].copy_from_slice(&counts.map(u16::to_le_bytes).concat());
    for number in 0..usize::from(segments) {
        let at = program + number * SEGMENT;
        // PT_LOAD
        data[at] = 1;
        let size = (data.len() as u64).to_le_bytes();
        for field in [32, 40] {
            data[at + field..at + field + 8].copy_from_slice(&size);
        }
    }
    data
}

const SYMBOLS: u32 = 11;
const STRINGS: u32 = 3;

/// Names of sections.
fn names(text: &[u8]) -> Part {
    Part { name: 1, kind: STRINGS, content: [b"\0", text, b"\0"].concat(), entry: 0, link: 0 }
}

/// A library with so many symbols, all of the same name.
fn library(name: &[u8], symbols: usize) -> Vec<u8> {
    let mut symbol = [0; SYMBOL];
    // Its name is the first; it is a function of section 1.
    (symbol[0], symbol[4], symbol[6]) = (1, 0x12, 1);
    let all = [vec![0; SYMBOL], symbol.repeat(symbols)].concat();
    let symbols = Part { name: 1, kind: SYMBOLS, content: all, entry: SYMBOL as u64, link: 2 };
    file(&[symbols, names(name), names(b"")], 1)
}

#[test]
fn symbols_are_found() {
    let data = library(b"here", 3);
    let library = Executable::parse(&data).expect("an ELF file");
    assert_eq!(library.exported("here"), Some((0, 0)));
    assert_eq!(library.exported("there"), None);
}

#[test]
fn many_symbols_with_one_long_name_take_no_time() {
    let data = library(&vec![b'x'; 4 << 20], 500_000);
    let library = Executable::parse(&data).expect("an ELF file");
    let start = Instant::now();
    assert_eq!(library.exported("epoll_wait"), None);
    assert!(!library.imports("epoll_wait") && library.functions(&["epoll_wait"]).is_empty());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn files_with_more_parts_than_any_program_has_are_none() {
    let sections: Vec<Part> = (0..1000).map(|_| Part { content: Vec::new(), ..names(b"") }).collect();
    let long = vec![b'x'; MOST_SECTION_NAMES];
    let all = |text: &[u8]| {
        file(
            &sections
                .iter()
                .map(|_| Part { content: Vec::new(), ..names(b"") })
                .chain([names(text)])
                .collect::<Vec<_>>(),
            1,
        )
    };
    assert!(Executable::parse(&all(b"short")).is_some());
    assert!(Executable::parse(&all(&long)).is_none(), "names of sections");
    let segments = |count| file(&[names(b"")], count);
    assert!(Executable::parse(&segments(100)).is_some());
    assert!(Executable::parse(&segments(60_000)).is_none(), "segments");
}

#[test]
fn code_of_a_huge_function_is_not_looked_at() {
    let data = library(b"here", 1);
    let library = Executable::parse(&data).expect("an ELF file");
    assert_eq!(library.code(Function { offset: 0, size: 64 }).map(<[u8]>::len), Some(64));
    let huge = vec![0; 2 * LONGEST_FUNCTION as usize];
    let data = file(&[names(&huge)], 1);
    let library = Executable::parse(&data).expect("an ELF file");
    assert_eq!(library.code(Function { offset: 0, size: LONGEST_FUNCTION + 1 }), None);
}

//! Any configured names against any head: what is taken is a line of the head and of its name, and every line with a
//! configured name was seen.
#![no_main]

use baton_common as baton;
use baton_common::names::Names;
use libfuzzer_sys::fuzz_target;

#[path = "../../common/src/scan/tests/checks.rs"]
mod checks;
#[path = "../../common/src/scan/tests/driver.rs"]
mod driver;

use driver::{Found, Stream};

/// Below what a window holds.
const MOST: usize = 7000;

fuzz_target!(|input: &[u8]| {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(names) = std::str::from_utf8(&input[..at]) else { return };
    let names: Vec<&str> = names.split(',').collect();
    if !names.iter().all(|name| baton_fuzz::is_name(name)) {
        return;
    }
    let Ok(table) = Names::build(&names, &vec![0; names.len()]) else { return };
    let lines = &input[at + 1..];
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    head.extend(&lines[..lines.len().min(MOST)]);
    head.extend(b"\r\n\r\n");
    let mut taken = Stream::requests(&table, true);
    taken.event(&[&head]);
    if let Err(line) = checks::verbatim(&taken, &head, &names) {
        panic!("{line}");
    }
    // As in what an application sends: an empty value counts, too.
    let mut stream = Stream::requests(&table, false);
    stream.event(&[&head]);
    let Some(Found::Head(found)) = stream.found.first() else { return };
    let seen = found.present | found.dropped;
    for line in head[..found.end].split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let is_it = |name: &&str| name.as_bytes() == line[..colon].to_ascii_lowercase();
        if let Some(index) = names.iter().position(|name| is_it(&name)) {
            assert!(seen >> index & 1 == 1, "{:?} was not seen", String::from_utf8_lossy(line));
        }
    }
});

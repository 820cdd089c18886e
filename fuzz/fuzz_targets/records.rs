//! Lines of flow events, from files and from the control socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|line: &str| baton_fuzz::record(line));

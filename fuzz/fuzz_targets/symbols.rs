//! Executable files and libraries of workloads: their symbols, Go's tables, and the code that is looked at.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baton_fuzz::symbols(data));

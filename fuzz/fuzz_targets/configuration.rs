//! Configuration files.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| baton_fuzz::configuration(text));

//! libFuzzer's entry to `fuzzed::listener`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::listener::run(input));

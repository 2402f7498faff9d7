//! libFuzzer's entry to `fuzzed::fleet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::fleet::run(input));

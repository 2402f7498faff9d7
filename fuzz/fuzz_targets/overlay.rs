//! libFuzzer's entry to `fuzzed::overlay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::overlay::run(input));

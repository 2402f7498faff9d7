//! libFuzzer's entry to `fuzzed::engine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::engine::run(input));

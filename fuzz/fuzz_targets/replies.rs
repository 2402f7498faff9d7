//! libFuzzer's entry to `fuzzed::replies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::replies::run(input));

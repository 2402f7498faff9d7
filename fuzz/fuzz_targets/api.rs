//! libFuzzer's entry to `fuzzed::api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::api::run(input));

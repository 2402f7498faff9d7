//! libFuzzer's entry to `fuzzed::inbox_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::inbox_file::run(input));

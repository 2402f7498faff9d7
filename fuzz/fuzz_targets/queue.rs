//! libFuzzer's entry to `fuzzed::queue_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::queue_file::run(input));

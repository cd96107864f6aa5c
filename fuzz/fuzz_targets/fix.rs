//! See `parqueduct_fuzz::fix::fix`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::fix::fix(input));

//! See `parqueduct_fuzz::json::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::json::json(input));

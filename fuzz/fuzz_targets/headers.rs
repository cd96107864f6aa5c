//! See `parqueduct_fuzz::headers::headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::headers::headers(input));

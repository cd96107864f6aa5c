//! See `parqueduct_fuzz::content::content`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::content::content(input));

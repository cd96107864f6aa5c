//! See `parqueduct_fuzz::registry::registry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::registry::registry(input));

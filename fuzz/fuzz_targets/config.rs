//! See `parqueduct_fuzz::config::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::config::config(input));

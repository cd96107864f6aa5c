//! See `parqueduct_fuzz::pointer::pointer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::pointer::pointer(input));

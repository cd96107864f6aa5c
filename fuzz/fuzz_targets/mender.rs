//! See `parqueduct_fuzz::mender::mender`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::mender::mender(input));

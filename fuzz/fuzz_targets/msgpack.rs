//! See `parqueduct_fuzz::msgpack::msgpack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::msgpack::msgpack(input));

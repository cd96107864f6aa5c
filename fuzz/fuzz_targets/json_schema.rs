//! See `parqueduct_fuzz::json_schema::json_schema`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::json_schema::json_schema(input));

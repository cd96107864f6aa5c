//! See `parqueduct_fuzz::avro::avro_schema`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::avro::avro_schema(input));

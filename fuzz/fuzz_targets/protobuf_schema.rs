//! See `parqueduct_fuzz::protobuf::protobuf_schema`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::protobuf::protobuf_schema(input));

//! See `parqueduct_fuzz::protobuf::protobuf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::protobuf::protobuf(input));

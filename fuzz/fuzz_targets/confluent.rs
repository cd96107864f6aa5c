//! See `parqueduct_fuzz::confluent::confluent`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::confluent::confluent(input));

//! See `parqueduct_fuzz::cloud_events::cloud_events`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parqueduct_fuzz::cloud_events::cloud_events(input));

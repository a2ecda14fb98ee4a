//! `properties::proto_to_lime` with any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| deskgate_fuzz::proto_to_lime(bytes));

//! `properties::node` with any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| deskgate_fuzz::node(bytes));

//! See `dissector::fuzzing::session`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dissector::fuzzing::session(bytes));

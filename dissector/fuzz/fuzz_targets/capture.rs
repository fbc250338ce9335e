//! See `dissector::fuzzing::capture`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dissector::fuzzing::capture(bytes));

//! See `dissector::fuzzing::tls`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dissector::fuzzing::tls(bytes));

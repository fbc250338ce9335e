//! See `dissector::fuzzing::reassembly`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dissector::fuzzing::reassembly(bytes));

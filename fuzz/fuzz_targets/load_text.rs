//! A line of an access log, and a URL: see `lab::fuzzing::text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lab::fuzzing::text(bytes));

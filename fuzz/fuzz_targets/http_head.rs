//! Any bytes as a request head: see `router::fuzzing::http_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| router::fuzzing::http_head(bytes));

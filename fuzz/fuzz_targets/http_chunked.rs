//! Any bytes as a chunked body: see `router::fuzzing::http_chunked`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| router::fuzzing::http_chunked(bytes));

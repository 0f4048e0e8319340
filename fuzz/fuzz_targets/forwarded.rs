//! Any bytes as forwarding fields: see `router::fuzzing::forwarded`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| router::fuzzing::forwarded(bytes));

//! What a server may answer to the load generator: see `lab::fuzzing::response`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lab::fuzzing::response(bytes));

//! Any bytes as what a worker says, against a running router: see `router::fuzzing::worker_protocol`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| router::fuzzing::worker_protocol(bytes));

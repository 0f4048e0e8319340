//! Any bytes as a configuration file: see `config::fuzzing::file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    config::fuzzing::file(bytes);
});

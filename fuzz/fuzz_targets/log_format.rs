//! The engine's way into the target `log_format`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("log_format", input));

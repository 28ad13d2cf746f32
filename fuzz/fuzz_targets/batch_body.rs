//! The engine's way into the target `batch_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("batch_body", input));

//! The engine's way into the target `json_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("json_body", input));

//! The engine's way into the target `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("properties", input));

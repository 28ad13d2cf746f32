//! The engine's way into the target `typed_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("typed_header", input));

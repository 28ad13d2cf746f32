//! The engine's way into the target `frame_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("frame_header", input));

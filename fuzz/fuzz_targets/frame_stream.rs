//! The engine's way into the target `frame_stream`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("frame_stream", input));

//! The engine's way into the target `tag_filter`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("tag_filter", input));

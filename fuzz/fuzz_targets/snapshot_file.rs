//! The engine's way into the target `snapshot_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("snapshot_file", input));

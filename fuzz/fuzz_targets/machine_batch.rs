//! The engine's way into the target `machine_batch`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("machine_batch", input));

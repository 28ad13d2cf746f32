//! The engine's way into the target `machine_apply`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("machine_apply", input));

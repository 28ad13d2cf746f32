//! The engine's way into the target `message_id`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("message_id", input));

//! The engine's way into the target `peer_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| timbermq_fuzz::run("peer_message", input));

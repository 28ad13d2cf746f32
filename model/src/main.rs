//! Explores the specifications with both engines.

fn main() {}

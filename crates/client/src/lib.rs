//! A small Rust client for the command line, tests and bench.

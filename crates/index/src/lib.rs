//! The RocksDB store behind the state machine.

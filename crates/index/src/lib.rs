//! The state machine's store on disk: RocksDB under an overlay in memory.
//!
//! Applying an entry writes to memory only. Once in a while the overlay is frozen and written as one batch, in the
//! background and without RocksDB's own log: what a crash loses is applied again from the CommitLog. The batch includes the
//! row that says which entry it goes up to, so that the store is never in between.
//!
//! Everything here can be rebuilt: a damaged index directory may be deleted.

mod options;
mod overlay;
mod store;

pub use options::IndexOptions;
pub use store::RocksStore;

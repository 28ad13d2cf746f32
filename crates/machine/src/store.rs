//! The port to the ordered key-value store behind the machine.

use bytes::Bytes;
use thiserror::Error;
use timbermq_types::LogId;

/// The store failed. The state it holds can no longer be trusted to advance: the owner must stop.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("the index store failed: {0}")]
    Failed(String),
    /// What was read cannot have been written.
    #[error(
        "the index store is damaged ({0}); stop the broker and delete its index directory: it is rebuilt from the log"
    )]
    Damaged(String),
}

/// Rows by key, in byte order of the keys.
///
/// Writes go to memory at once and are seen by every later read. They reach the disk in two steps that the owner drives:
/// [`rotate`](Store::rotate) freezes what was written since the last time, [`write_frozen`](Store::write_frozen) writes the
/// frozen part in one atomic step. After a crash the store is exactly as it was at some rotation, never older than the last
/// one written with `sync`.
pub trait Store: Send + Sync {
    /// The value of `key`. May read the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Whether [`get`](Store::get) of `key` is answered from memory.
    fn is_cached(&self, key: &[u8]) -> bool;

    /// Visits the rows with `from <= key < to` in order until `visit` returns `false`. May read the disk. Rows written
    /// while it runs may or may not be seen.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;

    /// Sets the value of `key`. Memory only.
    fn put(&self, key: &[u8], value: Bytes);

    /// Removes `key` if it is there. Memory only.
    fn delete(&self, key: &[u8]);

    /// Removes the rows with `from <= key < to`. Memory only.
    fn delete_range(&self, from: &[u8], to: &[u8]);

    /// Freezes what was written since the last rotation. `false`, and nothing done, while an earlier frozen part is not
    /// written yet. To be called between two entries only, which [`Machine::rotate`](crate::Machine::rotate) sees to.
    fn rotate(&self) -> bool;

    /// Whether a frozen part waits to be written.
    fn has_frozen(&self) -> bool;

    /// Writes the frozen part, if there is one, in one atomic step; with `sync`, returns only when everything written so
    /// far survives a power cut. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`]; the frozen part stays readable.
    fn write_frozen(&self, sync: bool) -> Result<(), StoreError>;

    /// Bytes in memory that are not handed to the disk yet.
    fn dirty_bytes(&self) -> usize;

    /// The applied entry that survives a power cut: replay starts behind it.
    fn durable_applied(&self) -> Option<LogId>;
}

//! What can be chosen about a log.

use std::time::Duration;

use timbermq_types::Durability;

use crate::segment::HEADER_BYTES;

/// Smallest segment size accepted. Configuration asks for far more; tests want many segments from few bytes.
pub const SEGMENT_BYTES_MIN: u64 = 2 * HEADER_BYTES;

/// How one replica keeps its log. Nothing here changes positions, so replicas may differ.
#[derive(Clone, Debug, PartialEq)]
pub struct LogOptions {
    /// Name of the broker group. A directory written for another group is refused.
    pub group: String,
    /// Size of a segment file in bytes, its 4 KiB header included.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory. Entries not yet written are kept beyond it.
    pub cache_bytes: usize,
    /// Bytes of entries read back from disk kept in memory, for readers of neighbouring records.
    pub cold_cache_bytes: usize,
    /// When an append counts as done.
    pub durability: Durability,
    /// How far ahead of the write position the active segment is filled with zeros, in bytes. 0 switches it off.
    pub fill_ahead_bytes: u64,
    /// Purged segment files kept for reuse.
    pub spare_segments_max: usize,
    /// With [`Durability::QuorumMemory`]: longest time between two syncs while there is something to sync.
    pub sync_interval: Duration,
    /// With [`Durability::QuorumMemory`]: most bytes written and not synced; the writer then waits for the disk.
    pub unsynced_bytes_max: u64,
    /// Above this many queued bytes [`CommitLog::is_overloaded`](crate::CommitLog::is_overloaded) tells proposers to refuse.
    pub queue_bytes_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            group: String::new(),
            segment_bytes: 1 << 30,
            cache_bytes: 64 << 20,
            cold_cache_bytes: 64 << 20,
            durability: Durability::QuorumFsync,
            fill_ahead_bytes: 32 << 20,
            spare_segments_max: 2,
            sync_interval: Duration::from_millis(200),
            unsynced_bytes_max: 64 << 20,
            queue_bytes_max: 64 << 20,
        }
    }
}

impl LogOptions {
    /// Says what is wrong with the options, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.segment_bytes < SEGMENT_BYTES_MIN {
            return Some(format!("segment_bytes is {}; at least {SEGMENT_BYTES_MIN} are needed", self.segment_bytes));
        }
        if !self.segment_bytes.is_multiple_of(8) {
            return Some(format!("segment_bytes is {}, which is not a multiple of 8", self.segment_bytes));
        }
        None
    }
}

//! Snapshots on the wire: a head, chunks, and the order to install. Nothing is handed to the engine before it is whole and
//! agrees with its head, because a failing installation would stop the replica.

use bytes::{Bytes, BytesMut};
use timbermq_machine::Snapshot;

use crate::peer::message::SnapshotHead;
use crate::state_machine::meta_of;

/// Bytes of one chunk.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// Longest snapshot accepted. The small state of a group is far below.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// A snapshot being received.
#[derive(Default)]
pub(crate) struct Incoming {
    head: Option<SnapshotHead>,
    bytes: BytesMut,
}

impl Incoming {
    /// Begins anew.
    pub fn start(&mut self, head: SnapshotHead) -> Result<(), String> {
        *self = Self::default();
        if head.len > SNAPSHOT_BYTES_MAX {
            return Err(format!("a snapshot of {} bytes; at most {SNAPSHOT_BYTES_MAX} are accepted", head.len));
        }
        self.head = Some(head);
        Ok(())
    }

    pub fn chunk(&mut self, offset: u64, bytes: &Bytes) -> Result<(), String> {
        let head = self.head.as_ref().ok_or("a chunk without a head")?;
        let at = self.bytes.len() as u64;
        if offset != at || bytes.len() > CHUNK_BYTES || at + bytes.len() as u64 > head.len {
            return Err(format!("a chunk of {} bytes at {offset} where {at} of {} have come", bytes.len(), head.len));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The snapshot, when all of it came and it is what its head says.
    pub fn finish(&mut self) -> Result<(SnapshotHead, Snapshot), String> {
        let Self { head, bytes } = std::mem::take(self);
        let head = head.ok_or("no snapshot was sent")?;
        if bytes.len() as u64 != head.len {
            return Err(format!("{} of {} bytes have come", bytes.len(), head.len));
        }
        if crc32fast::hash(&bytes) != head.crc {
            return Err("its CRC does not match".into());
        }
        let snapshot = Snapshot::from_dump(bytes.freeze()).map_err(|error| error.to_string())?;
        if snapshot.end != head.position {
            return Err("it ends elsewhere than its head says".into());
        }
        if meta_of(&snapshot).map_err(|error| error.to_string())? != head.meta {
            return Err("its head names another entry or membership than it contains".into());
        }
        // The engine asserts this and would take the replica down with it.
        let term = head.meta.last_log_id.map_or(0, |id| *id.leader_id);
        if term > head.vote.leader_id.term || !head.vote.committed {
            return Err("it is newer than the leader that sent it".into());
        }
        Ok((head, snapshot))
    }
}

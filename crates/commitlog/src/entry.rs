//! What the log stores and what it says about it.

use std::io;

use timbermq_types::{LogId, LogPosition, NodeId, Term};

use crate::summed::Summed;

/// What an entry's payload is. The log itself treats all kinds alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Nothing: a new leader's first entry.
    Blank = 0,
    /// Commands for the state machine.
    Normal = 1,
    /// A membership of the group.
    Membership = 2,
}

impl EntryKind {
    /// From the byte on disk.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(EntryKind::Blank),
            1 => Some(EntryKind::Normal),
            2 => Some(EntryKind::Membership),
            _ => None,
        }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Term and index.
    pub id: LogId,
    /// What the payload is.
    pub kind: EntryKind,
    /// Opaque bytes, at most [`ENTRY_BYTES_MAX`](timbermq_types::limits::ENTRY_BYTES_MAX).
    pub payload: Summed,
}

impl Entry {
    /// CRC-32 of kind and payload, for comparing what replicas hold.
    #[must_use]
    pub fn digest(&self) -> u32 {
        digest(self.kind, &self.payload)
    }
}

/// What [`Entry::digest`] gives for an entry of this kind and payload.
#[must_use]
pub fn digest(kind: EntryKind, payload: &Summed) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind as u8]);
    payload.update(&mut crc);
    crc.finalize()
}

/// An entry and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The entry.
    pub entry: Entry,
    /// Position of the payload's first byte.
    pub position: LogPosition,
    /// Position of the first byte after the entry's frame: where the next frame starts.
    pub end: LogPosition,
}

/// The hard state that must be durable before a replica answers: what it voted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Term voted in.
    pub term: Term,
    /// Candidate voted for.
    pub node: Option<NodeId>,
    /// Whether a quorum granted it, so that the node leads the term.
    pub committed: bool,
}

/// Called once on the writer thread with the outcome. Must not block.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A segment file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Position of its first frame; also its file name.
    pub base: LogPosition,
    /// Position after its last written frame.
    pub end: LogPosition,
    /// Its first entry, when it has one.
    pub first: Option<LogId>,
    /// Its last written entry, when it has one.
    pub last: Option<LogId>,
}

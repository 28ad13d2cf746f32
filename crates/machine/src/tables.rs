//! All tables together, and what a room needs while a command is applied.

use bytes::Bytes;
use timbermq_bugs::{Bug, planted};
use timbermq_types::UnixMillis;

use crate::codec::CodecError;
use crate::group::Groups;
use crate::key_index::KeyIndex;
use crate::meta::Meta;
use crate::offset::Offsets;
use crate::order::Locks;
use crate::queue::Queues;
use crate::reply::Effect;
use crate::retention::{DumpWriter, Retention};
use crate::store::{Store, StoreError};
use crate::topic::Topics;

/// What a room needs while a command is applied.
pub(crate) struct Tx<'a> {
    /// The entry's time.
    pub at: UnixMillis,
    /// The time before the entry.
    pub previous_at: UnixMillis,
    pub store: &'a dyn Store,
    pub effects: &'a mut Vec<Effect>,
}

/// The state in memory.
#[derive(Debug)]
pub(crate) struct Tables {
    pub meta: Meta,
    pub topics: Topics,
    pub queues: Queues,
    pub groups: Groups,
    pub offsets: Offsets,
    pub locks: Locks,
    pub keys: KeyIndex,
    pub retention: Retention,
}

impl Tables {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self {
            meta: Meta::load(store)?,
            topics: Topics::load(store)?,
            queues: Queues::load(store)?,
            groups: Groups::load(store)?,
            offsets: Offsets::load(store)?,
            locks: Locks::load(store)?,
            keys: KeyIndex::load(store)?,
            retention: Retention::load(store)?,
        })
    }

    /// Writes the rows that are held back because they change with every entry.
    pub fn flush(&mut self, store: &dyn Store) {
        if !planted(Bug::AppliedApart) {
            self.meta.flush(store);
        }
        self.queues.flush(store);
        self.offsets.flush(store);
        self.keys.flush(store);
    }

    /// The small state without what depends on when a replica started: minimum offsets, marks, the snapshot.
    pub fn dump(&self) -> Bytes {
        self.dump_with(true)
    }

    /// The same, for a mark.
    pub fn dump_to_keep(&self) -> Bytes {
        self.dump_with(!planted(Bug::SnapshotWithoutOffsets))
    }

    fn dump_with(&self, offsets: bool) -> Bytes {
        let mut dump = DumpWriter::new();
        self.meta.dump(&mut dump);
        self.topics.dump(&mut dump);
        self.queues.dump(&mut dump);
        self.groups.dump(&mut dump);
        if offsets {
            self.offsets.dump(&mut dump);
            self.locks.dump(&mut dump);
        }
        self.keys.dump(&mut dump);
        dump.finish()
    }

    /// Says what is wrong with these as a state to start from. Numbers that only ever grow have to leave room to.
    pub fn check_start(&self) -> Result<(), &'static str> {
        self.meta.check_start()?;
        self.topics.version().check_start()?;
        self.groups.version().check_start()?;
        self.queues.check_start()?;
        self.keys.check_start()
    }

    pub fn dirty_bytes(&self) -> usize {
        self.queues.dirty_bytes() + self.keys.dirty_bytes()
    }
}

/// The largest index, position, offset or count of changes that a group can have come to: they are signed on the wire.
pub(crate) const REACHED_MAX: u64 = i64::MAX as u64;
/// The same of queues ever made and of runs ever filled, which have 32 bits.
pub(crate) const MADE_MAX: u32 = i32::MAX as u32;

pub(crate) fn damaged(what: &str, error: &CodecError) -> StoreError {
    StoreError::Damaged(format!("{what}: {error}"))
}

/// Reads every row of a table; `row` says what is wrong with one.
pub(crate) fn load(
    store: &dyn Store,
    table: u8,
    mut row: impl FnMut(&[u8], &[u8]) -> Result<(), &'static str>,
) -> Result<(), StoreError> {
    let mut wrong = None;
    store.scan(&[table], &[table + 1], &mut |key, value| {
        wrong = row(key, value).err();
        wrong.is_none()
    })?;
    wrong.map_or(Ok(()), |what| Err(StoreError::Damaged(what.to_owned())))
}

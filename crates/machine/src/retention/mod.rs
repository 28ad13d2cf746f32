//! Retention: what is old goes, at the same entry on every replica.
//!
//! A mark keeps the small state as of an entry; a trim removes everything up to a mark, whose state becomes the current
//! snapshot: a replica that lacks more than the log still has begins with it.

mod command;
mod dump;
pub(crate) mod keys;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use timbermq_types::{LogId, LogIndex, LogPosition, UnixMillis};

pub use command::{Mark, Trim};
pub(crate) use dump::{DumpWriter, rows, without_crc};
pub use dump::{Snapshot, SnapshotError};

use crate::codec::{self, Encoded};
use crate::key::{meta, single, table};
use crate::store::{Store, StoreError};
use crate::tables::{damaged, load};

/// A place in the log that can be trimmed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkInfo {
    /// The mark's entry.
    pub id: LogId,
    /// First byte behind the entry's frame.
    pub end: LogPosition,
    /// The entry's time: no message up to it is younger.
    pub at: UnixMillis,
}

impl Encoded for MarkInfo {
    const KIND: u8 = 72;
}

#[derive(Debug, Default)]
pub(crate) struct Retention {
    marks: BTreeMap<LogIndex, MarkInfo>,
    snapshot: Option<MarkInfo>,
}

impl Retention {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut retention = Self::default();
        if let Some(row) = store.get(&single(meta::SNAPSHOT))? {
            retention.snapshot = Some(codec::decode(&row).map_err(|error| damaged("current snapshot", &error))?);
        }
        load(store, table::MARK, |key, value| {
            let index = keys::mark::decode(key).ok_or("mark key")?;
            retention.marks.insert(index, codec::decode(value).map_err(|_| "mark row")?);
            Ok(())
        })?;
        Ok(retention)
    }

    /// Marks that can be trimmed to, oldest first.
    pub fn marks(&self) -> impl Iterator<Item = &MarkInfo> {
        self.marks.values()
    }

    pub fn get(&self, index: LogIndex) -> Option<MarkInfo> {
        self.marks.get(&index).copied()
    }

    pub fn snapshot(&self) -> Option<MarkInfo> {
        self.snapshot
    }

    /// Everything before it is gone.
    pub fn floor(&self) -> LogPosition {
        self.snapshot.map_or(LogPosition(0), |mark| mark.end)
    }

    pub fn add(&mut self, mark: MarkInfo, dump: Bytes, store: &dyn Store) {
        store.put(&keys::dump::encode(mark.id.index), dump);
        store.put(&keys::mark::encode(mark.id.index), codec::encode(&mark).into());
        self.marks.insert(mark.id.index, mark);
    }

    /// Makes `mark` the current snapshot and forgets it and what is older as marks.
    pub fn advance(&mut self, mark: MarkInfo, store: &dyn Store) {
        let later = self.marks.split_off(&mark.id.index.next());
        for older in std::mem::replace(&mut self.marks, later).into_keys() {
            store.delete(&keys::mark::encode(older));
            if older != mark.id.index {
                store.delete(&keys::dump::encode(older));
            }
        }
        if let Some(previous) = self.snapshot.replace(mark) {
            store.delete(&keys::dump::encode(previous.id.index));
        }
        store.put(&single(meta::SNAPSHOT), codec::encode(&mark).into());
    }
}

/// The dump that belongs to a mark.
pub(crate) fn read_dump(store: &dyn Store, mark: &MarkInfo) -> Result<Bytes, StoreError> {
    let dump = store.get(&keys::dump::encode(mark.id.index))?;
    dump.ok_or_else(|| StoreError::Damaged(format!("the state as of mark {} is missing", mark.id)))
}

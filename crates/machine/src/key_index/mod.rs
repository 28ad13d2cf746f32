//! The index from a message's keys to its place in the log.
//!
//! Entries are gathered in runs of fixed length in order of arrival, each split into 256 partitions by hash. The current
//! run is in memory; as a whole it is small. A query reads one partition of each run, newest first, and asks the records
//! themselves whether the key is right.

mod entry;
pub(crate) mod keys;
mod query;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use timbermq_record::properties::KEY_SEPARATOR;
use timbermq_types::{LogPosition, UnixMillis};

pub use entry::KeyHit;
pub(crate) use entry::{Domain, Hasher};
pub use query::KeyPage;
pub(crate) use query::Query;

use crate::codec::{self, Encoded};
use crate::key::{meta, single, table};
use crate::retention::DumpWriter;
use crate::store::{Store, StoreError};
use crate::tables::{MADE_MAX, damaged, load};

/// Entries of one run: 1.75 MiB.
pub(crate) const RUN_ENTRIES: u32 = if cfg!(test) { 50 } else { 65_536 };
const PARTITIONS: usize = 256;

/// Where a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// Record of its first entry; no entry of it is before, none of an earlier run is behind.
    start: LogPosition,
    /// Store time of its first entry.
    started_at: UnixMillis,
}

impl Encoded for Run {
    const KIND: u8 = 70;
}

/// How far the current run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Fill {
    /// Number of the next run; the current one is the one before.
    next_run: u32,
    /// Entries the current run ever got.
    count: u32,
}

impl Encoded for Fill {
    const KIND: u8 = 71;
}

#[derive(Debug)]
struct Partition {
    entries: Vec<u8>,
    dirty: bool,
}

#[derive(Debug)]
pub(crate) struct KeyIndex {
    runs: BTreeMap<u32, Run>,
    fill: Fill,
    /// The current run.
    current: Vec<Partition>,
    dirty: bool,
    dirty_bytes: usize,
}

impl KeyIndex {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut fill = Fill::default();
        if let Some(row) = store.get(&single(meta::KEY_INDEX))? {
            fill = codec::decode(&row).map_err(|error| damaged("fill of the key index", &error))?;
        }
        let mut runs = BTreeMap::new();
        load(store, table::RUN, |key, value| {
            let number = keys::run::decode(key).ok_or("run key")?;
            runs.insert(number, codec::decode(value).map_err(|_| "run row")?);
            Ok(())
        })?;
        let mut current = Vec::with_capacity(PARTITIONS);
        for partition in 0..=u8::MAX {
            let entries = match fill.next_run.checked_sub(1) {
                Some(run) => store.get(&keys::entries::encode(partition, run))?.map(Vec::from).unwrap_or_default(),
                None => Vec::new(),
            };
            current.push(Partition { entries, dirty: false });
        }
        Ok(Self { runs, fill, current, dirty: false, dirty_bytes: 0 })
    }

    pub fn flush(&mut self, store: &dyn Store) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        store.put(&single(meta::KEY_INDEX), codec::encode(&self.fill).into());
        let Some(run) = self.fill.next_run.checked_sub(1) else { return };
        for (number, partition) in (0..=u8::MAX).zip(&mut self.current) {
            if std::mem::take(&mut partition.dirty) {
                store.put(&keys::entries::encode(number, run), partition.entries.clone().into());
            }
        }
        self.dirty_bytes = 0;
    }

    /// As a replica has it that starts from here: no entries, and the current run goes on filling up.
    pub fn dump(&self, dump: &mut DumpWriter) {
        dump.row(&single(meta::KEY_INDEX), &codec::encode(&self.fill));
        if let Some((number, run)) = self.runs.last_key_value() {
            dump.row(&keys::run::encode(*number), &codec::encode(run));
        }
    }

    pub fn check_start(&self) -> Result<(), &'static str> {
        let Fill { next_run, count } = self.fill;
        if next_run > MADE_MAX || count > RUN_ENTRIES {
            return Err("more keys than there can have been");
        }
        if self.runs.keys().any(|run| *run >= next_run) {
            return Err("a run of keys that is not begun yet");
        }
        Ok(())
    }

    /// Adds the keys of one record: its unique key and its business keys.
    pub fn add(&mut self, hasher: Hasher, unique: Option<&str>, business: &str, hit: KeyHit, store: &dyn Store) {
        if let Some(key) = unique {
            self.add_hash(hasher.hash(Domain::Unique, key.as_bytes()), hit, store);
        }
        let keys = business.split(KEY_SEPARATOR).filter(|key| !key.is_empty());
        let mut hashes: Vec<u64> = keys.map(|key| hasher.hash(Domain::Business, key.as_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        for hash in hashes {
            self.add_hash(hash, hit, store);
        }
    }

    fn add_hash(&mut self, hash: u64, hit: KeyHit, store: &dyn Store) {
        if self.fill.next_run == 0 || self.fill.count == RUN_ENTRIES {
            self.start_run(hit, store);
        }
        let partition = &mut self.current[usize::from(entry::partition(hash))];
        entry::write(&mut partition.entries, hash, &hit);
        if !std::mem::replace(&mut partition.dirty, true) {
            self.dirty_bytes += partition.entries.len();
        }
        self.fill.count += 1;
        self.dirty = true;
        self.dirty_bytes += entry::ENTRY_BYTES;
    }

    fn start_run(&mut self, first: KeyHit, store: &dyn Store) {
        if let Some(run) = self.fill.next_run.checked_sub(1) {
            for (number, partition) in (0..=u8::MAX).zip(&mut self.current) {
                let entries = std::mem::take(&mut partition.entries);
                if std::mem::take(&mut partition.dirty) {
                    store.put(&keys::entries::encode(number, run), entries.into());
                }
            }
        }
        self.dirty_bytes = 0;
        let run = Run { start: first.position, started_at: first.store_time };
        store.put(&keys::run::encode(self.fill.next_run), codec::encode(&run).into());
        self.runs.insert(self.fill.next_run, run);
        self.fill.next_run = self.fill.next_run.checked_add(1).expect("2^32 runs were filled");
        self.fill.count = 0;
    }

    /// Removes the runs that have nothing at or behind `floor`. The current run always stays.
    pub fn trim(&mut self, floor: LogPosition, store: &dyn Store) {
        let numbers: Vec<u32> = self.runs.keys().copied().collect();
        for pair in numbers.windows(2) {
            if self.runs.get(&pair[1]).is_none_or(|next| next.start >= floor) {
                break;
            }
            for partition in 0..=u8::MAX {
                store.delete(&keys::entries::encode(partition, pair[0]));
            }
            store.delete(&keys::run::encode(pair[0]));
            self.runs.remove(&pair[0]);
        }
    }

    /// Memory that the next rotation turns into rows.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }
}

//! A dump: the rows of the small state as of a mark, as a replica has them that starts from there. It is the snapshot that
//! replicas send each other, so it says the same on every replica, whatever each has trimmed.
//!
//! `[format u8]`, per row `[key length u32][value length u32][key][value]`, then `[CRC-32 u32]` of all before it; little
//! endian.

use std::collections::BTreeSet;

use bytes::Bytes;
use thiserror::Error;
use timbermq_types::{LogId, LogPosition};

use crate::key::{meta, single, table};
use crate::memory::MemoryStore;
use crate::meta::{Membership, State, decode_applied};
use crate::store::{Store, StoreError};
use crate::tables::Tables;

const FORMAT: u8 = 1;
const CRC_BYTES: usize = 4;

/// Why bytes are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// Written by another version of this program.
    #[error("the snapshot has format {0}, this program reads format {FORMAT}")]
    Format(u8),
    /// The bytes changed, or are not all there.
    #[error("the snapshot's CRC does not match")]
    Crc,
    /// What is in it makes no sense.
    #[error("the snapshot is malformed: {0}")]
    Malformed(&'static str),
    /// A row does not say what its key promises.
    #[error("the snapshot cannot be read: {0}")]
    Unreadable(StoreError),
}

/// Gathers rows.
#[derive(Debug)]
pub(crate) struct DumpWriter {
    buffer: Vec<u8>,
}

impl DumpWriter {
    pub fn new() -> Self {
        Self { buffer: vec![FORMAT] }
    }

    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a row is far below 4 GiB").to_le_bytes();
        self.buffer.extend_from_slice(&length(key));
        self.buffer.extend_from_slice(&length(value));
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
    }

    pub fn finish(mut self) -> Bytes {
        let crc = crc32fast::hash(&self.buffer);
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.buffer.into()
    }
}

/// A dump without its own checksum, for digests: the CRC of bytes that end with their CRC is the same for all bytes.
pub(crate) fn without_crc(dump: &[u8]) -> &[u8] {
    dump.split_last_chunk::<CRC_BYTES>().map_or(dump, |(body, _)| body)
}

/// Key and value.
type DumpRow<'a> = (&'a [u8], &'a [u8]);

/// The rows of a dump, in the order they were written.
pub(crate) fn rows(dump: &[u8]) -> Result<Vec<DumpRow<'_>>, SnapshotError> {
    let (body, crc) = dump.split_last_chunk::<CRC_BYTES>().ok_or(SnapshotError::Crc)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(SnapshotError::Crc);
    }
    let (format, mut rest) = body.split_first().ok_or(SnapshotError::Malformed("empty"))?;
    if *format != FORMAT {
        return Err(SnapshotError::Format(*format));
    }
    let mut rows = Vec::new();
    while !rest.is_empty() {
        rows.push(take_row(&mut rest).ok_or(SnapshotError::Malformed("a row ends too early"))?);
    }
    Ok(rows)
}

fn take_row<'a>(rest: &mut &'a [u8]) -> Option<DumpRow<'a>> {
    let (key, tail) = rest.split_first_chunk::<4>()?;
    let (value, tail) = tail.split_first_chunk::<4>()?;
    let (key, tail) = tail.split_at_checked(u32::from_le_bytes(*key) as usize)?;
    let (value, tail) = tail.split_at_checked(u32::from_le_bytes(*value) as usize)?;
    *rest = tail;
    Some((key, value))
}

/// The small state as of a mark. Everything is in `dump`; the rest is read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The mark's entry, the last one it includes.
    pub mark: LogId,
    /// First byte behind the mark's frame: a log that starts from here continues at this position.
    pub end: LogPosition,
    /// The membership in force.
    pub membership: Option<Membership>,
    /// All of it.
    pub dump: Bytes,
}

impl Snapshot {
    /// Reads a dump, for example one that another replica sent, and sees that a machine can go on from it. Costs as much as
    /// starting from it.
    ///
    /// # Errors
    /// [`SnapshotError`]; no input panics.
    pub fn from_dump(dump: Bytes) -> Result<Self, SnapshotError> {
        let rows = rows(&dump)?;
        let snapshot = Self::of_rows(&rows, &dump)?;
        check(&rows)?;
        Ok(snapshot)
    }

    /// Reads a dump that this replica's machine made: what it says of itself, and that it is whole. Whoever is given it checks the
    /// rest, by [`from_dump`](Self::from_dump), before giving up what it has.
    pub(crate) fn of_own(dump: Bytes) -> Result<Self, SnapshotError> {
        Self::of_rows(&rows(&dump)?, &dump)
    }

    /// What the rows of `dump` say of it.
    fn of_rows(rows: &[DumpRow<'_>], dump: &Bytes) -> Result<Self, SnapshotError> {
        let find = |number: u8| rows.iter().find(|(key, _)| **key == single(number)).map(|(_, value)| *value);
        let mark = find(meta::APPLIED).and_then(decode_applied).ok_or(SnapshotError::Malformed("no applied entry"))?;
        let state = find(meta::STATE).and_then(State::decode).ok_or(SnapshotError::Malformed("no state"))?;
        let membership = match find(meta::MEMBERSHIP) {
            Some(row) => Some(Membership::decode(row).ok_or(SnapshotError::Malformed("membership"))?),
            None => None,
        };
        Ok(Self { mark, end: state.end, membership, dump: dump.clone() })
    }
}

/// Loads the rows to see that a machine can go on from them: whoever starts installing has given up what it had.
fn check(rows: &[DumpRow<'_>]) -> Result<(), SnapshotError> {
    let store = MemoryStore::new();
    let mut keys = BTreeSet::new();
    for (key, value) in rows {
        if !belongs_in_dump(key) {
            return Err(SnapshotError::Malformed("a row that does not belong there"));
        }
        if !keys.insert(*key) {
            return Err(SnapshotError::Malformed("a row twice"));
        }
        store.put(key, Bytes::copy_from_slice(value));
    }
    let tables = Tables::load(&store).map_err(SnapshotError::Unreadable)?;
    tables.check_start().map_err(SnapshotError::Malformed)
}

/// Whether a row may be in a dump, that is whether it is of the small state and not of what a replica keeps for itself.
pub(crate) fn belongs_in_dump(key: &[u8]) -> bool {
    match key.first() {
        Some(&table::META) => *key != single(meta::SNAPSHOT),
        Some(first) => {
            matches!(*first, table::TOPIC | table::QUEUE | table::GROUP | table::OFFSET | table::LOCK | table::RUN)
        }
        None => false,
    }
}

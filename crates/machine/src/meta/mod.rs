//! What is known about the whole: the applied entry, time, digest, membership, leader.

mod command;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use timbermq_types::{LogId, LogIndex, LogPosition, NodeId, Term, UnixMillis};

pub use command::LeaderStarted;

use crate::codec::{self, Encoded};
use crate::digest::Digest;
use crate::key::{meta, single, table};
use crate::retention::DumpWriter;
use crate::store::{Store, StoreError};
use crate::tables::REACHED_MAX;

/// The row that says which entry the store's state is the result of, see [`decode_applied`].
pub const APPLIED_KEY: [u8; 2] = [table::META, meta::APPLIED];

/// Reads the value of [`APPLIED_KEY`].
#[must_use]
pub fn decode_applied(value: &[u8]) -> Option<LogId> {
    let (id, rest) = take_log_id(value)?;
    rest.is_empty().then_some(id)
}

fn take_log_id(value: &[u8]) -> Option<(LogId, &[u8])> {
    let (term, rest) = value.split_first_chunk::<8>()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    Some((LogId::new(Term(u64::from_le_bytes(*term)), LogIndex(u64::from_le_bytes(*index))), rest))
}

fn encode_log_id(id: LogId) -> Vec<u8> {
    [id.term.0.to_le_bytes(), id.index.0.to_le_bytes()].concat()
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPlace {
    /// Which entry.
    pub id: LogId,
    /// First byte of its payload.
    pub position: LogPosition,
    /// First byte behind its frame.
    pub end: LogPosition,
}

/// The membership in force, opaque to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The entry that set it.
    pub id: LogId,
    /// What the entry says.
    pub bytes: Bytes,
}

impl Membership {
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (id, rest) = take_log_id(value)?;
        Some(Self { id, bytes: Bytes::copy_from_slice(rest) })
    }

    fn encode(&self) -> Vec<u8> {
        let mut row = encode_log_id(self.id);
        row.extend_from_slice(&self.bytes);
        row
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The time of the log.
    pub at: UnixMillis,
    digest: u64,
    /// First byte behind the applied entry's frame.
    pub end: LogPosition,
    /// Who started the last term.
    pub leader: Option<(NodeId, Term)>,
}

impl Encoded for State {
    const KIND: u8 = 73;
}

impl State {
    pub fn decode(row: &[u8]) -> Option<Self> {
        codec::decode(row).ok()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Meta {
    pub applied: Option<LogId>,
    pub state: State,
    pub membership: Option<Membership>,
    dirty: bool,
}

impl Meta {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(what.to_owned());
        let mut found = Self::default();
        if let Some(row) = store.get(&APPLIED_KEY)? {
            found.applied = Some(decode_applied(&row).ok_or_else(|| damaged("applied entry"))?);
        }
        if let Some(row) = store.get(&single(meta::STATE))? {
            found.state = State::decode(&row).ok_or_else(|| damaged("state"))?;
        }
        if let Some(row) = store.get(&single(meta::MEMBERSHIP))? {
            found.membership = Some(Membership::decode(&row).ok_or_else(|| damaged("membership"))?);
        }
        Ok(found)
    }

    fn rows(&self, mut put: impl FnMut(&[u8], Vec<u8>)) {
        if let Some(applied) = self.applied {
            put(&APPLIED_KEY, encode_log_id(applied));
            put(&single(meta::STATE), codec::encode(&self.state));
        }
        if let Some(membership) = &self.membership {
            put(&single(meta::MEMBERSHIP), membership.encode());
        }
    }

    pub fn flush(&mut self, store: &dyn Store) {
        if std::mem::take(&mut self.dirty) {
            self.rows(|key, value| store.put(key, value.into()));
        }
    }

    pub fn dump(&self, dump: &mut DumpWriter) {
        self.rows(|key, value| dump.row(key, &value));
    }

    pub fn check_start(&self) -> Result<(), &'static str> {
        let index = self.applied.map_or(0, |applied| applied.index.0);
        let reached = index <= REACHED_MAX && self.state.end.0 <= REACHED_MAX;
        if reached { Ok(()) } else { Err("an entry beyond any log") }
    }

    pub fn digest(&mut self, add: impl FnOnce(&mut Digest)) {
        let mut digest = Digest(self.state.digest);
        add(&mut digest);
        self.state.digest = digest.0;
    }

    pub fn digest_value(&self) -> u64 {
        self.state.digest
    }

    pub fn advance(&mut self, place: &EntryPlace) {
        self.applied = Some(place.id);
        self.state.end = place.end;
        self.dirty = true;
    }
}

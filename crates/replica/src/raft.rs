//! The engine's types, filled with ours. Nothing of the engine's own encoding reaches a disk or a wire.

use std::fmt;

use bytes::Bytes;
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::vote::leader_id_std::{CommittedLeaderId, LeaderId};
use timbermq_commitlog as commitlog;
use timbermq_commitlog::{EntryKind, Placed, Summed};
use timbermq_machine::Reply;
use timbermq_types::{LogId, LogIndex, LogPosition, NodeId, Term};

use crate::engine_runtime::EngineRuntime;
use crate::membership::{self, GroupMember, Membership};
use crate::wire::Malformed;

openraft::declare_raft_types!(
    /// Type parameters of the engine.
    pub(crate) Group:
        D = Batch,
        R = Replies,
        NodeId = u64,
        Node = GroupMember,
        Term = u64,
        LeaderId = LeaderId<u64, u64>,
        Payload = Payload,
        Entry = Entry,
        AsyncRuntime = EngineRuntime,
);

pub(crate) type RaftLogId = openraft::LogId<CommittedLeaderId<u64>>;
pub(crate) type RaftVote = openraft::Vote<LeaderId<u64, u64>>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId<u64>, u64, GroupMember>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId<u64>, u64, GroupMember>;

/// A batch of commands on its way into the log.
pub(crate) struct Batch(pub Summed);

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answers, one reply for each command.
#[derive(Debug, Default)]
pub(crate) struct Replies(pub Vec<Reply>);

/// What an entry carries.
#[derive(Debug)]
pub(crate) enum Payload {
    Blank,
    Normal(Batch),
    Membership(Membership),
}

impl Payload {
    /// [`commitlog::Entry::digest`] of the entry that carries this.
    pub fn digest(&self) -> u32 {
        match self {
            Payload::Blank => commitlog::digest(EntryKind::Blank, &Bytes::new().into()),
            Payload::Normal(batch) => commitlog::digest(EntryKind::Normal, &batch.0),
            Payload::Membership(membership) => {
                commitlog::digest(EntryKind::Membership, &membership::encode(membership).into())
            }
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Blank => f.write_str("blank"),
            Payload::Normal(batch) => batch.fmt(f),
            Payload::Membership(membership) => write!(f, "membership {membership}"),
        }
    }
}

impl RaftPayload for Payload {
    type D = Batch;
    type NodeId = u64;
    type Node = GroupMember;

    fn blank() -> Self {
        Payload::Blank
    }

    fn with_normal(self, data: Batch) -> Self {
        Payload::Normal(data)
    }

    fn with_membership(self, membership: Membership) -> Self {
        Payload::Membership(membership)
    }

    fn get_membership(&self) -> Option<Membership> {
        match self {
            Payload::Membership(membership) => Some(membership.clone()),
            Payload::Blank | Payload::Normal(_) => None,
        }
    }
}

/// An entry of the log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub id: RaftLogId,
    pub payload: Payload,
    /// Where it lies in the log; known of entries that were read from it.
    pub place: Option<Span>,
}

/// From the first byte of an entry's payload to the first byte after its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub position: LogPosition,
    pub end: LogPosition,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.payload)
    }
}

impl RaftEntry for Entry {
    type CommittedLeaderId = CommittedLeaderId<u64>;
    type Payload = Payload;

    fn new(id: RaftLogId, payload: Payload) -> Self {
        Self { id, payload, place: None }
    }

    fn log_id_parts(&self) -> (&CommittedLeaderId<u64>, u64) {
        (&self.id.leader_id, self.id.index)
    }

    fn set_log_id(&mut self, new: RaftLogId) {
        self.id = new;
    }

    fn get_membership(&self) -> Option<Membership> {
        self.payload.get_membership()
    }
}

impl Entry {
    /// As the CommitLog keeps it.
    pub fn into_log(self) -> commitlog::Entry {
        let id = from_raft(self.id);
        match self.payload {
            Payload::Blank => commitlog::Entry { id, kind: EntryKind::Blank, payload: Bytes::new().into() },
            Payload::Normal(batch) => commitlog::Entry { id, kind: EntryKind::Normal, payload: batch.0 },
            Payload::Membership(membership) => {
                commitlog::Entry { id, kind: EntryKind::Membership, payload: membership::encode(&membership).into() }
            }
        }
    }

    /// From what the CommitLog keeps.
    pub fn from_log(entry: commitlog::Entry) -> Result<Self, Malformed> {
        let payload = match entry.kind {
            EntryKind::Blank => Payload::Blank,
            EntryKind::Normal => Payload::Normal(Batch(entry.payload)),
            EntryKind::Membership => Payload::Membership(membership::decode(entry.payload.into_bytes())?),
        };
        Ok(Self { id: to_raft(entry.id), payload, place: None })
    }

    /// From what the CommitLog keeps, with its place.
    pub fn from_placed(placed: Placed) -> Result<Self, Malformed> {
        let span = Span { position: placed.position, end: placed.end };
        Ok(Self { place: Some(span), ..Self::from_log(placed.entry)? })
    }
}

pub(crate) fn to_raft(id: LogId) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(id.term.0), id.index.0)
}

pub(crate) fn from_raft(id: RaftLogId) -> LogId {
    LogId::new(Term(*id.leader_id), LogIndex(id.index))
}

pub(crate) fn vote_to_log(vote: &RaftVote) -> commitlog::Vote {
    commitlog::Vote {
        term: Term(vote.leader_id.term),
        node: Some(NodeId(vote.leader_id.voted_for)),
        committed: vote.committed,
    }
}

/// A vote without a candidate is never written by us; it reads as no vote.
pub(crate) fn vote_from_log(vote: commitlog::Vote) -> Option<RaftVote> {
    let node = vote.node?;
    Some(RaftVote { leader_id: LeaderId { term: vote.term.0, voted_for: node.0 }, committed: vote.committed })
}

//! Requests and answers.

use bytes::Bytes;
use timbermq_commitlog as commitlog;
use timbermq_commitlog::{EntryKind, Summed};
use timbermq_types::{LogId, LogPosition, NodeId, Term};

use crate::membership;
use crate::raft::{self, Entry, Group, RaftVote, SnapshotMeta, StoredMembership};
use crate::wire::{Malformed, Reader, Writer};

/// Payloads shorter than this are copied next to their header; longer ones are sent from where they are.
const COPY_BYTES_MAX: usize = 1024;
/// Bytes of one entry besides its payload.
const ENTRY_HEAD_BYTES: usize = 21;

pub(crate) type Append = openraft::raft::AppendEntriesRequest<Group>;
pub(crate) type AppendReply = openraft::raft::AppendEntriesResponse<Group>;
pub(crate) type VoteAsk = openraft::raft::VoteRequest<Group>;
pub(crate) type VoteReply = openraft::raft::VoteResponse<Group>;

/// Kinds of frames. An answer has the kind of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Append = 2,
    Heartbeat = 3,
    Vote = 4,
    PreVote = 5,
    Transfer = 6,
    Status = 7,
    SnapshotStart = 8,
    SnapshotChunk = 9,
    SnapshotInstall = 10,
    /// Answer only: the request was not carried out.
    Failed = 255,
}

impl Kind {
    pub fn from_byte(byte: u8) -> Option<Self> {
        use Kind::{
            Append, Failed, Heartbeat, Hello, PreVote, SnapshotChunk, SnapshotInstall, SnapshotStart, Status, Transfer,
            Vote,
        };
        [
            Hello,
            Append,
            Heartbeat,
            Vote,
            PreVote,
            Transfer,
            Status,
            SnapshotStart,
            SnapshotChunk,
            SnapshotInstall,
            Failed,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

fn put_vote(out: &mut Writer, vote: &RaftVote) {
    out.u64(vote.leader_id.term).u64(vote.leader_id.voted_for).bool(vote.committed);
}

fn take_vote(from: &mut Reader) -> Result<RaftVote, Malformed> {
    let vote = commitlog::Vote { term: Term(from.u64()?), node: Some(NodeId(from.u64()?)), committed: from.bool()? };
    raft::vote_from_log(vote).ok_or_else(|| from.problem("a vote for nobody"))
}

fn put_id(out: &mut Writer, id: Option<raft::RaftLogId>) {
    out.optional_log_id(id.map(raft::from_raft));
}

fn take_id(from: &mut Reader) -> Result<Option<raft::RaftLogId>, Malformed> {
    Ok(from.optional_log_id()?.map(raft::to_raft))
}

/// Encodes a request to append, in pieces.
pub(crate) fn encode_append(request: Append) -> Vec<Summed> {
    let mut parts = Vec::with_capacity(4);
    let mut out = Writer::new();
    put_vote(&mut out, &request.vote);
    put_id(&mut out, request.prev_log_id);
    put_id(&mut out, request.leader_commit);
    out.u32(u32::try_from(request.entries.len()).expect("requests have few entries"));
    for entry in request.entries {
        let entry = entry.into_log();
        out.log_id(entry.id).u8(entry.kind as u8);
        out.u32(u32::try_from(entry.payload.len()).expect("entries are far below 4 GiB"));
        if entry.payload.len() < COPY_BYTES_MAX {
            out.0.extend_from_slice(&entry.payload);
        } else {
            parts.push(std::mem::replace(&mut out, Writer::new()).finish().into());
            parts.push(entry.payload);
        }
    }
    parts.push(out.finish().into());
    parts
}

/// Decodes a request to append. Entries must follow `prev` without a hole.
pub(crate) fn decode_append(bytes: Summed) -> Result<Append, Malformed> {
    let mut from = Reader::new("append request", Bytes::clone(&bytes));
    let vote = take_vote(&mut from)?;
    let prev_log_id = take_id(&mut from)?;
    let leader_commit = take_id(&mut from)?;
    let count = from.count(ENTRY_HEAD_BYTES)?;
    let mut entries = Vec::with_capacity(count);
    let mut last = prev_log_id.map(raft::from_raft);
    for _ in 0..count {
        let id = from.log_id()?;
        let kind = EntryKind::from_byte(from.u8()?).ok_or_else(|| from.problem("an entry of unknown kind"))?;
        let payload = from.bytes()?;
        // Of one entry, the usual case, the checksum is that of the frame without what is before.
        let payload = if from.is_empty() { bytes.clone().tail(bytes.len() - payload.len()) } else { payload.into() };
        let next = last.map_or(Some(0), |last| last.index.0.checked_add(1));
        if next != Some(id.index.0) || last.is_some_and(|last| last.term > id.term) {
            return Err(from.problem("its entries do not follow each other"));
        }
        last = Some(id);
        entries.push(Entry::from_log(commitlog::Entry { id, kind, payload })?);
    }
    from.end()?;
    Ok(Append { vote, prev_log_id, entries, leader_commit })
}

pub(crate) fn encode_append_reply(reply: &AppendReply) -> Bytes {
    let mut out = Writer::new();
    match reply {
        AppendReply::Success => {
            out.u8(0);
        }
        AppendReply::PartialSuccess(id) => {
            out.u8(1);
            put_id(&mut out, *id);
        }
        AppendReply::Conflict => {
            out.u8(2);
        }
        AppendReply::HigherVote(vote) => {
            out.u8(3);
            put_vote(&mut out, vote);
        }
    }
    out.finish()
}

pub(crate) fn decode_append_reply(bytes: Bytes) -> Result<AppendReply, Malformed> {
    let mut from = Reader::new("append answer", bytes);
    let reply = match from.u8()? {
        0 => AppendReply::Success,
        1 => AppendReply::PartialSuccess(take_id(&mut from)?),
        2 => AppendReply::Conflict,
        3 => AppendReply::HigherVote(take_vote(&mut from)?),
        _ => return Err(from.problem("an unknown outcome")),
    };
    from.end()?;
    Ok(reply)
}

pub(crate) fn encode_vote(ask: &VoteAsk) -> Bytes {
    let mut out = Writer::new();
    put_vote(&mut out, &ask.vote);
    put_id(&mut out, ask.last_log_id);
    out.bool(ask.leadership_transfer);
    out.finish()
}

pub(crate) fn decode_vote(bytes: Bytes) -> Result<VoteAsk, Malformed> {
    let mut from = Reader::new("vote request", bytes);
    let mut ask = VoteAsk::new(take_vote(&mut from)?, take_id(&mut from)?);
    ask.leadership_transfer = from.bool()?;
    from.end()?;
    Ok(ask)
}

pub(crate) fn encode_vote_reply(reply: &VoteReply) -> Bytes {
    let mut out = Writer::new();
    put_vote(&mut out, &reply.vote);
    out.bool(reply.vote_granted);
    put_id(&mut out, reply.last_log_id);
    out.finish()
}

pub(crate) fn decode_vote_reply(bytes: Bytes) -> Result<VoteReply, Malformed> {
    let mut from = Reader::new("vote answer", bytes);
    let (vote, granted, last) = (take_vote(&mut from)?, from.bool()?, take_id(&mut from)?);
    from.end()?;
    Ok(VoteReply::new(vote, last, granted))
}

pub(crate) type TransferAsk = openraft::raft::TransferLeaderRequest<Group>;

pub(crate) fn encode_transfer(ask: &TransferAsk) -> Bytes {
    let mut out = Writer::new();
    put_vote(&mut out, ask.from_leader());
    out.u64(*ask.to_node_id());
    put_id(&mut out, ask.last_log_id().copied());
    out.finish()
}

pub(crate) fn decode_transfer(bytes: Bytes) -> Result<TransferAsk, Malformed> {
    let mut from = Reader::new("leader transfer", bytes);
    let (vote, to, last) = (take_vote(&mut from)?, from.u64()?, take_id(&mut from)?);
    from.end()?;
    Ok(TransferAsk::new(vote, to, last))
}

/// What a replica tells its peers about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeerStatus {
    /// Last applied entry.
    pub applied: Option<LogId>,
    /// Last entry of its log.
    pub last: Option<LogId>,
    /// Part of its file system in use, in millionths.
    pub disk_used_ppm: u32,
    /// Bytes of log on its disk.
    pub log_bytes: u64,
}

pub(crate) fn encode_status(status: &PeerStatus) -> Bytes {
    let mut out = Writer::new();
    out.optional_log_id(status.applied).optional_log_id(status.last).u32(status.disk_used_ppm).u64(status.log_bytes);
    out.finish()
}

pub(crate) fn decode_status(bytes: Bytes) -> Result<PeerStatus, Malformed> {
    let mut from = Reader::new("status", bytes);
    let (applied, last) = (from.optional_log_id()?, from.optional_log_id()?);
    let status = PeerStatus { applied, last, disk_used_ppm: from.u32()?, log_bytes: from.u64()? };
    from.end()?;
    Ok(status)
}

/// What comes before the bytes of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SnapshotHead {
    pub vote: RaftVote,
    pub meta: SnapshotMeta,
    /// Where the receiver's log continues.
    pub position: LogPosition,
    pub len: u64,
    pub crc: u32,
}

pub(crate) fn encode_snapshot_head(head: &SnapshotHead) -> Bytes {
    let mut out = Writer::new();
    put_vote(&mut out, &head.vote);
    put_id(&mut out, head.meta.last_log_id);
    put_id(&mut out, *head.meta.last_membership.log_id());
    out.bytes(&membership::encode(head.meta.last_membership.membership()));
    out.u64(head.position.0).u64(head.len).u32(head.crc);
    out.finish()
}

pub(crate) fn decode_snapshot_head(bytes: Bytes) -> Result<SnapshotHead, Malformed> {
    let mut from = Reader::new("snapshot head", bytes);
    let vote = take_vote(&mut from)?;
    let last_log_id = take_id(&mut from)?;
    let membership_id = take_id(&mut from)?;
    let membership = membership::decode(from.bytes()?)?;
    let meta = SnapshotMeta { last_log_id, last_membership: StoredMembership::new(membership_id, membership) };
    let head = SnapshotHead { vote, meta, position: LogPosition(from.u64()?), len: from.u64()?, crc: from.u32()? };
    from.end()?;
    Ok(head)
}

pub(crate) fn encode_chunk(offset: u64, bytes: Bytes) -> Vec<Summed> {
    vec![offset.to_le_bytes().to_vec().into(), bytes.into()]
}

pub(crate) fn decode_chunk(bytes: Bytes) -> Result<(u64, Bytes), Malformed> {
    let mut from = Reader::new("snapshot chunk", bytes);
    Ok((from.u64()?, from.rest()))
}

pub(crate) fn encode_vote_only(vote: &RaftVote) -> Bytes {
    let mut out = Writer::new();
    put_vote(&mut out, vote);
    out.finish()
}

pub(crate) fn decode_vote_only(bytes: Bytes) -> Result<RaftVote, Malformed> {
    let mut from = Reader::new("snapshot answer", bytes);
    let vote = take_vote(&mut from)?;
    from.end()?;
    Ok(vote)
}

#[cfg(test)]
mod tests;

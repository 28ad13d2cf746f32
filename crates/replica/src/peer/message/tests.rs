use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use timbermq_types::{LogIndex, Slot};

use super::*;
use crate::membership::{Membership, NodeAddr};
use crate::raft::{Batch, Payload};

fn id(term: u64, index: u64) -> raft::RaftLogId {
    raft::to_raft(LogId::new(Term(term), LogIndex(index)))
}

fn vote(term: u64, node: u64, committed: bool) -> RaftVote {
    raft::vote_from_log(commitlog::Vote { term: Term(term), node: Some(NodeId(node)), committed }).unwrap()
}

fn membership() -> Membership {
    let node = NodeAddr { slot: Slot(1), peer_addr: "p:1".into(), broker_addr: "b:2".into() };
    Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, node)])).unwrap()
}

fn append(large: usize) -> Append {
    let entry = |index, payload| Entry { id: id(3, index), payload, place: None };
    Append {
        vote: vote(3, 1, true),
        prev_log_id: Some(id(2, 9)),
        leader_commit: Some(id(2, 8)),
        entries: vec![
            entry(10, Payload::Blank),
            entry(11, Payload::Normal(Batch(Bytes::from(vec![7; large])))),
            entry(12, Payload::Membership(membership())),
            entry(13, Payload::Normal(Batch(Bytes::from_static(b"tail")))),
        ],
    }
}

fn bytes_of(parts: Vec<Bytes>) -> Bytes {
    Bytes::from(parts.concat())
}

#[test]
fn appends_survive_their_encoding_copied_or_not() {
    for large in [0, COPY_BYTES_MAX - 1, COPY_BYTES_MAX, 100_000] {
        let decoded = decode_append(bytes_of(encode_append(append(large)))).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{:?}", append(large)));
    }
}

#[test]
fn entries_with_a_hole_or_a_falling_term_are_refused() {
    let mut request = append(1);
    request.entries.remove(1);
    assert_eq!(
        decode_append(bytes_of(encode_append(request))).unwrap_err().problem,
        "its entries do not follow each other"
    );
    let mut request = append(1);
    request.entries[2].id = id(2, 12);
    assert!(decode_append(bytes_of(encode_append(request))).is_err());
}

#[test]
fn a_count_beyond_the_bytes_allocates_nothing() {
    let mut out = Writer::new();
    put_vote(&mut out, &vote(1, 1, true));
    put_id(&mut out, None);
    put_id(&mut out, None);
    out.u32(u32::MAX);
    assert_eq!(decode_append(out.finish()).unwrap_err().problem, "it counts more items than it has bytes for");
}

#[test]
fn answers_survive_their_encoding() {
    let replies = [
        AppendReply::Success,
        AppendReply::PartialSuccess(Some(id(1, 2))),
        AppendReply::PartialSuccess(None),
        AppendReply::Conflict,
        AppendReply::HigherVote(vote(4, 2, false)),
    ];
    for reply in replies {
        assert_eq!(decode_append_reply(encode_append_reply(&reply)).unwrap(), reply);
    }
    let reply = VoteReply::new(vote(4, 2, false), Some(id(3, 3)), true);
    assert_eq!(decode_vote_reply(encode_vote_reply(&reply)).unwrap(), reply);
    let mut ask = VoteAsk::new(vote(5, 3, false), None);
    ask.leadership_transfer = true;
    assert_eq!(decode_vote(encode_vote(&ask)).unwrap(), ask);
    let ask = TransferAsk::new(vote(5, 3, true), 7, Some(id(5, 5)));
    assert_eq!(decode_transfer(encode_transfer(&ask)).unwrap(), ask);
    let status = PeerStatus { applied: None, last: Some(raft::from_raft(id(1, 1))), disk_used_ppm: 5, log_bytes: 6 };
    assert_eq!(decode_status(encode_status(&status)).unwrap(), status);
}

#[test]
fn a_snapshot_head_survives_its_encoding() {
    let meta = SnapshotMeta {
        last_log_id: Some(id(3, 30)),
        last_membership: StoredMembership::new(Some(id(1, 0)), membership()),
    };
    let head = SnapshotHead { vote: vote(3, 1, true), meta, position: LogPosition(4096), len: 10, crc: 11 };
    assert_eq!(decode_snapshot_head(encode_snapshot_head(&head)).unwrap(), head);
}

fn decode_everything(bytes: &Bytes) {
    let _ = decode_append(bytes.clone());
    let _ = decode_append_reply(bytes.clone());
    let _ = decode_vote(bytes.clone());
    let _ = decode_vote_reply(bytes.clone());
    let _ = decode_transfer(bytes.clone());
    let _ = decode_status(bytes.clone());
    let _ = decode_snapshot_head(bytes.clone());
    let _ = decode_chunk(bytes.clone());
    let _ = decode_vote_only(bytes.clone());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_everything(&Bytes::from(bytes));
    }

    #[test]
    fn no_damaged_request_panics(at: usize, value: u8, cut: usize) {
        let mut bytes = bytes_of(encode_append(append(30))).to_vec();
        let at = at % bytes.len();
        bytes[at] = value;
        bytes.truncate(cut % (bytes.len() + 1));
        decode_everything(&Bytes::from(bytes));
    }
}

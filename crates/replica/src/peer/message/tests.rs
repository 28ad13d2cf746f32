use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use timbermq_types::{LogIndex, Slot};

use super::*;
use crate::membership::{GroupMember, Membership, NodeAddr};
use crate::raft::{Batch, Payload};

fn id(term: u64, index: u64) -> raft::RaftLogId {
    raft::to_raft(LogId::new(Term(term), LogIndex(index)))
}

fn vote(term: u64, node: u64, committed: bool) -> RaftVote {
    raft::vote_from_log(commitlog::Vote { term: Term(term), node: Some(NodeId(node)), committed }).unwrap()
}

fn membership() -> Membership {
    let addr = NodeAddr { slot: Slot(1), peer_addr: "p:1".into(), broker_addr: "b:2".into() };
    Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, GroupMember { addr, incarnation: 7 })])).unwrap()
}

fn append(large: usize) -> Append {
    let entry = |index, payload| Entry { id: id(3, index), payload, place: None };
    Append {
        vote: vote(3, 1, true),
        prev_log_id: Some(id(2, 9)),
        leader_commit: Some(id(2, 8)),
        entries: vec![
            entry(10, Payload::Blank),
            entry(11, Payload::Normal(Batch(vec![7; large].into()))),
            entry(12, Payload::Membership(membership())),
            entry(13, Payload::Normal(Batch(Bytes::from_static(b"tail").into()))),
        ],
    }
}

fn bytes_of(parts: Vec<Summed>) -> Bytes {
    Bytes::from(parts.concat())
}

#[test]
fn appends_survive_their_encoding_copied_or_not() {
    for large in [0, COPY_BYTES_MAX - 1, COPY_BYTES_MAX, 100_000] {
        let decoded = decode_append(bytes_of(encode_append(append(large))).into()).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{:?}", append(large)));
    }
}

#[test]
fn entries_with_a_hole_or_a_falling_term_are_refused() {
    let mut request = append(1);
    request.entries.remove(1);
    assert_eq!(
        decode_append(bytes_of(encode_append(request)).into()).unwrap_err().problem,
        "its entries do not follow each other"
    );
    let mut request = append(1);
    request.entries[2].id = id(2, 12);
    assert!(decode_append(bytes_of(encode_append(request)).into()).is_err());
}

#[test]
fn a_count_beyond_the_bytes_allocates_nothing() {
    let mut out = Writer::new();
    put_vote(&mut out, &vote(1, 1, true));
    put_id(&mut out, None);
    put_id(&mut out, None);
    out.u32(u32::MAX);
    assert_eq!(decode_append(out.finish().into()).unwrap_err().problem, "it counts more items than it has bytes for");
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
    let _ = decode_append(bytes.clone().into());
    let _ = decode_append_reply(bytes.clone());
    let _ = decode_vote(bytes.clone());
    let _ = decode_vote_reply(bytes.clone());
    let _ = decode_transfer(bytes.clone());
    let _ = decode_status(bytes.clone());
    let _ = decode_snapshot_head(bytes.clone());
    let _ = decode_chunk(bytes.clone());
    let _ = decode_vote_only(bytes.clone());
}

fn any_id() -> impl Strategy<Value = Option<raft::RaftLogId>> {
    prop::option::of((any::<u64>(), any::<u64>()).prop_map(|(term, index)| id(term, index)))
}

fn any_vote() -> impl Strategy<Value = RaftVote> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| vote(term, node, committed))
}

fn any_membership() -> impl Strategy<Value = Membership> {
    let node = (any::<u32>(), "\\PC{0,12}", "\\PC{0,12}", any::<u64>());
    let node = node.prop_map(|(slot, peer_addr, broker_addr, incarnation)| GroupMember {
        addr: NodeAddr { slot: Slot(slot), peer_addr, broker_addr },
        incarnation,
    });
    let nodes = prop::collection::btree_map(any::<u64>(), node, 1..6);
    (nodes, any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(nodes, first, second, joint)| {
        // Which of the nodes are voters.
        let some = |bits: u64| {
            let voters = nodes.keys().enumerate().filter(|(nth, _)| bits >> nth & 1 == 1).map(|(_, node)| *node);
            let voters: BTreeSet<u64> = voters.collect();
            if voters.is_empty() { nodes.keys().copied().collect() } else { voters }
        };
        let configs = if joint { vec![some(first), some(second)] } else { vec![some(first)] };
        Membership::new(configs, nodes).unwrap()
    })
}

fn any_payload() -> impl Strategy<Value = Payload> {
    let long = (COPY_BYTES_MAX - 2..COPY_BYTES_MAX + 2, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
    let very_long = (5_000_usize..6_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), long, very_long];
    prop_oneof![
        1 => any::<()>().prop_map(|()| Payload::Blank),
        4 => bytes.prop_map(|bytes| Payload::Normal(Batch(bytes.into()))),
        1 => any_membership().prop_map(Payload::Membership),
    ]
}

/// Entries follow what is before them, by index and by term.
fn any_append() -> impl Strategy<Value = Append> {
    let entries = prop::collection::vec((0..3_u64, any_payload()), 0..9);
    let prev = prop::option::of((0..1_u64 << 40, 0..1_u64 << 40));
    (any_vote(), prev, any_id(), entries).prop_map(|(vote, prev, leader_commit, entries)| {
        let (mut term, first) = prev.map_or((0, 0), |(term, index)| (term, index + 1));
        let entry = |(index, (more, payload))| {
            term += more;
            Entry { id: id(term, index), payload, place: None }
        };
        let entries = (first..).zip(entries).map(entry).collect();
        Append { vote, prev_log_id: prev.map(|(term, index)| id(term, index)), leader_commit, entries }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_append_survives_its_encoding(request in any_append()) {
        let expected = format!("{request:?}");
        let decoded = decode_append(bytes_of(encode_append(request)).into()).unwrap();
        prop_assert_eq!(format!("{decoded:?}"), expected);
    }

    #[test]
    fn everything_else_survives_its_encoding(
        (vote, other) in (any_vote(), any_vote()),
        (last, applied) in (any_id(), any_id()),
        membership in any_membership(),
        words in any::<[u64; 3]>(),
        half: u32,
        flag: bool,
        chunk in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for reply in [AppendReply::PartialSuccess(last), AppendReply::HigherVote(vote)] {
            prop_assert_eq!(decode_append_reply(encode_append_reply(&reply)).unwrap(), reply);
        }
        let mut ask = VoteAsk::new(vote, last);
        ask.leadership_transfer = flag;
        prop_assert_eq!(decode_vote(encode_vote(&ask)).unwrap(), ask);
        let reply = VoteReply::new(other, last, flag);
        prop_assert_eq!(decode_vote_reply(encode_vote_reply(&reply)).unwrap(), reply);
        let ask = TransferAsk::new(vote, words[0], last);
        prop_assert_eq!(decode_transfer(encode_transfer(&ask)).unwrap(), ask);
        prop_assert_eq!(decode_vote_only(encode_vote_only(&vote)).unwrap(), vote);
        let (applied, last) = (applied.map(raft::from_raft), last.map(raft::from_raft));
        let status = PeerStatus { applied, last, disk_used_ppm: half, log_bytes: words[1] };
        prop_assert_eq!(decode_status(encode_status(&status)).unwrap(), status);
        let meta = SnapshotMeta {
            last_log_id: applied.map(raft::to_raft),
            last_membership: StoredMembership::new(last.map(raft::to_raft), membership.clone()),
        };
        let head = SnapshotHead { vote, meta, position: LogPosition(words[2]), len: words[1], crc: half };
        prop_assert_eq!(decode_snapshot_head(encode_snapshot_head(&head)).unwrap(), head);
        prop_assert_eq!(crate::membership::decode(crate::membership::encode(&membership)).unwrap(), membership);
        let chunk = Bytes::from(chunk);
        prop_assert_eq!(decode_chunk(bytes_of(encode_chunk(words[0], chunk.clone()))).unwrap(), (words[0], chunk));
    }

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

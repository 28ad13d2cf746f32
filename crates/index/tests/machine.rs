//! The machine on RocksDB: what it has after a crash and a replay is what it had, and what it has in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use proptest::prelude::*;
use timbermq_index::{IndexOptions, RocksStore};
use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{
    CommitOffsets, DeleteGroup, DeleteTopic, EntryPlace, LeaderStarted, Lock, Machine, Mark, MemoryStore, OffsetCommit,
    Proposal, PutGroup, PutTopic, Store, Trim,
};
use timbermq_types::{
    GroupConfig, GroupName, LogId, LogIndex, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, TopicName,
    UnixMillis,
};

fn record(topic: &str, queue: u32, key: &str) -> Vec<u8> {
    let properties = format!("KEYS\u{1}{key}\u{2}");
    let mut out = vec![0; 4];
    out.extend_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&queue.to_be_bytes());
    out.extend_from_slice(&[0; 72]);
    out.push(topic.len() as u8);
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    out.extend_from_slice(properties.as_bytes());
    let size = out.len() as u32;
    out[..4].copy_from_slice(&size.to_be_bytes());
    out
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// A log with a bit of everything; long enough for full blocks.
fn log() -> Vec<(EntryPlace, bytes::Bytes)> {
    let mut log: Vec<(EntryPlace, bytes::Bytes)> = Vec::new();
    for index in 0..600_u64 {
        let mut proposals: Vec<Proposal> = Vec::new();
        match index {
            0 => proposals
                .extend(["a", "b", "c"].map(|name| {
                    Proposal::from(PutTopic { config: TopicConfig::new(topic(name), 4), if_absent: true })
                })),
            _ if index % 97 == 0 => proposals.push(Mark {}.into()),
            _ if index == 300 => proposals.push(Trim { to: LogIndex(97) }.into()),
            _ if index == 500 => proposals.push(Trim { to: LogIndex(388) }.into()),
            _ if index == 400 => proposals.push(DeleteTopic { topic: topic("c") }.into()),
            _ => {
                let name = ["a", "b", "c"][index as usize % 3];
                let queue = index as u32 % 2;
                let records: Vec<u8> =
                    (0..index % 5 + 1).flat_map(|n| record(name, queue, &format!("key{}", n % 3))).collect();
                proposals.push(Proposal::send(records.into()).unwrap());
                let commit = OffsetCommit {
                    group: GroupName::new("g").unwrap(),
                    topic: topic(name),
                    queue: QueueId(queue),
                    offset: QueueOffset(index),
                    allow_lower: false,
                };
                proposals.push(CommitOffsets { offsets: vec![commit] }.into());
            }
        }
        let mut batch = BatchBuilder::new();
        for proposal in &proposals {
            batch.push(proposal);
        }
        let payload = batch.seal(UnixMillis(1_000 + index * 10));
        let position = LogPosition(log.last().map_or(0, |(place, _)| place.end.0) + 40);
        let end = position.plus(payload.len() as u64);
        log.push((EntryPlace { id: LogId::new(Term(1), LogIndex(index)), position, end }, payload));
    }
    log
}

fn replay(machine: &mut Machine, log: &[(EntryPlace, bytes::Bytes)], rotate_every: u64) {
    let from = machine.applied().0.map_or(0, |applied| applied.index.0 + 1);
    for (place, payload) in &log[from as usize..] {
        machine.apply(place, payload).unwrap();
        if place.id.index.0 % rotate_every == rotate_every - 1 && machine.rotate() {
            machine.store().write_frozen((place.id.index.0 / rotate_every).is_multiple_of(3)).unwrap();
        }
    }
}

#[test]
fn crashes_and_replays_end_in_the_state_of_the_memory_store() {
    let log = log();
    let mut expected = Machine::open(Arc::new(MemoryStore::new())).unwrap();
    replay(&mut expected, &log, 1_000_000);
    let digest = |machine: &Machine| (machine.view().digest(), machine.view().state_digest().unwrap());
    for rotate_every in [5, 50] {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let store = RocksStore::open(dir.path(), IndexOptions::default()).unwrap();
            Machine::open(Arc::new(store)).unwrap()
        };
        for stop in [150, 350, 450, 600] {
            let mut machine = open();
            assert_eq!(machine.applied().0, machine.store().durable_applied());
            assert!(stop == 150 || machine.applied().0.is_some(), "something was durable");
            replay(&mut machine, &log[..stop], rotate_every);
            if stop == 600 {
                assert_eq!(digest(&machine), digest(&expected));
                let snapshot = machine.current_snapshot().unwrap();
                assert_eq!(snapshot, expected.current_snapshot().unwrap());
            }
        }
        // A replica that begins with the snapshot, over whatever was there.
        let snapshot = expected.current_snapshot().unwrap().unwrap();
        let mut machine = open();
        machine.install(&snapshot).unwrap();
        assert!(machine.rotate());
        machine.store().write_frozen(true).unwrap();
        drop(machine);
        let mut machine = open();
        assert_eq!(machine.applied().0, Some(snapshot.mark));
        replay(&mut machine, &log, rotate_every);
        assert_eq!(digest(&machine), digest(&expected));
    }
}

const NAMES: [&str; 3] = ["a", "b", "%RETRY%g"];

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

/// A command of a random log. A trim goes to an entry that may be a mark.
fn proposal() -> impl Strategy<Value = Proposal> {
    let name = || prop::sample::select(&NAMES[..]);
    let send = (name(), 0..3_u32, proptest::collection::vec(0..9_u8, 1..80)).prop_map(|(name, queue, keys)| {
        let records: Vec<u8> = keys.iter().flat_map(|key| record(name, queue, &format!("key{key}"))).collect();
        Proposal::send(records.into()).unwrap()
    });
    let commit = (name(), 0..3_u32, 0..90_u64, any::<bool>()).prop_map(|(name, queue, offset, allow_lower)| {
        let (queue, offset) = (QueueId(queue), QueueOffset(offset));
        let commit = OffsetCommit { group: group("g"), topic: topic(name), queue, offset, allow_lower };
        CommitOffsets { offsets: vec![commit] }.into()
    });
    let put_topic = (name(), 1..4_u32)
        .prop_map(|(name, queues)| PutTopic { config: TopicConfig::new(topic(name), queues), if_absent: false }.into());
    let lock = (name(), 0..3_u32).prop_map(|(name, queue)| {
        Lock { group: group("g"), client: "c".into(), queues: vec![(topic(name), QueueId(queue))] }.into()
    });
    prop_oneof![
        10 => send,
        3 => commit,
        3 => put_topic,
        1 => name().prop_map(|name| DeleteTopic { topic: topic(name) }.into()),
        1 => lock,
        1 => Just(PutGroup { config: GroupConfig::new(group("g")), if_absent: false }.into()),
        1 => Just(DeleteGroup { group: group("g"), clean_offsets: true }.into()),
        1 => Just(LeaderStarted { node: NodeId(1), term: Term(1) }.into()),
        2 => Just(Mark {}.into()),
        2 => (0..40_u64).prop_map(|index| Trim { to: LogIndex(index) }.into()),
    ]
}

/// What happens after an entry: a rotation, its write, with or without sync, a crash.
type Pause = (bool, Option<bool>, bool);

fn pause() -> impl Strategy<Value = Pause> {
    let write = prop::option::weighted(0.4, prop::bool::weighted(0.3));
    (prop::bool::weighted(0.5), write, prop::bool::weighted(0.06))
}

fn all_rows(store: &dyn Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    store
        .scan(&[], &[0xFF], &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            true
        })
        .unwrap();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Any log, through rotations, writes and crashes, ends in the rows that the memory store has, byte for byte.
    #[test]
    fn any_log_ends_in_the_same_rows(
        entries in proptest::collection::vec((proptest::collection::vec(proposal(), 0..4), pause()), 1..80),
        write_buffer_kilobytes in prop::sample::select(&[64_usize, 16 * 1024][..]),
    ) {
        let options = IndexOptions { write_buffer_bytes: write_buffer_kilobytes * 1024, ..IndexOptions::default() };
        let memory = Arc::new(MemoryStore::new());
        let mut expected = Machine::open(memory.clone()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let store = Arc::new(RocksStore::open(dir.path(), options).unwrap());
            (store.clone(), Machine::open(store).unwrap())
        };
        let (mut store, mut machine) = open();
        let mut log: Vec<(EntryPlace, bytes::Bytes)> = Vec::new();
        for (proposals, (rotate, write, crash)) in entries {
            let mut batch = BatchBuilder::new();
            for proposal in &proposals {
                batch.push(proposal);
            }
            let index = log.len() as u64;
            let payload = batch.seal(UnixMillis(1_000 + index * 20_000));
            let position = LogPosition(log.last().map_or(0, |(place, _)| place.end.0) + 40);
            let end = position.plus(payload.len() as u64);
            let place = EntryPlace { id: LogId::new(Term(1), LogIndex(index)), position, end };
            prop_assert_eq!(machine.apply(&place, &payload).unwrap(), expected.apply(&place, &payload).unwrap());
            log.push((place, payload));
            if rotate {
                machine.rotate();
            }
            if let Some(sync) = write {
                store.write_frozen(sync).unwrap();
            }
            if crash {
                let durable = store.durable_applied();
                drop((store, machine));
                (store, machine) = open();
                let applied = machine.applied().0;
                prop_assert!(applied >= durable, "{:?} was durable, {:?} is there", durable, applied);
                prop_assert_eq!(applied, store.durable_applied());
                replay(&mut machine, &log, 1_000_000);
                prop_assert_eq!(machine.view().digest(), expected.view().digest());
            }
        }
        for (machine, store) in [(&mut expected, &*memory as &dyn Store), (&mut machine, &*store as &dyn Store)] {
            store.write_frozen(false).unwrap();
            prop_assert!(machine.rotate());
            store.write_frozen(true).unwrap();
        }
        drop((store, machine));
        let (store, machine) = open();
        prop_assert_eq!(all_rows(&*store), all_rows(&*memory));
        let digest = |machine: &Machine| (machine.view().digest(), machine.view().state_digest().unwrap());
        prop_assert_eq!(digest(&machine), digest(&expected));
        prop_assert_eq!(machine.current_snapshot().unwrap(), expected.current_snapshot().unwrap());
    }
}

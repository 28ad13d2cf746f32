//! The machine on RocksDB: what it has after a crash and a replay is what it had, and what it has in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use timbermq_index::{IndexOptions, RocksStore};
use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{
    CommitOffsets, DeleteTopic, EntryPlace, Machine, Mark, MemoryStore, OffsetCommit, Proposal, PutTopic, Trim,
};
use timbermq_types::{
    GroupName, LogId, LogIndex, LogPosition, QueueId, QueueOffset, Term, TopicConfig, TopicName, UnixMillis,
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

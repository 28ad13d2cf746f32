//! The state machine: entries of many messages each.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{EntryPlace, Machine, MemoryStore, Proposal, PutTopic};
use timbermq_types::{LogId, LogIndex, LogPosition, Term, TopicConfig, TopicName, UnixMillis};

use crate::sample::{self, BATCH, TOPIC};
use crate::{Call, Operation};

const QUEUES: u32 = 4;
/// Bytes of a frame before its payload.
const FRAME_HEADER_BYTES: u64 = 40;

pub(crate) const OPERATIONS: [Operation; 2] = [
    Operation { name: "propose", unit: "message", units: BATCH, calls: 100, prepare: propose },
    Operation { name: "apply", unit: "message", units: BATCH, calls: 100, prepare: apply },
];

/// Checks records and gathers them into an entry.
fn propose() -> Result<Call> {
    let records: Vec<Bytes> = (0..BATCH).map(sample::record).collect();
    Ok(Box::new(move || {
        let mut batch = BatchBuilder::new();
        for record in &records {
            batch.push(&Proposal::send(record.clone()).expect("a record"));
        }
        assert!(std::hint::black_box(batch.seal(UnixMillis(1))).len() > BATCH as usize);
    }))
}

/// Applies entries of 64 messages, and rotates after each, as a log with little load does.
fn apply() -> Result<Call> {
    let mut machine = Machine::open(Arc::new(MemoryStore::new()))?;
    let (mut next, mut end) = (0, 0);
    let mut place = move |payload: &Bytes| {
        let position = LogPosition(end + FRAME_HEADER_BYTES);
        let place =
            EntryPlace { id: LogId::new(Term(1), LogIndex(next)), position, end: position.plus(payload.len() as u64) };
        (next, end) = (next + 1, place.end.0);
        place
    };
    let mut batch = BatchBuilder::new();
    batch.push(&PutTopic { config: TopicConfig::new(TopicName::new(TOPIC)?, QUEUES), if_absent: true }.into());
    let payload = batch.seal(UnixMillis(1));
    machine.apply(&place(&payload), &payload)?;
    let mut batch = BatchBuilder::new();
    for number in 0..BATCH {
        batch.push(&Proposal::send(sample::record(number))?);
    }
    let payload = batch.seal(UnixMillis(2));
    Ok(Box::new(move || {
        let applied = machine.apply(&place(&payload), &payload).expect("it applies");
        assert_eq!(applied.replies.len(), BATCH as usize);
    }))
}

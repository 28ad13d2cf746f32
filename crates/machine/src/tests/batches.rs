//! Batches: what goes in comes out, and nothing that comes from outside panics.

use bytes::Bytes;
use proptest::prelude::*;
use timbermq_types::UnixMillis;

use super::support::{Bench, Message, record, send};
use crate::batch::{Batch, BatchBuilder, BatchError, HEADER_BYTES};
use crate::{CommandKind, LeaderStarted, Mark, Proposal, RecordsError, Refusal, Reply};

#[test]
fn a_batch_reads_back_and_the_seal_stamps_every_record() {
    let v4 = Message { body: vec![1; 10], ..Message::default() };
    let v6 = Message { ipv6: true, ..v4.clone() };
    let mut builder = BatchBuilder::new();
    assert!(builder.is_empty());
    assert_eq!(builder.push(&send("t", 3, &[v4.clone(), v6.clone()])), 0);
    assert_eq!(builder.push(&Mark {}.into()), 1);
    assert_eq!(builder.bytes(), HEADER_BYTES + builder_bytes(&[send("t", 3, &[v4.clone(), v6]), Mark {}.into()]));
    let sealed = builder.seal(UnixMillis(0x0102_0304_0506_0708));
    let batch = Batch::parse(&sealed).unwrap();
    assert_eq!((batch.at(), batch.len()), (UnixMillis(0x0102_0304_0506_0708), 2));
    let items: Vec<_> = batch.items().collect();
    assert_eq!(items.iter().map(|item| item.kind).collect::<Vec<_>>(), [CommandKind::Send, CommandKind::Mark]);
    assert_eq!(&sealed[items[0].offset..][..items[0].body.len()], items[0].body);
    let first = record("t", 3, &v4).len();
    assert_eq!(items[0].body[56..64], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(items[0].body[first + 68..first + 76], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(items[0].body[48..56], [7, 7, 7, 7, 0, 0, 9, 9], "the born host stays");
}

fn builder_bytes(proposals: &[Proposal]) -> usize {
    proposals.iter().map(Proposal::batch_bytes).sum()
}

#[test]
fn only_complete_records_of_one_queue_become_a_send() {
    let good = record("t", 0, &Message::default());
    let mixed = [good.clone(), record("t", 1, &Message::default())].concat();
    let other = [good.clone(), record("u", 0, &Message::default())].concat();
    assert_eq!(Proposal::send(Bytes::new()), Err(RecordsError::Empty));
    assert_eq!(Proposal::send(mixed.into()), Err(RecordsError::Mixed { at: good.len() }));
    assert_eq!(Proposal::send(other.into()), Err(RecordsError::Mixed { at: good.len() }));
    assert!(matches!(Proposal::send(good[..good.len() - 1].to_vec().into()), Err(RecordsError::Record { at: 0, .. })));
    let mut bad_topic = good.clone();
    let at = good.len() - 3;
    assert_eq!(bad_topic[at], b't');
    bad_topic[at] = b' ';
    assert!(matches!(Proposal::send(bad_topic.into()), Err(RecordsError::Topic(_))));
    assert!(Proposal::send(good.into()).is_ok());
}

#[test]
fn a_version_from_the_future_stops_the_machine_before_anything_is_applied() {
    let mut bench = Bench::with_topic("t", 1);
    let mut builder = BatchBuilder::new();
    builder.push(&send("t", 0, &[Message::default()]));
    builder.push(&Mark {}.into());
    let good = builder.seal(UnixMillis(1));
    let mark = Batch::parse(&good).unwrap().items().nth(1).unwrap().offset;
    let mut newer_command = good.to_vec();
    newer_command[mark] = 2;
    let mut newer_batch = good.to_vec();
    newer_batch[0] = 2;
    let mut unknown_kind = good.to_vec();
    unknown_kind[HEADER_BYTES] = 200;
    for payload in [newer_command, newer_batch, unknown_kind] {
        let entry = bench.log.clone().push(super::support::Content::Batch(payload.into()));
        assert!(super::support::feed(&mut bench.machine, &entry).is_err());
        assert_eq!(bench.max("t", 0), 0);
    }
    // What is merely malformed is refused by all replicas alike.
    let mut flipped = good.to_vec();
    flipped[mark + 6] ^= 1;
    let entry = bench.log.push(super::support::Content::Batch(flipped.into()));
    let applied = super::support::feed(&mut bench.machine, &entry).unwrap();
    assert_eq!(applied.replies[1], Reply::Refused(Refusal::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A batch is its commands one after the other, whatever they are, and reads back as them.
    #[test]
    fn a_batch_is_the_sum_of_its_commands(
        sends in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), 1..4_usize, any::<bool>()), 0..6),
        marks in 0..3_usize,
        at in any::<u64>(),
    ) {
        let mut proposals: Vec<Proposal> = sends
            .into_iter()
            .map(|(body, count, ipv6)| send("t", 1, &vec![Message { body, ipv6, ..Message::default() }; count]))
            .collect();
        proposals.extend(std::iter::repeat_n(Proposal::from(Mark {}), marks));
        let mut builder = BatchBuilder::new();
        for (index, proposal) in proposals.iter().enumerate() {
            prop_assert!(builder.fits(proposal) && proposal.fits_alone());
            prop_assert_eq!(builder.push(proposal), index);
        }
        prop_assert_eq!((builder.len(), builder.is_empty()), (proposals.len(), proposals.is_empty()));
        prop_assert_eq!(builder.bytes(), HEADER_BYTES + builder_bytes(&proposals));
        let sealed = builder.seal(UnixMillis(at));
        let items: Vec<_> = proposals.iter().cloned().map(super::support::Item::Proposal).collect();
        prop_assert_eq!(&sealed, &super::support::payload(at, &items));
        let batch = Batch::parse(&sealed).unwrap();
        prop_assert_eq!((batch.at(), batch.len(), batch.is_empty()), (UnixMillis(at), proposals.len(), proposals.is_empty()));
        for (item, proposal) in batch.items().zip(&proposals) {
            prop_assert_eq!(item.kind, proposal.kind());
            prop_assert_eq!(item.body.len(), proposal.body().len());
            let mut rest = if item.kind == CommandKind::Send { item.body } else { &[] };
            while !rest.is_empty() {
                let (record, tail) = timbermq_record::Record::parse_prefix(rest).unwrap();
                prop_assert_eq!(record.store_timestamp_ms(), at.cast_signed());
                rest = tail;
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Batch::parse(&bytes).map(|batch| batch.items().count());
        let _ = Proposal::send(bytes.clone().into());
        let _ = crate::Snapshot::from_dump(bytes.clone().into());
        let _ = crate::decode_applied(&bytes);
        let _ = crate::codec::decode::<LeaderStarted>(&bytes);
    }

    #[test]
    fn a_cut_or_changed_batch_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bench = Bench::with_topic("t", 1);
        let mut builder = BatchBuilder::new();
        builder.push(&send("t", 0, &[Message { keys: "a b".into(), ..Message::default() }]));
        builder.push(&Mark {}.into());
        let good = builder.seal(UnixMillis(1));
        let cut = cut.index(good.len());
        let short = Batch::parse(&good[..cut]);
        prop_assert!(matches!(short, Err(BatchError::Short)));
        let mut changed = good.to_vec();
        let at = at.index(changed.len());
        changed[at] = value;
        let entry = bench.log.push(super::support::Content::Batch(changed.into()));
        if let Ok(applied) = super::support::feed(&mut bench.machine, &entry) {
            let commands = if let super::support::Content::Batch(payload) = &entry.content { Batch::parse(payload).unwrap().len() } else { 0 };
            prop_assert_eq!(applied.replies.len(), commands);
        }
    }
}

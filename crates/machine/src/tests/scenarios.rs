//! Behaviour that a random history would not show plainly.

use timbermq_types::{
    GroupConfig, LogId, LogIndex, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, UnixMillis,
};

use super::support::{Bench, Message, feed, group, plain, send, topic};
use crate::{
    CommitOffsets, DeleteTopic, Effect, LeaderStarted, Lock, MachineError, Mark, OffsetCommit, PutGroup, PutTopic,
    QueueBounds, Refusal, Reply, Trim,
};

fn commit(offset: u64, allow_lower: bool) -> CommitOffsets {
    let (group, topic) = (group("g"), topic("t"));
    let commit = OffsetCommit { group, topic, queue: QueueId(0), offset: QueueOffset(offset), allow_lower };
    CommitOffsets { offsets: vec![commit] }
}

fn lock(client: &str) -> Lock {
    Lock { group: group("g"), client: client.into(), queues: vec![(topic("t"), QueueId(0))] }
}

fn granted(reply: &Reply) -> bool {
    matches!(reply, Reply::Locked { granted } if !granted.is_empty())
}

#[test]
fn a_send_tells_where_the_records_are_and_who_should_wake_up() {
    let mut bench = Bench::with_topic("t", 1);
    let tagged = Message { tags: "TagA".into(), ..Message::default() };
    let applied = bench.run(&[plain("t", 0, 2), send("t", 0, &[tagged, Message::default()])]);
    let place = bench.log.entries[1].place;
    let [
        Reply::Sent { queue_offset: first, positions: one, .. },
        Reply::Sent { queue_offset: second, positions: two, .. },
    ] = &applied.replies[..]
    else {
        panic!("{applied:?}")
    };
    assert_eq!((first.0, second.0), (0, 2));
    let size = plain("t", 0, 1).body().len() as u64;
    let start = place.position.0 + 13 + 5;
    assert_eq!(one[..], [LogPosition(start), LogPosition(start + size)]);
    assert_eq!(two[0], LogPosition(start + 2 * size + 5));
    let [Effect::Arrived(arrived)] = &applied.effects[..] else { panic!("woken once: {applied:?}") };
    assert_eq!((arrived.first.0, arrived.next.0, arrived.at.0), (0, 4, bench.now));
    assert_eq!(arrived.tags_codes, [0, 0, 2_598_919, 0], "Java's hash of TagA, and 0 without a tag");
}

#[test]
fn what_arrives_in_several_queues_by_turns_wakes_each_once_and_what_came_between_stays_between() {
    let mut bench = Bench::with_topic("t", 2);
    let new = PutTopic { config: TopicConfig::new(topic("u"), 1), if_absent: false };
    let applied = bench.run(&[plain("t", 0, 1), plain("t", 1, 1), plain("t", 0, 1), new.into(), plain("t", 0, 1)]);
    let told: Vec<_> = applied
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Arrived(arrived) => Some((arrived.queue.0, arrived.first.0, arrived.next.0)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [Some((0, 0, 2)), Some((1, 0, 1)), None, Some((0, 2, 3))]);
}

#[test]
fn tags_are_hashed_over_utf16_units() {
    let mut bench = Bench::with_topic("t", 1);
    let messages = ["é", "😀", "polygenelubricants"].map(|tags| Message { tags: tags.into(), ..Message::default() });
    let applied = bench.run(&[send("t", 0, &messages)]);
    let Effect::Arrived(arrived) = &applied.effects[0] else { panic!("{applied:?}") };
    assert_eq!(arrived.tags_codes, [233, 0xD83D * 31 + 0xDE00, i64::from(i32::MIN)]);
}

#[test]
fn every_queue_that_changed_counts_as_memory_until_it_is_written() {
    let mut bench = Bench::with_topic("t", 2);
    bench.save();
    assert_eq!(bench.machine.dirty_bytes(), 0);
    bench.run(&[plain("t", 0, 1)]);
    let one = bench.machine.dirty_bytes();
    bench.run(&[plain("t", 0, 1), plain("t", 1, 1)]);
    let two = bench.machine.dirty_bytes();
    assert!(one >= 64 && two >= one + 64, "{one} bytes for one queue, {two} for two");
    bench.save();
    assert_eq!(bench.machine.dirty_bytes(), 0);
}

#[test]
fn very_many_queues_gather_messages_before_their_blocks_are_written() {
    let mut bench = Bench::with_topic("t", 1001);
    let to_each = |queues: u32| (0..queues).map(|queue| plain("t", queue, 1)).collect::<Vec<_>>();
    bench.run(&to_each(999));
    assert!(bench.machine.has_gathered(), "a few are written at once");
    bench.save();
    bench.run(&to_each(1001));
    assert!(!bench.machine.has_gathered());
    for _ in 0..2 {
        bench.run(&to_each(1001));
    }
    assert!(!bench.machine.has_gathered(), "three each");
    bench.run(&to_each(1001));
    assert!(bench.machine.has_gathered(), "four each");
    bench.save();
    bench.run(&to_each(1001));
    assert!(!bench.machine.has_gathered(), "it counts from the last writing");
}

#[test]
fn a_topic_created_again_begins_at_zero_and_remembers_nothing() {
    let mut bench = Bench::with_topic("t", 2);
    bench.run(&[plain("t", 0, 100), commit(5, false).into(), lock("a").into()]);
    assert_eq!(bench.reply(DeleteTopic { topic: topic("t") }), Reply::Done);
    let view = bench.machine.view();
    assert_eq!(view.queue_bounds("t", QueueId(0)), QueueBounds::default());
    assert_eq!(view.offset_of("g", "t", QueueId(0)), None);
    assert_eq!(bench.reply(DeleteTopic { topic: topic("t") }), Reply::Refused(Refusal::TopicMissing));
    bench.reply(commit(7, false));
    assert_eq!(view.offset_of("g", "t", QueueId(0)), None, "a late commit does not bring it back");
    bench.put_topic("t", 2);
    bench.run(&[plain("t", 0, 3)]);
    assert_eq!(view.rows("t", QueueId(0), QueueOffset(0), 99).unwrap().len(), 3);
    assert!(granted(&bench.reply(lock("b"))));
}

#[test]
fn a_shrunk_topic_refuses_messages_to_removed_queues_and_still_has_their_old_ones() {
    let mut bench = Bench::with_topic("t", 4);
    bench.run(&[plain("t", 3, 2)]);
    let version = bench.machine.view().topics_version();
    bench.put_topic("t", 2);
    assert_eq!(bench.machine.view().topics_version().counter, version.counter + 1);
    assert_eq!(bench.reply(plain("t", 3, 1)), Reply::Refused(Refusal::QueueOutOfRange));
    assert_eq!(bench.machine.view().rows("t", QueueId(3), QueueOffset(0), 9).unwrap().len(), 2);
    bench.put_topic("t", 4);
    bench.run(&[plain("t", 3, 1)]);
    assert_eq!(bench.max("t", 3), 3);
    let huge = PutTopic { config: TopicConfig::new(topic("t"), 65_537), if_absent: false };
    assert_eq!(bench.reply(huge), Reply::Refused(Refusal::TooManyQueues));
}

#[test]
fn stored_offsets_go_back_only_on_request() {
    let mut bench = Bench::with_topic("t", 1);
    let stored = |bench: &Bench| bench.machine.view().offset_of("g", "t", QueueId(0)).map(|offset| offset.0);
    assert_eq!(stored(&bench), None);
    for (offset, allow_lower, expected) in
        [(0, false, 0), (9, false, 9), (4, false, 9), (4, true, 4), (1_000, false, 1_000)]
    {
        assert_eq!(bench.reply(commit(offset, allow_lower)), Reply::Done);
        assert_eq!(stored(&bench), Some(expected));
    }
}

#[test]
fn digests_tell_states_apart_that_differ_in_an_offset_even_if_only_a_mark_knows() {
    let digests = |offset: u64, then: u64| {
        let mut bench = Bench::with_topic("t", 1);
        bench.reply(commit(offset, true));
        bench.reply(Mark {});
        bench.reply(commit(then, true));
        let view = bench.machine.view();
        (view.small_state_digest(), view.state_digest().unwrap())
    };
    let (small, all) = digests(3, 5);
    assert_eq!(digests(3, 5), (small, all));
    for (offset, then) in [(3, 6), (4, 5)] {
        let (other_small, other_all) = digests(offset, then);
        assert!(other_small != small && other_all != all, "{offset} then {then}");
    }
}

#[test]
fn a_lock_lasts_until_its_expiry_and_a_new_leader_lets_it_live() {
    let mut bench = Bench::with_topic("t", 1);
    assert!(granted(&bench.reply(lock("a"))));
    bench.now += 59_999;
    assert!(!granted(&bench.reply(lock("b"))));
    // The new leader's clock is far ahead: the lock was alive as far as the log knows.
    bench.now += 500_000;
    bench.reply(LeaderStarted { node: NodeId(2), term: Term(2) });
    assert_eq!(bench.machine.view().leader(), Some((NodeId(2), Term(2))));
    bench.now += 59_999;
    assert!(!granted(&bench.reply(lock("b"))));
    bench.now += 1;
    assert_eq!(bench.machine.view().lock_owner("g", &topic("t"), QueueId(0)).unwrap().client, "a");
    assert!(granted(&bench.reply(lock("b"))));
    assert!(!granted(&bench.reply(lock("a"))));
}

#[test]
fn time_does_not_go_back() {
    let mut bench = Bench::with_topic("t", 1);
    bench.run(&[plain("t", 0, 1)]);
    bench.now -= 5_000;
    let applied = bench.run(&[plain("t", 0, 1)]);
    assert!(matches!(applied.replies[0], Reply::Sent { at: UnixMillis(1_000_000), .. }));
    assert_eq!(bench.machine.view().last_at().0, 1_000_000);
}

#[test]
fn unchanged_configuration_is_no_change() {
    let mut bench = Bench::with_topic("t", 1);
    let version = bench.machine.view().topics_version();
    bench.put_topic("t", 1);
    assert_eq!(bench.machine.view().topics_version(), version);
    let mut config = GroupConfig::new(group("g"));
    bench.reply(PutGroup { config: config.clone(), if_absent: true });
    config.retry_max_times = 3;
    let kept = bench.reply(PutGroup { config, if_absent: true });
    assert!(matches!(kept, Reply::Group(config) if config.retry_max_times == 16));
    assert_eq!(bench.machine.view().groups_version().counter, 1);
}

#[test]
fn entries_come_in_turn_or_not_at_all() {
    let mut bench = Bench::with_topic("t", 1);
    let good = bench.log.batch(bench.now, &[plain("t", 0, 1)]);
    let mut skipped = good.clone();
    skipped.place.id = LogId::new(Term(1), LogIndex(2));
    let error = feed(&mut bench.machine, &skipped).unwrap_err();
    assert_eq!(error, MachineError::OutOfTurn { expected: LogIndex(1), found: LogIndex(2) });
    let mut misplaced = good.clone();
    misplaced.place.position = LogPosition(0);
    assert!(matches!(feed(&mut bench.machine, &misplaced), Err(MachineError::Position { .. })));
    assert!(feed(&mut bench.machine, &good).is_ok());
    assert!(matches!(feed(&mut bench.machine, &good), Err(MachineError::OutOfTurn { .. })));
}

#[test]
fn a_trim_frees_the_rows_and_the_older_dumps() {
    let mut bench = Bench::with_topic("t", 1);
    let blocks =
        |bench: &Bench| bench.store.rows().iter().filter(|(key, _)| key[0] == crate::key::table::BLOCK).count();
    let dumps = |bench: &Bench| bench.store.rows().iter().filter(|(key, _)| key[0] == crate::key::table::DUMP).count();
    let mut marks = Vec::new();
    for round in 0..4 {
        // Few blocks go one by one, many as a range.
        bench.run(&[plain("t", 0, if round == 1 { 32 * 40 } else { 64 })]);
        let entry = bench.log.batch(bench.now, &[Mark {}.into()]);
        let applied = feed(&mut bench.machine, &entry).unwrap();
        assert!(
            matches!(&applied.effects[..], [Effect::Marked(mark)] if mark.id == entry.place.id && mark.end == entry.place.end)
        );
        marks.push(entry.place);
    }
    bench.run(&[plain("t", 0, 1)]);
    assert_eq!((blocks(&bench), dumps(&bench)), (2 + 40 + 2 + 2, 4));
    bench.reply(Trim { to: marks[0].id.index });
    assert_eq!((blocks(&bench), dumps(&bench)), (40 + 2 + 2, 4));
    assert!(matches!(bench.run(&[Trim { to: marks[2].id.index }.into()]).effects[..], [Effect::Trimmed(_)]));
    assert_eq!((blocks(&bench), dumps(&bench)), (2, 2));
    assert_eq!(bench.run(&[Trim { to: marks[0].id.index }.into()]).effects, []);
    let view = bench.machine.view();
    assert_eq!(view.snapshot_mark().map(|mark| mark.id), Some(marks[2].id));
    assert_eq!(view.floor(), marks[2].end);
    assert_eq!(view.queue_bounds("t", QueueId(0)).min, QueueOffset(64 + 32 * 40 + 64));
    let snapshot = bench.machine.current_snapshot().unwrap().unwrap();
    assert_eq!((snapshot.mark, snapshot.end), (marks[2].id, marks[2].end));
    let mut changed = snapshot.dump.to_vec();
    changed[20] ^= 1;
    assert!(crate::Snapshot::from_dump(changed.into()).is_err());
}

#[test]
fn an_entry_that_only_some_replicas_have_changes_the_digest() {
    let digest = |payloads: &[u64]| {
        let mut bench = Bench::with_topic("t", 1);
        for at in payloads {
            bench.now = *at;
            bench.run(&[plain("t", 0, 1)]);
        }
        bench.machine.view().digest()
    };
    assert_eq!(digest(&[1, 2]), digest(&[1, 2]));
    assert_ne!(digest(&[1, 2]), digest(&[1, 3]));
    assert_ne!(digest(&[1]), digest(&[1, 2]));
}

#[test]
fn saved_rows_are_read_again_after_a_restart() {
    let mut bench = Bench::with_topic("t", 1);
    bench.run(&[plain("t", 0, 70)]);
    bench.save();
    assert_eq!(bench.store.crash(0), ());
    let machine = crate::Machine::open(bench.store.clone()).unwrap();
    let view = machine.view();
    assert_eq!(view.rows("t", QueueId(0), QueueOffset(30), 10).unwrap().len(), 10);
    assert_eq!(view.rows("t", QueueId(0), QueueOffset(60), 99).unwrap().len(), 10);
    assert!(view.rows_cached("t", QueueId(0), QueueOffset(0), 99));
    assert!(view.rows("none", QueueId(0), QueueOffset(0), 9).unwrap().is_empty());
}

#[test]
fn a_mark_that_cannot_be_read_keeps_nothing() {
    let mut bench = Bench::with_topic("t", 1);
    let payload =
        super::support::payload(bench.now, &[super::support::Item::Raw(crate::CommandKind::Mark, Vec::new())]);
    let entry = bench.log.push(super::support::Content::Batch(payload));
    let applied = feed(&mut bench.machine, &entry).unwrap();
    assert_eq!((applied.replies, applied.effects), (vec![Reply::Refused(Refusal::Malformed)], vec![]));
    assert_eq!(bench.machine.view().marks(), []);
}

#[test]
fn a_message_at_the_border_of_two_pages_is_found_once() {
    let mut bench = Bench::with_topic("t", 1);
    // One run is as long as 50 keys and a page reads three runs at most: the only message asked for begins the third.
    let message = |key: String| Message { unique_key: key, ..Message::default() };
    bench.run(&[send("t", 0, &(0..300).map(|n| message(format!("u{n}"))).collect::<Vec<_>>())]);
    let view = bench.machine.view();
    for run in 0..6 {
        let (key, mut hits, mut before, mut pages) = (format!("u{}", run * 50), 0, None, 0);
        loop {
            let page = view.lookup_key("t", &key, true, UnixMillis(0), UnixMillis(u64::MAX), 9, before).unwrap();
            hits += page.hits.len();
            pages += 1;
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!((hits, pages), (1, 2), "{key}");
    }
}

//! Random histories: against the model, through restarts, through snapshots, and against themselves.

use std::sync::Arc;

use proptest::prelude::*;

use super::model::{CLIENTS, GROUPS, Model, Op, TOPICS};
use super::support::{Content, Entry, Log, feed, new_machine};
use crate::{Machine, MemoryStore, Store};

/// One entry of a history.
#[derive(Clone, Debug)]
enum Step {
    Batch { wait: i64, ops: Vec<Op> },
    Blank,
    Membership(Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    let (topic, group, client, queue) = (0..TOPICS.len(), 0..GROUPS.len(), 0..CLIENTS.len(), 0..4_u32);
    let messages = proptest::collection::vec((0..3_u8, 0..7_u8, 0..4_u8), 1..30);
    prop_oneof![
        12 => (topic.clone(), queue.clone(), messages).prop_map(|(topic, queue, messages)| Op::Send { topic, queue, messages }),
        4 => (topic.clone(), 1..5_u32, prop::bool::weighted(0.9), any::<bool>())
            .prop_map(|(topic, queues, writable, if_absent)| Op::PutTopic { topic, queues, writable, if_absent }),
        1 => topic.clone().prop_map(|topic| Op::DeleteTopic { topic }),
        1 => (group.clone(), 0..9).prop_map(|(group, retries)| Op::PutGroup { group, retries }),
        1 => (group.clone(), any::<bool>()).prop_map(|(group, clean)| Op::DeleteGroup { group, clean }),
        3 => (group.clone(), topic.clone(), queue.clone(), 0..50_u64, prop::bool::weighted(0.3))
            .prop_map(|(group, topic, queue, offset, allow_lower)| Op::Commit { group, topic, queue, offset, allow_lower }),
        3 => (group.clone(), client.clone(), topic.clone(), queue.clone())
            .prop_map(|(group, client, topic, queue)| Op::Lock { group, client, topic, queue }),
        1 => (group, client, topic, queue).prop_map(|(group, client, topic, queue)| Op::Unlock { group, client, topic, queue }),
        1 => Just(Op::LeaderStarted),
        2 => Just(Op::Mark),
        2 => (0..6_usize).prop_map(|nth| Op::Trim { nth }),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (-20_000..40_000_i64, proptest::collection::vec(op(), 0..4)).prop_map(|(wait, ops)| Step::Batch { wait, ops }),
        1 => Just(Step::Blank),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Step::Membership),
    ];
    let start = (0..TOPICS.len()).map(|topic| Op::PutTopic { topic, queues: 4, writable: true, if_absent: false });
    let start = Step::Batch { wait: 0, ops: start.collect() };
    proptest::collection::vec(step, 1..60).prop_map(move |mut steps| {
        steps.insert(0, start.clone());
        steps
    })
}

/// Runs a history on a machine and the model; `after` sees both after every entry.
fn run(history: &[Step], mut after: impl FnMut(&mut Machine, &Model, &Entry)) -> (Machine, Model, Log) {
    let (_, mut machine) = new_machine();
    let (mut model, mut log, mut now) = (Model::default(), Log::default(), 1_000_000_i64);
    for step in history {
        let entry = match step {
            Step::Blank => log.push(Content::Blank),
            Step::Membership(bytes) => log.push(Content::Membership(bytes.clone())),
            Step::Batch { wait, ops } => {
                now += wait;
                let at = u64::try_from(now).unwrap();
                let ops: Vec<_> = ops.iter().map(|op| (op.clone(), model.proposal(op))).collect();
                let proposals: Vec<_> = ops.iter().map(|(_, proposal)| proposal.clone()).collect();
                let entry = log.batch(at, &proposals);
                let expected = model.apply(&entry.place, at, &ops);
                assert_eq!(feed(&mut machine, &entry).unwrap().replies, expected);
                after(&mut machine, &model, &entry);
                continue;
            }
        };
        feed(&mut machine, &entry).unwrap();
        after(&mut machine, &model, &entry);
    }
    (machine, model, log)
}

fn replay(machine: &mut Machine, log: &Log) {
    let from = machine.applied().0.map_or(0, |applied| applied.index.0 + 1);
    for entry in &log.entries[usize::try_from(from).unwrap()..] {
        feed(machine, entry).unwrap();
    }
}

fn assert_same(a: &Machine, b: &Machine) {
    let (a, b) = (a.view(), b.view());
    assert_eq!(a.applied(), b.applied());
    assert_eq!(a.digest(), b.digest());
    assert_eq!(a.membership(), b.membership());
    assert_eq!(a.small_state_digest(), b.small_state_digest());
    assert_eq!(a.state_digest().unwrap(), b.state_digest().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_does_what_the_model_does(history in history()) {
        let (machine, model, _) = run(&history, |machine, model, _| {
            model.check(machine);
        });
        model.check_queries(&machine);
    }

    /// INV-MACHINE-1: a restart from any written state, and the rest of the log again, gives the same state.
    #[test]
    fn a_crash_and_the_log_give_the_same_state(
        history in history(),
        plan in proptest::collection::vec((prop::bool::weighted(0.3), prop::bool::weighted(0.4), any::<bool>()), 60),
        steps in 0..3_usize,
    ) {
        let (straight, model, log) = run(&history, |_, _, _| {});
        let (store, mut machine) = new_machine();
        for (entry, (rotate, write, sync)) in log.entries.iter().zip(plan) {
            feed(&mut machine, entry).unwrap();
            if rotate {
                machine.rotate();
            }
            if write {
                store.write_frozen(sync).unwrap();
            }
        }
        assert_same(&straight, &machine);
        let durable = store.durable_applied();
        drop(machine);
        store.crash(steps);
        let mut machine = Machine::open(store.clone()).unwrap();
        prop_assert!(machine.applied().0 >= durable);
        prop_assert!(steps > 0 || machine.applied().0 == durable);
        replay(&mut machine, &log);
        assert_same(&straight, &machine);
        model.check(&machine);
        model.check_queries(&machine);
        // What is written at a clean stop is all of it.
        store.write_frozen(true).unwrap();
        prop_assert!(machine.rotate());
        store.write_frozen(true).unwrap();
        store.crash(0);
        assert_same(&straight, &Machine::open(store).unwrap());
    }

    /// INV-MACHINE-2: whoever starts from a snapshot ends where whoever applied everything is.
    #[test]
    fn a_snapshot_and_the_rest_of_the_log_give_the_same_state(history in history(), rotate in any::<bool>()) {
        let mut snapshots = Vec::new();
        let (straight, model, log) = run(&history, |machine, _, _| {
            let snapshot = machine.current_snapshot().unwrap();
            if snapshot.is_some() && snapshots.last() != snapshot.as_ref() {
                snapshots.extend(snapshot);
            }
        });
        for snapshot in snapshots {
            let (store, mut machine) = new_machine();
            // Something else is there before.
            for entry in log.entries.iter().take(3) {
                feed(&mut machine, entry).unwrap();
            }
            machine.install(&snapshot).unwrap();
            prop_assert_eq!(machine.applied().0, Some(snapshot.mark));
            prop_assert_eq!(machine.view().applied_end(), snapshot.end);
            prop_assert_eq!(machine.applied().1, snapshot.membership.clone());
            prop_assert_eq!(machine.current_snapshot().unwrap(), Some(snapshot.clone()));
            if rotate {
                prop_assert!(machine.rotate());
                store.write_frozen(true).unwrap();
                drop(machine);
                machine = Machine::open(store.clone()).unwrap();
                prop_assert_eq!(machine.current_snapshot().unwrap(), Some(snapshot));
            }
            replay(&mut machine, &log);
            assert_same(&straight, &machine);
            model.check(&machine);
            model.check_queries(&machine);
        }
    }
}

#[test]
fn a_crash_during_an_install_leaves_the_old_state_or_the_new() {
    let mut bench = super::support::Bench::with_topic("t", 1);
    bench.run(&[super::support::plain("t", 0, 40)]);
    let mark = bench.log.batch(bench.now, &[crate::Mark {}.into()]);
    feed(&mut bench.machine, &mark).unwrap();
    bench.reply(crate::Trim { to: mark.place.id.index });
    let snapshot = bench.machine.current_snapshot().unwrap().unwrap();

    let store = Arc::new(MemoryStore::new());
    let mut machine = Machine::open(store.clone()).unwrap();
    feed(&mut machine, &bench.log.entries[0]).unwrap();
    assert!(machine.rotate());
    store.write_frozen(true).unwrap();
    machine.install(&snapshot).unwrap();
    store.crash(9);
    assert_eq!(Machine::open(store.clone()).unwrap().applied().0, Some(bench.log.entries[0].place.id));
    let mut machine = Machine::open(store.clone()).unwrap();
    machine.install(&snapshot).unwrap();
    assert!(machine.rotate());
    store.write_frozen(true).unwrap();
    store.crash(0);
    let machine = Machine::open(store.clone()).unwrap();
    assert_eq!(machine.applied().0, Some(snapshot.mark));
    assert_eq!(store.durable_applied(), Some(snapshot.mark));
    assert_eq!(machine.view().queue_bounds("t", timbermq_types::QueueId(0)).min.0, 40);
}

//! The machine against the model, through crashes, snapshots and nonsense.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use timbermq_types::{LogId, LogIndex, LogPosition, Term};

use super::history::{Run, Told, ask, check, history, questions, run};
use super::model::Model;
use super::support::{Content, Entry, feed, new_machine};
use crate::{Machine, MachineError, MemoryStore, Snapshot, Store};

/// Feeds what comes behind the applied entry.
fn replay<'a>(machine: &mut Machine, entries: impl Iterator<Item = &'a Entry>) {
    let from = machine.applied().0.map_or(0, |applied| applied.index.0 + 1);
    for entry in entries.skip(usize::try_from(from).unwrap()) {
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

/// Everything in the store, once all is written.
fn written_rows(machine: &mut Machine, store: &MemoryStore) -> Vec<(Vec<u8>, Bytes)> {
    store.write_frozen(true).unwrap();
    assert!(machine.rotate());
    store.write_frozen(true).unwrap();
    store.crash(0);
    store.rows()
}

/// What happens after an entry.
#[derive(Clone, Copy, Debug)]
struct Pause {
    rotate: bool,
    write: bool,
    sync: bool,
    /// A power cut that keeps this many of the writes that were not synced.
    crash: Option<usize>,
}

fn pauses() -> impl Strategy<Value = Vec<Pause>> {
    let crash = prop::option::weighted(0.08, 0..3_usize);
    let pause = (prop::bool::weighted(0.3), prop::bool::weighted(0.4), any::<bool>(), crash)
        .prop_map(|(rotate, write, sync, crash)| Pause { rotate, write, sync, crash });
    proptest::collection::vec(pause, 61)
}

/// Feeds a log with pauses in between. After each crash the state must be one there was, `models` says which.
fn feed_with(log: &[Told], pauses: &[Pause], models: &[Model]) -> (Arc<MemoryStore>, Machine) {
    let (store, mut machine) = new_machine();
    let mut next = 0;
    for pause in pauses {
        let Some(told) = log.get(next) else { break };
        feed(&mut machine, &told.entry).unwrap();
        next += 1;
        if pause.rotate {
            machine.rotate();
        }
        if pause.write {
            store.write_frozen(pause.sync).unwrap();
        }
        if let Some(steps) = pause.crash {
            let durable = store.durable_applied();
            store.crash(steps);
            machine = Machine::open(store.clone()).unwrap();
            let applied = machine.applied().0;
            assert!(applied >= durable, "{applied:?} is older than what was synced, {durable:?}");
            assert!(steps > 0 || applied == durable);
            next = applied.map_or(0, |applied| usize::try_from(applied.index.0).unwrap() + 1);
            check(&machine, next.checked_sub(1).map_or(&Model::default(), |at| &models[at]));
        }
    }
    replay(&mut machine, log.iter().map(|told| &told.entry));
    (store, machine)
}

fn run_and_remember(history: &[super::history::Step]) -> (Run, Vec<Model>) {
    let mut models = Vec::new();
    let run = run(history, |_, model| models.push(model.clone()));
    (run, models)
}

/// Entries that must not be applied after `next` was due: out of turn, in the wrong place, or not readable.
fn wrong(next: &Entry) -> Vec<Entry> {
    let mut wrong = Vec::new();
    let index = next.place.id.index.0;
    let id = |index| LogId::new(Term(1), LogIndex(index));
    for other in [index + 1, index + 100, index.wrapping_sub(1), 0].into_iter().filter(|other| *other != index) {
        let mut moved = next.clone();
        moved.place.id = id(other);
        wrong.push(moved);
    }
    if let Some(before) = next.place.position.0.checked_sub(super::support::FRAME_HEADER_BYTES + 1) {
        let mut moved = next.clone();
        moved.place.position = LogPosition(before);
        wrong.push(moved);
    }
    if let Content::Batch(payload) = &next.content {
        let mut content = vec![payload.slice(..payload.len() - 1), Bytes::new()];
        content.push([&payload[..], &[0]].concat().into());
        let mut newer = payload.to_vec();
        newer[0] += 1;
        content.push(newer.into());
        // A command of a newer version behind all the others, which this program reads.
        let mut longer = payload.to_vec();
        longer[9..13].copy_from_slice(&(u32::from_le_bytes(payload[9..13].try_into().unwrap()) + 1).to_le_bytes());
        content.push([&longer[..], &[10, 1, 0, 0, 0, 2]].concat().into());
        content.push([&longer[..], &[12, 0, 0, 0, 0]].concat().into());
        wrong.extend(content.into_iter().map(|payload| Entry { place: next.place, content: Content::Batch(payload) }));
    }
    wrong
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_does_what_the_model_does(history in history(), questions in questions()) {
        let mut steps = 0;
        let run = run(&history, |machine, model| {
            check(machine, model);
            steps += 1;
            if steps % 8 == 0 {
                ask(machine, model, &questions);
            }
        });
        ask(&run.machine, &run.model, &questions);
    }

    /// INV-MACHINE-1: a restart from any written state, and the rest of the log again, gives the same state, down to the
    /// bytes of the rows. What was rotated, written or lost on the way does not matter.
    #[test]
    fn crashes_and_the_log_give_the_same_state(
        history in history(),
        plans in proptest::collection::vec(pauses(), 2),
        questions in questions(),
    ) {
        let (straight, models) = run_and_remember(&history);
        let mut rows = Vec::new();
        for pauses in &plans {
            let (store, mut machine) = feed_with(&straight.log, pauses, &models);
            assert_same(&straight.machine, &machine);
            check(&machine, &straight.model);
            ask(&machine, &straight.model, &questions);
            rows.push(written_rows(&mut machine, &store));
            // What is written at a clean stop is all of it.
            let machine = Machine::open(store).unwrap();
            assert_same(&straight.machine, &machine);
            check(&machine, &straight.model);
            ask(&machine, &straight.model, &questions);
        }
        let (store, mut machine) = feed_with(&straight.log, &[], &models);
        rows.push(written_rows(&mut machine, &store));
        prop_assert_eq!(&rows[0], &rows[1]);
        prop_assert_eq!(&rows[0], &rows[2]);
    }

    /// INV-MACHINE-2: whoever starts from a mark's dump has what there was at the mark, and ends where whoever applied
    /// everything is.
    #[test]
    fn a_snapshot_and_the_rest_of_the_log_give_the_same_state(
        history in history(),
        questions in questions(),
        rotate in any::<bool>(),
        busy in any::<bool>(),
    ) {
        let mut starts: Vec<(Snapshot, Model)> = Vec::new();
        let straight = run(&history, |machine, model| {
            let view = machine.view();
            if let Some(mark) = view.marks().last().filter(|mark| Some(mark.id) == view.applied()) {
                let dump = crate::retention::read_dump(&*machine.store(), mark).unwrap();
                starts.push((Snapshot::from_dump(dump).unwrap(), model.started_from(mark)));
            }
        });
        for (snapshot, mut model) in starts {
            let (store, mut machine) = new_machine();
            if busy {
                // Something else is there before, in memory and written.
                for entry in straight.entries().take(4) {
                    feed(&mut machine, entry).unwrap();
                    machine.rotate();
                }
                store.write_frozen(true).unwrap();
            }
            machine.install(&snapshot).unwrap();
            check(&machine, &model);
            ask(&machine, &model, &questions);
            prop_assert_eq!(machine.current_snapshot().unwrap(), Some(snapshot.clone()));
            if rotate {
                while !machine.rotate() {
                    store.write_frozen(true).unwrap();
                }
                store.write_frozen(true).unwrap();
                drop(machine);
                store.crash(0);
                machine = Machine::open(store.clone()).unwrap();
                check(&machine, &model);
                prop_assert_eq!(machine.current_snapshot().unwrap(), Some(snapshot.clone()));
            }
            let rest = usize::try_from(snapshot.mark.index.0).unwrap() + 1;
            for told in &straight.log[rest..] {
                told.apply(&mut machine, &mut model);
                check(&machine, &model);
            }
            ask(&machine, &model, &questions);
            let (there, here) = (straight.machine.view(), machine.view());
            prop_assert_eq!(there.digest(), here.digest());
            prop_assert_eq!(there.small_state_digest(), here.small_state_digest());
            if there.snapshot_mark().is_some_and(|mark| mark.id >= snapshot.mark) {
                assert_same(&straight.machine, &machine);
            }
        }
    }

    /// What cannot be applied, or is no snapshot, changes nothing, and the right entry can still come.
    #[test]
    fn what_is_wrong_changes_nothing(history in history(), at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
        let run = run(&history, |_, _| {});
        let at = at.index(run.log.len());
        let (store, mut machine) = new_machine();
        let mut model = Model::default();
        for told in &run.log[..at] {
            told.apply(&mut machine, &mut model);
        }
        let (rows, state) = (store.rows(), machine.view().state_digest().unwrap());
        let next = &run.log[at];
        for entry in wrong(&next.entry) {
            let error = feed(&mut machine, &entry).unwrap_err();
            prop_assert!(!matches!(error, MachineError::Failed | MachineError::Store(_)), "{}", error);
            prop_assert_eq!(store.rows(), rows.clone());
            prop_assert_eq!(machine.view().state_digest().unwrap(), state);
        }
        for kept in machine.view().marks() {
            let dump = crate::retention::read_dump(&*machine.store(), &kept).unwrap();
            let good = Snapshot::from_dump(dump.clone()).unwrap();
            let mut changed = dump.to_vec();
            changed[flip.index(dump.len())] ^= 1 << (flip.index(8));
            for bad in [changed.into(), dump.slice(..flip.index(dump.len()))] {
                machine.install(&Snapshot { dump: bad, ..good.clone() }).unwrap_err();
                prop_assert_eq!(store.rows(), rows.clone());
            }
        }
        check(&machine, &model);
        next.apply(&mut machine, &mut model);
        check(&machine, &model);
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

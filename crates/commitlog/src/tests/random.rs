//! Random histories with crashes against the model.

use proptest::prelude::*;

use super::harness::*;
use crate::LogOptions;
use timbermq_simdisk::Crash;

#[derive(Clone, Debug)]
enum Act {
    Append { new_term: bool, sizes: Vec<usize> },
    Vote,
    Truncate { back: u64 },
    Purge { part: u8 },
    Reset { ahead: u64 },
    Commit { back: u64 },
    Step,
    Check,
    PowerOff { after: u64 },
    FailSync { nth: u64 },
    Fill { bytes: u64 },
    Crash(Crash),
    Restart,
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![Just(Crash::LoseAll), Just(Crash::KeepAll), any::<u64>().prop_map(Crash::Random)]
}

fn act() -> impl Strategy<Value = Act> {
    let size = prop_oneof![5 => 0..300usize, 1 => 300..3000usize];
    prop_oneof![
        10 => (any::<bool>(), proptest::collection::vec(size, 0..6))
            .prop_map(|(new_term, sizes)| Act::Append { new_term, sizes }),
        2 => Just(Act::Vote),
        3 => (0..12u64).prop_map(|back| Act::Truncate { back }),
        2 => any::<u8>().prop_map(|part| Act::Purge { part }),
        1 => (0..5u64).prop_map(|ahead| Act::Reset { ahead }),
        2 => (0..4u64).prop_map(|back| Act::Commit { back }),
        8 => Just(Act::Step),
        2 => Just(Act::Check),
        2 => (0..12u64).prop_map(|after| Act::PowerOff { after }),
        1 => (0..4u64).prop_map(|nth| Act::FailSync { nth }),
        1 => (0..6000u64).prop_map(|bytes| Act::Fill { bytes }),
        3 => crash().prop_map(Act::Crash),
        1 => Just(Act::Restart),
    ]
}

fn act_on(rig: &mut Rig, act: &Act, term: &mut u64, dying: &mut bool) {
    let committed = rig.log.committed().map_or(0, |id| id.index.0 + 1);
    match act {
        Act::Append { new_term, sizes } => {
            *term += u64::from(*new_term);
            rig.append(*term, sizes);
        }
        Act::Vote => {
            *term += 1;
            rig.vote(*term);
        }
        Act::Truncate { back } => {
            let floor = rig.committed.max(committed).max(rig.model.first());
            let next = rig.model.next().saturating_sub(*back).max(floor);
            let keep = next.checked_sub(1).and_then(|index| {
                let at = index.checked_sub(rig.model.first());
                at.map(|at| rig.model.entries[at as usize].id).or(rig.model.purged)
            });
            rig.change(Change::Truncate(keep));
        }
        Act::Purge { part } => {
            let len = rig.model.entries.len();
            if len > 0 {
                let id = rig.model.entries[usize::from(*part) * len / 256].id;
                rig.change(Change::Purge(id));
            }
        }
        Act::Reset { ahead } => {
            *term += 1;
            let position = rig.model.end() + ahead * 800;
            rig.change(Change::Reset(id(*term, rig.model.next() + ahead), position));
        }
        Act::Commit { back } => {
            let index = rig.model.next().saturating_sub(back + 1);
            if let Some(at) = index.checked_sub(rig.model.first())
                && let Some(entry) = rig.model.entries.get(at as usize)
                && index + 1 > rig.committed
            {
                rig.committed = index + 1;
                rig.log.save_committed(Some(entry.id));
            }
        }
        Act::Step => rig.step(),
        Act::Check if !*dying => rig.check(),
        Act::Check => {}
        Act::PowerOff { after } => {
            if !*dying {
                *dying = true;
                rig.disk.power_off_after(*after);
            }
        }
        Act::FailSync { nth } => {
            *dying = true;
            rig.disk.fail_sync(*nth);
        }
        Act::Fill { bytes } => {
            *dying = true;
            let len = |path: std::path::PathBuf| rig.disk.content(&path).map_or(0, |content| content.len() as u64);
            let used: u64 = rig.disk.paths().into_iter().map(len).sum();
            rig.disk.limit(Some(used + bytes));
        }
        Act::Crash(crash) => {
            rig.disk.limit(None);
            rig.crash(*crash);
            *dying = false;
        }
        Act::Restart => {
            if *dying {
                rig.disk.limit(None);
                rig.crash(Crash::LoseAll);
                *dying = false;
            } else {
                rig.restart();
            }
        }
    }
}

proptest! {
    #[test]
    fn after_any_crash_the_log_is_what_it_promised(
        acts in proptest::collection::vec(act(), 1..60), fill in any::<bool>(), spares in 0..3usize,
    ) {
        let fill_ahead_bytes = if fill { 3000 } else { 0 };
        let mut rig = Rig::new(LogOptions { fill_ahead_bytes, spare_segments_max: spares, ..options() });
        let (mut term, mut dying) = (1, false);
        for act in &acts {
            act_on(&mut rig, act, &mut term, &mut dying);
        }
        rig.disk.limit(None);
        rig.crash(Crash::LoseAll);
        rig.append(term + 1, &[100, 200]);
        rig.step();
        rig.check();
        rig.restart();
        rig.check();
    }
}

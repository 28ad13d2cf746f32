//! Proof that the checkers can fail, and that they do not cry wolf.
//!
//! [`generate()`] makes a valid history from a seed: producers, readers, push consumers, broadcasting members, order locks,
//! configuration, queries, leader changes, retention, unknown outcomes and retries that duplicate. [`CLASSES`] are the
//! anomalies: each takes a valid history and breaks one promise in it. [`run`] counts what is found of them, and how many
//! valid histories raise an alarm.

mod generate;
mod plant;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::history::Micros;
use crate::{History, INVARIANTS, Id, Options, Verdict, check};

pub use generate::generate;
pub use plant::CLASSES;

/// A small seeded generator of numbers (splitmix64): the same seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, or 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit.max(1)
    }

    /// True in so many of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        let index = usize::try_from(self.below(list.len() as u64)).ok()?;
        list.get(index).copied()
    }
}

/// A way to break a promise.
#[derive(Clone, Copy)]
pub struct Class {
    /// The promise that it breaks.
    pub invariant: Id,
    /// What goes wrong, in a few words.
    pub name: &'static str,
    /// Breaks it in a valid history; false if this history has no place for it.
    pub plant: fn(&mut History, &mut Dice) -> bool,
}

impl std::fmt::Debug for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.invariant, self.name)
    }
}

/// Age at which generated histories delete messages.
const RETENTION: Micros = 250_000;
/// Within which members of generated groups settle.
const REBALANCE: Micros = 40_000;
/// Longest that a generated request takes.
const ANSWER: Micros = 100_000;

/// What generated histories are judged by.
#[must_use]
pub fn options() -> Options {
    Options {
        recover_within: 2_000_000,
        answer_within: Some(ANSWER),
        rebalance_within: REBALANCE,
        retention: Some(RETENTION),
        memory_max: Some(1 << 30),
        descriptors_max: Some(1_000),
        anomalies_max: 3,
        ..Options::default()
    }
}

/// What became of the anomalies of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recall {
    /// How often it was planted.
    pub planted: u64,
    /// How often it was found under its own invariant.
    pub found: u64,
    /// How often no other invariant found it.
    pub only_here: u64,
}

/// What a self-test counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Classes of anomalies.
    pub classes: u64,
    /// Anomalies planted.
    pub planted: u64,
    /// Of those, found under the right invariant.
    pub found: u64,
    /// Different valid histories into which something was planted.
    pub mutated: u64,
    /// Valid histories judged as they were.
    pub valid: u64,
    /// Of those, not judged valid.
    pub false_alarms: u64,
    /// Operations in all of them.
    pub operations: u64,
    /// Invariants that nothing was examined for in any valid history.
    pub unexercised: Vec<Id>,
    /// Classes that were missed, or never planted.
    pub missed: Vec<String>,
    /// Invariants without which some anomaly would have been found by nobody.
    pub needed: BTreeSet<Id>,
    /// Invariants that no anomaly needs: every one planted was also found by others.
    pub redundant: Vec<Id>,
    /// The first false alarms, in words.
    pub alarms: Vec<String>,
}

impl Summary {
    /// Whether everything was found, nothing was found that is not there, and every check is needed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.found == self.planted
            && self.planted > 0
            && self.missed.is_empty()
            && self.false_alarms == 0
            && self.unexercised.is_empty()
            && self.redundant.is_empty()
    }
}

/// Judges `valid` valid histories, and `per_class` anomalies of each class.
#[must_use]
pub fn run(seed: u64, valid: u64, per_class: u64) -> Summary {
    let options = options();
    let mut summary = Summary { classes: CLASSES.len() as u64, ..Summary::default() };
    let mut examined: BTreeMap<Id, u64> = BTreeMap::new();
    for number in 0..valid {
        let history = generate(seed.wrapping_add(number));
        let report = check(&history, &options);
        summary.valid += 1;
        summary.operations += history.len() as u64;
        for row in &report.invariants {
            *examined.entry(row.id).or_default() += row.examined;
        }
        if *report.verdict() != Verdict::Valid {
            summary.false_alarms += 1;
            if summary.alarms.len() < 5 {
                summary.alarms.push(format!("seed {}: {report}", seed.wrapping_add(number)));
            }
        }
    }
    let built = || INVARIANTS.iter().filter(|invariant| invariant.is_built());
    if valid > 0 {
        summary.unexercised = built().map(|i| i.id).filter(|id| examined.get(id) == Some(&0)).collect();
    }
    let mut mutated = BTreeSet::new();
    for (class, first) in CLASSES.iter().zip((1u64..).map(|number| seed.wrapping_add(number * 1_000_000))) {
        let recall = recall(class, first, per_class, &options, &mut mutated);
        summary.planted += recall.planted;
        summary.found += recall.found;
        if recall.found < recall.planted || recall.planted < per_class {
            summary.missed.push(format!("{class:?}: {} of {} found, {per_class} wanted", recall.found, recall.planted));
        }
        if recall.only_here > 0 {
            summary.needed.insert(class.invariant);
        }
    }
    summary.mutated = mutated.len() as u64;
    let is_redundant = |i: &&crate::Invariant| i.restates.is_none() && !summary.needed.contains(&i.id);
    summary.redundant = built().filter(is_redundant).map(|invariant| invariant.id).collect();
    summary
}

/// Plants one class into histories of seeds from `seed` on until there are enough, and counts what is found.
fn recall(class: &Class, seed: u64, wanted: u64, options: &Options, mutated: &mut BTreeSet<u64>) -> Recall {
    let mut recall = Recall::default();
    // Not every history has a place for every anomaly.
    for number in 0..wanted.saturating_mul(40) {
        if recall.planted == wanted {
            break;
        }
        let number = seed.wrapping_add(number);
        let mut history = generate(number);
        if !(class.plant)(&mut history, &mut Dice::new(number ^ 0x5eed)) {
            continue;
        }
        mutated.insert(number);
        recall.planted += 1;
        let report = check(&history, options);
        let violated: Vec<Id> = report.violated().map(|row| row.id).collect();
        recall.found += u64::from(violated.contains(&class.invariant));
        recall.only_here += u64::from(violated == [class.invariant]);
    }
    recall
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_histories_raise_no_alarm_and_every_anomaly_is_found() {
        let summary = run(1, 150, 3);
        assert!(summary.passed(), "{summary:#?}");
    }

    #[test]
    fn every_invariant_has_a_class_and_most_have_several() {
        let mut classes: BTreeMap<Id, u64> = BTreeMap::new();
        for class in CLASSES {
            *classes.entry(class.invariant).or_default() += 1;
        }
        let built: Vec<Id> = INVARIANTS.iter().filter(|i| i.is_built()).map(|i| i.id).collect();
        for id in &built {
            assert!(classes.contains_key(id), "{id}");
        }
        let several = built.iter().filter(|id| classes[id] >= 3).count();
        assert!(several * 2 > built.len(), "{several} of {}", built.len());
    }

    #[test]
    fn a_check_that_is_switched_off_finds_nothing() {
        for id in INVARIANTS.iter().filter(|invariant| invariant.is_built()).map(|invariant| invariant.id) {
            let off = Options { switched_off: [id].into(), ..options() };
            let mut mutated = BTreeSet::new();
            let of_this = CLASSES.iter().filter(|class| class.invariant == id);
            let recalls: Vec<Recall> = of_this.map(|class| recall(class, 7, 1, &off, &mut mutated)).collect();
            assert!(recalls.iter().all(|recall| recall.planted == 1 && recall.found == 0), "{id}: {recalls:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        let mut lines = [Vec::new(), Vec::new()];
        for lines in &mut lines {
            generate(42).write_jsonl(lines).unwrap();
        }
        assert_eq!(lines[0], lines[1]);
        let read = crate::history::Reader::default().read(lines[0].as_slice()).unwrap();
        assert_eq!(read.len(), generate(42).len());
        let mut again = Vec::new();
        read.write_jsonl(&mut again).unwrap();
        assert_eq!(lines[0], again, "reading and writing changes nothing");
    }
}

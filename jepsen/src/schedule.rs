//! When which fault begins and how long it lasts, all from the seed and before the run begins.

use serde::Serialize;
use timbermq_tests::dice::Dice;

use crate::nemesis::Nemesis;

/// Milliseconds without faults at the beginning.
const WARM_UP_MS: u64 = 3_000;
/// Milliseconds between the end of a fault and the beginning of the next that does not overlap it.
const PAUSE_MS: (u64, u64) = (500, 3_000);
/// Of a hundred faults of a run with several kinds, how many begin before the one before has ended.
const OVERLAPS: u64 = 35;

/// A fault that is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Milliseconds after the beginning.
    pub at_ms: u64,
    /// Milliseconds that it lasts.
    pub lasts_ms: u64,
    /// Which nemesis.
    pub nemesis: &'static str,
    /// What its further chance begins with.
    pub draw: u64,
}

/// The faults of a run of `seconds` with these nemeses, in the order of their beginnings. All have ended when it ends. Faults
/// and the times without them are `pace` times longer than usual, for systems that take their time.
#[must_use]
pub fn plan(seed: u64, nemeses: &[&'static dyn Nemesis], seconds: u64, pace: u64) -> Vec<Planned> {
    let mut dice = Dice::of(seed, "schedule");
    let end = seconds * 1_000;
    let mut planned = Vec::new();
    let mut at = WARM_UP_MS * pace;
    // Each kind in turn, in an order that changes every time round.
    let mut round: Vec<&'static dyn Nemesis> = Vec::new();
    while !nemeses.is_empty() {
        if round.is_empty() {
            round = nemeses.to_vec();
            dice.shuffle(&mut round);
        }
        let Some(nemesis) = round.pop() else { break };
        let (from, to) = nemesis.lasts();
        let lasts = dice.range(from, to + 1) * pace;
        if at + lasts > end {
            break;
        }
        planned.push(Planned { at_ms: at, lasts_ms: lasts, nemesis: nemesis.name(), draw: dice.next_u64() });
        let pause = dice.range(PAUSE_MS.0, PAUSE_MS.1 + 1) * pace;
        let overlaps = nemeses.len() > 1 && dice.percent(OVERLAPS);
        at += if overlaps { dice.range(0, lasts) } else { lasts + pause };
    }
    planned
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::nemesis::ALL;

    #[test]
    fn a_seed_gives_one_schedule_and_another_seed_another() {
        assert_eq!(plan(7, ALL, 60, 1), plan(7, ALL, 60, 1));
        assert_ne!(plan(7, ALL, 60, 1), plan(8, ALL, 60, 1));
    }

    #[test]
    fn every_nemesis_gets_its_turn_and_everything_ends_in_time() {
        for seed in 0..50 {
            let planned = plan(seed, ALL, 300, 1);
            assert!(planned.is_sorted_by_key(|fault| fault.at_ms));
            assert!(planned.iter().all(|fault| fault.at_ms >= WARM_UP_MS && fault.at_ms + fault.lasts_ms <= 300_000));
            let kinds: BTreeSet<_> = planned.iter().map(|fault| fault.nemesis).collect();
            assert_eq!(kinds.len(), ALL.len(), "seed {seed}");
        }
    }

    #[test]
    fn one_nemesis_alone_does_not_overlap_itself_and_none_plan_nothing() {
        let planned = plan(3, &ALL[..1], 60, 1);
        assert!(planned.windows(2).all(|pair| pair[0].at_ms + pair[0].lasts_ms < pair[1].at_ms));
        assert!(!planned.is_empty());
        assert!(plan(3, &[], 60, 1).is_empty());
    }

    #[test]
    fn a_slow_system_gets_longer_faults_and_longer_rests() {
        let (usual, slow) = (plan(3, &ALL[..1], 60, 1), plan(3, &ALL[..1], 300, 5));
        assert_eq!(usual.len(), slow.len());
        for (usual, slow) in usual.iter().zip(&slow) {
            assert_eq!((usual.at_ms * 5, usual.lasts_ms * 5, usual.draw), (slow.at_ms, slow.lasts_ms, slow.draw));
        }
    }
}

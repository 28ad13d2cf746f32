//! One history format and one set of checkers, used by the simulator, by tests on real processes and on users' clusters
//! alike.
//!
//! A [`history::History`] is what clients and observers saw, one [`history::Operation`] after the other; its module
//! describes the file format, which any language can write. [`check`] judges it by the [`INVARIANTS`] and returns a
//! [`Report`] with one row for each.
//!
//! * What a client could not know stays unknown for ever: a send that timed out may or may not be in the log, and both are
//!   right.
//! * A verdict has three values. *Unknown*, because nothing was examined that had to be, because a drain is missing, because a
//!   search reached its limit, is never a pass.
//! * Every violation names the operations that show it, no more than it takes, and says it in a sentence.
//! * The checkers are checked: selftest makes valid histories, which must raise no alarm, and plants every class of
//!   anomaly into them, which must be found under the right invariant.

mod evidence;
pub mod history;
mod invariant;
pub mod linear;
mod report;
mod rules;
pub mod selftest;

use std::collections::BTreeSet;

pub use history::History;
pub use invariant::{INVARIANTS, Id, Invariant};
pub use report::{Anomaly, Outcomes, Report, Row, Verdict};

use evidence::Evidence;
use history::Micros;
use invariant::Judge;
use report::Findings;

/// What a history is judged by.
#[derive(Clone, Debug)]
pub struct Options {
    /// Invariants that the history must exercise: *unknown* for one of them makes the whole unknown. The others may have
    /// nothing to examine.
    pub required: BTreeSet<Id>,
    /// Invariants that are not judged at all: to prove that each is needed.
    pub switched_off: BTreeSet<Id>,
    /// Most violations per invariant that are kept in words; all are counted.
    pub anomalies_max: usize,
    /// Most operations on one register or lock that are searched for a linearization; larger ones get a sweep.
    pub search_calls_max: usize,
    /// Most steps of one such search; beyond, the verdict is unknown.
    pub search_steps_max: usize,
    /// Within how many microseconds after the last fault every queue must work again.
    pub recover_within: Micros,
    /// Within how many microseconds every request must have returned, if that is to be judged.
    pub answer_within: Option<Micros>,
    /// Within how many microseconds after a change of members, or a fault, each queue must have exactly one owner.
    pub rebalance_within: Micros,
    /// Age in microseconds below which retention must not delete, if age is what it goes by.
    pub retention: Option<Micros>,
    /// By how many milliseconds store times may run backwards along a queue.
    pub store_skew_ms: u64,
    /// Most resident memory of a node in bytes.
    pub memory_max: Option<u64>,
    /// Most open descriptors of a node.
    pub descriptors_max: Option<u64>,
    /// Fewest operations that must be ok for the history to say anything.
    pub ok_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            required: [1, 2, 3, 4, 6, 7].map(Id::new).into(),
            switched_off: BTreeSet::new(),
            anomalies_max: 20,
            search_calls_max: 200,
            search_steps_max: 200_000,
            recover_within: 10_000_000,
            answer_within: None,
            rebalance_within: 60_000_000,
            retention: None,
            store_skew_ms: 0,
            memory_max: None,
            descriptors_max: None,
            ok_min: 1,
        }
    }
}

/// Judges a history by every invariant.
#[must_use]
pub fn check(history: &History, options: &Options) -> Report {
    let evidence = Evidence::gather(history, options);
    let mut rows = Vec::with_capacity(INVARIANTS.len());
    for invariant in &INVARIANTS {
        let mut findings = Findings::new(options.anomalies_max);
        match invariant.judge {
            Judge::By(_) if options.switched_off.contains(&invariant.id) => findings.unknown(|| "switched off".into()),
            Judge::By(judge) => judge(&evidence, &mut findings),
            Judge::NotBuilt => {}
        }
        rows.push(findings.into_row(invariant, options.required.contains(&invariant.id)));
    }
    Report::new(history, rows, evidence.duplicates(), options.ok_min)
}

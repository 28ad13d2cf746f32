//! What checking many traces gave.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::acceptor::Acceptor;
use super::{Event, Kind, mutate};

/// Least share of mutants that must be rejected, in percent.
const REJECTED_PERCENT: u64 = 99;

/// Counts over traces and their mutants.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Traces checked.
    pub traces: u64,
    /// Of those, accepted.
    pub accepted: u64,
    /// Events of all traces.
    pub events: u64,
    /// How often each action occurred in accepted traces.
    pub actions: BTreeMap<Kind, u64>,
    /// Mutants of accepted traces.
    pub mutants: u64,
    /// Of those, rejected.
    pub rejected: u64,
    /// By rule of mutation: tried and rejected.
    rules: BTreeMap<String, (u64, u64)>,
}

impl Tally {
    /// Checks a trace and, if it is accepted, this many mutants of it, which `seed` draws. Returns what is wrong, a line each.
    pub fn check(&mut self, events: &[Event], mutants: usize, seed: u64) -> Vec<String> {
        self.traces += 1;
        self.events += events.len() as u64;
        let counts = match Acceptor::check(events) {
            Ok(counts) => counts,
            Err(rejection) => return vec![format!("rejected at {rejection}")],
        };
        self.accepted += 1;
        counts.into_iter().for_each(|(kind, count)| *self.actions.entry(kind).or_default() += count);
        let mutated = mutate::mutate(events, mutants, seed);
        self.mutants += mutated.mutants;
        self.rejected += mutated.rejected;
        self.add_rules(mutated.rules);
        mutated.survivors.iter().map(|survivor| format!("accepted: {survivor}")).collect()
    }

    /// Takes the counts of another one in.
    pub fn add(&mut self, other: Self) {
        self.traces += other.traces;
        self.accepted += other.accepted;
        self.events += other.events;
        other.actions.into_iter().for_each(|(kind, count)| *self.actions.entry(kind).or_default() += count);
        self.mutants += other.mutants;
        self.rejected += other.rejected;
        self.add_rules(other.rules);
    }

    fn add_rules(&mut self, rules: BTreeMap<String, (u64, u64)>) {
        for (rule, (tried, rejected)) in rules {
            let sums = self.rules.entry(rule).or_default();
            sums.0 += tried;
            sums.1 += rejected;
        }
    }

    /// Whether all traces were accepted, and nearly all mutants were not.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.traces > 0 && self.accepted == self.traces && self.rejected * 100 >= self.mutants * REJECTED_PERCENT
    }

    /// Actions of the specification that no accepted trace took.
    #[must_use]
    pub fn unseen(&self) -> Vec<&'static str> {
        Kind::ALL.iter().filter(|kind| !self.actions.contains_key(kind)).map(|kind| kind.name()).collect()
    }

    /// As one object.
    #[must_use]
    pub fn json(&self) -> Value {
        let count = |kind: &Kind| self.actions.get(kind).copied().unwrap_or(0);
        let counts: Map<_, _> = Kind::ALL.iter().map(|kind| (kind.name().to_owned(), count(kind).into())).collect();
        let survived: Map<_, _> = self
            .rules
            .iter()
            .filter(|(_, (tried, rejected))| rejected < tried)
            .map(|(rule, (tried, rejected))| (rule.clone(), format!("{} of {tried}", tried - rejected).into()))
            .collect();
        json!({
            "traces": self.traces,
            "accepted": self.accepted,
            "events": self.events,
            "actions": Kind::ALL.len(),
            "actions_seen": Kind::ALL.len() - self.unseen().len(),
            "mutants": self.mutants,
            "mutants_rejected": self.rejected,
            "mutants_accepted": survived,
            "action_counts": counts,
        })
    }
}

//! Gives a trace to TLC, whose specification of the group (`tla/GroupTrace.tla`) was written apart from the acceptor's code.

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::acceptor::Acceptor;
use super::{Event, Kind, mutate};
use crate::tlc::Tlc;

/// Name of the module.
const MODULE: &str = "GroupTrace";
/// What the generated trace replaces.
const EMPTY: &str = "Trace == <<>>\n";
const CONFIG: &str = "INIT Init\nNEXT Next\nINVARIANT NotAccepted\n";
/// Names of an event's numbers in the module.
const LETTERS: [&str; super::FIELDS_MAX] = ["a", "b", "c", "d", "e", "f", "g"];

/// What both checkers said of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// Where the acceptor stopped; `None` when it accepted.
    pub acceptor: Option<usize>,
    /// Where TLC stopped.
    pub tlc: Option<usize>,
}

/// What TLC said of many traces.
#[derive(Clone, Debug, Default)]
pub struct TlcTally {
    /// Traces checked.
    pub traces: u64,
    /// Those that both accept.
    pub accepted: u64,
    /// Events of all traces.
    pub events: u64,
    /// Mutants checked.
    pub mutants: u64,
    /// Those that TLC rejects.
    pub rejected: u64,
    /// Those that both reject, at the same event.
    pub agreed: u64,
}

impl TlcTally {
    /// Lets TLC and the acceptor check a trace and mutants of it. Returns what is wrong, a line each.
    ///
    /// # Errors
    /// Fails when TLC does not run to an answer.
    pub fn check(&mut self, tlc: &Tlc, events: &[Event], mutants: usize, seed: u64) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        self.traces += 1;
        self.events += events.len() as u64;
        let verdicts = check(tlc, events)?;
        if verdicts == (Verdicts { acceptor: None, tlc: None }) {
            self.accepted += 1;
        } else {
            problems.push(format!("{verdicts:?}"));
        }
        for (rule, verdicts) in check_mutants(tlc, events, mutants, seed)? {
            self.mutants += 1;
            self.rejected += u64::from(verdicts.tlc.is_some());
            let agreed = verdicts.tlc.is_some() && verdicts.tlc == verdicts.acceptor;
            self.agreed += u64::from(agreed);
            if !agreed {
                problems.push(format!("{rule}: {verdicts:?}"));
            }
        }
        Ok(problems)
    }

    /// Whether all traces were accepted and all mutants rejected.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.traces > 0 && self.accepted == self.traces && self.rejected == self.mutants
    }

    /// As one object.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "traces": self.traces,
            "accepted": self.accepted,
            "events": self.events,
            "mutants": self.mutants,
            "rejected": self.rejected,
            "rejected_at_the_same_event": self.agreed,
        })
    }
}

/// The events from the start that the module knows, at most `most`.
#[must_use]
pub fn sample(events: &[Event], most: usize) -> &[Event] {
    let unknown = |event: &Event| {
        matches!(event.kind, Kind::Wipe | Kind::Install | Kind::Installed | Kind::Reset | Kind::ResetSaved)
            || event.kind == Kind::Recovered && event.values[0] > 0
    };
    let end = events.iter().position(unknown).unwrap_or(events.len());
    &events[..end.min(most)]
}

/// Lets both check a trace.
///
/// # Errors
/// Fails when TLC does not run to an answer.
pub fn check(tlc: &Tlc, events: &[Event]) -> Result<Verdicts> {
    let template = tlc.module(MODULE)?;
    let text = template.replace(EMPTY, &render(events));
    let count = tlc.run(MODULE, &text, CONFIG)?;
    // A state for each event that was enabled, and the first.
    let stuck = usize::try_from(count.distinct)?.checked_sub(1).context("TLC saw no state")?;
    let acceptor = Acceptor::check(events).err().map(|rejection| rejection.at);
    Ok(Verdicts { acceptor, tlc: count.violated.is_none().then_some(stuck) })
}

/// Lets both check mutants of a trace.
///
/// # Errors
/// Fails when TLC does not run to an answer.
pub fn check_mutants(tlc: &Tlc, events: &[Event], mutants: usize, seed: u64) -> Result<Vec<(String, Verdicts)>> {
    let mutants = mutate::mutants(events, mutants, seed);
    mutants.into_iter().map(|(rule, events)| Ok((rule, check(tlc, &events)?))).collect()
}

/// The trace as a sequence of records.
fn render(events: &[Event]) -> String {
    // TLC's numbers have 31 bits and sums have 32, but only equality of sums matters.
    let mut sums: HashMap<u64, usize> = HashMap::new();
    let mut text = String::from("Trace == <<\n");
    for (at, event) in events.iter().enumerate() {
        let _ = write!(text, "  [n |-> {}, k |-> \"{}\"", event.node, event.kind.name());
        for ((letter, field), value) in LETTERS.iter().zip(event.kind.fields()).zip(event.values) {
            let next = sums.len();
            let value = if *field == "sum" { *sums.entry(value).or_insert(next) as u64 } else { value };
            let _ = write!(text, ", {letter} |-> {value}");
        }
        if let Some(voters) = &event.voters {
            let config = |ids: &std::collections::BTreeSet<u64>| {
                format!("{{{}}}", ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
            };
            let _ = write!(text, ", v |-> {{{}}}", voters.iter().map(config).collect::<Vec<_>>().join(", "));
        }
        text.push_str(if at + 1 == events.len() { "]\n" } else { "],\n" });
    }
    text.push_str(">>\n");
    text
}

//! Runs specifications in both engines and tells what was found: a table, a log for each, one JSON object.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::Table;
use serde_json::{Value, json};

use crate::spec::{Count, Limit, Spec};
use crate::tlc::{Tlc, TlcCount};

/// Lines of a counterexample that a log keeps.
const LOG_STEPS_MAX: usize = 60;

/// What one specification gave.
pub struct Outcome {
    name: &'static str,
    shared: Count,
    deep: Option<Count>,
    tlc: Option<TlcCount>,
    bugs: usize,
    bugs_found: usize,
    tlc_bug_found: Option<bool>,
    problems: Vec<String>,
    log: String,
}

impl Outcome {
    /// Runs `spec`: the shared configuration in stateright and, if it is there, in TLC; every seeded bug; the deep
    /// configuration if a limit for it is given.
    ///
    /// # Errors
    /// Fails when TLC does not run to an answer.
    pub fn of(spec: &Spec, deep: Option<Limit>, tlc: Option<&Tlc>) -> Result<Self> {
        let mut log = format!("specification {}: {}\n", spec.name, spec.about);
        let mut problems = Vec::new();
        let shared = (spec.shared)();
        note(&mut log, &mut problems, "shared configuration, stateright", &shared);
        if !shared.complete {
            problems.push("the shared configuration was not finished".to_owned());
        }
        if !shared.silent.is_empty() {
            problems.push(format!("actions that never fired: {:?}", shared.silent));
        }

        let tlc_count = tlc.map(|tlc| tlc.check(spec.tla, "none")).transpose()?;
        if let Some(count) = &tlc_count {
            let TlcCount { distinct, generated, violated, .. } = count;
            let _ = writeln!(log, "shared configuration, TLC: {distinct} distinct states, {generated} generated");
            if let Some(invariant) = violated {
                problems.push(format!("TLC: {invariant} is violated"));
            }
            if *distinct != shared.distinct {
                problems.push(format!("stateright counts {} distinct states, TLC {distinct}", shared.distinct));
            }
        }

        let mut bugs_found = 0;
        for bug in spec.bugs {
            match (spec.find)(bug) {
                None => problems.push(format!("seeded bug {bug} breaks nothing")),
                Some(found) => {
                    bugs_found += 1;
                    let steps = found.actions.len();
                    let _ = writeln!(log, "seeded bug {bug}, stateright: broken in {steps} steps: {}", found.invariant);
                    for (at, action) in found.actions.iter().take(LOG_STEPS_MAX).enumerate() {
                        let _ = writeln!(log, "  {:2} {action}", at + 1);
                    }
                }
            }
        }
        let mut tlc_bug_found = None;
        if let (Some(tlc), Some(bug)) = (tlc, spec.bugs.first()) {
            let found = tlc.check(spec.tla, bug)?.violated;
            tlc_bug_found = Some(found.is_some());
            match found {
                Some(invariant) => {
                    let _ = writeln!(log, "seeded bug {bug}, TLC: broken: {invariant}");
                }
                None => problems.push(format!("TLC does not find seeded bug {bug}")),
            }
        }

        let deep = deep.map(spec.deep);
        if let Some(count) = &deep {
            note(&mut log, &mut problems, "deep configuration, stateright", count);
        }
        for problem in &problems {
            let _ = writeln!(log, "PROBLEM {problem}");
        }
        Ok(Self {
            name: spec.name,
            shared,
            deep,
            tlc: tlc_count,
            bugs: spec.bugs.len(),
            bugs_found,
            tlc_bug_found,
            problems,
            log,
        })
    }

    /// What is wrong; nothing when the specification holds, both engines agree, and every seeded bug was found.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    fn counts_equal(&self) -> Option<bool> {
        self.tlc.as_ref().map(|tlc| tlc.distinct == self.shared.distinct)
    }

    fn json(&self) -> Value {
        json!({
            "spec": self.name,
            "shared_distinct": self.shared.distinct,
            "shared_seconds": rounded(self.shared.seconds),
            "tlc_distinct": self.tlc.as_ref().map(|tlc| tlc.distinct),
            "tlc_seconds": self.tlc.as_ref().map(|tlc| rounded(tlc.seconds)),
            "counts_equal": self.counts_equal(),
            "deep_distinct": self.deep.as_ref().map(|deep| deep.distinct),
            "deep_seconds": self.deep.as_ref().map(|deep| rounded(deep.seconds)),
            "deep_complete": self.deep.as_ref().map(|deep| deep.complete),
            "seeded_spec_bugs": self.bugs,
            "seeded_spec_bugs_found": self.bugs_found,
            "tlc_found_seeded_bug": self.tlc_bug_found,
            "problems": self.problems,
        })
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// Times are left out: but for explorations that time ended early, a log is the same wherever and whenever it is written.
fn note(log: &mut String, problems: &mut Vec<String>, what: &str, count: &Count) {
    let Count { distinct, generated, complete, violations, .. } = count;
    let extent = if *complete { "all of them" } else { "ended early" };
    let _ = writeln!(log, "{what}: {distinct} distinct states ({extent}), {generated} generated");
    problems.extend(violations.iter().map(|violation| format!("{what}: {violation}")));
}

/// A row for each specification.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.set_header(["spec", "shared", "TLC", "equal", "deep", "seconds", "bugs found", "problems"]);
    for outcome in outcomes {
        let deep = outcome.deep.as_ref();
        let seconds = outcome.shared.seconds + deep.map_or(0.0, |deep| deep.seconds);
        let seconds = seconds + outcome.tlc.as_ref().map_or(0.0, |tlc| tlc.seconds);
        let incomplete = |deep: &Count| if deep.complete { "" } else { " (ended early)" };
        table.add_row([
            outcome.name.to_owned(),
            outcome.shared.distinct.to_string(),
            outcome.tlc.as_ref().map_or("skipped".to_owned(), |tlc| tlc.distinct.to_string()),
            outcome.counts_equal().map_or("-".to_owned(), |equal| if equal { "yes" } else { "NO" }.to_owned()),
            deep.map_or("-".to_owned(), |deep| format!("{}{}", deep.distinct, incomplete(deep))),
            format!("{seconds:.1}"),
            format!("{} of {}", outcome.bugs_found, outcome.bugs),
            outcome.problems.len().to_string(),
        ]);
    }
    table.to_string()
}

/// One object for all of them. `tlc_skipped` says why there was no TLC; `counts_equal` is null then.
#[must_use]
pub fn json(outcomes: &[Outcome], tlc_skipped: Option<&str>) -> Value {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let distinct = |outcome: &Outcome| outcome.shared.distinct + outcome.deep.as_ref().map_or(0, |deep| deep.distinct);
    let equal: Option<Vec<bool>> = outcomes.iter().map(Outcome::counts_equal).collect();
    json!({
        "specs": outcomes.len(),
        "distinct_states": sum(distinct),
        "counts_equal": equal.map(|equal| !equal.is_empty() && equal.iter().all(|equal| *equal)),
        "seeded_spec_bugs": sum(|outcome| outcome.bugs as u64),
        "seeded_spec_bugs_found": sum(|outcome| outcome.bugs_found as u64),
        "tlc_skipped": tlc_skipped,
        "problems": sum(|outcome| outcome.problems.len() as u64),
        "rows": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    })
}

/// Writes one text file for each specification into `dir`.
///
/// # Errors
/// Fails when a file cannot be written.
pub fn write_logs(outcomes: &[Outcome], dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for outcome in outcomes {
        let path = dir.join(format!("{}.txt", outcome.name));
        fs::write(&path, &outcome.log).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

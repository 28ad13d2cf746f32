//! What the checkers found.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::history::{History, Outcome};
use crate::invariant::{INVARIANTS, Id, Invariant};

/// A judgement. There is no fourth value: whoever cannot say *valid* for sure says *unknown*, and that is never a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something was examined and nothing is wrong.
    Valid,
    /// Something is wrong.
    Invalid,
    /// Nobody can say, because of this.
    Unknown(String),
}

impl Verdict {
    /// `valid`, `invalid` or `unknown`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// Indices of the operations that show it: no more than it takes.
    pub operations: Vec<usize>,
    /// The same in a sentence.
    pub words: String,
}

/// What became of one invariant.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    pub id: Id,
    /// What Jepsen calls its violation.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub jepsen: &'static str,
    /// The promise.
    pub statement: &'static str,
    /// Whether the product has what it is about.
    pub built: bool,
    /// Whether this history had to exercise it.
    pub required: bool,
    /// The judgement.
    pub verdict: Verdict,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many things were looked at; what they are depends on the invariant.
    pub examined: u64,
    /// How many violations there are.
    pub violations: u64,
    /// The first of them, as many as the options allow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<Anomaly>,
}

/// How many operations ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Succeeded.
    pub ok: u64,
    /// Provably did not happen.
    pub fail: u64,
    /// Nobody knows.
    pub unknown: u64,
}

/// The judgement of a whole history.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Operations in the history.
    pub operations: u64,
    /// How they ended.
    pub outcomes: Outcomes,
    /// Sends alone, and how they ended.
    pub sends: Outcomes,
    /// Copies of messages beyond the first that retries of unknown outcomes may explain.
    pub duplicates: u64,
    /// One row per invariant, in the order of their numbers.
    pub invariants: Vec<Row>,
}

impl Report {
    pub(crate) fn new(history: &History, rows: Vec<Row>, duplicates: u64, ok_min: u64) -> Self {
        let mut outcomes = Outcomes::default();
        let mut sends = Outcomes::default();
        for operation in history.operations() {
            let is_send = matches!(operation.action, crate::history::Action::Send { .. });
            for counted in std::iter::once(&mut outcomes).chain(is_send.then_some(&mut sends)) {
                match operation.outcome {
                    Outcome::Ok => counted.ok += 1,
                    Outcome::Fail => counted.fail += 1,
                    Outcome::Unknown => counted.unknown += 1,
                }
            }
        }
        let verdict = overall(&rows, outcomes, ok_min);
        let why = match &verdict {
            Verdict::Unknown(why) => Some(why.clone()),
            _ => None,
        };
        Self { verdict, why, operations: history.len() as u64, outcomes, sends, duplicates, invariants: rows }
    }

    /// The judgement of the whole: invalid if anything is; unknown if anything that was required, or was examined, is.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether everything examined and everything required is valid.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.verdict == Verdict::Valid
    }

    /// The row of an invariant.
    #[must_use]
    pub fn row(&self, id: Id) -> &Row {
        &self.invariants[usize::from(id.number()) - 1]
    }

    /// The invariants that are violated.
    pub fn violated(&self) -> impl Iterator<Item = &Row> {
        self.invariants.iter().filter(|row| row.verdict == Verdict::Invalid)
    }

    /// Violations of each violated invariant, by its number.
    #[must_use]
    pub fn violations(&self) -> BTreeMap<Id, u64> {
        self.violated().map(|row| (row.id, row.violations)).collect()
    }
}

fn overall(rows: &[Row], outcomes: Outcomes, ok_min: u64) -> Verdict {
    if rows.iter().any(|row| row.verdict == Verdict::Invalid) {
        return Verdict::Invalid;
    }
    for row in rows {
        if let Verdict::Unknown(why) = &row.verdict
            && (row.required || row.examined > 0)
        {
            return Verdict::Unknown(format!("{}: {why}", row.id));
        }
    }
    if rows.iter().all(|row| row.examined == 0) {
        return Verdict::Unknown("nothing was examined".into());
    }
    if outcomes.ok < ok_min {
        return Verdict::Unknown(format!("only {} operations are ok, {ok_min} are needed", outcomes.ok));
    }
    Verdict::Valid
}

/// Gathers what one rule finds.
#[derive(Debug)]
pub(crate) struct Findings {
    examined: u64,
    violations: u64,
    anomalies: Vec<Anomaly>,
    anomalies_max: usize,
    unknown: Option<String>,
}

impl Findings {
    pub(crate) fn new(anomalies_max: usize) -> Self {
        Self { examined: 0, violations: 0, anomalies: Vec::new(), anomalies_max, unknown: None }
    }

    /// `count` more things were looked at.
    pub(crate) fn examined(&mut self, count: usize) {
        self.examined += count as u64;
    }

    /// Something is wrong, which these operations show.
    pub(crate) fn violation(&mut self, operations: &[u32], words: impl FnOnce() -> String) {
        self.violations += 1;
        if self.anomalies.len() < self.anomalies_max {
            let mut operations: Vec<usize> = operations.iter().map(|index| *index as usize).collect();
            operations.sort_unstable();
            operations.dedup();
            self.anomalies.push(Anomaly { operations, words: words() });
        }
    }

    /// A part could not be judged. The first reason stays.
    pub(crate) fn unknown(&mut self, why: impl FnOnce() -> String) {
        self.unknown.get_or_insert_with(why);
    }

    /// Whether another anomaly would still be kept in words.
    pub(crate) fn has_room(&self) -> bool {
        self.anomalies.len() < self.anomalies_max
    }

    pub(crate) fn into_row(self, invariant: &Invariant, required: bool) -> Row {
        let verdict = match (self.violations, self.unknown, self.examined) {
            (1.., ..) => Verdict::Invalid,
            (0, Some(why), _) => Verdict::Unknown(why),
            (0, None, 0) if !invariant.is_built() => Verdict::Unknown("not built".into()),
            (0, None, 0) => Verdict::Unknown("the history has nothing to examine".into()),
            (0, None, _) => Verdict::Valid,
        };
        let why = match &verdict {
            Verdict::Unknown(why) => Some(why.clone()),
            _ => None,
        };
        Row {
            id: invariant.id,
            jepsen: invariant.jepsen,
            statement: invariant.statement,
            built: invariant.is_built(),
            required,
            verdict,
            why,
            examined: self.examined,
            violations: self.violations,
            anomalies: self.anomalies,
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        debug_assert_eq!(self.invariants.len(), INVARIANTS.len());
        writeln!(f, "{}: {} operations", self.verdict.word().to_uppercase(), self.operations)?;
        if let Some(why) = &self.why {
            writeln!(f, "because {why}")?;
        }
        for row in &self.invariants {
            let tail = row.why.as_deref().unwrap_or(row.statement);
            writeln!(
                f,
                "{:>4}  {:<8} {:>9} examined {:>6} wrong  {tail}",
                row.id.to_string(),
                row.verdict.word(),
                row.examined,
                row.violations
            )?;
            for anomaly in &row.anomalies {
                writeln!(f, "      operations {:?}: {}", anomaly.operations, anomaly.words)?;
            }
        }
        Ok(())
    }
}

//! The outcome of a run, in words and as JSON.

use serde_json::{Value, json};
use timbermq_check::Id;

use super::{Args, Kind, Seen};
use crate::admin::Digest;

/// How long before and after a kill the pause in acknowledgements that it causes may begin: answers that were on their way
/// still arrive, and a stock client may have been waiting already.
const NEAR_MS: f64 = 1_000.0;

/// Per kill, the longest pause between two acknowledgements that begins near it: the last one before, the first one after.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteGaps {
    own_ms: Vec<f64>,
    stock_ms: Vec<f64>,
}

impl WriteGaps {
    /// Gaps of each kind of client around each kill.
    pub(crate) fn of(seen: &Seen, kills: &[f64]) -> Self {
        let of_kind = |kind: Kind| {
            let mut acks: Vec<f64> = seen.acks.iter().filter(|ack| ack.0 == kind).map(|ack| ack.1).collect();
            acks.sort_by(f64::total_cmp);
            let gap = |kill: &f64| {
                let near = |pause: &&[f64]| pause[1] > *kill && (kill - NEAR_MS..kill + NEAR_MS).contains(&pause[0]);
                acks.windows(2).filter(near).map(|pause| pause[1] - pause[0]).max_by(f64::total_cmp)
            };
            kills.iter().filter_map(gap).collect()
        };
        Self { own_ms: of_kind(Kind::Own), stock_ms: of_kind(Kind::Stock) }
    }

    fn to_json(&self) -> Value {
        json!({ "own": summary(&self.own_ms), "stock_java": summary(&self.stock_ms) })
    }
}

fn summary(gaps: &[f64]) -> Value {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index
        let index = ((sorted.len() as f64 - 1.0) * part).round().max(0.0) as usize;
        sorted.get(index).map(|ms| ms.round())
    };
    json!({ "kills": sorted.len(), "p50": at(0.5), "p90": at(0.9), "max": at(1.0) })
}

/// What a run came to.
pub(crate) struct Report {
    /// What the checkers say; nothing when the run could not go on.
    judged: Option<timbermq_check::Report>,
    gaps: WriteGaps,
    digests: Vec<Digest>,
    kills: usize,
    complaints: Vec<String>,
    broken: Vec<String>,
}

impl Report {
    /// The parts of one run. `digests` are those of all replicas after the load, and after one replica rebuilt its index.
    pub(crate) fn new(
        judged: timbermq_check::Report,
        gaps: WriteGaps,
        digests: [Vec<Digest>; 2],
        seen: Seen,
        kills: usize,
    ) -> Self {
        let (digests, complaints) = (digests.concat(), seen.complaints);
        Self { judged: Some(judged), gaps, digests, kills, complaints, broken: Vec::new() }
    }

    /// A run that could not go on.
    pub(crate) fn broken(seen: Seen, kills: usize, why: Vec<String>) -> Self {
        Self {
            judged: None,
            gaps: WriteGaps::default(),
            digests: Vec::new(),
            kills,
            complaints: seen.complaints,
            broken: why,
        }
    }

    /// Whether nothing is wrong, and enough happened to say so.
    pub(crate) fn is_valid(&self) -> bool {
        self.broken.is_empty()
            && self.complaints.is_empty()
            && self.judged.as_ref().is_some_and(timbermq_check::Report::is_valid)
    }

    pub(crate) fn print(&self, args: &Args) {
        for finding in self.complaints.iter().chain(&self.broken).take(60) {
            println!("finding: {finding}");
        }
        if let Some(judged) = &self.judged {
            print!("{judged}");
            println!(
                "{} kills; {} sends acknowledged, {} of unknown outcome, {} messages stand again",
                self.kills, judged.sends.ok, judged.sends.unknown, judged.duplicates
            );
        }
        for digest in &self.digests {
            println!("replica: {digest:?}");
        }
        println!("write gap per kill, ms: {}", self.gaps.to_json());
        let as_expected = self.is_valid() != args.must_fail;
        println!("{} passed, {} failed", u8::from(as_expected), u8::from(!as_expected));
        if args.json {
            println!("{}", self.to_json());
        }
    }

    /// Violations of some invariants together.
    fn wrong(&self, numbers: &[u8]) -> u64 {
        let of = |number: &u8| self.judged.as_ref().map_or(0, |judged| judged.row(Id::new(*number)).violations);
        numbers.iter().map(of).sum()
    }

    fn to_json(&self) -> Value {
        let judged = self.judged.as_ref();
        json!({
            "valid": self.is_valid(),
            "verdict": judged.map_or("unknown", |judged| judged.verdict().word()),
            "kills": self.kills,
            "acked": judged.map_or(0, |judged| judged.sends.ok),
            "unknown": judged.map_or(0, |judged| judged.sends.unknown),
            "lost": self.wrong(&[1]),
            "moved": self.wrong(&[2]),
            "phantom": self.wrong(&[6, 9]),
            "offset_gaps": self.wrong(&[3]),
            "offset_regressions": self.wrong(&[11]),
            "order_violations": self.wrong(&[4, 5]),
            "duplicates": judged.map_or(0, |judged| judged.duplicates),
            "replicas_identical": judged.is_some() && self.wrong(&[26, 27]) == 0,
            "violations": judged.map(timbermq_check::Report::violations),
            "write_gap_ms": self.gaps.to_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_spans_the_kill() {
        // An answer that was under way at the kill arrives just after it; the pause begins with that one.
        let acks = [100.0, 5_000.0, 5_003.0, 5_900.0, 6_010.0, 7_000.0, 40_000.0].map(|at| (Kind::Own, at)).to_vec();
        let seen = Seen { acks, ..Seen::default() };
        let gaps = WriteGaps::of(&seen, &[5_001.0, 39_999.0, 50_000.0]);
        assert_eq!(gaps.own_ms, [897.0], "no pause begins near the second kill, and nothing came after the last");
        assert!(gaps.stock_ms.is_empty());
    }
}

//! The outcome of a run, in words and as JSON.

use serde_json::{Value, json};
use timbermq_check::offsets::OffsetVerdict;
use timbermq_check::queues::QueueVerdict;

use super::{Args, History, Kind};
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
    pub(crate) fn of(history: &History, kills: &[f64]) -> Self {
        let of_kind = |kind: Kind| {
            let mut acks: Vec<f64> = history.acks.iter().filter(|ack| ack.0 == kind).map(|ack| ack.1).collect();
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
    verdict: QueueVerdict,
    progress: OffsetVerdict,
    gaps: WriteGaps,
    identical: bool,
    digests: Vec<Digest>,
    drained: usize,
    kills: usize,
    complaints: Vec<String>,
    broken: Vec<String>,
}

impl Report {
    /// The parts of one run. `digests` are those of all replicas after the load, and after one replica rebuilt its index.
    #[allow(clippy::too_many_arguments)] // they are what a run consists of
    pub(crate) fn new(
        verdict: QueueVerdict,
        progress: OffsetVerdict,
        gaps: WriteGaps,
        digests: [Vec<Digest>; 2],
        history: &History,
        drained: usize,
        kills: usize,
    ) -> Self {
        let identical = digests.iter().all(|all| all.windows(2).all(|pair| pair[0] == pair[1]));
        Self {
            verdict,
            progress,
            gaps,
            identical,
            digests: digests.concat(),
            drained,
            kills,
            complaints: history.complaints.clone(),
            broken: Vec::new(),
        }
    }

    /// A run that could not go on.
    pub(crate) fn broken(history: &History, kills: usize, why: Vec<String>) -> Self {
        Self {
            verdict: QueueVerdict::default(),
            progress: OffsetVerdict::default(),
            gaps: WriteGaps::default(),
            identical: false,
            digests: Vec::new(),
            drained: 0,
            kills,
            complaints: history.complaints.clone(),
            broken: why,
        }
    }

    /// Whether nothing is wrong, and enough happened to say so.
    pub(crate) fn is_valid(&self) -> bool {
        self.broken.is_empty()
            && self.complaints.is_empty()
            && self.verdict.is_valid()
            && self.verdict.acked > 0
            && self.progress.regressions == 0
            && self.progress.answers > 0
            && self.identical
    }

    pub(crate) fn print(&self, args: &Args) {
        let v = &self.verdict;
        let all =
            self.verdict.findings.iter().chain(&self.progress.findings).chain(&self.complaints).chain(&self.broken);
        for finding in all.take(60) {
            println!("finding: {finding}");
        }
        println!(
            "{} kills; {} sends acknowledged, {} of unknown outcome, {} messages in the queues, {} of them again",
            self.kills, v.acked, v.unknown, self.drained, v.duplicates
        );
        println!(
            "lost {}, moved {}, phantom {}, offset gaps {}, order violations {}, unstable reads {}, offset regressions {} of {} answers",
            v.lost,
            v.moved,
            v.phantom,
            v.offset_gaps,
            v.order_violations,
            v.unstable,
            self.progress.regressions,
            self.progress.answers
        );
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

    fn to_json(&self) -> Value {
        json!({
            "valid": self.is_valid(),
            "kills": self.kills,
            "acked": self.verdict.acked,
            "unknown": self.verdict.unknown,
            "lost": self.verdict.lost,
            "moved": self.verdict.moved,
            "phantom": self.verdict.phantom + self.verdict.unstable,
            "offset_gaps": self.verdict.offset_gaps,
            "offset_regressions": self.progress.regressions,
            "order_violations": self.verdict.order_violations,
            "duplicates": self.verdict.duplicates,
            "replicas_identical": self.identical,
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
        let history = History { events: Vec::new(), acks, complaints: Vec::new() };
        let gaps = WriteGaps::of(&history, &[5_001.0, 39_999.0, 50_000.0]);
        assert_eq!(gaps.own_ms, [897.0], "no pause begins near the second kill, and nothing came after the last");
        assert!(gaps.stock_ms.is_empty());
    }
}

//! Consumer progress never goes back below what somebody was shown.

use std::collections::BTreeMap;

use crate::events::{Event, Place};

/// Answers about one queue of one group: asked at, answered at, and what was said.
type Lanes<'a> = BTreeMap<(&'a str, &'a str, u32), Vec<(f64, f64, &'a Place)>>;

/// What the check counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetVerdict {
    /// Answers looked at.
    pub answers: u64,
    /// Answers below one that had been given before the question was asked.
    pub regressions: u64,
    /// The regressions in words.
    pub findings: Vec<String>,
}

/// Judges the `Progress` events of a history, each group and queue for itself.
#[must_use]
pub fn check(events: &[Event]) -> OffsetVerdict {
    let mut verdict = OffsetVerdict::default();
    let mut lanes: Lanes<'_> = BTreeMap::new();
    for event in events {
        if let Event::Progress { group, place, invoke_ms, return_ms } = event {
            verdict.answers += 1;
            lanes.entry((group, &place.topic, place.queue)).or_default().push((*invoke_ms, *return_ms, place));
        }
    }
    for ((group, topic, queue), mut asked) in lanes {
        let mut answered = asked.clone();
        asked.sort_by(|a, b| a.0.total_cmp(&b.0));
        answered.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut answered = answered.into_iter().peekable();
        let mut shown: Option<u64> = None;
        for (invoke, _, place) in asked {
            while let Some((_, _, before)) = answered.next_if(|a| a.1 < invoke) {
                shown = shown.max(Some(before.offset));
            }
            if let Some(shown) = shown.filter(|shown| place.offset < *shown) {
                verdict.regressions += 1;
                verdict
                    .findings
                    .push(format!("{group} {topic}/{queue}: {} at {invoke} ms, after {shown}", place.offset));
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(offset: u64, invoke_ms: f64, return_ms: f64) -> Event {
        Event::Progress {
            group: "g".into(),
            place: Place { topic: "t".into(), queue: 0, offset },
            invoke_ms,
            return_ms,
        }
    }

    #[test]
    fn a_lower_answer_counts_only_when_the_higher_had_been_given_before() {
        assert_eq!(check(&[shown(5, 0.0, 1.0), shown(7, 2.0, 3.0), shown(7, 4.0, 5.0)]).regressions, 0);
        assert_eq!(check(&[shown(7, 0.0, 1.0), shown(5, 2.0, 3.0)]).regressions, 1);
        assert_eq!(check(&[shown(7, 0.0, 3.0), shown(5, 2.0, 4.0)]).regressions, 0, "they overlap");
    }
}

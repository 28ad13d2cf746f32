//! Messages: what was acknowledged is there, once, in place, in order, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use crate::events::{Event, Outcome, Place};

/// Most findings of a kind that are kept in words; all are counted.
const SHOWN_MAX: usize = 20;

/// Everything a full read of the queues found, by place.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    messages: BTreeMap<Place, (String, u64)>,
    corrupt: Vec<Place>,
    bounds: BTreeMap<(String, u32), (u64, u64)>,
}

impl Drained {
    /// An empty read.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A queue holds offsets `min..max`.
    pub fn queue(&mut self, topic: &str, queue: u32, min: u64, max: u64) {
        self.bounds.insert((topic.to_owned(), queue), (min, max));
    }

    /// `place` holds message `seq` of `producer`; `intact` says whether its content is what that sender made.
    pub fn message(&mut self, place: Place, producer: &str, seq: u64, intact: bool) {
        if !intact {
            self.corrupt.push(place.clone());
        }
        self.messages.insert(place, (producer.to_owned(), seq));
    }

    /// How many messages were read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// What the check counted. All but `acked`, `unknown` and `duplicates` must be 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueVerdict {
    /// Sends acknowledged.
    pub acked: u64,
    /// Sends whose outcome nobody knows.
    pub unknown: u64,
    /// Acknowledged and nowhere to be found.
    pub lost: u64,
    /// Acknowledged at one place, found only at others, or another message stands there.
    pub moved: u64,
    /// Found although never sent, or although the broker said that it was not stored, or with other content.
    pub phantom: u64,
    /// Offsets between a queue's bounds that hold nothing.
    pub offset_gaps: u64,
    /// Pairs of one sender's acknowledged messages whose offsets in a queue are not in the order of the sends.
    pub order_violations: u64,
    /// Places beyond the first that hold the same message; a client that retries after an unknown outcome makes them.
    pub duplicates: u64,
    /// Reads that found, at some place, another message than the full read did.
    pub unstable: u64,
    /// The findings in words.
    pub findings: Vec<String>,
}

impl QueueVerdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.lost + self.moved + self.phantom + self.offset_gaps + self.order_violations + self.unstable == 0
    }

    fn find(&mut self, count: fn(&mut Self) -> &mut u64, words: impl FnOnce() -> String) {
        let counter = count(self);
        *counter += 1;
        if *counter <= SHOWN_MAX as u64 {
            self.findings.push(words());
        }
    }
}

/// Judges the sends and reads of a history against a full read of the queues.
#[must_use]
pub fn check(events: &[Event], drained: &Drained) -> QueueVerdict {
    let mut verdict = QueueVerdict::default();
    let mut places: BTreeMap<(&str, u64), Vec<&Place>> = BTreeMap::new();
    for (place, (producer, seq)) in &drained.messages {
        places.entry((producer, *seq)).or_default().push(place);
    }
    check_sends(events, drained, &places, &mut verdict);
    check_origin(events, &places, drained, &mut verdict);
    check_density(drained, &mut verdict);
    check_order(events, &mut verdict);
    check_reads(events, drained, &mut verdict);
    verdict.duplicates = places.values().map(|list| list.len() as u64 - 1).sum();
    verdict
}

type Places<'a> = BTreeMap<(&'a str, u64), Vec<&'a Place>>;

fn check_sends(events: &[Event], drained: &Drained, places: &Places<'_>, verdict: &mut QueueVerdict) {
    for event in events {
        let Event::Send { producer, seq, outcome, .. } = event else { continue };
        match outcome {
            Outcome::Failed => {}
            Outcome::Unknown => verdict.unknown += 1,
            Outcome::Ok(place) => {
                verdict.acked += 1;
                if drained.messages.get(place).is_some_and(|found| (found.0.as_str(), found.1) == (producer, *seq)) {
                    continue;
                }
                let instead = drained.messages.get(place);
                match places.get(&(producer.as_str(), *seq)) {
                    Some(others) => verdict.find(
                        |v| &mut v.moved,
                        || format!("{producer}-{seq} was acknowledged at {place:?}, found at {others:?}; there: {instead:?}"),
                    ),
                    None => verdict.find(
                        |v| &mut v.lost,
                        || format!("{producer}-{seq} was acknowledged at {place:?} and is nowhere; there: {instead:?}"),
                    ),
                }
            }
        }
    }
}

/// A message must come from a send that was acknowledged or whose outcome is unknown, and be as it was sent.
fn check_origin(events: &[Event], places: &Places<'_>, drained: &Drained, verdict: &mut QueueVerdict) {
    let possible: BTreeSet<(&str, u64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Send { producer, seq, outcome, .. } if *outcome != Outcome::Failed => {
                Some((producer.as_str(), *seq))
            }
            _ => None,
        })
        .collect();
    for (id, list) in places {
        if !possible.contains(id) {
            verdict.find(|v| &mut v.phantom, || format!("{}-{} stands at {list:?} and was never sent", id.0, id.1));
        }
    }
    for place in &drained.corrupt {
        verdict.find(|v| &mut v.phantom, || format!("{place:?} holds other content than its sender made"));
    }
}

fn check_density(drained: &Drained, verdict: &mut QueueVerdict) {
    for ((topic, queue), (min, max)) in &drained.bounds {
        for offset in *min..*max {
            let place = Place { topic: topic.clone(), queue: *queue, offset };
            if !drained.messages.contains_key(&place) {
                verdict.find(|v| &mut v.offset_gaps, || format!("{place:?} holds nothing, bounds {min}..{max}"));
            }
        }
    }
}

/// Acknowledged sends of one sender to one queue: called at, returned at, offset, number.
type Lanes<'a> = BTreeMap<(&'a str, &'a str, u32), Vec<(f64, f64, u64, u64)>>;

/// A sender's messages in one queue are in the order of the sends, as far as one had returned before the next began.
fn check_order(events: &[Event], verdict: &mut QueueVerdict) {
    let mut lanes: Lanes<'_> = BTreeMap::new();
    for event in events {
        if let Event::Send { producer, seq, invoke_ms, return_ms, outcome: Outcome::Ok(place) } = event {
            lanes.entry((producer, &place.topic, place.queue)).or_default().push((
                *invoke_ms,
                *return_ms,
                place.offset,
                *seq,
            ));
        }
    }
    for ((producer, topic, queue), mut sends) in lanes {
        let mut by_return = sends.clone();
        sends.sort_by(|a, b| a.0.total_cmp(&b.0));
        by_return.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut finished = by_return.into_iter().peekable();
        let mut highest: Option<(u64, u64)> = None;
        for (invoke, _, offset, seq) in sends {
            while let Some((_, _, o, s)) = finished.next_if(|f| f.1 < invoke) {
                highest = highest.max(Some((o, s)));
            }
            if let Some((before, earlier)) = highest.filter(|(before, _)| *before >= offset) {
                verdict.find(
                    |v| &mut v.order_violations,
                    || format!("{topic}/{queue}: {producer}-{seq} at {offset} was sent after {producer}-{earlier} at {before} had returned"),
                );
            }
        }
    }
}

fn check_reads(events: &[Event], drained: &Drained, verdict: &mut QueueVerdict) {
    for event in events {
        let Event::Read { consumer, producer, seq, place, intact } = event else { continue };
        let same = drained.messages.get(place).is_some_and(|found| (found.0.as_str(), found.1) == (producer, *seq));
        let below = drained.bounds.get(&(place.topic.clone(), place.queue)).is_some_and(|(min, _)| place.offset < *min);
        if !intact || !(same || below) {
            let now = drained.messages.get(place);
            verdict.find(
                |v| &mut v.unstable,
                || format!("{consumer} read {producer}-{seq} at {place:?} (intact: {intact}); later it holds {now:?}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(queue: u32, offset: u64) -> Place {
        Place { topic: "t".into(), queue, offset }
    }

    fn send(seq: u64, outcome: Outcome) -> Event {
        #[allow(clippy::cast_precision_loss)]
        let at = seq as f64 * 10.0;
        Event::Send { producer: "p".into(), seq, invoke_ms: at, return_ms: at + 5.0, outcome }
    }

    /// A valid run: `n` sends over two queues, each with the outcome chosen by `unknown`.
    fn valid(n: u64, unknown: &[bool]) -> (Vec<Event>, Drained) {
        let mut events = Vec::new();
        let mut drained = Drained::new();
        let mut next = [0u64; 2];
        for seq in 0..n {
            let queue = (seq % 2) as usize;
            let at = place(queue as u32, next[queue]);
            match unknown[seq as usize % unknown.len()] {
                // An unknown outcome that did not happen.
                true if seq % 3 == 0 => events.push(send(seq, Outcome::Unknown)),
                is_unknown => {
                    next[queue] += 1;
                    drained.message(at.clone(), "p", seq, true);
                    events.push(send(seq, if is_unknown { Outcome::Unknown } else { Outcome::Ok(at) }));
                }
            }
        }
        for (queue, max) in next.into_iter().enumerate() {
            drained.queue("t", queue as u32, 0, max);
        }
        (events, drained)
    }

    proptest! {
        #[test]
        fn a_valid_history_raises_no_alarm(n in 0u64..200, unknown in prop::collection::vec(any::<bool>(), 1..20)) {
            let (events, drained) = valid(n, &unknown);
            let verdict = check(&events, &drained);
            prop_assert!(verdict.is_valid(), "{:?}", verdict.findings);
        }
    }

    #[test]
    fn every_kind_of_anomaly_is_found() {
        let base = || valid(20, &[false]);
        let verdict = |events: &[Event], drained: &Drained| check(events, drained);

        let (events, mut drained) = base();
        drained.messages.remove(&place(0, 3));
        let v = verdict(&events, &drained);
        assert_eq!((v.lost, v.offset_gaps), (1, 1));

        let (events, mut drained) = base();
        let a = drained.messages[&place(0, 3)].clone();
        let b = drained.messages.insert(place(0, 4), a).unwrap();
        drained.messages.insert(place(0, 3), b);
        assert_eq!(verdict(&events, &drained).moved, 2);

        let (events, mut drained) = base();
        drained.message(place(1, 10), "p", 999, true);
        drained.queue("t", 1, 0, 11);
        assert_eq!(verdict(&events, &drained).phantom, 1);

        let (mut events, drained) = base();
        events[4] = send(4, Outcome::Failed);
        assert_eq!(verdict(&events, &drained).phantom, 1, "said to be not stored, and is");

        let (events, mut drained) = base();
        drained.message(place(0, 0), "p", 0, false);
        assert_eq!(verdict(&events, &drained).phantom, 1, "other content");

        let (mut events, mut drained) = base();
        for (seq, at) in [(0, place(0, 1)), (2, place(0, 0))] {
            drained.message(at.clone(), "p", seq, true);
            events[seq as usize] = send(seq, Outcome::Ok(at));
        }
        assert_eq!(verdict(&events, &drained).order_violations, 1);

        let (mut events, drained) = base();
        events.push(Event::Read {
            consumer: "c".into(),
            producer: "p".into(),
            seq: 7,
            place: place(0, 0),
            intact: true,
        });
        assert_eq!(verdict(&events, &drained).unstable, 1);

        let (mut events, mut drained) = base();
        events.push(send(20, Outcome::Unknown));
        drained.message(place(0, 10), "p", 20, true);
        drained.message(place(0, 11), "p", 20, true);
        drained.queue("t", 0, 0, 12);
        let v = verdict(&events, &drained);
        assert!(v.is_valid() && v.duplicates == 1, "a retried unknown send may stand twice");
    }
}

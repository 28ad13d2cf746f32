//! What became of the messages.

use std::collections::BTreeMap;

use timbermq_remoting::ResponseCode;

use crate::latency::Latency;

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Acknowledged.
    Stored,
    /// Answered with another code than success.
    Refused(i32),
    /// The connection ended before there was an answer.
    ConnectionLost,
    /// No answer in time.
    NoAnswer,
}

impl Fate {
    /// How it is named in a report.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Stored => "SUCCESS(0)".to_owned(),
            Self::Refused(code) => ResponseCode(code).to_string(),
            Self::ConnectionLost => "CONNECTION_LOST".to_owned(),
            Self::NoAnswer => "NO_ANSWER".to_owned(),
        }
    }
}

/// The part of a run that is measured, in nanoseconds since the load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// End of the warm-up.
    pub(crate) from: u64,
    /// When the last message is sent.
    pub(crate) to: u64,
}

impl Span {
    pub(crate) fn holds(&self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// Counts and latencies of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    span: Span,
    /// Messages acknowledged within the span: the throughput.
    pub(crate) acknowledged: u64,
    /// Messages of the span that were stored, whenever the answer came, from the moment they were due.
    pub(crate) latency: Latency,
    /// How much later than due they were sent.
    pub(crate) delay: Latency,
    /// Messages of the span that were not stored, or not known to be.
    pub(crate) errors: BTreeMap<Fate, u64>,
    /// The same of the warm-up.
    pub(crate) warmup_errors: u64,
    /// Messages that were due in the span and could not even be sent.
    pub(crate) unsent: u64,
    /// Connections that had to be made again.
    pub(crate) reconnects: u64,
    /// Acknowledged since the last look, and their latencies: what is shown while it runs.
    pub(crate) lately: Latency,
}

impl Tally {
    pub(crate) fn new(span: Span) -> Self {
        Self {
            span,
            acknowledged: 0,
            latency: Latency::new(),
            delay: Latency::new(),
            errors: BTreeMap::new(),
            warmup_errors: 0,
            unsent: 0,
            reconnects: 0,
            lately: Latency::new(),
        }
    }

    /// A message that was due at `due` and sent at `sent` met its fate at `now`.
    pub(crate) fn settle(&mut self, due: u64, sent: u64, now: u64, fate: Fate) {
        let of_span = self.span.holds(due);
        if fate == Fate::Stored {
            let latency = now.saturating_sub(due);
            self.lately.record(latency);
            self.acknowledged += u64::from(self.span.holds(now));
            if of_span {
                self.latency.record(latency);
                self.delay.record(sent.saturating_sub(due));
            }
        } else if of_span {
            *self.errors.entry(fate).or_default() += 1;
        } else {
            self.warmup_errors += 1;
        }
    }

    /// All messages of the span that were not stored, or not known to be.
    pub(crate) fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { from: 100, to: 200 };

    #[test]
    fn latencies_belong_to_when_a_message_was_due_and_throughput_to_when_it_was_acknowledged() {
        let mut tally = Tally::new(SPAN);
        tally.settle(50, 50, 60, Fate::Stored);
        assert_eq!((tally.acknowledged, tally.latency.count()), (0, 0), "the warm-up does not count");
        tally.settle(99, 99, 150, Fate::Stored);
        assert_eq!((tally.acknowledged, tally.latency.count()), (1, 0));
        tally.settle(100, 120, 199, Fate::Stored);
        assert_eq!((tally.acknowledged, tally.latency.count()), (2, 1));
        // The slow ones at the end are the ones that matter: they count among the latencies.
        tally.settle(199, 199, 1_500_199, Fate::Stored);
        assert_eq!((tally.acknowledged, tally.latency.count()), (2, 2));
        assert_eq!(tally.latency.max_us(), 1_500);
        assert_eq!(tally.lately.count(), 4);
    }

    #[test]
    fn latency_begins_when_a_message_was_due_not_when_it_was_sent() {
        let span = Span { from: 0, to: u64::MAX };
        let mut tally = Tally::new(span);
        tally.settle(1_000_000, 1_300_000, 1_500_000, Fate::Stored);
        assert_eq!((tally.latency.max_us(), tally.delay.max_us()), (500, 300));
    }

    #[test]
    fn no_error_is_hidden() {
        let mut tally = Tally::new(SPAN);
        for (due, fate) in [
            (50, Fate::Refused(2)),
            (150, Fate::Refused(2)),
            (151, Fate::Refused(2)),
            (152, Fate::ConnectionLost),
            (153, Fate::NoAnswer),
        ] {
            tally.settle(due, due, 10_000, fate);
        }
        assert_eq!((tally.warmup_errors, tally.errors_total(), tally.acknowledged), (1, 4, 0));
        let named: Vec<(String, u64)> = tally.errors.iter().map(|(fate, count)| (fate.name(), *count)).collect();
        assert_eq!(
            named,
            [("SYSTEM_BUSY(2)".to_owned(), 2), ("CONNECTION_LOST".to_owned(), 1), ("NO_ANSWER".to_owned(), 1)]
        );
        assert_eq!(tally.latency.count(), 0, "what was not stored has no latency");
    }
}

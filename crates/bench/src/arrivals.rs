//! When messages arrive that carry the moment they were due at: µs since 1970 in the first eight bytes of the body, the highest
//! byte first.

use std::ops::Range;

use anyhow::{Context, Result};
use timbermq_record::records;

use crate::clock::Clock;
use crate::latency::Latency;

/// Bytes of the moment.
const STAMP_BYTES: usize = 8;

/// Writes the moment into a body that has room for it.
pub(crate) fn stamp(body: &mut [u8], due_us: u64) {
    if let Some(front) = body.first_chunk_mut::<STAMP_BYTES>() {
        *front = due_us.to_be_bytes();
    }
}

/// What stands where the moment is written.
fn stamp_of(body: &[u8]) -> Option<u64> {
    body.first_chunk::<STAMP_BYTES>().map(|front| u64::from_be_bytes(*front))
}

/// Messages that were due or arrived while it was measured.
#[derive(Debug)]
pub(crate) struct Arrivals {
    clock: Clock,
    /// µs since 1970.
    span: Range<u64>,
    /// Of messages that were due in the span, from that moment until the answer that holds them had been decoded.
    pub(crate) latency: Latency,
    /// Messages that arrived in the span, whenever they were due.
    pub(crate) messages: u64,
    /// The same as bytes of records.
    pub(crate) bytes: u64,
    /// Moments of the messages of one answer.
    due: Vec<u64>,
}

impl Arrivals {
    /// `span` is in nanoseconds of the clock.
    pub(crate) fn new(clock: Clock, span: &Range<u64>) -> Self {
        let span = clock.wall_us(span.start)..clock.wall_us(span.end);
        Self { clock, span, latency: Latency::new(), messages: 0, bytes: 0, due: Vec::new() }
    }

    /// Reads the records of an answer. How many there are.
    ///
    /// # Errors
    /// They are none.
    pub(crate) fn add(&mut self, answer: &[u8]) -> Result<u64> {
        self.due.clear();
        let mut messages = 0;
        for record in records(answer) {
            let record = record.context("an answer is no row of messages")?;
            self.due.extend(stamp_of(record.body()).filter(|due| self.span.contains(due)));
            messages += 1;
        }
        self.settle(self.clock.wall_us(self.clock.now()), messages, answer.len());
        Ok(messages)
    }

    fn settle(&mut self, now: u64, messages: u64, bytes: usize) {
        if self.span.contains(&now) {
            self.messages += messages;
            self.bytes += bytes as u64;
        }
        for due in self.due.drain(..) {
            self.latency.record(now.saturating_sub(due).saturating_mul(1_000));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use timbermq_record::RecordBuilder;

    use super::*;

    /// Records of messages that were due at these moments.
    fn answer(moments: &[u64]) -> BytesMut {
        let mut answer = BytesMut::new();
        for due in moments {
            let mut body = [7; 16];
            stamp(&mut body, *due);
            RecordBuilder::new("bench", &body).encode(&mut answer).unwrap();
        }
        answer
    }

    #[test]
    fn a_moment_is_at_the_front_of_a_body_that_has_room() {
        let mut body = [7; 9];
        stamp(&mut body, 0x0102_0304_0506_0708);
        assert_eq!(body, [1, 2, 3, 4, 5, 6, 7, 8, 7]);
        assert_eq!(stamp_of(&body), Some(0x0102_0304_0506_0708));
        let mut short = [7; 7];
        stamp(&mut short, 1);
        assert_eq!((short, stamp_of(&short)), ([7; 7], None));
    }

    #[test]
    fn latencies_belong_to_when_a_message_was_due_and_throughput_to_when_it_arrived() {
        let clock = Clock::start();
        // An hour that has begun a minute ago.
        let now = clock.wall_us(clock.now());
        let (minute, hour) = (60_000_000, 3_600_000_000);
        let mut arrivals = Arrivals::new(clock, &(0..1));
        arrivals.span = now - minute..now - minute + hour;
        let both = answer(&[now - minute - 1, now - minute]);
        assert_eq!(arrivals.add(&both).unwrap(), 2);
        assert_eq!((arrivals.messages, arrivals.bytes), (2, both.len() as u64));
        assert_eq!(arrivals.latency.count(), 1, "one was due before");
        assert!(arrivals.latency.max_us() >= 60_000_000, "a minute late");
        // It is over when this one arrives, which was due in it.
        arrivals.span = now - minute..now;
        assert_eq!(arrivals.add(&answer(&[now - 1])).unwrap(), 1);
        assert_eq!((arrivals.messages, arrivals.latency.count()), (2, 2));
        // A clock that was set back makes no time travellers.
        arrivals.span = now..now + hour;
        arrivals.add(&answer(&[now + minute])).unwrap();
        assert_eq!(arrivals.latency.count(), 3);
        assert!(arrivals.latency.quantile_us(0.3) <= 1);
    }

    #[test]
    fn the_span_is_that_of_the_clock() {
        let clock = Clock::start();
        let arrivals = Arrivals::new(clock, &(2_000_000..3_000_000));
        assert_eq!(arrivals.span, clock.wall_us(0) + 2_000..clock.wall_us(0) + 3_000);
    }

    #[test]
    fn what_is_cut_is_no_message() {
        let mut arrivals = Arrivals::new(Clock::start(), &(0..1));
        let whole = answer(&[1, 2]);
        assert!(arrivals.add(&whole[..whole.len() - 1]).is_err());
    }
}

//! How long operations take.

use std::time::Duration;

use crate::seeded::Stream;

/// A kind of operation, as far as its time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Reading bytes of a file.
    Read,
    /// Writing bytes of a file, or setting its length.
    Write,
    /// Making a file durable.
    Sync,
    /// Creating, renaming or removing a file, or making a directory durable.
    Name,
}

/// How long each kind of operation takes: a shortest and a longest time, between which it is drawn evenly. The default
/// is no time at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Of a read.
    pub read: (Duration, Duration),
    /// Of a write, which only reaches the cache.
    pub write: (Duration, Duration),
    /// Of a sync.
    pub sync: (Duration, Duration),
    /// Of a change to a directory, and of its sync.
    pub name: (Duration, Duration),
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Meter {
    pub latency: Latency,
    pub stream: Stream,
    /// Time of what was done and not charged yet.
    owed: Duration,
    /// Operations charged before they were done.
    prepaid: [u32; 4],
    stuck: Duration,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            latency: Latency::default(),
            stream: Stream::new(0),
            owed: Duration::ZERO,
            prepaid: [0; 4],
            stuck: Duration::ZERO,
        }
    }

    fn draw(&mut self, op: DiskOp) -> Duration {
        let (least, most) = match op {
            DiskOp::Read => self.latency.read,
            DiskOp::Write => self.latency.write,
            DiskOp::Sync => self.latency.sync,
            DiskOp::Name => self.latency.name,
        };
        let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX - 1);
        let extra = if span == 0 { 0 } else { self.stream.below(span + 1) };
        least + Duration::from_nanos(extra) + std::mem::take(&mut self.stuck)
    }

    pub(crate) fn delay_of(&mut self, op: DiskOp) -> Duration {
        self.prepaid[op as usize] += 1;
        self.draw(op)
    }

    pub(crate) fn done(&mut self, op: DiskOp) {
        if let Some(left) = self.prepaid[op as usize].checked_sub(1) {
            self.prepaid[op as usize] = left;
        } else {
            let time = self.draw(op);
            self.owed += time;
        }
    }

    pub(crate) fn stick(&mut self, time: Duration) {
        self.stuck += time;
    }

    pub(crate) fn take(&mut self) -> Duration {
        self.prepaid = [0; 4];
        std::mem::take(&mut self.owed)
    }
}

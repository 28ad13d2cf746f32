//! Wakes the connections of an open loop when messages are due: a runtime's timers are no finer than a millisecond.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock::nanos;
use crate::schedule::{due, first_at_or_after};

/// Shortest distance of two wake-ups: what falls due within it is sent together.
const GRAIN: Duration = Duration::from_micros(50);
/// Longest sleep, so that a stop is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// The thread; it ends when this is dropped.
pub(super) struct Pacer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts to wake at the moments at which messages are due, until `end` nanoseconds after `start`.
    pub(super) fn start(start: Instant, rate: u64, end: u64, pulse: Arc<watch::Sender<()>>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let work = move || {
            while !stopping.load(Ordering::Relaxed) {
                let now = nanos(start.elapsed());
                if now >= end {
                    return;
                }
                thread::sleep(sleep_at(now, rate));
                pulse.send_replace(());
            }
        };
        let thread = thread::Builder::new().name("pacer".to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there would be nothing to do about it here.
            let _ = thread.join();
        }
    }
}

/// How long to sleep at `now`: until the next message is due.
fn sleep_at(now: u64, rate: u64) -> Duration {
    let next = due(first_at_or_after(now + 1, rate), rate);
    Duration::from_nanos(next.saturating_sub(now)).clamp(GRAIN, SLEEP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_until_the_next_message_is_due() {
        assert_eq!(sleep_at(0, 1_000), Duration::from_millis(1));
        assert_eq!(sleep_at(1_500_000, 1_000), Duration::from_micros(500));
        assert_eq!(sleep_at(1_999_999, 1_000), GRAIN, "not shorter than a grain");
        assert_eq!(sleep_at(0, 1), SLEEP_MAX, "a stop is noticed");
    }
}

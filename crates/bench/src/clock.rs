//! The time of a load and of those who read it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often both clocks are looked at.
const LOOKS: usize = 5;

/// Nanoseconds since a run began, and what they are since 1970. Two processes of one machine that have begun in the same minute
/// agree on the latter to some microseconds, whoever sets the machine's clock meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) start: Instant,
    /// µs since 1970.
    start_wall: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        // Whoever is interrupted between the two clocks has a wrong difference.
        let both = [(); LOOKS].map(|()| {
            let (start, wall) = (Instant::now(), SystemTime::now());
            (start.elapsed(), start, wall)
        });
        let (_, start, wall) = both.into_iter().min_by_key(|(took, ..)| *took).expect("there is more than none");
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start, start_wall: u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX) }
    }

    pub(crate) fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// Microseconds since 1970 at `now`.
    pub(crate) fn wall_us(&self, now: u64) -> u64 {
        self.start_wall + now / 1_000
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_1970_goes_on_from_where_the_run_began() {
        let clock = Clock::start();
        let began = clock.wall_us(0);
        assert!(began > 1_700_000_000_000_000, "microseconds, after 2023");
        assert_eq!(
            (clock.wall_us(999), clock.wall_us(1_000), clock.wall_us(2_500_000)),
            (began, began + 1, began + 2_500)
        );
    }
}

//! When messages are due, and how a window is shared.

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// The moments at which one connection of an open loop sends, in nanoseconds since the load began.
///
/// All connections together send `rate` messages a second at even distances: connection `i` of `n` has the messages
/// `i`, `i + n`, `i + 2n`, … A message that could not be sent when it was due keeps its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    rate: u64,
    step: u64,
    next: u64,
}

impl Schedule {
    /// The schedule of connection `index` of `connections`; `rate` is messages a second of all of them.
    pub(crate) fn new(rate: u64, index: usize, connections: usize) -> Self {
        Self { rate: rate.max(1), step: connections.max(1) as u64, next: index as u64 }
    }

    /// When the next message is due.
    pub(crate) fn due(&self) -> u64 {
        due(self.next, self.rate)
    }

    /// Takes the next message if it is due by `now`.
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.due();
        (due <= now).then(|| {
            self.next += self.step;
            due
        })
    }

    /// How many messages were due before `end` and have not been taken.
    pub(crate) fn left_before(&self, end: u64) -> u64 {
        let total = first_at_or_after(end, self.rate);
        total.saturating_sub(self.next).div_ceil(self.step)
    }
}

/// When message `number` of all connections is due.
pub(crate) fn due(number: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(number) * u128::from(SECOND) / u128::from(rate)).unwrap_or(u64::MAX)
}

/// The first message due at `at` or later.
pub(crate) fn first_at_or_after(at: u64, rate: u64) -> u64 {
    // The exact inverse of `due`, which rounds down.
    let number = (u128::from(at) * u128::from(rate)).div_ceil(u128::from(SECOND));
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    if due(number, rate) < at { number + 1 } else { number }
}

/// The part of a window that connection `index` of `connections` has. The parts differ by one at most.
pub(crate) fn share(window: usize, index: usize, connections: usize) -> usize {
    window / connections + usize::from(index < window % connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_even_distances_over_all_connections() {
        let mut schedules: Vec<Schedule> = (0..3).map(|index| Schedule::new(1_000, index, 3)).collect();
        let mut all: Vec<u64> = Vec::new();
        for schedule in &mut schedules {
            while let Some(due) = schedule.take(9_999_999) {
                all.push(due);
            }
        }
        all.sort_unstable();
        assert_eq!(all, (0..10).map(|number| number * 1_000_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_late_message_keeps_its_moment() {
        let mut schedule = Schedule::new(100, 0, 1);
        assert_eq!(schedule.take(0), Some(0));
        assert_eq!(schedule.take(9_999_999), None, "not due yet");
        // Nothing could be sent for a while: the messages of that time are sent with the moments they were due at.
        assert_eq!(schedule.left_before(50_000_000), 4);
        assert_eq!([schedule.take(45_000_000), schedule.take(45_000_000)], [Some(10_000_000), Some(20_000_000)]);
        assert_eq!(schedule.left_before(50_000_000), 2);
        assert_eq!(schedule.due(), 30_000_000);
    }

    #[test]
    fn what_is_left_is_shared_by_the_connections() {
        // Of the messages 0 to 9, the first of three connections has 0, 3, 6 and 9.
        let left = |index| Schedule::new(1_000, index, 3).left_before(10_000_000);
        assert_eq!([left(0), left(1), left(2)], [4, 3, 3]);
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let mut schedule = Schedule::new(7, 0, 1);
        let mut count = 0;
        while schedule.take(100 * SECOND - 1).is_some() {
            count += 1;
        }
        assert_eq!(count, 700);
    }

    #[test]
    fn the_first_message_at_a_moment_is_found() {
        for rate in [1, 3, 7, 1_000, 333_333] {
            for at in [0, 1, 999, 1_000_000, 123_456_789, SECOND, 3 * SECOND + 1] {
                let number = first_at_or_after(at, rate);
                assert!(due(number, rate) >= at, "{rate} {at}");
                assert!(number == 0 || due(number - 1, rate) < at, "{rate} {at}");
            }
        }
    }

    #[test]
    fn a_window_is_shared_without_remainder() {
        for (window, connections) in [(1, 1), (64, 4), (1024, 3), (7, 5)] {
            let shares: Vec<usize> = (0..connections).map(|index| share(window, index, connections)).collect();
            assert_eq!(shares.iter().sum::<usize>(), window);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}

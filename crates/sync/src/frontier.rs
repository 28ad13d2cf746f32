//! Work done ahead of somebody who must not meet it.

use crate::shim::atomic::{AtomicU64, Ordering};
use crate::shim::{Mutex, lock, order};

/// A boundary on a line of numbers, between one side that prepares what lies ahead, step by step, and one that follows and
/// uses it: zeros written ahead of a log's writer. Who follows may overtake.
///
/// A place is prepared at most once, never after it was claimed, and who claims it sees it prepared if it was.
#[derive(Debug)]
pub struct Frontier {
    /// Mirror of what `moving` guards, so that following takes no lock. Written only with the lock held.
    at: AtomicU64,
    moving: Mutex<u64>,
}

impl Frontier {
    /// Everything before `at` is prepared.
    #[must_use]
    pub fn new(at: u64) -> Self {
        Self { at: AtomicU64::new(at), moving: Mutex::new(at) }
    }

    /// About where it is: to decide whether to ask for more.
    #[must_use]
    pub fn get(&self) -> u64 {
        // A hint: who relies on the place claims it.
        self.at.load(Ordering::Relaxed)
    }

    /// Takes everything before `end` for the caller, the one who follows: nothing will be prepared there from now on. Waits
    /// for a step that is under way only when it overtakes.
    pub fn claim(&self, end: u64) {
        if end > self.at.load(order!("frontier.claim", Acquire)) {
            let mut at = lock(&self.moving);
            if end > *at {
                *at = end;
                // Read by the caller alone; the other side reads it under the lock.
                self.at.store(end, Ordering::Relaxed);
            }
        }
    }

    /// Moves the boundary by one step of at most `step_max` towards `until`, having let `prepare` do its work on the part
    /// `[from, to)`. False, and nothing done, when it is there already.
    ///
    /// # Errors
    /// Those of `prepare`, and the boundary stays where it was.
    pub fn advance<E>(
        &self,
        until: u64,
        step_max: u64,
        prepare: impl FnOnce(u64, u64) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut at = lock(&self.moving);
        let from = *at;
        if from >= until {
            return Ok(false);
        }
        let to = from + step_max.min(until - from);
        prepare(from, to)?;
        *at = to;
        self.at.store(to, order!("frontier.advance", Release));
        Ok(true)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn advance(frontier: &Frontier, until: u64) -> Option<(u64, u64)> {
        let mut part = None;
        let moved = frontier.advance(until, 10, |from, to| {
            part = Some((from, to));
            Ok::<_, ()>(())
        });
        assert_eq!(moved, Ok(part.is_some()));
        part
    }

    #[test]
    fn it_moves_in_steps_up_to_where_it_should_and_past_what_was_claimed() {
        let frontier = Frontier::new(5);
        assert_eq!(advance(&frontier, 18), Some((5, 15)));
        assert_eq!(advance(&frontier, 18), Some((15, 18)));
        assert_eq!(advance(&frontier, 18), None);
        frontier.claim(17);
        assert_eq!(frontier.get(), 18, "a claim behind it changes nothing");
        frontier.claim(20);
        assert_eq!(advance(&frontier, 40), Some((20, 30)));
        frontier.claim(u64::MAX);
        assert_eq!(advance(&frontier, u64::MAX), None);
    }

    #[test]
    fn it_stays_where_it_was_when_the_work_fails() {
        let frontier = Frontier::new(0);
        assert_eq!(frontier.advance(10, 5, |_, _| Err("full")), Err("full"));
        assert_eq!(frontier.get(), 0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// A file of a few places. Loom reports accesses that nothing orders.
    struct File {
        frontier: Frontier,
        places: Vec<UnsafeCell<&'static str>>,
    }

    impl File {
        fn new() -> Arc<Self> {
            let places = (0..2).map(|_| UnsafeCell::new("hole")).collect();
            Arc::new(Self { frontier: Frontier::new(0), places })
        }

        #[allow(unsafe_code, reason = "loom hands out raw pointers, and checks every access through them")]
        fn write(&self, place: u64, what: &'static str) {
            self.places[place as usize].with_mut(|place| unsafe { *place = what });
        }

        #[allow(unsafe_code, reason = "loom hands out raw pointers, and checks every access through them")]
        fn read(&self, place: u64) -> &'static str {
            self.places[place as usize].with(|place| unsafe { *place })
        }

        fn fill(&self) {
            let step = |from, to| {
                assert_eq!((from + 1, self.read(from)), (to, "hole"), "prepared once, and not what was claimed");
                self.write(from, "zeros");
                Ok::<_, ()>(())
            };
            while self.frontier.advance(2, 1, step).unwrap() {}
        }
    }

    #[test]
    fn a_writer_that_follows_or_overtakes_is_never_written_over() {
        loom::model(|| {
            let file = File::new();
            let filler = {
                let file = Arc::clone(&file);
                thread::spawn(move || file.fill())
            };
            for place in 0..2 {
                file.frontier.claim(place + 1);
                file.write(place, "frame");
            }
            filler.join().unwrap();
            assert_eq!((file.read(0), file.read(1)), ("frame", "frame"));
        });
    }

    #[test]
    fn who_claims_everything_has_the_file_to_itself() {
        loom::model(|| {
            let file = File::new();
            let filler = {
                let file = Arc::clone(&file);
                thread::spawn(move || file.fill())
            };
            file.frontier.claim(u64::MAX);
            file.write(0, "next life");
            file.write(1, "next life");
            filler.join().unwrap();
            assert_eq!((file.read(0), file.read(1)), ("next life", "next life"));
        });
    }
}

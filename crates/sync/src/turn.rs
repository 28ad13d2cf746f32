//! Two flags: one that passes from hand to hand, one that is set once.

use crate::shim::atomic::AtomicBool;
use crate::shim::order;

/// A turn that one at a time may have. Nobody waits for it: who finds it taken knows that the work is being done.
///
/// Whoever takes it sees what the one before did until it gave it back.
#[derive(Debug, Default)]
pub struct Turn {
    taken: AtomicBool,
}

impl Turn {
    /// A turn that nobody has.
    #[must_use]
    pub fn new() -> Self {
        Self { taken: AtomicBool::new(false) }
    }

    /// Takes the turn; false when somebody has it. Who takes it must see to it that it is given back.
    #[must_use]
    pub fn take(&self) -> bool {
        !self.taken.swap(true, order!("turn.take", Acquire))
    }

    /// Gives it back, for the one who has it or was handed it.
    pub fn give_back(&self) {
        self.taken.store(false, order!("turn.give_back", Release));
    }
}

/// A flag that is set once and stays.
///
/// Whoever finds it set sees what was done before it was set.
#[derive(Debug, Default)]
pub struct Latch {
    set: AtomicBool,
}

impl Latch {
    /// Not set, or set from the start.
    #[must_use]
    pub fn new(set: bool) -> Self {
        Self { set: AtomicBool::new(set) }
    }

    /// Sets it. Again is nothing.
    pub fn set(&self) {
        self.set.store(true, order!("latch.set", Release));
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.load(order!("latch.is_set", Acquire))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_had_by_one_and_can_be_had_again() {
        let turn = Turn::new();
        assert!(turn.take());
        assert!(!turn.take());
        turn.give_back();
        assert!(turn.take());
    }

    #[test]
    fn a_latch_stays_set() {
        let latch = Latch::new(false);
        assert!(!latch.is_set());
        latch.set();
        latch.set();
        assert!(latch.is_set());
        assert!(Latch::new(true).is_set());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Guarded<T> {
        by: T,
        work: UnsafeCell<u32>,
    }

    impl<T> Guarded<T> {
        fn new(by: T) -> Arc<Self> {
            Arc::new(Self { by, work: UnsafeCell::new(0) })
        }

        #[allow(unsafe_code, reason = "loom hands out raw pointers, and checks every access through them")]
        fn work(&self) -> u32 {
            self.work.with_mut(|work| unsafe {
                *work += 1;
                *work
            })
        }
    }

    fn have_a_turn(guarded: &Guarded<Turn>) -> u32 {
        if !guarded.by.take() {
            return 0;
        }
        let count = guarded.work();
        guarded.by.give_back();
        count
    }

    #[test]
    fn work_in_turns_never_overlaps_and_builds_on_the_turn_before() {
        loom::model(|| {
            let guarded = Guarded::new(Turn::new());
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let guarded = Arc::clone(&guarded);
                    thread::spawn(move || have_a_turn(&guarded))
                })
                .collect();
            let mut counts = vec![have_a_turn(&guarded)];
            counts.extend(others.into_iter().map(|other| other.join().unwrap()));
            counts.retain(|count| *count > 0);
            counts.sort_unstable();
            assert_eq!(counts, (1..=u32::try_from(counts.len()).unwrap()).collect::<Vec<_>>());
        });
    }

    #[test]
    fn who_finds_a_latch_set_sees_what_was_done_before() {
        loom::model(|| {
            let guarded = Guarded::new(Latch::new(false));
            let setter = {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || {
                    guarded.work();
                    guarded.by.set();
                })
            };
            if guarded.by.is_set() {
                assert_eq!(guarded.work(), 2);
            }
            setter.join().unwrap();
        });
    }
}

//! A bound on what many use together.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::shim::atomic::{AtomicUsize, Ordering};
use crate::shim::{Mutex, lock};
use crate::waiters::{Ticket, Waiters};

/// Set in `Budget::word` when somebody may wait. The count is kept above it.
const WAITED: usize = 1;
const SHIFT: u32 = 1;

/// Counts units, such as bytes, against a limit; who does not fit in may wait.
///
/// Counting takes no lock while nobody waits. The count and the mark that somebody waits are one word, so every change of
/// the count and every setting of the mark have one order: either who gives back sees the mark, or who waits sees what
/// was given back. This, and not a memory ordering, is why no wake-up is lost. Hence relaxed everywhere: the count guards
/// no data, and the waiters are behind a lock.
pub struct Budget {
    limit: usize,
    word: AtomicUsize,
    waiters: Mutex<Waiters<()>>,
}

impl Budget {
    /// Nothing used of `limit` units.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, word: AtomicUsize::new(0), waiters: Mutex::default() }
    }

    /// Units in use, which may be more than the limit, see [`add`](Self::add).
    #[must_use]
    pub fn used(&self) -> usize {
        self.word.load(Ordering::Relaxed) >> SHIFT
    }

    /// Whether more than the limit is used.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.used() > self.limit
    }

    /// Counts `units` that are there whatever the limit says.
    pub fn add(&self, units: usize) {
        self.word.fetch_add(units << SHIFT, Ordering::Relaxed);
    }

    /// Counts `units` if they fit. Anything fits as long as nothing is used, or what is larger than the limit would never
    /// be let in.
    #[must_use]
    pub fn try_take(&self, units: usize) -> bool {
        let take = |word: usize| {
            let used = word >> SHIFT;
            (used == 0 || used.checked_add(units).is_some_and(|sum| sum <= self.limit)).then(|| word + (units << SHIFT))
        };
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives back `units` that were counted.
    pub fn give_back(&self, units: usize) {
        let before = self.word.fetch_sub(units << SHIFT, Ordering::Relaxed);
        debug_assert!(before >> SHIFT >= units, "{units} given back of {}", before >> SHIFT);
        if units == 0 || before & WAITED == 0 {
            return;
        }
        let woken = {
            let mut waiters = lock(&self.waiters);
            self.word.fetch_and(!WAITED, Ordering::Relaxed);
            waiters.take(|()| true)
        };
        for waker in woken {
            waker.wake();
        }
    }

    /// Completes when `units` fit, see [`try_take`](Self::try_take), and are counted.
    pub fn taken(&self, units: usize) -> Opening<'_> {
        Opening { budget: self, wanted: Some(units), ticket: None }
    }

    /// Completes when not more than the limit is used.
    pub fn within_limit(&self) -> Opening<'_> {
        Opening { budget: self, wanted: None, ticket: None }
    }
}

/// See [`Budget::taken`] and [`Budget::within_limit`].
#[must_use = "a future does nothing unless polled"]
pub struct Opening<'a> {
    budget: &'a Budget,
    wanted: Option<usize>,
    ticket: Ticket,
}

impl Opening<'_> {
    fn is_there(&self) -> bool {
        match self.wanted {
            Some(units) => self.budget.try_take(units),
            None => !self.budget.is_over(),
        }
    }
}

impl Future for Opening<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.get_mut();
        if wait.is_there() {
            return Poll::Ready(());
        }
        let mut waiters = lock(&wait.budget.waiters);
        wait.budget.word.fetch_or(WAITED, Ordering::Relaxed);
        // Looked at again with the mark set: what was given back before it woke nobody.
        if wait.is_there() {
            return Poll::Ready(());
        }
        waiters.join(&mut wait.ticket, (), cx.waker());
        Poll::Pending
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            lock(&self.budget.waiters).leave(ticket);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Waker;

    fn poll(opening: Pin<&mut Opening<'_>>) -> Poll<()> {
        opening.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_does_not_fit_is_refused_unless_nothing_is_used() {
        let budget = Budget::new(10);
        assert!(budget.try_take(50), "or it would never be let in");
        assert!(!budget.try_take(1));
        budget.give_back(50);
        assert!(budget.try_take(4));
        assert!(budget.try_take(6), "up to the limit");
        assert!(!budget.try_take(1));
        assert!(!budget.try_take(usize::MAX), "no sum that wraps");
        assert_eq!(budget.used(), 10);
        budget.add(5);
        assert_eq!((budget.used(), budget.is_over()), (15, true));
        budget.give_back(5);
        assert!(!budget.is_over(), "the limit itself is not over it");
    }

    #[test]
    fn who_waits_is_let_in_when_there_is_room_and_is_counted_once() {
        let budget = Budget::new(10);
        budget.add(10);
        let mut opening = pin!(budget.taken(3));
        assert!(poll(opening.as_mut()).is_pending());
        budget.give_back(2);
        assert!(poll(opening.as_mut()).is_pending());
        budget.give_back(1);
        assert!(poll(opening.as_mut()).is_ready());
        assert_eq!(budget.used(), 10);
    }

    #[test]
    fn waiting_for_the_limit_takes_nothing() {
        let budget = Budget::new(10);
        budget.add(11);
        let mut opening = pin!(budget.within_limit());
        assert!(poll(opening.as_mut()).is_pending());
        budget.give_back(1);
        assert!(poll(opening.as_mut()).is_ready());
        assert_eq!(budget.used(), 10);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::block_on;
    use loom::sync::Arc;
    use loom::thread;

    /// Takes `units` as soon as there is room, and gives them back.
    fn use_some(budget: &Budget, units: usize) {
        block_on(budget.taken(units));
        assert!(budget.used() >= units);
        budget.give_back(units);
    }

    #[test]
    fn two_that_wait_for_room_are_both_let_in() {
        loom::model(|| {
            let budget = Arc::new(Budget::new(1));
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let budget = Arc::clone(&budget);
                    thread::spawn(move || use_some(&budget, 1))
                })
                .collect();
            use_some(&budget, 1);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(budget.used(), 0);
        });
    }

    #[test]
    fn no_more_than_the_limit_is_ever_taken() {
        loom::model(|| {
            let budget = Arc::new(Budget::new(3));
            let other = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || budget.try_take(2))
            };
            let here = budget.try_take(2);
            assert!(here ^ other.join().unwrap(), "one fits, and one does");
            assert_eq!(budget.used(), 2);
        });
    }

    #[test]
    fn one_that_is_refused_is_in_nobodys_way() {
        loom::model(|| {
            let budget = Arc::new(Budget::new(1));
            assert!(budget.try_take(9));
            let refused = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    if budget.try_take(9) {
                        budget.give_back(9);
                        return false;
                    }
                    true
                })
            };
            budget.give_back(9);
            let here = budget.try_take(9);
            let refused = refused.join().unwrap();
            assert!(here || !refused, "nothing was used, and yet both were refused");
        });
    }

    #[test]
    fn a_wait_given_up_takes_nobodys_wake_up() {
        loom::model(|| {
            let budget = Arc::new(Budget::new(1));
            budget.add(2);
            let impatient = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    let mut wait = Box::pin(budget.within_limit());
                    let _ = wait.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
                })
            };
            let other = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || budget.give_back(1))
            };
            block_on(budget.within_limit());
            other.join().unwrap();
            impatient.join().unwrap();
            assert_eq!(budget.used(), 1);
        });
    }
}

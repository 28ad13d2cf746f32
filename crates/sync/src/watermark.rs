//! A number that one side raises and many sides wait for.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::shim::atomic::AtomicU64;
use crate::shim::{Mutex, lock, order};
use crate::waiters::{Ticket, Waiters};

/// A `u64` that rises, published by one writer, read and awaited by many.
///
/// Whoever reads a value sees what the writer did before it published that value.
///
/// It never falls by itself; [`lower`](Watermark::lower) exists for the one case where what was reached is taken back
/// (a log whose tail is cut), and wakes nobody.
pub struct Watermark {
    /// Mirror of `Inner::value`, so that reading takes no lock. Written only with the lock held.
    value: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    value: u64,
    closed: bool,
    /// Each waits for a value.
    waiters: Waiters<u64>,
}

/// The writer went away before the target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the watermark was closed")
    }
}

impl std::error::Error for Closed {}

impl Watermark {
    /// Starts at `value`.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self {
            value: AtomicU64::new(value),
            inner: Mutex::new(Inner { value, closed: false, waiters: Waiters::default() }),
        }
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.value.load(order!("watermark.get", Acquire))
    }

    /// Raises the value to `to`, or leaves it when it is there already, and wakes who waited for it.
    pub fn advance(&self, to: u64) {
        let reached = {
            let mut inner = lock(&self.inner);
            if to <= inner.value {
                return;
            }
            inner.value = to;
            self.value.store(to, order!("watermark.advance", Release));
            inner.waiters.take(|target| *target <= to)
        };
        for waker in reached {
            waker.wake();
        }
    }

    /// Takes back what lies above `to`.
    pub fn lower(&self, to: u64) {
        let mut inner = lock(&self.inner);
        if to < inner.value {
            inner.value = to;
            self.value.store(to, order!("watermark.lower", Release));
        }
    }

    /// Ends every wait, present and future, that the value does not satisfy.
    pub fn close(&self) {
        let waiters = {
            let mut inner = lock(&self.inner);
            inner.closed = true;
            inner.waiters.take(|_| true)
        };
        for waker in waiters {
            waker.wake();
        }
    }

    /// Completes once the value is at least `target`; with [`Closed`] when it never will be.
    pub fn reached(&self, target: u64) -> Reached<'_> {
        Reached { mark: self, target, ticket: None }
    }
}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watermark").field(&self.get()).finish()
    }
}

/// See [`Watermark::reached`].
#[must_use = "a future does nothing unless polled"]
pub struct Reached<'a> {
    mark: &'a Watermark,
    target: u64,
    ticket: Ticket,
}

impl Future for Reached<'_> {
    type Output = Result<(), Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let wait = self.get_mut();
        // The value is read under the lock that guards the waiters, so no advance can fall between reading and joining.
        let mut inner = lock(&wait.mark.inner);
        if inner.value >= wait.target {
            return Poll::Ready(Ok(()));
        }
        if inner.closed {
            return Poll::Ready(Err(Closed));
        }
        inner.waiters.join(&mut wait.ticket, wait.target, cx.waker());
        Poll::Pending
    }
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            lock(&self.mark.inner).waiters.leave(ticket);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (Arc::clone(&count), Waker::from(Arc::clone(&count)))
    }

    #[test]
    fn only_the_waiters_that_are_reached_are_woken() {
        let mark = Watermark::new(1);
        let (low, low_waker) = counter();
        let (high, high_waker) = counter();
        let mut low_wait = Box::pin(mark.reached(3));
        let mut high_wait = Box::pin(mark.reached(9));
        assert!(low_wait.as_mut().poll(&mut Context::from_waker(&low_waker)).is_pending());
        assert!(high_wait.as_mut().poll(&mut Context::from_waker(&high_waker)).is_pending());
        mark.advance(5);
        assert_eq!((low.0.load(Ordering::SeqCst), high.0.load(Ordering::SeqCst)), (1, 0));
        assert_eq!(low_wait.as_mut().poll(&mut Context::from_waker(&low_waker)), Poll::Ready(Ok(())));
        mark.close();
        assert_eq!(high.0.load(Ordering::SeqCst), 1);
        assert_eq!(high_wait.as_mut().poll(&mut Context::from_waker(&high_waker)), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn it_falls_only_when_lowered() {
        let mark = Watermark::new(7);
        mark.advance(8);
        mark.advance(3);
        assert_eq!(mark.get(), 8);
        mark.lower(5);
        assert_eq!(mark.get(), 5);
        mark.lower(7);
        assert_eq!(mark.get(), 5);
        let (_, waker) = counter();
        assert!(Box::pin(mark.reached(6)).as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let mark = Watermark::new(0);
        let (count, waker) = counter();
        let mut wait = Box::pin(mark.reached(1));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(wait);
        mark.advance(1);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::block_on;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn no_wake_up_is_lost_between_looking_and_waiting() {
        loom::model(|| {
            let mark = Arc::new(Watermark::new(0));
            let writer = {
                let mark = Arc::clone(&mark);
                thread::spawn(move || {
                    mark.advance(1);
                    mark.advance(2);
                })
            };
            assert_eq!(block_on(mark.reached(2)), Ok(()));
            assert_eq!(mark.get(), 2);
            writer.join().unwrap();
        });
    }

    #[test]
    fn two_waiters_are_both_woken() {
        loom::model(|| {
            let mark = Arc::new(Watermark::new(0));
            let waiter = {
                let mark = Arc::clone(&mark);
                thread::spawn(move || block_on(mark.reached(1)))
            };
            let writer = {
                let mark = Arc::clone(&mark);
                thread::spawn(move || mark.advance(1))
            };
            assert_eq!(block_on(mark.reached(1)), Ok(()));
            assert_eq!(waiter.join().unwrap(), Ok(()));
            writer.join().unwrap();
        });
    }

    #[test]
    fn closing_ends_a_wait() {
        loom::model(|| {
            let mark = Arc::new(Watermark::new(0));
            let writer = {
                let mark = Arc::clone(&mark);
                thread::spawn(move || mark.close())
            };
            assert_eq!(block_on(mark.reached(1)), Err(Closed));
            writer.join().unwrap();
        });
    }
    /// What a writer prepares and only then publishes. Loom reports an access that nothing orders after the other.
    struct Prepared {
        mark: Watermark,
        work: UnsafeCell<u64>,
    }

    impl Prepared {
        fn new(value: u64) -> Arc<Self> {
            Arc::new(Self { mark: Watermark::new(value), work: UnsafeCell::new(0) })
        }

        #[allow(unsafe_code, reason = "loom hands out raw pointers, and checks every access through them")]
        fn work(&self) {
            self.work.with_mut(|work| unsafe { *work += 1 });
        }

        #[allow(unsafe_code, reason = "loom hands out raw pointers, and checks every access through them")]
        fn seen(&self) -> u64 {
            self.work.with(|work| unsafe { *work })
        }
    }

    #[test]
    fn who_reads_the_value_sees_what_was_done_before() {
        loom::model(|| {
            let shared = Prepared::new(0);
            let writer = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.work();
                    shared.mark.advance(1);
                })
            };
            if shared.mark.get() == 1 {
                assert_eq!(shared.seen(), 1);
            }
            writer.join().unwrap();
        });
    }

    #[test]
    fn who_reads_a_lowered_value_sees_what_was_cut() {
        loom::model(|| {
            let shared = Prepared::new(5);
            let writer = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.work();
                    shared.mark.lower(3);
                })
            };
            if shared.mark.get() == 3 {
                assert_eq!(shared.seen(), 1);
            }
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_wait_given_up_while_it_is_reached_leaves_nothing_behind_and_takes_nobodys_wake_up() {
        loom::model(|| {
            let mark = Arc::new(Watermark::new(0));
            let impatient = {
                let mark = Arc::clone(&mark);
                thread::spawn(move || {
                    let mut wait = Box::pin(mark.reached(1));
                    let _ = wait.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
                })
            };
            let writer = {
                let mark = Arc::clone(&mark);
                thread::spawn(move || mark.advance(1))
            };
            assert_eq!(block_on(mark.reached(1)), Ok(()));
            writer.join().unwrap();
            impatient.join().unwrap();
            assert!(lock(&mark.inner).waiters.take(|_| true).is_empty());
        });
    }
}

//! The queue between many who ask and the one thread that does.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::shim::atomic::{AtomicUsize, Ordering};
use crate::shim::{Mutex, lock};

/// An ordered queue with many producers and one consumer that takes everything at once.
///
/// What arrives while the consumer works is its next batch, which is group commit without a timer. The queue counts
/// bytes and leaves the bound to its users: a producer that may not block looks at [`bytes`](WorkQueue::bytes) before
/// it takes on more work. Bytes count until the consumer [`release`](WorkQueue::release)s them, hence also while it
/// works on them.
pub struct WorkQueue<T> {
    inner: Mutex<Inner<T>>,
    /// A count and nothing else, hence relaxed everywhere: items change hands under the lock, which also lets nobody
    /// release what was not counted yet.
    bytes: AtomicUsize,
}

struct Inner<T> {
    items: Vec<T>,
    closed: bool,
    consumer: Option<Waker>,
}

impl<T> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> WorkQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner { items: Vec::new(), closed: false, consumer: None }),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Adds `item`, which counts as `bytes`, at the end.
    ///
    /// # Errors
    /// Gives the item back when the queue is closed.
    pub fn push(&self, item: T, bytes: usize) -> Result<(), T> {
        let consumer = {
            let mut inner = lock(&self.inner);
            if inner.closed {
                return Err(item);
            }
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            inner.items.push(item);
            inner.consumer.take()
        };
        if let Some(consumer) = consumer {
            consumer.wake();
        }
        Ok(())
    }

    /// Moves everything queued to the end of `into`.
    pub fn take_all(&self, into: &mut Vec<T>) {
        into.append(&mut lock(&self.inner).items);
    }

    /// Says that items worth `bytes` are dealt with.
    pub fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes queued or being worked on.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Refuses further items. Those queued are still handed out.
    pub fn close(&self) {
        let consumer = {
            let mut inner = lock(&self.inner);
            inner.closed = true;
            inner.consumer.take()
        };
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }

    /// Completes with `true` when there is something to take, with `false` when the queue is closed and empty. For the
    /// one consumer.
    pub fn ready(&self) -> Ready<'_, T> {
        Ready { queue: self }
    }
}

/// See [`WorkQueue::ready`].
#[must_use = "a future does nothing unless polled"]
pub struct Ready<'a, T> {
    queue: &'a WorkQueue<T>,
}

impl<T> Future for Ready<'_, T> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        // One lock for looking and for leaving the waker: a push in between would be slept through.
        let mut inner = lock(&self.queue.inner);
        if !inner.items.is_empty() {
            return Poll::Ready(true);
        }
        if inner.closed {
            return Poll::Ready(false);
        }
        inner.consumer = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::block_on;

    #[test]
    fn everything_queued_is_taken_in_order() {
        let queue = WorkQueue::new();
        for n in 0..5 {
            queue.push(n, 10).unwrap();
        }
        assert_eq!(queue.bytes(), 50);
        assert!(block_on(queue.ready()));
        let mut taken = vec![];
        queue.take_all(&mut taken);
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        assert_eq!(queue.bytes(), 50, "being worked on still counts");
        queue.release(50);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_closed_queue_hands_out_the_rest_and_takes_no_more() {
        let queue = WorkQueue::new();
        queue.push(1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(2, 1), Err(2));
        assert!(block_on(queue.ready()));
        let mut taken = vec![];
        queue.take_all(&mut taken);
        assert_eq!(taken, [1]);
        assert!(!block_on(queue.ready()));
        assert_eq!(queue.bytes(), 1, "the refused item does not count");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::block_on;
    use loom::sync::Arc;
    use loom::thread;

    fn consume(queue: &WorkQueue<u32>) -> Vec<u32> {
        let mut all = vec![];
        while block_on(queue.ready()) {
            queue.take_all(&mut all);
        }
        all
    }

    #[test]
    fn two_producers_lose_nothing_and_keep_their_order() {
        loom::model(|| {
            let queue = Arc::new(WorkQueue::new());
            let producer = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    queue.push(1, 1).unwrap();
                    queue.push(2, 1).unwrap();
                })
            };
            let consumer = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || consume(&queue))
            };
            queue.push(10, 1).unwrap();
            producer.join().unwrap();
            queue.close();
            let all = consumer.join().unwrap();
            let own: Vec<_> = all.iter().copied().filter(|n| *n < 10).collect();
            assert_eq!(own, [1, 2]);
            assert_eq!(all.len(), 3);
        });
    }

    #[test]
    fn a_push_while_the_consumer_falls_asleep_wakes_it() {
        loom::model(|| {
            let queue = Arc::new(WorkQueue::new());
            let producer = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(1, 1).unwrap())
            };
            assert!(block_on(queue.ready()));
            producer.join().unwrap();
        });
    }

    #[test]
    fn shutdown_races_with_a_push_and_nothing_accepted_is_lost() {
        loom::model(|| {
            let queue = Arc::new(WorkQueue::new());
            let producer = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(1, 1).is_ok())
            };
            let closer = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.close())
            };
            let all = consume(&queue);
            let accepted = producer.join().unwrap();
            closer.join().unwrap();
            assert_eq!(all.len(), usize::from(accepted));
        });
    }
    #[test]
    fn bytes_are_counted_before_anybody_can_release_them() {
        loom::model(|| {
            let queue = Arc::new(WorkQueue::new());
            let producer = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(1, 7).unwrap())
            };
            let watcher = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.bytes())
            };
            assert!(block_on(queue.ready()));
            queue.release(7);
            assert_eq!(queue.bytes(), 0, "the taker sees what it took counted");
            assert!([0, 7].contains(&watcher.join().unwrap()), "never less than nothing");
            producer.join().unwrap();
        });
    }
}

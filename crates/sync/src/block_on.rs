//! Waiting for a future on a plain thread.

use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use crate::shim::{Arc, Condvar, Mutex, lock};

/// Says that the waiting thread should poll again.
struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn notify(&self) {
        *lock(&self.woken) = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut woken = lock(&self.woken);
        while !*woken {
            woken = self.changed.wait(woken).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *woken = false;
    }
}

/// The waker's side of a [`Signal`]. A type of its own because wakers count with the standard `Arc` even under loom.
struct Knock(Arc<Signal>);

impl Wake for Knock {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        self.0.notify();
    }
}

/// Runs `future` to its end on the calling thread, which sleeps in between. For threads that may block; never inside a
/// runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let signal = Arc::new(Signal { woken: Mutex::new(false), changed: Condvar::new() });
    let waker = Waker::from(std::sync::Arc::new(Knock(Arc::clone(&signal))));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        signal.wait();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_wakes_itself_is_polled_again() {
        let mut polls = 0;
        let polls = block_on(std::future::poll_fn(|cx| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(polls);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        assert_eq!(polls, 3);
    }

    #[test]
    fn another_thread_wakes_the_waiting_one() {
        let mark = std::sync::Arc::new(crate::Watermark::new(0));
        let other = std::sync::Arc::clone(&mark);
        let thread = std::thread::spawn(move || other.advance(7));
        assert_eq!(block_on(mark.reached(7)), Ok(()));
        thread.join().unwrap();
    }
}

//! Who waits for something, in order of arrival. Lives inside the lock of what is waited for.

use std::task::Waker;

/// A place among the [`Waiters`]; a future keeps it between polls.
pub(crate) type Ticket = Option<u64>;

/// The waiters, each with what it waits for.
pub(crate) struct Waiters<T> {
    next_ticket: u64,
    list: Vec<Waiter<T>>,
}

struct Waiter<T> {
    ticket: u64,
    target: T,
    waker: Waker,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self { next_ticket: 0, list: Vec::new() }
    }
}

impl<T> Waiters<T> {
    /// Adds a waiter, or replaces its waker when it has a place already.
    pub(crate) fn join(&mut self, ticket: &mut Ticket, target: T, waker: &Waker) {
        if let Some(known) = ticket.and_then(|ticket| self.list.iter_mut().find(|waiter| waiter.ticket == ticket)) {
            known.waker.clone_from(waker);
            return;
        }
        *ticket = Some(self.next_ticket);
        self.list.push(Waiter { ticket: self.next_ticket, target, waker: waker.clone() });
        self.next_ticket += 1;
    }

    /// Gives up a place.
    pub(crate) fn leave(&mut self, ticket: u64) {
        self.list.retain(|waiter| waiter.ticket != ticket);
    }

    /// Takes out those whose target is met, in order of arrival. The caller wakes them after it has let go of the lock: a
    /// waker may run code of any length.
    #[must_use]
    pub(crate) fn take(&mut self, is_met: impl Fn(&T) -> bool) -> Vec<Waker> {
        self.list.extract_if(.., |waiter| is_met(&waiter.target)).map(|waiter| waiter.waker).collect()
    }
}

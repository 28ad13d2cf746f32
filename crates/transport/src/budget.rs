//! A bound on bytes shared by many connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts bytes held against a limit.
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), freed: Notify::new() })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Whether nothing more should be let in.
    pub(crate) fn is_over(&self) -> bool {
        self.used() > self.limit
    }

    /// Counts `bytes` that are there whatever the limit says.
    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::AcqRel);
            self.freed.notify_waiters();
        }
    }

    /// Counts `bytes` if they fit. Anything fits an empty budget, or a frame above the limit would wait for ever.
    fn try_reserve(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used == 0 || used.saturating_add(bytes) <= self.limit).then(|| used.saturating_add(bytes))
            })
            .is_ok()
    }

    /// Waits until `bytes` fit, and counts them until the reservation is dropped.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the check, so that what is freed in between wakes it.
            freed.as_mut().enable();
            if self.try_reserve(bytes) {
                return Reservation { budget: Arc::clone(self), bytes };
            }
            freed.await;
        }
    }

    /// Waits until the budget is not over its limit.
    pub(crate) async fn below_limit(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if !self.is_over() {
                return;
            }
            freed.await;
        }
    }
}

/// Bytes counted until this is dropped.
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.sub(self.bytes);
    }
}

//! Bytes that many connections hold together.

use std::sync::Arc;

use timbermq_sync::Budget;

/// Waits until `bytes` fit, and counts them until the reservation is dropped.
pub(crate) async fn reserve(budget: &Arc<Budget>, bytes: usize) -> Reservation {
    budget.taken(bytes).await;
    Reservation { budget: Arc::clone(budget), bytes }
}

/// Bytes counted until this is dropped.
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

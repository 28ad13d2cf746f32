//! One history format and one set of checkers, used by the simulator, by tests on real processes and on users' clusters
//! alike.
//!
//! [`history`] is what clients and observers saw. What a client could not know stays unknown for ever: a send that timed
//! out may or may not be in the log, and both are right.

pub mod events;
pub mod history;
pub mod offsets;
pub mod queues;

pub use events::{Event, Outcome, Place};

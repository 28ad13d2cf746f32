//! One history format and one set of checkers, used by tests on real processes and on users' clusters alike.
//!
//! A [`history::Event`] is what one client saw. What a client could not know stays unknown for ever: a send that timed
//! out may or may not be in the log, and both are right. [`queues`] judges messages, [`offsets`] judges consumer
//! progress. Every finding names the operations that show it.

pub mod history;
pub mod offsets;
pub mod queues;

pub use history::{Event, Outcome, Place};

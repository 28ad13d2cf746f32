//! The protocol as specifications that a machine explores.
//!
//! Every specification exists twice with the same variables and actions: as a stateright [`Model`](stateright::Model) in a
//! module of this crate, and in TLA+ below `tla/`. On one shared configuration both engines must count the same number of
//! distinct states, which two texts that say different things hardly do. A larger configuration is explored by stateright
//! alone.
//!
//! A specification that cannot fail says nothing, so each has seeded bugs: guards taken away, which the engines must find
//! as violated invariants. And each action must fire.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod dedupe;
pub mod delay;
pub mod dispatch;
pub mod group_role;
pub mod list;
pub mod log_store;
pub mod membership;
pub mod offsets;
#[cfg(test)]
mod on_machine;
pub mod order_lock;
#[cfg(test)]
mod paths;
pub mod report;
pub mod spec;
pub mod tlc;
pub mod trace;
pub mod transaction;

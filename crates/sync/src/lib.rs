//! The few concurrent primitives that the standard library does not give, each model-checked with loom.
//!
//! Everything here waits through [`std::task::Waker`]s and knows no executor: a task of any runtime or a plain thread
//! (through [`block_on()`]) may wait. Under `--cfg loom` the locks and atomics come from loom, which then tries every
//! interleaving of the tests beside each primitive, and every value that a memory ordering lets a thread see:
//! `cargo xtask loom`. Each ordering stronger than relaxed carries a name, and `cargo xtask loom --weaken` shows that a test
//! fails without it. Outside this crate the product uses relaxed counters only (`crates/xtask/tests/atomics.rs`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod block_on;
mod budget;
mod frontier;
mod shim;
mod turn;
mod waiters;
mod watermark;
mod work_queue;

pub use block_on::block_on;
pub use budget::{Budget, Opening};
pub use frontier::Frontier;
pub use turn::{Latch, Turn};
pub use watermark::{Closed, Reached, Watermark};
pub use work_queue::{Ready, WorkQueue};

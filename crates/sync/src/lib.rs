//! The few concurrent primitives that the standard library does not give, each model-checked with loom.
//!
//! Everything here waits through [`std::task::Waker`]s and knows no executor: a task of any runtime or a plain thread
//! (through [`block_on()`]) may wait. Under `--cfg loom` the locks and atomics come from loom, which then tries every
//! interleaving of the tests beside each primitive: `RUSTFLAGS="--cfg loom" cargo test -p timbermq-sync --release`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod block_on;
mod shim;
mod watermark;
mod work_queue;

pub use block_on::block_on;
pub use watermark::{Closed, Reached, Watermark};
pub use work_queue::{Ready, WorkQueue};

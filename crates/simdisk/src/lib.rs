//! A disk in memory that loses power, fails, lies and rots, all from seeds, and a record of what it did.
//!
//! [`SimDisk`] is the handle of the test; [`SimDisk::mount`] is what the tested process gets as its `env::Disk`.
//!
//! # Model
//! * A file is sectors of 512 bytes. Readers see what was last written. The *medium* below holds what was last synced,
//!   and for every sector written since, the disk knows all that a power loss may leave of it: what the medium holds,
//!   contents it had in between, the last one.
//! * Names are a second thing: a creation, renaming or removal lasts once its directory is synced, and a crash keeps any
//!   of those that are pending. A synced file can still lose its name.
//! * A crash ([`SimDisk::crash`], or case by case [`SimDisk::crash_by`] over [`SimDisk::pending`]) decides about each
//!   pending thing on its own, so writes are reordered and torn. Bytes that a write does not change survive it even in a
//!   sector that is torn (power-safe overwrite); only [`Crash::Ruin`] breaks that.
//! * A sync that fails leaves its sectors clean in the cache and old on the medium: readers see the new content until
//!   the power goes or the cache is dropped, and a second sync succeeds without writing them. Lost and misdirected
//!   writes look the same, without the error.
//! * [`Crash::KeepAll`] is the end of the process: the cache stays, including what it wrongly believes.
//!
//! # Faults
//! By themselves at rates per kind ([`SimDisk::set_fault_rates`]), once at a chosen operation ([`SimDisk::arm`]), or by
//! hand ([`SimDisk::flip`], [`SimDisk::break_sector`], [`SimDisk::cut_tail`], [`SimDisk::zero_tail`],
//! [`SimDisk::restore`], [`SimDisk::lose`], [`SimDisk::wipe`]). Each kind draws from a stream of its own: switching one
//! off leaves the others as they are. [`SimDisk::faults`] is the ledger of all, [`SimDisk::damage`] what is still
//! wrong now, by file and sector. A guard ([`SimDisk::set_guard`]) is asked before every damage and may refuse it.
//!
//! # Time
//! The calls of `env::Disk` take no virtual time, so whoever runs a process on a simulated clock charges for them, in
//! one of two ways:
//! * before: sleep for [`SimDisk::delay_of`] the operation, then do it. For a sync, so that nobody is told that it is
//!   done before its time is over, and so that a crash meanwhile finds the writes pending.
//! * after: do the work, then sleep for [`SimDisk::take_delay`], which is everything not charged before.
//!
//! So for the writer of a log that has no thread:
//!
//! ```text
//! while writer.wait().await {
//!     writer.begin();
//!     env.sleep(disk.take_delay() + disk.delay_of(DiskOp::Sync)).await;
//!     writer.complete();
//!     env.sleep(disk.take_delay()).await; // the upkeep
//! }
//! writer.finish();
//! ```
//!
//! and for `Tasks::blocking`: run the work, sleep for [`SimDisk::take_delay`], complete. To crash inside a half, between
//! any two operations, call [`SimDisk::power_off_after`] with a drawn number, run the half, drop the process before it
//! runs again, then [`SimDisk::crash`]: what it was told meanwhile reaches nobody.
//!
//! A slow disk is a [`Latency`], a stuck one [`SimDisk::stick`].
//!
//! # Cost
//! A sync or crash costs what was written since the last one. Zeros written over what never was anything else cost
//! nothing. [`SimDisk::fork`] shares contents.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod crash;
mod disk;
mod fault;
mod file;
mod latency;
mod mount;
mod names;
mod seeded;
mod still;
#[cfg(test)]
mod tests;
mod world;

pub use crash::{Crash, Fate, Pending};
pub use disk::SimDisk;
pub use fault::{Fault, FaultKind, FaultRates};
pub use file::{FileCopy, SECTOR_BYTES};
pub use latency::{DiskOp, Latency};
pub use seeded::Seeded;

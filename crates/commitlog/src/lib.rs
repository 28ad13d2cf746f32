//! The CommitLog: one append-only, segmented, checksummed log per replica, which is its Raft log and its message store.
//!
//! It stores opaque entries and answers by index or by byte position. It knows neither Raft nor messages.
//!
//! # Promises
//! * An entry whose `Done` was called with `Ok` under [`QuorumFsync`](timbermq_types::Durability::QuorumFsync) survives
//!   any crash, byte for byte and at its position.
//! * A saved vote, a purge, a truncation and a reset survive any crash once their `Done` was called with `Ok`, and are
//!   ordered with the appends around them.
//! * Nothing is ever read that was not appended: every frame is verified whenever it comes from disk, and bytes of a
//!   cut tail or of a recycled file never come back.
//! * The first error of the disk ends the log: nothing is written after it, every waiting and later `Done` gets it.
//! * A log whose durable bytes are damaged or gone is not opened.
//!
//! # Positions
//! A [`LogPosition`](timbermq_types::LogPosition) counts the bytes of all frames ever written by the group. A frame is a
//! 40-byte header, the payload, and zeros up to a multiple of 8. Segmentation is a local matter and changes no position.
//!
//! # Files of a log directory
//! | name | what |
//! |---|---|
//! | `hardstate` | vote, purge mark, epoch: two checksummed slots, each twice |
//! | `<20 digits>.log` | a segment: 4 KiB header, then frames; named by the position of the first |
//! | `<20 digits>.seal` | end and marks of a finished segment; only saves reading it at start |
//! | `spare-<20 digits>` | a file that will become a segment |

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

// Under its own name, as the tests that are also used outside know it.
#[cfg(test)]
extern crate self as timbermq_commitlog;

mod cold_cache;
mod entry;
mod error;
mod event;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hard_state;
mod log;
mod options;
mod parts;
mod reader;
mod recovery;
mod scan;
mod seal;
mod segment;
mod shared;
mod summed;
mod tail_cache;
#[cfg(test)]
mod tests;
mod unwritten;
mod upkeep;
mod writer;

pub use entry::{Done, Entry, EntryKind, Placed, SegmentInfo, Vote, digest};
pub use error::{LogFailure, OpenError};
pub use log::CommitLog;
pub use options::{LogOptions, SEGMENT_BYTES_MIN};
pub use parts::Parts;
pub use recovery::Recovery;
pub use summed::Summed;
pub use writer::LogWriter;

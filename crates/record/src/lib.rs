//! The stored message record, batches, properties and message ids.
//!
//! A message is stored, replicated and sent to consumers in one layout ([`layout`]), so that a pull copies bytes and
//! fills in two numbers.
//!
//! * [`RecordBuilder`] writes a record, [`Record`] reads one in place, [`RecordMut`] changes fixed fields in place.
//! * [`Properties`] reads the properties of a message, [`properties`] changes them, [`property`] names the reserved ones.
//! * [`batch`]: what a producer sends as one message and is stored as many.
//! * [`MessageId`] and [`unique_key()`]: the two kinds of message id.
//!
//! Nothing here does I/O, knows the time or holds state between calls.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod batch;
mod builder;
pub mod layout;
mod message_id;
mod patch;
pub mod properties;
pub mod property;
pub mod sys_flag;
mod tag;
mod unique_key;
mod view;

pub use batch::{BatchError, BatchItem, BatchLimits, batch_items, for_each_batch_item};
pub use builder::RecordBuilder;
pub use layout::{RecordError, body_crc};
pub use message_id::{MessageId, MessageIdError, join_message_ids};
pub use patch::{RecordMut, patch_offsets, patch_store};
pub use properties::{Properties, PropertyError};
pub use tag::{java_string_hash, tags_code};
pub use unique_key::unique_key;
pub use view::{Record, Records, peek_len, records};

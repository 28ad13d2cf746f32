//! Frames, headers, request and response codes: bytes in, bytes out.
//!
//! * [`frame`]: cuts [`RemotingCommand`]s out of a receive buffer and writes them.
//! * [`code`], [`version`], [`language`]: the registries of numbers.
//! * [`ext`]: the custom header as it is on the wire; [`header`]: typed headers of each code.
//! * [`body`]: JSON bodies, in the dialects that clients of each age read and write.
//! * [`subscription`]: tag expressions.
//!
//! Nothing here does I/O, knows the time or holds state between calls.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod body;
pub mod code;
pub mod command;
pub mod ext;
pub mod frame;
pub mod header;
pub mod language;
pub mod subscription;
pub mod version;

pub use code::{RequestCode, ResponseCode};
pub use command::{RemotingCommand, SerializeType};
pub use ext::ExtFields;
pub use frame::{FrameDecoder, FrameError};
pub use header::{Header, HeaderError};
pub use language::LanguageCode;

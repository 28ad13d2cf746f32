//! Request and response codes.

mod request;
mod response;

pub use request::{REQUEST_KINDS, Receiver, RequestCode, RequestKind, Tier};
pub use response::{RESPONSE_CODES, ResponseCode};

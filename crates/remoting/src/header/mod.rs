//! Typed headers of requests and responses.
//!
//! Each header is declared as a table: Rust field, wire name, and whether it may be missing. A mandatory field that is
//! missing is an error naming the field; unknown fields are ignored.

mod admin;
mod client_call;
mod field;
mod group;
mod namesrv;
mod offset;
mod pull;
mod query;
mod send;
mod transaction;

pub use admin::*;
pub use client_call::*;
pub use group::*;
pub use namesrv::*;
pub use offset::*;
pub use pull::*;
pub use query::*;
pub use send::*;
pub use transaction::*;

pub(crate) use field::{is_true, parse_number};

use crate::ext::ExtFields;

/// A typed header.
pub trait Header: Sized {
    /// Reads the header from the ext fields.
    ///
    /// # Errors
    /// A mandatory field is missing or a field is malformed.
    fn decode(ext: &ExtFields) -> Result<Self, HeaderError>;

    /// Adds the header's fields to the ext fields; fields that are `None` are left out.
    fn encode(&self, ext: &mut ExtFields);
}

/// A header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A mandatory field is missing.
    #[error("header field {field} is missing")]
    Missing {
        /// Wire name.
        field: &'static str,
    },
    /// A field has a value that its type does not have.
    #[error("header field {field} is malformed: {value:?}")]
    Malformed {
        /// Wire name.
        field: &'static str,
        /// The beginning of its text.
        value: String,
    },
}

/// Declares headers. After the wire name stands `or <default>` for a field that may be missing and then has that
/// value; an `Option` may always be missing; any other field is mandatory.
macro_rules! headers {
    ($(
        $(#[$meta:meta])*
        $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty = $wire:literal $(or $default:expr)?;)* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::header::Header for $name {
            $crate::header::codec!(decode encode { $($field: $type = $wire $(or $default)?;)* });
        }
    )*};
}

/// The two functions of a header for one set of wire names.
macro_rules! codec {
    ($decode:ident $encode:ident { $($field:ident: $type:ty = $wire:literal $(or $default:expr)?;)* }) => {
        fn $decode(ext: &$crate::ext::ExtFields) -> Result<Self, $crate::header::HeaderError> {
            let mut cursor = 0;
            Ok(Self {
                $($field: {
                    let text = ext.get_after($wire, &mut cursor);
                    $crate::header::codec!(@default text $type; $($default)?; $wire)
                },)*
            })
        }

        fn $encode(&self, ext: &mut $crate::ext::ExtFields) {
            $($crate::header::field::Field::put(&self.$field, ext, $wire);)*
        }
    };
    (@default $text:ident $type:ty;; $wire:literal) => {
        <$type as $crate::header::field::Field>::parse($wire, $text)?
    };
    (@default $text:ident $type:ty; $default:expr; $wire:literal) => {
        <Option<$type> as $crate::header::field::Field>::parse($wire, $text)?.unwrap_or($default)
    };
}

pub(crate) use {codec, headers};

#[cfg(test)]
mod tests;

//! Offset message ids: where a message is stored, in hexadecimal.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::builder::canonical;

/// Characters of the longest id.
const TEXT_CHARS_MAX: usize = 56;

/// Broker address and physical offset of a message. Administrators connect to that very address.
///
/// Its text is the address, a 4-byte port and the 8-byte offset in uppercase hexadecimal: 32 characters for IPv4, 56 for
/// IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// Advertised address of the broker that stored the message.
    pub store_host: SocketAddr,
    /// Byte position of the record in the log.
    pub physical_offset: i64,
}

/// A text that is no offset message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageIdError {
    /// Neither 32 nor 56 characters.
    #[error("a message id has 32 or 56 characters, not {0}")]
    Length(usize),
    /// A character that is no hexadecimal digit.
    #[error("a message id is hexadecimal")]
    Digit,
    /// A port beyond 16 bits.
    #[error("{0} is no port")]
    Port(u32),
}

impl MessageId {
    /// An id; an IPv4 address mapped into IPv6 becomes IPv4.
    pub fn new(store_host: SocketAddr, physical_offset: i64) -> Self {
        Self { store_host: canonical(store_host), physical_offset }
    }
}

impl MessageId {
    /// Appends the text. Every send is answered with one: formatting through [`fmt`] costs several times as much.
    fn push_to(&self, text: &mut String) {
        match self.store_host.ip() {
            IpAddr::V4(ip) => push_hex(text, &ip.octets()),
            IpAddr::V6(ip) => push_hex(text, &ip.octets()),
        }
        push_hex(text, &u32::from(self.store_host.port()).to_be_bytes());
        push_hex(text, &self.physical_offset.to_be_bytes());
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TEXT_CHARS_MAX);
        self.push_to(&mut text);
        f.pad(&text)
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let length = text.len();
        if length != 32 && length != TEXT_CHARS_MAX {
            return Err(MessageIdError::Length(text.chars().count()));
        }
        // Digits only: parsing alone would also take a sign.
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(MessageIdError::Digit);
        }
        let (ip, rest) = text.split_at(length - 24);
        let (port, offset) = rest.split_at(8);
        let ip = match length {
            32 => u32::from_str_radix(ip, 16).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))),
            _ => u128::from_str_radix(ip, 16).map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))),
        };
        let ip = ip.map_err(|_| MessageIdError::Digit)?;
        let port = u32::from_str_radix(port, 16).map_err(|_| MessageIdError::Digit)?;
        let port = u16::try_from(port).map_err(|_| MessageIdError::Port(port))?;
        let offset = u64::from_str_radix(offset, 16).map_err(|_| MessageIdError::Digit)?;
        Ok(Self { store_host: SocketAddr::new(ip, port), physical_offset: offset.cast_signed() })
    }
}

/// The ids of a batch as the send response carries them.
pub fn join_message_ids(ids: impl IntoIterator<Item = MessageId>) -> String {
    let mut joined = String::with_capacity(TEXT_CHARS_MAX);
    for id in ids {
        if !joined.is_empty() {
            joined.push(',');
        }
        id.push_to(&mut joined);
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn has_the_form_clients_read() {
        let id = MessageId::new("10.0.0.1:10911".parse().unwrap(), 0x1234);
        assert_eq!(id.to_string(), "0A00000100002A9F0000000000001234");
        assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        let mapped = MessageId::new("[::ffff:10.0.0.1]:10911".parse().unwrap(), 0x1234);
        assert_eq!(mapped, id);
        assert_eq!(join_message_ids([id, id]), format!("{id},{id}"));
    }

    #[test]
    fn refuses_what_is_no_id() {
        assert_eq!("".parse::<MessageId>(), Err(MessageIdError::Length(0)));
        assert_eq!("+A00000100002A9F0000000000001234".parse::<MessageId>(), Err(MessageIdError::Digit));
        assert_eq!("é000000100002A9F000000000000123".parse::<MessageId>(), Err(MessageIdError::Digit));
        assert_eq!("0A00000100012A9F0000000000001234".parse::<MessageId>(), Err(MessageIdError::Port(0x12a9f)));
    }

    proptest! {
        #[test]
        fn round_trip(ip: IpAddr, port: u16, physical_offset: i64) {
            let id = MessageId { store_host: SocketAddr::new(ip, port), physical_offset };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,60}") {
            let _ = text.parse::<MessageId>();
        }
    }
}

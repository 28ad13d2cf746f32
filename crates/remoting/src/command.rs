//! One request or response.

use std::fmt;

use bytes::Bytes;

use crate::code::{RequestCode, ResponseCode};
use crate::ext::ExtFields;
use crate::language::LanguageCode;
use crate::version::CURRENT_VERSION;

/// Flag bit of a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit of a request that wants no response.
pub const FLAG_ONE_WAY: i32 = 2;

/// Text of a usual typed header, names and values.
const HEADER_TEXT_BYTES: usize = 256;
/// Fields of a usual typed header, and some that are set beside it.
const HEADER_FIELDS: usize = 12;

/// How a header is written: byte 4 of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SerializeType {
    /// JSON text.
    #[default]
    Json,
    /// The protocol's own binary form.
    Binary,
}

impl SerializeType {
    /// The byte in the frame.
    pub fn byte(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Binary => 1,
        }
    }

    /// The type for a byte of a frame.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Json),
            1 => Some(Self::Binary),
            _ => None,
        }
    }
}

/// A request or response: the fixed header fields, the ext fields and the body.
///
/// Equality is about meaning: `raw_header` is left out.
#[derive(Clone)]
pub struct RemotingCommand {
    /// Request code, or response code if [`RemotingCommand::is_response`].
    pub code: i32,
    /// Language of the sender.
    pub language: LanguageCode,
    /// Version of the sender, see [`crate::version`].
    pub version: i32,
    /// Correlation id chosen by the requester and echoed by the response; any value.
    pub opaque: i32,
    /// Bits [`FLAG_RESPONSE`] and [`FLAG_ONE_WAY`].
    pub flag: i32,
    /// Text for humans, mostly of an error.
    pub remark: Option<String>,
    /// The custom header of the code.
    pub ext: ExtFields,
    /// The body; of a received command a slice of the frame, not a copy.
    pub body: Bytes,
    /// How the header was written, and how it will be.
    pub serialize: SerializeType,
    /// The header's bytes as received, a slice of the frame; `None` for a command made here.
    /// [`RemotingCommand::encode`] does not use it, [`RemotingCommand::encode_verbatim`] does.
    pub raw_header: Option<Bytes>,
}

impl RemotingCommand {
    /// A JSON request from this program with no fields, no body and opaque 0.
    pub fn request(code: RequestCode) -> Self {
        Self {
            code: code.0,
            language: LanguageCode::JAVA,
            version: CURRENT_VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: ExtFields::new(),
            body: Bytes::new(),
            serialize: SerializeType::Json,
            raw_header: None,
        }
    }

    /// A response to a request with this opaque and serialize type (a client that wrote JSON may read nothing else).
    pub fn response(opaque: i32, serialize: SerializeType, code: ResponseCode) -> Self {
        Self { code: code.0, opaque, flag: FLAG_RESPONSE, serialize, ..Self::request(RequestCode(0)) }
    }

    /// A response to this request.
    pub fn respond(&self, code: ResponseCode) -> Self {
        Self::response(self.opaque, self.serialize, code)
    }

    /// The same with a remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with the fields of a typed header added.
    #[must_use]
    pub fn with_header(mut self, header: &impl crate::header::Header) -> Self {
        // Room for most headers: growing step by step costs more than writing.
        self.ext.reserve(HEADER_TEXT_BYTES, HEADER_FIELDS);
        header.encode(&mut self.ext);
        self
    }

    /// The same, wanting no response.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.flag |= FLAG_ONE_WAY;
        self
    }

    /// The typed header.
    ///
    /// # Errors
    /// A mandatory field is missing or a field is malformed.
    pub fn header<H: crate::header::Header>(&self) -> Result<H, crate::header::HeaderError> {
        H::decode(&self.ext)
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether this is a request that must not be answered.
    pub fn is_one_way(&self) -> bool {
        self.flag & FLAG_ONE_WAY != 0
    }

    /// The code of a request.
    pub fn request_code(&self) -> RequestCode {
        RequestCode(self.code)
    }

    /// The code of a response.
    pub fn response_code(&self) -> ResponseCode {
        ResponseCode(self.code)
    }
}

impl PartialEq for RemotingCommand {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
            && self.language == other.language
            && self.version == other.version
            && self.opaque == other.opaque
            && self.flag == other.flag
            && self.remark == other.remark
            && self.ext == other.ext
            && self.body == other.body
            && self.serialize == other.serialize
    }
}

impl fmt::Debug for RemotingCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body may be megabytes of somebody's data; its size is what helps.
        f.debug_struct("RemotingCommand")
            .field("code", &self.code)
            .field("language", &self.language)
            .field("version", &self.version)
            .field("opaque", &self.opaque)
            .field("flag", &self.flag)
            .field("remark", &self.remark)
            .field("ext", &self.ext)
            .field("body_len", &self.body.len())
            .field("serialize", &self.serialize)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_in_the_words_of_its_request() {
        let mut request = RemotingCommand::request(RequestCode::HEART_BEAT);
        assert!(!request.is_response() && !request.is_one_way());
        request.opaque = 7;
        request.serialize = SerializeType::Binary;
        let response = request.respond(ResponseCode::TOPIC_NOT_EXIST);
        assert!(response.is_response() && !response.is_one_way());
        assert_eq!(response.response_code(), ResponseCode::TOPIC_NOT_EXIST);
        assert_eq!((response.opaque, response.serialize), (7, SerializeType::Binary));
        assert!(request.one_way().is_one_way());
    }

    #[test]
    fn equal_commands_are_equal_in_every_field_but_the_bytes_received() {
        let command = RemotingCommand::request(RequestCode::HEART_BEAT);
        let changes: [fn(&mut RemotingCommand); 9] = [
            |c| c.code += 1,
            |c| c.language = LanguageCode::GO,
            |c| c.version += 1,
            |c| c.opaque += 1,
            |c| c.flag = FLAG_ONE_WAY,
            |c| c.remark = Some(String::new()),
            |c| c.ext.set("k", "v"),
            |c| c.body = Bytes::from_static(b"x"),
            |c| c.serialize = SerializeType::Binary,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = command.clone();
            change(&mut other);
            assert_ne!(command, other, "change {number}");
        }
        let mut received = command.clone();
        received.raw_header = Some(Bytes::from_static(b"{}"));
        assert_eq!(command, received);
    }
}

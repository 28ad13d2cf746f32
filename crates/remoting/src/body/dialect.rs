//! Writing JSON as clients of each age read it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use crate::version::STANDARD_JSON;

/// How map keys and text are written. Both are compact: the Go client cuts addresses out of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonDialect {
    /// Numeric map keys bare, objects as map keys, text as it is: for clients before 4.9.4, and read by all others but
    /// strict JSON readers.
    Fastjson,
    /// Standard JSON: map keys quoted, object keys as strings of their text, characters beyond ASCII escaped.
    Standard,
}

impl JsonDialect {
    /// What a client understands that sent this version and `acceptStandardJsonOnly` with its request.
    pub fn for_client(version: i32, accept_standard_json_only: bool) -> Self {
        if version >= STANDARD_JSON || accept_standard_json_only { Self::Standard } else { Self::Fastjson }
    }
}

/// The text of a value whose map keys are text or integers.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, dialect: JsonDialect) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let formatter = DialectFormatter { dialect, in_key: false, quote: Quote::None };
    value
        .serialize(&mut Serializer::with_formatter(&mut out, formatter))
        .expect("writing to memory cannot fail and every body has map keys of text or integers");
    out
}

/// Writes an object field by field, for bodies with objects as map keys.
pub(super) struct ObjectWriter {
    out: Vec<u8>,
    dialect: JsonDialect,
}

impl ObjectWriter {
    pub(super) fn new(dialect: JsonDialect) -> Self {
        Self { out: b"{".to_vec(), dialect }
    }

    pub(super) fn field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        self.name(name);
        self.out.append(&mut write(value, self.dialect));
        self
    }

    pub(super) fn raw_field(mut self, name: &str, json: &[u8]) -> Self {
        self.name(name);
        self.out.extend_from_slice(json);
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }

    fn name(&mut self, name: &str) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.append(&mut write(name, self.dialect));
        self.out.push(b':');
    }
}

/// The text of a map with objects as keys.
pub(super) fn write_object_keys<'a, K: Serialize + 'a, V: Serialize + 'a>(
    entries: impl IntoIterator<Item = (&'a K, &'a V)>,
    dialect: JsonDialect,
) -> Vec<u8> {
    let mut out = b"{".to_vec();
    for (key, value) in entries {
        if out.len() > 1 {
            out.push(b',');
        }
        let key = write(key, dialect);
        match dialect {
            JsonDialect::Fastjson => out.extend_from_slice(&key),
            JsonDialect::Standard => out.append(&mut write(&*String::from_utf8_lossy(&key), dialect)),
        }
        out.push(b':');
        out.append(&mut write(value, dialect));
    }
    out.push(b'}');
    out
}

struct DialectFormatter {
    dialect: JsonDialect,
    in_key: bool,
    /// What became of the opening quote of the string being written.
    quote: Quote,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// No string is open, or it is a bare number.
    None,
    /// A key has begun and may yet turn out to be a number.
    Pending,
    Written,
}

impl DialectFormatter {
    fn write_pending<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.quote == Quote::Pending {
            self.quote = Quote::Written;
            writer.write_all(b"\"")?;
        }
        Ok(())
    }

    /// An integer: as a key it stays bare in fastjson's dialect.
    fn before_integer<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.in_key && self.dialect == JsonDialect::Fastjson {
            self.quote = Quote::None;
            return Ok(());
        }
        self.write_pending(writer)
    }
}

macro_rules! integers {
    ($($write:ident $type:ty),*) => {
        $(fn $write<W: ?Sized + Write>(&mut self, writer: &mut W, value: $type) -> io::Result<()> {
            self.before_integer(writer)?;
            CompactFormatter.$write(writer, value)
        })*
    };
}

impl Formatter for DialectFormatter {
    integers!(write_i32 i32, write_i64 i64, write_u32 u32, write_u64 u64);

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.in_key = true;
        CompactFormatter.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.in_key = false;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.quote = Quote::Pending;
        if self.in_key { Ok(()) } else { self.write_pending(writer) }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.write_pending(writer)?;
        if self.quote == Quote::Written {
            self.quote = Quote::None;
            writer.write_all(b"\"")?;
        }
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.write_pending(writer)?;
        if self.dialect == JsonDialect::Fastjson || fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => writer.write_all(&[byte])?,
                _ => write!(writer, "\\u{unit:04X}")?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.write_pending(writer)?;
        CompactFormatter.write_char_escape(writer, escape)
    }
}

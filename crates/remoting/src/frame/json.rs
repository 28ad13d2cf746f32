//! JSON headers: `{"code":…,"language":"…","version":…,"opaque":…,"flag":…,"remark":"…","extFields":{…}}`.
//!
//! The reader is forgiving where clients differ (numbers, booleans and null as ext values, quoted numbers, raw control
//! characters, unknown keys) and writes ext values straight into the [`ExtFields`] text, without a tree in between.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use timbermq_types::limits::EXT_FIELDS_MAX;

use super::FrameError;
use crate::command::RemotingCommand;
use crate::ext::ExtFields;
use crate::language::LanguageCode;

/// Deepest nesting accepted in a value that is skipped.
const SKIP_DEPTH_MAX: usize = 32;

/// Appends the header of a command.
pub(super) fn encode(command: &RemotingCommand, dst: &mut BytesMut) {
    dst.put_slice(b"{\"code\":");
    put_number(dst, command.code);
    dst.put_slice(b",\"flag\":");
    put_number(dst, command.flag);
    dst.put_slice(b",\"language\":\"");
    dst.put_slice(command.language.name().as_bytes());
    dst.put_slice(b"\",\"opaque\":");
    put_number(dst, command.opaque);
    // No server reads it; the Rust client drops an answer that lacks it.
    dst.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(dst, command.version);
    if let Some(remark) = &command.remark {
        dst.put_slice(b",\"remark\":");
        put_string(dst, remark);
    }
    if !command.ext.is_empty() {
        dst.put_slice(b",\"extFields\":");
        let mut separator = b'{';
        for (name, value) in command.ext.iter() {
            dst.put_u8(separator);
            put_string(dst, name);
            dst.put_u8(b':');
            put_string(dst, value);
            separator = b',';
        }
        dst.put_u8(b'}');
    }
    dst.put_u8(b'}');
}

fn put_number(dst: &mut BytesMut, number: i32) {
    dst.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn put_string(dst: &mut BytesMut, text: &str) {
    dst.put_u8(b'"');
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let mut rest = text.as_bytes();
    // Nearly always nothing is special, and to see that takes no branch per byte.
    let any_special = rest.iter().fold(false, |any, byte| any | is_special(byte));
    while let Some(plain) = any_special.then(|| rest.iter().position(is_special)).flatten() {
        dst.put_slice(&rest[..plain]);
        match rest[plain] {
            b'"' => dst.put_slice(b"\\\""),
            b'\\' => dst.put_slice(b"\\\\"),
            b'\n' => dst.put_slice(b"\\n"),
            b'\r' => dst.put_slice(b"\\r"),
            b'\t' => dst.put_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                dst.put_slice(b"\\u00");
                dst.put_u8(HEX[usize::from(control >> 4)]);
                dst.put_u8(HEX[usize::from(control & 15)]);
            }
        }
        rest = &rest[plain + 1..];
    }
    dst.put_slice(rest);
    dst.put_u8(b'"');
}

/// Reads a whole header; the body is left empty.
pub(super) fn decode(header: &[u8]) -> Result<RemotingCommand, FrameError> {
    let text = std::str::from_utf8(header).map_err(|error| FrameError::NotUtf8 { at: error.valid_up_to() })?;
    let mut scanner = Scanner { text, at: 0 };
    let mut command = RemotingCommand { version: 0, ..RemotingCommand::request(crate::code::RequestCode(0)) };
    let mut code = None;
    let mut opaque = None;
    scanner.expect(b'{', "a header is an object")?;
    if !scanner.take_if(b'}') {
        loop {
            let key = scanner.string()?;
            scanner.expect(b':', "a colon is missing")?;
            match &*key {
                "code" => code = scanner.integer()?,
                "opaque" => opaque = scanner.integer()?,
                "flag" => command.flag = scanner.integer()?.unwrap_or_default(),
                "version" => command.version = scanner.integer()?.unwrap_or_default(),
                "language" => command.language = scanner.language()?,
                "remark" => command.remark = scanner.optional_string()?,
                "extFields" => scanner.ext_fields(&mut command.ext)?,
                _ => scanner.skip_value()?,
            }
            if scanner.take_if(b'}') {
                break;
            }
            scanner.expect(b',', "a comma is missing")?;
        }
    }
    scanner.skip_space();
    if scanner.at != text.len() {
        return Err(scanner.malformed("text after the header"));
    }
    // Without these two nothing can be done with a command, not even an answer.
    command.code = code.ok_or_else(|| scanner.malformed("no code"))?;
    command.opaque = opaque.ok_or_else(|| scanner.malformed("no opaque"))?;
    Ok(command)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn malformed(&self, reason: &'static str) -> FrameError {
        FrameError::Malformed { at: self.at, reason }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is not space, left in place.
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.byte()
    }

    fn take_if(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8, reason: &'static str) -> Result<(), FrameError> {
        if self.take_if(wanted) { Ok(()) } else { Err(self.malformed(reason)) }
    }

    /// A string; borrowed unless it has escapes.
    fn string(&mut self) -> Result<Cow<'a, str>, FrameError> {
        self.expect(b'"', "a string is missing")?;
        let start = self.at;
        let plain = self.plain_len();
        if self.text.as_bytes().get(start + plain) == Some(&b'"') {
            self.at = start + plain + 1;
            return Ok(Cow::Borrowed(&self.text[start..start + plain]));
        }
        let mut owned = String::new();
        self.rest_of_string(&mut owned)?;
        Ok(Cow::Owned(owned))
    }

    /// Appends the string whose opening quote has been taken.
    fn rest_of_string(&mut self, out: &mut String) -> Result<(), FrameError> {
        loop {
            let plain = self.plain_len();
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                None => return Err(self.malformed("a string does not end")),
            }
        }
    }

    /// Bytes from here to the next quote or backslash.
    fn plain_len(&self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        // Most are some letters long: a search by machine words would cost more than it saves.
        rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len())
    }

    /// The character of an escape whose backslash has been taken.
    fn escape(&mut self) -> Result<char, FrameError> {
        let escape = self.byte().ok_or_else(|| self.malformed("a string does not end"))?;
        self.at += 1;
        Ok(match escape {
            b'"' | b'\\' | b'/' | b'\'' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'v' => '\u{b}',
            b'0' => '\0',
            b'u' => self.unicode_escape()?,
            _ => return Err(self.malformed("unknown escape")),
        })
    }

    fn unicode_escape(&mut self) -> Result<char, FrameError> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let scalar = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        // Half a surrogate pair is no character; Java writes it as a question mark, too.
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, FrameError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let digits = digits.ok_or_else(|| self.malformed("an escape needs four hex digits"))?;
        let value = digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?));
        let value = value.ok_or_else(|| self.malformed("an escape needs four hex digits"))?;
        self.at += 4;
        Ok(value)
    }

    /// The text of a number or of `true`, `false`, `null`.
    fn bare_word(&mut self) -> Result<&'a str, FrameError> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let len = rest.as_bytes().iter().take_while(|byte| is_part(byte)).count();
        let word = &rest[..len];
        let is_number = || {
            let digits = word.strip_prefix('-').unwrap_or(word);
            let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            // Nearly all are integers, and to look whether a text is a fraction takes as long as the rest of the header.
            is_integer || digits.starts_with(|first: char| first.is_ascii_digit()) && word.parse::<f64>().is_ok()
        };
        if matches!(word, "true" | "false" | "null") || is_number() {
            self.at += len;
            return Ok(word);
        }
        Err(self.malformed("neither a number, a string, true, false nor null"))
    }

    /// A 32-bit integer, plain or quoted; `None` for null.
    fn integer(&mut self) -> Result<Option<i32>, FrameError> {
        let word = if self.peek() == Some(b'"') { self.string()? } else { Cow::Borrowed(self.bare_word()?) };
        match &*word {
            "null" => Ok(None),
            text => text.parse().map(Some).map_err(|_| self.malformed("no 32-bit integer")),
        }
    }

    fn language(&mut self) -> Result<LanguageCode, FrameError> {
        if self.peek() == Some(b'"') {
            return Ok(LanguageCode::from_name(&self.string()?));
        }
        let number = self.integer()?.unwrap_or_default();
        Ok(u8::try_from(number).map_or(LanguageCode::OTHER, LanguageCode))
    }

    fn optional_string(&mut self) -> Result<Option<String>, FrameError> {
        if self.peek() == Some(b'"') {
            return Ok(Some(self.string()?.into_owned()));
        }
        Ok(match self.bare_word()? {
            "null" => None,
            word => Some(word.to_owned()),
        })
    }

    /// The object of ext fields, or null. A field whose value is null is absent.
    fn ext_fields(&mut self, ext: &mut ExtFields) -> Result<(), FrameError> {
        if self.peek() != Some(b'{') {
            return match self.bare_word()? {
                "null" => Ok(()),
                _ => Err(self.malformed("ext fields are an object")),
            };
        }
        self.at += 1;
        if self.take_if(b'}') {
            return Ok(());
        }
        // The text of the fields is at most the rest of the header; a stock client's is most of it.
        ext.reserve(self.text.len() - self.at, 16);
        // Fields are counted as they come, repeated names too: each costs a search.
        for _ in 0..EXT_FIELDS_MAX {
            self.ext_field(ext)?;
            if self.take_if(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma is missing")?;
        }
        Err(FrameError::TooManyFields { max: EXT_FIELDS_MAX })
    }

    fn ext_field(&mut self, ext: &mut ExtFields) -> Result<(), FrameError> {
        let start = ext.text_mut().len();
        self.expect(b'"', "a field name is missing")?;
        self.rest_of_string(ext.text_mut())?;
        let name_len = ext.text_mut().len() - start;
        self.expect(b':', "a colon is missing")?;
        if self.take_if(b'"') {
            self.rest_of_string(ext.text_mut())?;
        } else {
            match self.bare_word()? {
                "null" => {
                    ext.text_mut().truncate(start);
                    return Ok(());
                }
                word => ext.text_mut().push_str(word),
            }
        }
        ext.commit(start, name_len);
        Ok(())
    }

    /// Passes over a value of an unknown key. Brackets are counted, not matched: nobody looks at what is inside.
    fn skip_value(&mut self) -> Result<(), FrameError> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                    if depth > SKIP_DEPTH_MAX {
                        return Err(self.malformed("nested too deeply"));
                    }
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(_) => {
                    self.bare_word()?;
                }
                None => return Err(self.malformed("the header ends too early")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

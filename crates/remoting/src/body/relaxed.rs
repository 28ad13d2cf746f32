//! Reading fastjson's JSON: rewritten as standard JSON, then read as that.
//!
//! Beyond the standard are accepted: bare words and numbers as keys, strings in single quotes, raw control characters
//! in strings, commas before a closing bracket, and objects as keys. An object key becomes a string holding its text.

use serde::de::DeserializeOwned;

use super::{BodyError, JSON_MAX_BYTES};

/// Deepest nesting read.
const DEPTH_MAX: usize = 64;

/// Objects and lists that a text of any length may have.
const CONTAINERS_FREE: usize = 64;
/// Bytes of text for each further one. Bodies have some 40 and more; an empty object of three bytes would stand for a
/// struct of two hundred, and a frame full of them for a gigabyte.
const CONTAINER_BYTES: usize = 24;

/// Reads a value.
pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, BodyError> {
    if text.len() > JSON_MAX_BYTES {
        return Err(BodyError::TooLarge { max: JSON_MAX_BYTES });
    }
    check_density(text)?;
    match serde_json::from_slice(text) {
        // Most bodies are standard JSON; the detour is for those that are not.
        Err(error) if error.is_syntax() => {
            let text = to_standard(text)?;
            // What was no string to the standard may have hidden some.
            check_density(text.as_bytes())?;
            Ok(serde_json::from_str(&text)?)
        }
        result => Ok(result?),
    }
}

/// Refuses a text with more objects and lists than its length allows for. It is exact up to the first byte that is not
/// standard JSON, and no reader comes further.
fn check_density(text: &[u8]) -> Result<(), BodyError> {
    let max = CONTAINERS_FREE + text.len() / CONTAINER_BYTES;
    let (mut found, mut in_string) = (0, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => _ = bytes.next(),
            b'{' | b'[' => found += usize::from(!in_string),
            _ => {}
        }
    }
    if found > max { Err(BodyError::TooDense { len: text.len(), max }) } else { Ok(()) }
}

/// Rewrites a text as standard JSON. What it does not understand as a word is left for the JSON reader to refuse.
pub(super) fn to_standard(text: &[u8]) -> Result<String, BodyError> {
    let text = std::str::from_utf8(text)
        .map_err(|error| BodyError::Malformed { at: error.valid_up_to(), reason: "not UTF-8" })?;
    let mut rewriter = Rewriter { text, at: 0, in_key: false };
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    rewriter.value(&mut out, 0)?;
    rewriter.skip_space();
    match rewriter.at == text.len() {
        true => Ok(out),
        false => Err(rewriter.malformed("text after the value")),
    }
}

struct Rewriter<'a> {
    text: &'a str,
    at: usize,
    /// Inside an object key. Its text is quoted once more, so keys within keys would grow exponentially.
    in_key: bool,
}

impl<'a> Rewriter<'a> {
    fn malformed(&self, reason: &'static str) -> BodyError {
        BodyError::Malformed { at: self.at, reason }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take_if(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.byte() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, out: &mut String, depth: usize) -> Result<(), BodyError> {
        if depth > DEPTH_MAX {
            return Err(self.malformed("nested too deeply"));
        }
        self.skip_space();
        match self.byte() {
            Some(b'{') => self.object(out, depth),
            Some(b'[') => self.array(out, depth),
            Some(b'"' | b'\'') => self.string(out),
            _ => {
                let word = self.word()?;
                out.push_str(word);
                Ok(())
            }
        }
    }

    fn object(&mut self, out: &mut String, depth: usize) -> Result<(), BodyError> {
        self.at += 1;
        out.push('{');
        let mut first = true;
        loop {
            if self.take_if(b'}') {
                out.push('}');
                return Ok(());
            }
            if !first {
                out.push(',');
            }
            first = false;
            self.key(out, depth)?;
            if !self.take_if(b':') {
                return Err(self.malformed("a colon is missing"));
            }
            out.push(':');
            self.value(out, depth + 1)?;
            self.end_of_item(b'}')?;
        }
    }

    fn array(&mut self, out: &mut String, depth: usize) -> Result<(), BodyError> {
        self.at += 1;
        out.push('[');
        let mut first = true;
        loop {
            if self.take_if(b']') {
                out.push(']');
                return Ok(());
            }
            if !first {
                out.push(',');
            }
            first = false;
            self.value(out, depth + 1)?;
            self.end_of_item(b']')?;
        }
    }

    /// After an item comes a comma or the closing bracket, which is left in place.
    fn end_of_item(&mut self, closing: u8) -> Result<(), BodyError> {
        match self.take_if(b',') || self.byte() == Some(closing) {
            true => Ok(()),
            false => Err(self.malformed("a comma is missing")),
        }
    }

    fn key(&mut self, out: &mut String, depth: usize) -> Result<(), BodyError> {
        self.skip_space();
        match self.byte() {
            Some(b'"' | b'\'') => self.string(out),
            Some(b'{') if self.in_key => Err(self.malformed("an object key within an object key")),
            Some(b'{') => {
                let mut key = String::new();
                self.in_key = true;
                self.value(&mut key, depth + 1)?;
                self.in_key = false;
                out.push('"');
                key.chars().for_each(|char| push_escaped(out, char));
                out.push('"');
                Ok(())
            }
            _ => {
                let word = self.word()?;
                out.push('"');
                out.push_str(word);
                out.push('"');
                Ok(())
            }
        }
    }

    /// A number, a literal or a bare key.
    fn word(&mut self) -> Result<&'a str, BodyError> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_' | b'$');
        let len = rest.as_bytes().iter().take_while(|byte| is_part(byte)).count();
        if len == 0 {
            return Err(self.malformed("a value is missing"));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// A string in either kind of quotes; escapes pass through for the JSON reader to judge.
    fn string(&mut self, out: &mut String) -> Result<(), BodyError> {
        let quote = self.byte().map_or('"', char::from);
        self.at += 1;
        out.push('"');
        let mut chars = self.text[self.at..].char_indices();
        while let Some((index, char)) = chars.next() {
            match char {
                _ if char == quote => {
                    self.at += index + char.len_utf8();
                    out.push('"');
                    return Ok(());
                }
                '\\' => match chars.next() {
                    Some((_, '\'')) => out.push('\''),
                    Some((_, escape)) => {
                        out.push('\\');
                        out.push(escape);
                    }
                    None => break,
                },
                plain => push_escaped(out, plain),
            }
        }
        Err(self.malformed("a string does not end"))
    }
}

fn push_escaped(out: &mut String, char: char) {
    match char {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\0'..='\u{1f}' => {
            use std::fmt::Write;
            // Writing to a String has no way to fail.
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        }
        plain => out.push(plain),
    }
}

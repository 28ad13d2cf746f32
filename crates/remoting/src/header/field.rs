//! Types of header fields and their text.

use std::str::FromStr;

use super::HeaderError;
use crate::ext::ExtFields;

/// Bytes of a malformed value that an error repeats.
const SHOWN_BYTES_MAX: usize = 64;

/// A type that a header field can have.
pub(crate) trait Field: Sized {
    /// Reads the field; `None` if it is absent.
    fn parse(name: &'static str, text: Option<&str>) -> Result<Self, HeaderError>;

    /// Writes the field.
    fn put(&self, ext: &mut ExtFields, name: &'static str);
}

/// Reads a number. An empty text counts as absent: binary headers cannot tell the two apart.
pub(crate) fn parse_number<N: FromStr>(name: &'static str, text: Option<&str>) -> Result<Option<N>, HeaderError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| malformed(name, text)),
    }
}

fn malformed(field: &'static str, text: &str) -> HeaderError {
    let mut end = text.len().min(SHOWN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    HeaderError::Malformed { field, value: text[..end].to_owned() }
}

/// Java writes `true`, the C++ client `1`. Its batches would otherwise be stored as one broken message each.
pub(crate) fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text == "1"
}

/// A type whose absence can be told before it is mandatory.
pub(crate) trait Scalar: Sized {
    fn parse_scalar(name: &'static str, text: Option<&str>) -> Result<Option<Self>, HeaderError>;

    fn put_scalar(&self, ext: &mut ExtFields, name: &'static str);
}

impl Scalar for i32 {
    fn parse_scalar(name: &'static str, text: Option<&str>) -> Result<Option<Self>, HeaderError> {
        parse_number(name, text)
    }

    fn put_scalar(&self, ext: &mut ExtFields, name: &'static str) {
        ext.set(name, itoa::Buffer::new().format(*self));
    }
}

impl Scalar for i64 {
    fn parse_scalar(name: &'static str, text: Option<&str>) -> Result<Option<Self>, HeaderError> {
        parse_number(name, text)
    }

    fn put_scalar(&self, ext: &mut ExtFields, name: &'static str) {
        ext.set(name, itoa::Buffer::new().format(*self));
    }
}

impl Scalar for bool {
    fn parse_scalar(_name: &'static str, text: Option<&str>) -> Result<Option<Self>, HeaderError> {
        Ok(text.filter(|text| !text.is_empty()).map(is_true))
    }

    fn put_scalar(&self, ext: &mut ExtFields, name: &'static str) {
        ext.set(name, if *self { "true" } else { "false" });
    }
}

impl Scalar for String {
    fn parse_scalar(_name: &'static str, text: Option<&str>) -> Result<Option<Self>, HeaderError> {
        Ok(text.map(str::to_owned))
    }

    fn put_scalar(&self, ext: &mut ExtFields, name: &'static str) {
        ext.set(name, self);
    }
}

impl<T: Scalar> Field for T {
    fn parse(name: &'static str, text: Option<&str>) -> Result<Self, HeaderError> {
        T::parse_scalar(name, text)?.ok_or(HeaderError::Missing { field: name })
    }

    fn put(&self, ext: &mut ExtFields, name: &'static str) {
        self.put_scalar(ext, name);
    }
}

impl<T: Scalar> Field for Option<T> {
    fn parse(name: &'static str, text: Option<&str>) -> Result<Self, HeaderError> {
        T::parse_scalar(name, text)
    }

    fn put(&self, ext: &mut ExtFields, name: &'static str) {
        if let Some(value) = self {
            value.put_scalar(ext, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_true_are_read() {
        assert!(is_true("true") && is_true("TRUE") && is_true("1"));
        assert!(!is_true("false") && !is_true("0") && !is_true(""));
    }
}

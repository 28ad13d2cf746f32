//! Properties: text values by name, kept as one string.
//!
//! An item is name, U+0001, value; items are separated by U+0002, and the last may or may not be followed by one.
//! Readers drop items without a name or a value. Of two items with one name the last counts. A value that contains
//! U+0001 is dropped by Go and old Java clients, so none is written here.

use timbermq_types::limits::PROPERTIES_BYTES_MAX;

use crate::property;

/// Between name and value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Between items.
pub const PROPERTY_SEPARATOR: char = '\u{2}';
/// Between the keys in the value of [`property::KEYS`].
pub const KEY_SEPARATOR: char = ' ';

/// Why a property cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// The name is empty or contains a separator.
    #[error("a property name must not be empty or contain U+0001 or U+0002")]
    Name,
    /// The value is empty or contains a separator.
    #[error("the value of property {name} must not be empty or contain U+0001 or U+0002")]
    Value {
        /// Name of the property.
        name: String,
    },
    /// The string is longer than a record may hold.
    #[error("properties of {size} bytes, the limit is {max}")]
    TooLong {
        /// Size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// The properties of a message, read where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties<'a> {
    text: &'a str,
}

impl<'a> Properties<'a> {
    /// The properties in a string.
    pub fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().filter(|(found, _)| *found == name).last().map(|(_, value)| value)
    }

    /// Whether a property is there.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values in order; a name may be repeated.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            let (item, after) = rest.split_at(item_len(rest)?);
            rest = after;
            Some(item.strip_suffix(PROPERTY_SEPARATOR).unwrap_or(item))
        })
        .filter_map(pair)
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
    }

    /// The tag.
    pub fn tag(&self) -> Option<&'a str> {
        self.get(property::TAGS)
    }

    /// The business keys.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.get(property::KEYS).unwrap_or_default().split(KEY_SEPARATOR).filter(|key| !key.is_empty())
    }

    /// The client's unique id.
    pub fn unique_key(&self) -> Option<&'a str> {
        self.get(property::UNIQ_KEY)
    }

    /// The string.
    pub fn text(&self) -> &'a str {
        self.text
    }
}

/// Bytes of the first item with the separator behind it, if there is one. It is looked for byte by byte: this is done for every
/// item of every message on every replica, and items are so short that the search of a string takes longer to begin.
fn item_len(text: &str) -> Option<usize> {
    let end = text.bytes().position(|byte| byte == PROPERTY_SEPARATOR as u8).map(|last| last + 1);
    end.or((!text.is_empty()).then_some(text.len()))
}

/// Name and value of an item.
fn pair(item: &str) -> Option<(&str, &str)> {
    let (name, value) = item.split_at(item.bytes().position(|byte| byte == NAME_VALUE_SEPARATOR as u8)?);
    Some((name, &value[1..]))
}

/// Appends a property without looking for one of the same name; see [`set`].
///
/// # Errors
/// The name or the value is empty or contains a separator.
pub fn append(text: &mut String, name: &str, value: &str) -> Result<(), PropertyError> {
    check(name, value)?;
    // A client may have left out the last separator.
    if !text.is_empty() && !text.ends_with(PROPERTY_SEPARATOR) {
        text.push(PROPERTY_SEPARATOR);
    }
    text.reserve(name.len() + value.len() + 2);
    text.push_str(name);
    text.push(NAME_VALUE_SEPARATOR);
    text.push_str(value);
    text.push(PROPERTY_SEPARATOR);
    Ok(())
}

fn check(name: &str, value: &str) -> Result<(), PropertyError> {
    let is_bad = |part: &str| part.is_empty() || part.contains([NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR]);
    if is_bad(name) {
        return Err(PropertyError::Name);
    }
    if is_bad(value) {
        return Err(PropertyError::Value { name: name.to_owned() });
    }
    Ok(())
}

/// Sets a property: it stands at the end, and no other of its name is left.
///
/// # Errors
/// As [`append`]; the string is then left as it was.
pub fn set(text: &mut String, name: &str, value: &str) -> Result<(), PropertyError> {
    check(name, value)?;
    remove(text, name);
    append(text, name, value)
}

/// Removes every property of a name and tells whether there was one. Other items stay as they are.
pub fn remove(text: &mut String, name: &str) -> bool {
    let mut kept: Option<String> = None;
    let mut at = 0;
    while let Some(len) = item_len(&text[at..]) {
        let item = &text[at..at + len];
        match (pair(item).is_some_and(|(found, _)| found == name), &mut kept) {
            (true, None) => {
                let mut before = String::with_capacity(text.len());
                before.push_str(&text[..at]);
                kept = Some(before);
            }
            (false, Some(kept)) => kept.push_str(item),
            (true, Some(_)) | (false, None) => {}
        }
        at += len;
    }
    let Some(kept) = kept else { return false };
    *text = kept;
    true
}

/// The string of a list of properties.
///
/// # Errors
/// As [`append`], or the string is longer than a record may hold.
pub fn encode<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, PropertyError> {
    let mut text = String::new();
    for (name, value) in properties {
        append(&mut text, name, value)?;
        check_len(&text)?;
    }
    Ok(text)
}

/// Checks that a record can hold the string.
///
/// # Errors
/// It is too long.
pub fn check_len(text: &str) -> Result<(), PropertyError> {
    let (size, max) = (text.len(), PROPERTIES_BYTES_MAX);
    if size > max { Err(PropertyError::TooLong { size, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

//! The custom header of a command: an ordered list of text fields.

use std::fmt::{self, Display, Write};

use crate::header::HeaderError;

/// Ordered name → text fields of a header.
///
/// Names are unique; order is kept so that a received header is written again as it came. All text lives in one
/// buffer, so that decoding a header costs two allocations whatever the number of fields.
#[derive(Clone, Default)]
pub struct ExtFields {
    text: String,
    fields: Vec<Field>,
    /// One bit per kind of name seen (see [`kind_of`]): a clear bit proves that a name is absent.
    kinds: u64,
}

/// Where one field lies in the text: the name, immediately followed by the value.
#[derive(Clone, Copy)]
struct Field {
    at: usize,
    name_len: usize,
    value_len: usize,
}

impl ExtFields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The text of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_after(name, &mut 0)
    }

    /// The text of a field, searched from `cursor` on and round to it.
    ///
    /// Typed headers ask for their fields in the order in which clients send them, so that each search is one step.
    pub(crate) fn get_after(&self, name: &str, cursor: &mut usize) -> Option<&str> {
        if self.kinds & kind_of(name) == 0 {
            return None;
        }
        let start = (*cursor).min(self.fields.len());
        let (before, after) = self.fields.split_at(start);
        let found = after.iter().zip(start..).chain(before.iter().zip(0..)).find(|(field, _)| self.name(field) == name);
        found.map(|(field, index)| {
            *cursor = index + 1;
            self.value(field)
        })
    }

    /// Whether a field is there.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values in the order in which they were received or set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.fields.iter().map(|field| (self.name(field), self.value(field)))
    }

    /// A 32-bit integer; absent and empty are `None`.
    ///
    /// # Errors
    /// The text is no integer of this range.
    pub fn get_i32(&self, name: &'static str) -> Result<Option<i32>, HeaderError> {
        crate::header::parse_number(name, self.get(name))
    }

    /// A 64-bit integer; absent and empty are `None`.
    ///
    /// # Errors
    /// The text is no integer of this range.
    pub fn get_i64(&self, name: &'static str) -> Result<Option<i64>, HeaderError> {
        crate::header::parse_number(name, self.get(name))
    }

    /// A boolean as Java reads it: `true` in any case is true, any other text is false.
    pub fn get_bool(&self, name: &str) -> Option<bool> {
        self.get(name).map(crate::header::is_true)
    }

    /// Sets a field, in place of the one of the same name if there is one.
    pub fn set(&mut self, name: &str, value: &str) {
        self.push_with(name, |text| text.push_str(value));
    }

    /// Sets a field to the text of a number, a boolean, or anything else that has a text.
    pub fn set_display(&mut self, name: &str, value: impl Display) {
        // Writing to a String fails only if the value's own Display does; such a value has no text to send.
        self.push_with(name, |text| {
            let _ = write!(text, "{value}");
        });
    }

    /// Removes a field; tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let index = self.fields.iter().position(|field| self.name(field) == name);
        index.map(|index| self.fields.remove(index)).is_some()
    }

    fn push_with(&mut self, name: &str, write_value: impl FnOnce(&mut String)) {
        let at = self.text.len();
        self.text.push_str(name);
        write_value(&mut self.text);
        self.commit(at, name.len());
    }

    /// The buffer into which a decoder writes a name and its value before [`ExtFields::commit`].
    pub(crate) fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }

    /// Room for the text of a header of this size.
    pub(crate) fn reserve(&mut self, text_bytes: usize, fields: usize) {
        self.text.reserve(text_bytes);
        self.fields.reserve(fields);
    }

    /// Makes a field of the text from `at` on: a name of `name_len` bytes, then the value.
    pub(crate) fn commit(&mut self, at: usize, name_len: usize) {
        let field = Field { at, name_len, value_len: self.text.len() - at - name_len };
        let kind = kind_of(self.name(&field));
        let previous = match self.kinds & kind {
            0 => None,
            _ => self.fields.iter().position(|other| self.name(other) == self.name(&field)),
        };
        match previous.and_then(|index| self.fields.get_mut(index)) {
            Some(slot) => *slot = field,
            None => self.fields.push(field),
        }
        self.kinds |= kind;
    }

    fn name(&self, field: &Field) -> &str {
        &self.text[field.at..field.at + field.name_len]
    }

    fn value(&self, field: &Field) -> &str {
        let start = field.at + field.name_len;
        &self.text[start..start + field.value_len]
    }
}

/// One bit chosen by length, first and last byte of a name.
fn kind_of(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let first = bytes.first().copied().unwrap_or(0);
    let last = bytes.last().copied().unwrap_or(0);
    let mix = bytes.len() as u64 * 11 + u64::from(first) + u64::from(last) * 4;
    1 << (mix & 63)
}

impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ExtFields {}

impl fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for ExtFields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut ext = Self::new();
        for (name, value) in fields {
            ext.set(name.as_ref(), value.as_ref());
        }
        ext
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_order_and_replaces_in_place() {
        let mut ext = ExtFields::new();
        ext.set("b", "1");
        ext.set_display("a", 22);
        ext.set("b", "three");
        assert_eq!(ext.iter().collect::<Vec<_>>(), [("b", "three"), ("a", "22")]);
        assert!(ext.remove("b"));
        assert!(!ext.remove("b"));
        assert_eq!(ext.get("b"), None);
        assert_eq!(ext.get_i32("a"), Ok(Some(22)));
    }

    #[test]
    fn numbers_keep_to_their_range() {
        let ext: ExtFields =
            [("n", "2147483648"), ("e", ""), ("x", "1x"), ("t", "TRUE"), ("f", "yes")].into_iter().collect();
        assert!(ext.get_i32("n").is_err());
        assert_eq!(ext.get_i64("n"), Ok(Some(2_147_483_648)));
        assert_eq!(ext.get_i64("e"), Ok(None));
        assert!(ext.get_i64("x").is_err());
        assert_eq!(ext.get_bool("t"), Some(true));
        assert_eq!(ext.get_bool("f"), Some(false));
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(operations in prop::collection::vec(("[a-c]{0,2}", prop::option::of("\\PC{0,4}")), 0..40)) {
            let mut ext = ExtFields::new();
            let mut model = std::collections::HashMap::new();
            for (name, value) in operations {
                match value {
                    Some(value) => {
                        ext.set(&name, &value);
                        model.insert(name, value);
                    }
                    None => prop_assert_eq!(ext.remove(&name), model.remove(&name).is_some()),
                }
            }
            prop_assert_eq!(ext.len(), model.len());
            for (cursor, (name, value)) in model.iter().enumerate() {
                prop_assert_eq!(ext.get_after(name, &mut { cursor }), Some(value.as_str()));
            }
        }
    }
}

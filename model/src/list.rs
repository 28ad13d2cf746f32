//! A short sequence without a heap, because states are copied and hashed by the million.

use std::fmt;

/// At most `N` elements, in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct List<T, const N: usize> {
    len: u8,
    /// Those behind the end are always the default, so that equal lists are equal bytes.
    items: [T; N],
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self { len: 0, items: [T::default(); N] }
    }
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// Appends an element.
    ///
    /// # Panics
    /// When the list is full: the specification lets it grow beyond its bound.
    pub fn push(&mut self, item: T) {
        self.items[usize::from(self.len)] = item;
        self.len += 1;
    }

    /// Keeps the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        while self.len() > len {
            self.len -= 1;
            self.items[usize::from(self.len)] = T::default();
        }
    }

    /// Takes the element at `at` out; those behind it move up.
    pub fn remove(&mut self, at: usize) -> T {
        let item = self[at];
        self.items.copy_within(at + 1.., at);
        self.items[N - 1] = T::default();
        self.len -= 1;
        item
    }
}

impl<T: Copy + Default, const N: usize> FromIterator<T> for List<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut list = Self::default();
        items.into_iter().for_each(|item| list.push(item));
        list
    }
}

impl<T, const N: usize> std::ops::Deref for List<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..usize::from(self.len)]
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sequences_are_equal_whatever_they_were() {
        let mut list: List<u8, 4> = [1, 2, 3, 4].into_iter().collect();
        assert_eq!(list.remove(1), 2);
        list.truncate(1);
        list.push(9);
        assert_eq!(list, [1, 9].into_iter().collect());
        assert_eq!(format!("{list:?}"), "[1, 9]");
    }
}

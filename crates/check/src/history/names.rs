//! Text that occurs often, once.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A name of one [`History`](super::History). Names of different histories must not be mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(NonZeroU32);

impl Name {
    /// A number below [`Names::len`].
    pub(crate) fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The names of a history.
#[derive(Clone, Debug, Default)]
pub struct Names {
    texts: Vec<Arc<str>>,
    known: HashMap<Arc<str>, Name>,
    bytes: usize,
}

impl Names {
    /// The name of `text`.
    ///
    /// # Panics
    /// There are 2^32 - 1 names already.
    pub fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.known.get(text) {
            return *name;
        }
        let shared: Arc<str> = Arc::from(text);
        self.texts.push(Arc::clone(&shared));
        self.bytes += text.len();
        let number = u32::try_from(self.texts.len()).ok().and_then(NonZeroU32::new);
        let name = Name(number.expect("fewer than 2^32 names"));
        self.known.insert(shared, name);
        name
    }

    /// The name of `text`, if it has one.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<Name> {
        self.known.get(text).copied()
    }

    /// The text of a name; of a name of another history, any text.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        self.texts.get(name.index()).map_or("?", |text| text)
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Length of all texts in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

//! Configuration that administrators leave at the NameServer.

use std::collections::BTreeMap;

use timbermq_remoting::body::KvTable;

/// Namespace of the queue counts of ordered topics: key = topic, value = `brokerA:4;brokerB:4`.
pub const ORDER_TOPIC_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// Longest namespace, key or value in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Text by namespace and key.
#[derive(Clone, Debug, Default)]
pub struct KvConfig {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    entries: usize,
    entries_max: usize,
}

impl KvConfig {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries_max, ..Self::default() }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// Sets a value.
    ///
    /// # Errors
    /// A text is too long or there are too many entries, in words for humans.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), String> {
        if [namespace, key, value].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(format!("a namespace, key or value of more than {TEXT_BYTES_MAX} bytes"));
        }
        let is_new = self.get(namespace, key).is_none();
        if is_new && self.entries >= self.entries_max {
            return Err(format!("more than {} config items", self.entries_max));
        }
        self.entries += usize::from(is_new);
        let keys = self.namespaces.entry(namespace.to_owned()).or_default();
        keys.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Removes a value; tells whether it was there.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        let Some(keys) = self.namespaces.get_mut(namespace) else { return false };
        let removed = keys.remove(key).is_some();
        if keys.is_empty() {
            self.namespaces.remove(namespace);
        }
        self.entries -= usize::from(removed);
        removed
    }

    /// All of a namespace; `None` if it has nothing.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Option<KvTable> {
        self.namespaces.get(namespace).map(|keys| KvTable { table: keys.clone() })
    }
}

//! Values by the name of a topic.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use timbermq_types::TopicName;

/// Values that are found by a hash, since every send looks for its topic, and gone through in the order of the names: what
/// follows from that must be the same on each replica, and a hash's order is not.
#[derive(Debug)]
pub(crate) struct Named<V> {
    found: HashMap<TopicName, V, RandomState>,
    order: BTreeSet<TopicName>,
}

impl<V> Default for Named<V> {
    fn default() -> Self {
        Self { found: HashMap::default(), order: BTreeSet::new() }
    }
}

impl<V> Named<V> {
    pub fn get(&self, name: &str) -> Option<&V> {
        self.found.get(name)
    }

    pub fn get_key_value(&self, name: &str) -> Option<(&TopicName, &V)> {
        self.found.get_key_value(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.found.get_mut(name)
    }

    /// What has this name, if need be a new value.
    pub fn get_or_default(&mut self, name: &TopicName) -> &mut V
    where
        V: Default,
    {
        self.found.entry(name.clone()).or_insert_with(|| {
            self.order.insert(name.clone());
            V::default()
        })
    }

    pub fn insert(&mut self, name: TopicName, value: V) {
        if self.found.insert(name.clone(), value).is_none() {
            self.order.insert(name);
        }
    }

    pub fn remove(&mut self, name: &TopicName) -> Option<V> {
        self.order.remove(name);
        self.found.remove(name)
    }

    /// In the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, &V)> {
        self.order.iter().filter_map(|name| Some((name, self.found.get(name)?)))
    }

    /// In the order of the names.
    pub fn each_mut(&mut self, mut change: impl FnMut(&TopicName, &mut V)) {
        for name in &self.order {
            if let Some(value) = self.found.get_mut(name) {
                change(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> TopicName {
        TopicName::new(&format!("topic-{number:04}")).unwrap()
    }

    #[test]
    fn what_is_found_and_what_is_gone_through_is_the_same_in_order() {
        let mut named = Named::default();
        for number in (0..1_000).rev() {
            *named.get_or_default(&name(number)) = number;
        }
        *named.get_or_default(&name(3)) += 5_000;
        named.insert(name(4), 4_000);
        assert_eq!((named.remove(&name(5)), named.remove(&name(5))), (Some(5), None));
        assert_eq!(named.get(name(5).as_str()), None);
        assert_eq!((named.get(name(3).as_str()), named.get(name(4).as_str())), (Some(&5_003), Some(&4_000)));
        assert_eq!(named.get_key_value(name(7).as_str()), Some((&name(7), &7)));
        *named.get_mut(name(8).as_str()).unwrap() = 8_000;
        let changed = |number| if (3..=8).contains(&number) { None } else { Some((name(number), number)) };
        let (mut gone_through, mut each) = (Vec::new(), Vec::new());
        gone_through.extend(named.iter().map(|(name, value)| (name.clone(), *value)));
        named.each_mut(|name, value| each.push((name.clone(), *value)));
        assert_eq!(gone_through, each);
        assert!(gone_through.is_sorted());
        assert_eq!(gone_through.len(), 999);
        assert!((0..1_000).filter_map(changed).all(|row| gone_through.binary_search(&row).is_ok()));
    }
}

//! One layer of changes over what is below it.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// What a layer says about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The value.
    Value(Bytes),
    /// It is removed.
    Removed,
    /// Nothing: ask the layer below.
    Unknown,
}

/// Changes in memory. A single change is always younger than a removed range that covers it: removing a range drops the
/// single changes in it.
#[derive(Debug, Default)]
pub struct Layer {
    changes: BTreeMap<Box<[u8]>, Option<Bytes>>,
    /// Removed ranges, from → to, which neither overlap nor touch.
    ranges: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
}

/// What a change costs beyond its bytes, roughly.
const CHANGE_OVERHEAD: usize = 64;

impl Layer {
    /// Sets or removes a key.
    pub fn set(&mut self, key: &[u8], value: Option<Bytes>) {
        let length = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        self.bytes += length(&value);
        // Rows of busy queues are written again and again: their key is there already.
        if let Some(old) = self.changes.get_mut(key) {
            self.bytes -= length(old);
            *old = value;
        } else {
            self.bytes += key.len() + CHANGE_OVERHEAD;
            self.changes.insert(key.into(), value);
        }
    }

    /// Removes `from <= key < to`.
    pub fn remove_range(&mut self, from: &[u8], to: &[u8]) {
        if from >= to {
            return;
        }
        let covered: Vec<Box<[u8]>> = self.changes_in(from, to).map(|(key, _)| key.into()).collect();
        for key in covered {
            let value = self.changes.remove(&key).flatten();
            self.bytes -= key.len() + CHANGE_OVERHEAD + value.map_or(0, |value| value.len());
        }
        let mut start: Box<[u8]> = from.into();
        let mut end: Box<[u8]> = to.into();
        // Ranges that overlap or touch this one become part of it. They are apart from each other, so the last one that
        // begins at or before `end` is the last that can.
        while let Some((first, last)) = self.last_range_up_to(&end) {
            if *last < *start {
                break;
            }
            let (first, last): (Box<[u8]>, Box<[u8]>) = (first.into(), last.into());
            self.bytes -= first.len() + last.len() + CHANGE_OVERHEAD;
            self.ranges.remove(&first);
            start = start.min(first);
            end = end.max(last);
        }
        self.bytes += start.len() + end.len() + CHANGE_OVERHEAD;
        self.ranges.insert(start, end);
    }

    fn last_range_up_to(&self, key: &[u8]) -> Option<(&[u8], &[u8])> {
        let before = self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        before.map(|(from, to)| (&**from, &**to)).next_back()
    }

    /// What it says about a key.
    pub fn get(&self, key: &[u8]) -> Found {
        match self.changes.get(key) {
            Some(Some(value)) => Found::Value(value.clone()),
            Some(None) => Found::Removed,
            None if self.last_range_up_to(key).is_some_and(|(_, to)| key < to) => Found::Removed,
            None => Found::Unknown,
        }
    }

    /// The single changes with `from <= key < to`, in order; `None` is a removal.
    pub fn changes_in<'a>(
        &'a self,
        from: &'a [u8],
        to: &'a [u8],
    ) -> Box<dyn Iterator<Item = (&'a [u8], Option<&'a Bytes>)> + 'a> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let range = self.changes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        Box::new(range.map(|(key, value)| (&**key, value.as_ref())))
    }

    /// All single changes, in order.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        self.changes.iter().map(|(key, value)| (&**key, value.as_ref()))
    }

    /// The removed ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ranges.iter().map(|(from, to)| (&**from, &**to))
    }

    /// Memory it takes, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

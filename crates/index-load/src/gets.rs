//! Messages are looked up in every way the index offers.

use std::hint::black_box;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use timbermq_machine::{Boundary, View};
use timbermq_types::{QueueId, QueueOffset, UnixMillis};

use crate::feed::{Feed, key_of};
use crate::usage::{rounded, thread_cpu_us};

/// Messages of a pull.
const PULL: usize = 32;
/// Hits that a broker asks for at once.
const HITS_MAX: usize = 1_024;
/// Searches of all time are so many times fewer: each of them reads a part of every run of keys.
const FEWER: u32 = 100;
/// How exactly the time of a message is known to who asks for a key and a time, to either side.
const KNOWN_MS: u64 = 1_000;

/// µs of CPU of each kind of look-up, of messages that were drawn among those stored.
pub(crate) fn measure(view: &View, feed: &Feed, stored: u64, gets: u32) -> Result<Value> {
    let key = |number: u64, begin: UnixMillis, end: UnixMillis| {
        let (topic, _) = feed.queue_of(number);
        let page = view.lookup_key(topic.as_str(), &key_of(number), true, begin, end, HITS_MAX, None)?;
        ensure!(!page.hits.is_empty(), "message {number} is not found by its key");
        Ok(())
    };
    let rows = |number: u64, draw: u64, max: usize| {
        let (topic, queue) = feed.queue_of(number);
        let bounds = view.queue_bounds(topic.as_str(), QueueId(queue));
        let from = QueueOffset(bounds.min.0 + draw % (bounds.max.0 - bounds.min.0).max(1));
        let rows = black_box(view.rows(topic.as_str(), QueueId(queue), from, max)?);
        ensure!(rows.first().is_some_and(|row| row.offset == from), "there is nothing at {from}");
        Ok(())
    };
    let by_time = |number: u64| {
        let (topic, queue) = feed.queue_of(number);
        let found = view.search_by_time(topic.as_str(), QueueId(queue), feed.at(number), Boundary::Lower)?;
        ensure!(found < view.queue_bounds(topic.as_str(), QueueId(queue)).max, "nothing is so young as {number}");
        Ok(())
    };
    // Each kind draws messages of its own.
    let mut kind = 0;
    let mut each = |gets: u32, get: &dyn Fn(u64, u64) -> Result<()>| {
        kind += 1;
        let before = thread_cpu_us();
        for at in 0..u64::from(gets) {
            let draw = feed.drawn((kind << 56) | at);
            get(draw % stored, draw.rotate_left(32))?;
        }
        Ok::<_, anyhow::Error>(rounded((thread_cpu_us() - before) / f64::from(gets), 100.0))
    };
    // Whoever comes first finds least in memory.
    each(gets, &|number, draw| rows(number, draw, 1))?;
    Ok(json!({
        "offset_us": each(gets, &|number, draw| rows(number, draw, 1))?,
        "pull_us": each(gets, &|number, draw| rows(number, draw, PULL))?,
        "key_us": each(gets, &|number, _| {
            let at = feed.at(number).0;
            key(number, UnixMillis(at - KNOWN_MS), UnixMillis(at + KNOWN_MS))
        })?,
        "key_all_us": each(gets.div_ceil(FEWER), &|number, _| key(number, UnixMillis(0), UnixMillis(u64::MAX)))?,
        "time_us": each(gets, &|number, _| by_time(number))?,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use timbermq_machine::MemoryStore;
    use timbermq_replica::KeeperOptions;

    use super::*;
    use crate::apply::Applier;

    #[test]
    fn what_is_stored_is_found_and_what_is_not_is_an_error() {
        let feed = Feed::new(20, 1_000, 3);
        let mut applier = Applier::open(Arc::<MemoryStore>::default(), feed, KeeperOptions::default()).unwrap();
        applier.store_up_to(2_000).unwrap();
        let told = measure(&applier.view(), applier.feed(), 2_000, 200).unwrap();
        assert_eq!(told.as_object().unwrap().len(), 5, "{told}");
        let error = measure(&applier.view(), applier.feed(), 20_000, 200).unwrap_err().to_string();
        assert!(error.contains("is not found by its key"), "{error}");
    }
}

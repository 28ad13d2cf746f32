//! Pulls that wait for a message.

use std::collections::BTreeMap;
use std::ops::DerefMut;

use timbermq_bugs::{Bug, planted};
use timbermq_types::{Mono, QueueId, QueueOffset, TopicName};

use crate::{ChannelId, TagFilter};

/// A pull that found nothing and may be held.
#[derive(Debug)]
pub struct Waiting<T> {
    /// The connection to answer on.
    pub channel: ChannelId,
    /// The first offset it has not seen.
    pub from: QueueOffset,
    /// What it wants.
    pub filter: TagFilter,
    /// When it must be answered at the latest.
    pub deadline: Mono,
    /// Whatever is needed to run it again.
    pub value: T,
}

/// All pulls held by one broker, bounded in number.
#[derive(Debug)]
pub struct Parked<T> {
    held_max: usize,
    held: usize,
    queues: BTreeMap<(TopicName, QueueId), Vec<Waiting<T>>>,
}

/// Holds a pull that found nothing, without sleeping through what arrives meanwhile. `lock` gives the held pulls, `next` the
/// offset after the queue's last visible message. Returns the pulls to run again at once.
///
/// # Errors
/// Gives the pull back when too many are held; it must be answered at once.
pub fn hold<T, P: DerefMut<Target = Parked<T>>>(
    lock: impl Fn() -> P,
    topic: &TopicName,
    queue: QueueId,
    waiting: Waiting<T>,
    next: impl FnOnce() -> QueueOffset,
) -> Result<Vec<Waiting<T>>, Waiting<T>> {
    lock().park(topic, queue, waiting)?;
    // Looked at only now: a message that became visible before woke nobody, one that becomes so later will.
    let next = next();
    Ok(lock().overtaken(topic, queue, next))
}

impl<T> Parked<T> {
    /// Holds at most `held_max` pulls.
    #[must_use]
    pub fn new(held_max: usize) -> Self {
        Self { held_max, held: 0, queues: BTreeMap::new() }
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Holds a pull.
    ///
    /// # Errors
    /// Gives it back when too many are held; it must be answered at once.
    pub fn park(&mut self, topic: &TopicName, queue: QueueId, waiting: Waiting<T>) -> Result<(), Waiting<T>> {
        if self.held >= self.held_max {
            return Err(waiting);
        }
        self.held += 1;
        self.queues.entry((topic.clone(), queue)).or_default().push(waiting);
        Ok(())
    }

    /// Messages up to `next` became visible; `tags` are the codes of the new ones. Returns the pulls to run again:
    /// those that have not seen all of them and want one of these tags.
    pub fn arrived(&mut self, topic: &TopicName, queue: QueueId, next: QueueOffset, tags: &[i64]) -> Vec<Waiting<T>> {
        let key = (topic.clone(), queue);
        let Some(list) = self.queues.get_mut(&key) else {
            return Vec::new();
        };
        let wanted =
            |waiting: &mut Waiting<T>| next > waiting.from && tags.iter().any(|code| waiting.filter.matches(*code));
        let woken: Vec<_> = list.extract_if(.., wanted).collect();
        if list.is_empty() {
            self.queues.remove(&key);
        }
        self.held -= woken.len();
        woken
    }

    /// Pulls of one queue that have not seen everything before `next`, whatever they want. Asked right after parking, see
    /// [`hold`].
    pub fn overtaken(&mut self, topic: &TopicName, queue: QueueId, next: QueueOffset) -> Vec<Waiting<T>> {
        if planted(Bug::LateWakeUpCheck) {
            return Vec::new();
        }
        let key = (topic.clone(), queue);
        let Some(list) = self.queues.get_mut(&key) else {
            return Vec::new();
        };
        let woken: Vec<_> = list.extract_if(.., |waiting| next > waiting.from).collect();
        if list.is_empty() {
            self.queues.remove(&key);
        }
        self.held -= woken.len();
        woken
    }

    /// Pulls to run again whatever their filter: those past their deadline, and those for which anything at all has
    /// arrived (`next_of` gives a queue's next offset), so that a reader of rare tags moves on.
    pub fn sweep(&mut self, now: Mono, next_of: impl Fn(&TopicName, QueueId) -> QueueOffset) -> Vec<Waiting<T>> {
        let has_missed = |topic: &TopicName, queue: QueueId, from: QueueOffset| {
            next_of(topic, queue) > from && !planted(Bug::LateWakeUpCheck)
        };
        self.take(|(topic, queue), waiting| waiting.deadline <= now || has_missed(topic, *queue, waiting.from))
    }

    /// Pulls past their deadline.
    pub fn expired(&mut self, now: Mono) -> Vec<Waiting<T>> {
        self.take(|_, waiting| waiting.deadline <= now)
    }

    /// Forgets the pulls of a connection that is gone.
    pub fn disconnected(&mut self, channel: ChannelId) {
        drop(self.take(|_, waiting| waiting.channel == channel));
    }

    /// All pulls: the broker stops or changed its role, and they must be answered now.
    pub fn drain(&mut self) -> Vec<Waiting<T>> {
        self.take(|_, _| true)
    }

    fn take(&mut self, mut wanted: impl FnMut(&(TopicName, QueueId), &Waiting<T>) -> bool) -> Vec<Waiting<T>> {
        let mut taken = Vec::new();
        self.queues.retain(|key, list| {
            taken.extend(list.extract_if(.., |waiting| wanted(key, waiting)));
            !list.is_empty()
        });
        self.held -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicName {
        TopicName::new("t").unwrap()
    }

    fn waiting(channel: u64, from: u64, filter: TagFilter, deadline: u64) -> Waiting<u64> {
        Waiting {
            channel: ChannelId(channel),
            from: QueueOffset(from),
            filter,
            deadline: Mono(deadline),
            value: channel,
        }
    }

    fn values(woken: Vec<Waiting<u64>>) -> Vec<u64> {
        woken.into_iter().map(|w| w.value).collect()
    }

    #[test]
    fn a_new_message_wakes_those_that_want_it_and_have_not_seen_it() {
        let mut parked = Parked::new(10);
        parked.park(&topic(), QueueId(0), waiting(1, 5, TagFilter::All, 100)).unwrap();
        parked.park(&topic(), QueueId(0), waiting(2, 5, TagFilter::Any([7].into()), 100)).unwrap();
        parked.park(&topic(), QueueId(0), waiting(3, 6, TagFilter::All, 100)).unwrap();
        parked.park(&topic(), QueueId(1), waiting(4, 0, TagFilter::All, 100)).unwrap();
        assert_eq!(values(parked.arrived(&topic(), QueueId(0), QueueOffset(6), &[8])), [1]);
        assert_eq!(values(parked.arrived(&topic(), QueueId(0), QueueOffset(7), &[7])), [2, 3]);
        assert_eq!(parked.len(), 1);
    }

    #[test]
    fn what_arrived_before_the_parking_is_not_missed() {
        let mut parked = Parked::new(10);
        parked.park(&topic(), QueueId(0), waiting(1, 5, TagFilter::Any([7].into()), 100)).unwrap();
        assert!(parked.overtaken(&topic(), QueueId(0), QueueOffset(5)).is_empty());
        assert_eq!(values(parked.overtaken(&topic(), QueueId(0), QueueOffset(6))), [1]);
        assert!(parked.is_empty());
    }

    #[test]
    fn a_sweep_lets_a_reader_of_rare_tags_move_on_and_answers_in_time() {
        let mut parked = Parked::new(10);
        parked.park(&topic(), QueueId(0), waiting(1, 5, TagFilter::Any([7].into()), 100)).unwrap();
        parked.park(&topic(), QueueId(1), waiting(2, 5, TagFilter::All, 50)).unwrap();
        assert!(parked.sweep(Mono(49), |_, _| QueueOffset(5)).is_empty());
        assert_eq!(values(parked.expired(Mono(50))), [2]);
        assert_eq!(values(parked.sweep(Mono(50), |_, _| QueueOffset(6))), [1]);
        assert!(parked.is_empty());
    }

    #[test]
    fn too_many_are_given_back_and_a_gone_connection_is_forgotten() {
        let mut parked = Parked::new(1);
        parked.park(&topic(), QueueId(0), waiting(1, 0, TagFilter::All, 100)).unwrap();
        assert_eq!(parked.park(&topic(), QueueId(0), waiting(2, 0, TagFilter::All, 100)).unwrap_err().value, 2);
        parked.disconnected(ChannelId(1));
        assert!(parked.is_empty());
        parked.park(&topic(), QueueId(0), waiting(3, 0, TagFilter::All, 100)).unwrap();
        assert_eq!(values(parked.drain()), [3]);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::{Arc, Mutex, RwLock};
    use loom::thread;

    /// A queue whose messages become visible before anybody is told, as they do in a broker.
    struct Broker {
        next: RwLock<u64>,
        parked: Mutex<Parked<u64>>,
    }

    impl Broker {
        fn new(held_max: usize) -> Arc<Self> {
            Arc::new(Self { next: RwLock::new(0), parked: Mutex::new(Parked::new(held_max)) })
        }

        fn topic() -> TopicName {
            TopicName::new("t").unwrap()
        }

        /// Holds a pull from `from`; says how many pulls are to be run again.
        fn hold(&self, channel: u64, from: u64) -> usize {
            let (channel, from) = (ChannelId(channel), QueueOffset(from));
            let waiting = Waiting { channel, from, filter: TagFilter::All, deadline: Mono(100), value: 0 };
            let next = || QueueOffset(*self.next.read().unwrap());
            hold(|| self.parked.lock().unwrap(), &Self::topic(), QueueId(0), waiting, next).unwrap().len()
        }

        /// Makes one message visible, then wakes who waits for it; says how many.
        fn arrive(&self) -> usize {
            let next = {
                let mut next = self.next.write().unwrap();
                *next += 1;
                *next
            };
            self.parked.lock().unwrap().arrived(&Self::topic(), QueueId(0), QueueOffset(next), &[7]).len()
        }
    }

    #[test]
    fn a_message_that_becomes_visible_while_a_pull_is_parked_wakes_it_once() {
        loom::model(|| {
            let broker = Broker::new(10);
            let apply = {
                let broker = Arc::clone(&broker);
                thread::spawn(move || broker.arrive())
            };
            let woken = broker.hold(1, 0) + apply.join().unwrap();
            assert_eq!(woken, 1);
            assert!(broker.parked.lock().unwrap().is_empty());
        });
    }

    #[test]
    fn pulls_that_are_parked_together_are_each_woken_once() {
        loom::model(|| {
            let broker = Broker::new(10);
            let threads = [
                thread::spawn({
                    let broker = Arc::clone(&broker);
                    move || broker.arrive()
                }),
                thread::spawn({
                    let broker = Arc::clone(&broker);
                    move || broker.hold(1, 0)
                }),
            ];
            let here = broker.hold(2, 0);
            let woken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!(here + woken, 2);
        });
    }

    #[test]
    fn a_reader_of_the_second_message_sleeps_through_the_first_only() {
        loom::model(|| {
            let broker = Broker::new(10);
            let apply = {
                let broker = Arc::clone(&broker);
                thread::spawn(move || broker.arrive() + broker.arrive())
            };
            let woken = broker.hold(1, 1) + apply.join().unwrap();
            assert_eq!(woken, 1);
        });
    }
}

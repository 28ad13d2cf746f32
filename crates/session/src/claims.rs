//! Who last asked where a group's queue stands.
//!
//! A consumer that takes over a queue first asks for its stored offset. A commit that arrives from the previous owner
//! after that would move the offset back below what the new owner was shown, so lower values are taken only from the
//! last one that asked. After a takeover of the broker nothing is known and lower values are refused, which is safe: the
//! owner repeats its commit every few seconds and its pulls make it known again.
//!
//! Claims are good for one term. A replica that leads again cannot know who asked the leaders in between, and it may not
//! even notice that there were any.

use std::collections::{BTreeMap, VecDeque};

use timbermq_types::{GroupName, QueueId, Term, TopicName};

use crate::ChannelId;

type Place = (GroupName, TopicName, QueueId);

/// Last claimant of each group's queue, bounded in number: the oldest claim is forgotten first.
#[derive(Debug)]
pub struct Claims {
    places_max: usize,
    term: Term,
    owners: BTreeMap<Place, ChannelId>,
    order: VecDeque<Place>,
}

impl Claims {
    /// Remembers at most `places_max` queues.
    #[must_use]
    pub fn new(places_max: usize) -> Self {
        Self { places_max: places_max.max(1), term: Term(0), owners: BTreeMap::new(), order: VecDeque::new() }
    }

    /// `channel` asked for, or pulled, this queue while this replica led in `term`.
    pub fn claim(&mut self, term: Term, group: &GroupName, topic: &TopicName, queue: QueueId, channel: ChannelId) {
        if term != self.term {
            if term < self.term {
                return;
            }
            self.clear();
            self.term = term;
        }
        let place = (group.clone(), topic.clone(), queue);
        if self.owners.insert(place.clone(), channel).is_none() {
            self.order.push_back(place);
            while self.order.len() > self.places_max {
                if let Some(oldest) = self.order.pop_front() {
                    self.owners.remove(&oldest);
                }
            }
        }
    }

    /// Whether `channel` was the last to claim this queue in `term`.
    #[must_use]
    pub fn holds(&self, term: Term, group: &GroupName, topic: &TopicName, queue: QueueId, channel: ChannelId) -> bool {
        self.term == term && self.owners.get(&(group.clone(), topic.clone(), queue)) == Some(&channel)
    }

    /// Forgets everything (the broker lost its leadership).
    pub fn clear(&mut self) {
        self.owners.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_claimant_holds_and_the_oldest_claim_is_forgotten_first() {
        let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("t").unwrap());
        let mut claims = Claims::new(2);
        claims.claim(Term(1), &group, &topic, QueueId(0), ChannelId(1));
        assert!(claims.holds(Term(1), &group, &topic, QueueId(0), ChannelId(1)));
        claims.claim(Term(1), &group, &topic, QueueId(0), ChannelId(2));
        assert!(!claims.holds(Term(1), &group, &topic, QueueId(0), ChannelId(1)), "the old owner lost it");
        claims.claim(Term(1), &group, &topic, QueueId(1), ChannelId(2));
        claims.claim(Term(1), &group, &topic, QueueId(2), ChannelId(2));
        assert!(!claims.holds(Term(1), &group, &topic, QueueId(0), ChannelId(2)), "over the bound");
        assert!(claims.holds(Term(1), &group, &topic, QueueId(2), ChannelId(2)));
        claims.clear();
        assert!(!claims.holds(Term(1), &group, &topic, QueueId(2), ChannelId(2)));
    }

    #[test]
    fn claims_of_an_earlier_term_are_worth_nothing() {
        let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("t").unwrap());
        let mut claims = Claims::new(2);
        claims.claim(Term(1), &group, &topic, QueueId(0), ChannelId(1));
        assert!(!claims.holds(Term(3), &group, &topic, QueueId(0), ChannelId(1)), "another led in term 2");
        claims.claim(Term(3), &group, &topic, QueueId(1), ChannelId(1));
        assert!(!claims.holds(Term(3), &group, &topic, QueueId(0), ChannelId(1)), "still nothing");
        claims.claim(Term(1), &group, &topic, QueueId(1), ChannelId(2));
        assert!(claims.holds(Term(3), &group, &topic, QueueId(1), ChannelId(1)), "a late claim takes nothing away");
    }
}

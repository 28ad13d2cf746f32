//! Producers and consumer groups as their heartbeats describe them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use timbermq_remoting::body::{ConsumeFromWhere, ConsumeType, MessageModel};
use timbermq_types::{GroupName, Mono, TopicName};

use crate::{ChannelId, Subscription};

/// Most groups one connection may belong to.
const GROUPS_PER_CHANNEL_MAX: usize = 1_024;
/// Most topics one group may subscribe to.
const TOPICS_PER_GROUP_MAX: usize = 10_000;

/// Who sent a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's own name for itself; opaque.
    pub id: String,
    /// Language code of the client library.
    pub language: u8,
    /// Version number of the client library.
    pub version: i32,
    /// Where it connects from.
    pub addr: SocketAddr,
}

/// One consumer group in a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The group.
    pub group: GroupName,
    /// How its members get messages.
    pub consume_type: ConsumeType,
    /// Whether members share them.
    pub model: MessageModel,
    /// Where it starts when new.
    pub from: ConsumeFromWhere,
    /// What it wants.
    pub subscriptions: Vec<Subscription>,
}

/// A heartbeat, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who sent it.
    pub client: Client,
    /// Producer groups it belongs to.
    pub producers: Vec<GroupName>,
    /// Consumer groups it belongs to.
    pub consumers: Vec<Consumer>,
}

/// Why a heartbeat was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// The connection names too many groups.
    #[error("one connection may belong to at most {GROUPS_PER_CHANNEL_MAX} groups")]
    TooManyGroups,
    /// The group subscribes to too many topics.
    #[error("group {0} subscribes to more than {TOPICS_PER_GROUP_MAX} topics")]
    TooManyTopics(GroupName),
}

/// A group whose members must be told to rebalance, with their connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The group.
    pub group: GroupName,
    /// All its connections, the newcomer included.
    pub channels: Vec<ChannelId>,
}

#[derive(Clone, Debug)]
struct Registered {
    client: Client,
    seen: Mono,
}

#[derive(Clone, Debug)]
struct Group {
    consume_type: ConsumeType,
    model: MessageModel,
    from: ConsumeFromWhere,
    members: BTreeMap<ChannelId, Registered>,
    subscriptions: BTreeMap<TopicName, Subscription>,
}

/// What is known about a consumer group, for tools.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// How its members get messages.
    pub consume_type: ConsumeType,
    /// Whether members share them.
    pub model: MessageModel,
    /// Where it starts when new.
    pub from: ConsumeFromWhere,
    /// Its members with their connections.
    pub members: Vec<(ChannelId, Client)>,
    /// What it subscribes to.
    pub subscriptions: Vec<Subscription>,
}

/// Everyone who sent a heartbeat and is still there.
#[derive(Debug, Default)]
pub struct Membership {
    producers: BTreeMap<GroupName, BTreeMap<ChannelId, Registered>>,
    consumers: BTreeMap<GroupName, Group>,
}

impl Membership {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a heartbeat that arrived on `channel`. Returns the groups whose members must rebalance.
    ///
    /// # Errors
    /// A heartbeat over the limits changes nothing.
    pub fn heartbeat(
        &mut self,
        channel: ChannelId,
        beat: Heartbeat,
        now: Mono,
    ) -> Result<Vec<Change>, MembershipError> {
        if beat.producers.len() + beat.consumers.len() > GROUPS_PER_CHANNEL_MAX {
            return Err(MembershipError::TooManyGroups);
        }
        if let Some(big) = beat.consumers.iter().find(|c| c.subscriptions.len() > TOPICS_PER_GROUP_MAX) {
            return Err(MembershipError::TooManyTopics(big.group.clone()));
        }
        let registered = Registered { client: beat.client, seen: now };
        for group in beat.producers {
            self.producers.entry(group).or_default().insert(channel, registered.clone());
        }
        let mut changes = Vec::new();
        for consumer in beat.consumers {
            let name = consumer.group.clone();
            if self.register(channel, &registered, consumer) {
                changes.extend(self.change(&name));
            }
        }
        Ok(changes)
    }

    /// `channel` leaves the named groups. Returns the groups whose members must rebalance.
    pub fn unregister(
        &mut self,
        channel: ChannelId,
        producer: Option<&GroupName>,
        consumer: Option<&GroupName>,
    ) -> Vec<Change> {
        if let Some(group) = producer {
            self.leave_producers(group, channel);
        }
        self.leave_all(channel, consumer)
    }

    /// The connection is gone. Returns the groups whose members must rebalance.
    pub fn disconnected(&mut self, channel: ChannelId) -> Vec<Change> {
        self.producers.retain(|_, members| {
            members.remove(&channel);
            !members.is_empty()
        });
        let groups: Vec<_> =
            self.consumers.iter().filter(|(_, g)| g.members.contains_key(&channel)).map(|(n, _)| n.clone()).collect();
        self.leave_all(channel, &groups)
    }

    /// Connections that sent no heartbeat for `limit`; each should be closed and then reported as disconnected.
    #[must_use]
    pub fn silent(&self, now: Mono, limit: Duration) -> Vec<ChannelId> {
        let members = self.producers.values().chain(self.consumers.values().map(|group| &group.members));
        let silent: BTreeSet<_> = members
            .flat_map(|members| members.iter())
            .filter(|(_, registered)| now.since(registered.seen) > limit)
            .map(|(channel, _)| *channel)
            .collect();
        silent.into_iter().collect()
    }

    /// Ids of a group's members, each once, sorted. Empty when nobody is there.
    #[must_use]
    pub fn consumer_ids(&self, group: &GroupName) -> Vec<String> {
        let ids: Option<BTreeSet<_>> =
            self.consumers.get(group).map(|group| group.members.values().map(|m| m.client.id.clone()).collect());
        ids.into_iter().flatten().collect()
    }

    /// A group's subscription to a topic.
    #[must_use]
    pub fn subscription(&self, group: &GroupName, topic: &TopicName) -> Option<&Subscription> {
        self.consumers.get(group)?.subscriptions.get(topic)
    }

    /// Whether any member of the group is there, and how it consumes.
    #[must_use]
    pub fn model(&self, group: &GroupName) -> Option<MessageModel> {
        self.consumers.get(group).map(|group| group.model)
    }

    /// A consumer group with its members.
    #[must_use]
    pub fn group(&self, group: &GroupName) -> Option<GroupView> {
        let group = self.consumers.get(group)?;
        Some(GroupView {
            consume_type: group.consume_type,
            model: group.model,
            from: group.from,
            members: group.members.iter().map(|(channel, m)| (*channel, m.client.clone())).collect(),
            subscriptions: group.subscriptions.values().cloned().collect(),
        })
    }

    /// Consumer groups with a member that subscribes to `topic`.
    #[must_use]
    pub fn groups_of(&self, topic: &TopicName) -> Vec<GroupName> {
        let wanted = |group: &&GroupName| self.consumers[*group].subscriptions.contains_key(topic);
        self.consumers.keys().filter(wanted).cloned().collect()
    }

    /// A producer group's members.
    #[must_use]
    pub fn producers(&self, group: &GroupName) -> Vec<(ChannelId, Client)> {
        let members = self.producers.get(group).into_iter().flatten();
        members.map(|(channel, registered)| (*channel, registered.client.clone())).collect()
    }

    /// The newest connection of the producer that calls itself `client_id`, whatever its group.
    #[must_use]
    pub fn producer_channel(&self, client_id: &str) -> Option<ChannelId> {
        let members = self.producers.values().flatten();
        members.filter(|(_, registered)| registered.client.id == client_id).map(|(channel, _)| *channel).max()
    }

    /// Numbers of consumer groups, of consumers and of producers.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let consumers = self.consumers.values().map(|group| group.members.len()).sum();
        let producers = self.producers.values().map(BTreeMap::len).sum();
        (self.consumers.len(), consumers, producers)
    }

    /// Returns whether members must rebalance.
    fn register(&mut self, channel: ChannelId, registered: &Registered, consumer: Consumer) -> bool {
        let group = self.consumers.entry(consumer.group).or_insert_with(|| Group {
            consume_type: consumer.consume_type,
            model: consumer.model,
            from: consumer.from,
            members: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
        });
        group.consume_type = consumer.consume_type;
        group.model = consumer.model;
        group.from = consumer.from;
        let mut changed = group.members.insert(channel, registered.clone()).is_none();
        // After a reconnect the old connection may linger for minutes; listing its client twice would make every
        // member compute another allocation, so only the newest connection of a client counts.
        group.members.retain(|other, m| *other >= channel || m.client.id != registered.client.id);
        let wanted: BTreeSet<_> = consumer.subscriptions.iter().map(|s| s.topic.clone()).collect();
        let before = group.subscriptions.len();
        group.subscriptions.retain(|topic, _| wanted.contains(topic));
        changed |= group.subscriptions.len() != before;
        for subscription in consumer.subscriptions {
            match group.subscriptions.get(&subscription.topic) {
                Some(known) if known.data.sub_version > subscription.data.sub_version => {}
                Some(known) if known.data == subscription.data => {}
                known => {
                    changed |= known.is_none();
                    group.subscriptions.insert(subscription.topic.clone(), subscription);
                }
            }
        }
        changed
    }

    fn leave_all<'a>(&mut self, channel: ChannelId, groups: impl IntoIterator<Item = &'a GroupName>) -> Vec<Change> {
        let mut changes = Vec::new();
        for group in groups {
            if self.leave(group, channel) {
                changes.extend(self.change(group));
            }
        }
        changes
    }

    /// Returns whether `channel` was a member.
    fn leave(&mut self, group: &GroupName, channel: ChannelId) -> bool {
        let Some(state) = self.consumers.get_mut(group) else {
            return false;
        };
        let left = state.members.remove(&channel).is_some();
        if state.members.is_empty() {
            self.consumers.remove(group);
        }
        left
    }

    fn leave_producers(&mut self, group: &GroupName, channel: ChannelId) {
        if let Some(members) = self.producers.get_mut(group) {
            members.remove(&channel);
            if members.is_empty() {
                self.producers.remove(group);
            }
        }
    }

    /// Members of a broadcasting group do not depend on each other and are not told.
    fn change(&self, group: &GroupName) -> Option<Change> {
        let state = self.consumers.get(group)?;
        (state.model == MessageModel::Clustering)
            .then(|| Change { group: group.clone(), channels: state.members.keys().copied().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbermq_remoting::body::SubscriptionData;

    fn group() -> GroupName {
        GroupName::new("g").unwrap()
    }

    fn subscription(topic: &str, version: i64) -> Subscription {
        Subscription::new(SubscriptionData::for_tags(topic, "*", version)).unwrap()
    }

    fn beat(id: &str, model: MessageModel, topics: &[(&str, i64)]) -> Heartbeat {
        Heartbeat {
            client: Client { id: id.into(), language: 0, version: 1, addr: "127.0.0.1:1".parse().unwrap() },
            producers: vec![GroupName::new("p").unwrap()],
            consumers: vec![Consumer {
                group: group(),
                consume_type: ConsumeType::Passively,
                model,
                from: ConsumeFromWhere::LastOffset,
                subscriptions: topics.iter().map(|(topic, version)| subscription(topic, *version)).collect(),
            }],
        }
    }

    fn told(changes: &[Change]) -> Vec<u64> {
        changes.iter().flat_map(|change| change.channels.iter().map(|channel| channel.0)).collect()
    }

    use MessageModel::{Broadcasting, Clustering};

    #[test]
    fn all_members_are_told_when_one_joins_or_leaves_but_not_on_a_mere_repeat() {
        let mut m = Membership::new();
        assert_eq!(told(&m.heartbeat(ChannelId(1), beat("a", Clustering, &[("t", 1)]), Mono(0)).unwrap()), [1]);
        assert_eq!(told(&m.heartbeat(ChannelId(2), beat("b", Clustering, &[("t", 1)]), Mono(0)).unwrap()), [1, 2]);
        assert!(m.heartbeat(ChannelId(2), beat("b", Clustering, &[("t", 2)]), Mono(1)).unwrap().is_empty());
        assert_eq!(m.consumer_ids(&group()), ["a", "b"]);
        assert_eq!(told(&m.unregister(ChannelId(1), None, Some(&group()))), [2]);
        assert_eq!(m.consumer_ids(&group()), ["b"]);
        assert!(m.disconnected(ChannelId(2)).is_empty(), "nobody is left to be told");
        assert_eq!(m.counts(), (0, 0, 1), "the producer of the first connection has not left");
    }

    #[test]
    fn a_broadcasting_group_is_never_told() {
        let mut m = Membership::new();
        assert!(m.heartbeat(ChannelId(1), beat("a", Broadcasting, &[("t", 1)]), Mono(0)).unwrap().is_empty());
    }

    #[test]
    fn a_reconnected_client_is_listed_once() {
        let mut m = Membership::new();
        m.heartbeat(ChannelId(1), beat("a", Clustering, &[("t", 1)]), Mono(0)).unwrap();
        assert_eq!(told(&m.heartbeat(ChannelId(2), beat("a", Clustering, &[("t", 1)]), Mono(0)).unwrap()), [2]);
        assert_eq!(m.consumer_ids(&group()), ["a"]);
        assert!(m.disconnected(ChannelId(1)).is_empty(), "the old connection no longer matters");
        assert_eq!(m.consumer_ids(&group()), ["a"]);
    }

    #[test]
    fn subscriptions_follow_the_heartbeat_and_never_go_back_in_version() {
        let mut m = Membership::new();
        let topic = TopicName::new("t").unwrap();
        m.heartbeat(ChannelId(1), beat("a", Clustering, &[("t", 5), ("u", 1)]), Mono(0)).unwrap();
        m.heartbeat(ChannelId(1), beat("a", Clustering, &[("t", 4), ("u", 1)]), Mono(0)).unwrap();
        assert_eq!(m.subscription(&group(), &topic).unwrap().data.sub_version, 5);
        let changes = m.heartbeat(ChannelId(1), beat("a", Clustering, &[("t", 6)]), Mono(0)).unwrap();
        assert_eq!(told(&changes), [1], "a topic was dropped");
        assert_eq!(m.subscription(&group(), &topic).unwrap().data.sub_version, 6);
        assert!(m.subscription(&group(), &TopicName::new("u").unwrap()).is_none());
        assert_eq!(m.groups_of(&topic), [group()]);
    }

    #[test]
    fn the_silent_are_found_and_limits_are_kept() {
        let mut m = Membership::new();
        m.heartbeat(ChannelId(1), beat("a", Clustering, &[("t", 1)]), Mono(0)).unwrap();
        m.heartbeat(ChannelId(2), beat("b", Clustering, &[("t", 1)]), Mono(5)).unwrap();
        assert_eq!(m.silent(Mono(11), Duration::from_nanos(10)), [ChannelId(1)]);
        let mut big = beat("c", Clustering, &[]);
        big.producers = (0..2000).map(|i| GroupName::new(&format!("g{i}")).unwrap()).collect();
        assert_eq!(m.heartbeat(ChannelId(3), big, Mono(0)), Err(MembershipError::TooManyGroups));
        assert_eq!(m.producer_channel("b"), Some(ChannelId(2)));
    }
}

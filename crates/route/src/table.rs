//! The table itself, and who leaves it.

use std::collections::BTreeMap;
use std::time::Duration;

use timbermq_remoting::body::{DataVersion, QueueData};
use timbermq_types::Mono;

use crate::kv::KvConfig;
use crate::register::BrokerIdentity;

/// Bounds of a table. What would go beyond is refused.
#[derive(Clone, Debug)]
pub struct RouteLimits {
    /// Live brokers.
    pub brokers_max: usize,
    /// Topics.
    pub topics_max: usize,
    /// Entries of KV configuration.
    pub kv_entries_max: usize,
    /// How long a broker that does not say it itself may be silent.
    pub broker_timeout: Duration,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            brokers_max: 4096,
            topics_max: 100_000,
            kv_entries_max: 10_000,
            broker_timeout: Duration::from_secs(120),
        }
    }
}

/// The NameServer's state.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    pub(crate) limits: RouteLimits,
    /// Broker groups with at least one live member, by broker name.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Queues by topic and broker name. A broker name here has a group.
    pub(crate) topics: BTreeMap<String, BTreeMap<String, QueueData>>,
    pub(crate) kv: KvConfig,
}

/// The live brokers of one broker name.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) cluster: String,
    pub(crate) enable_acting_master: bool,
    /// The group that the name only leads to.
    pub(crate) entrance_of: Option<String>,
    /// Highest state version ever accepted for id 0 while the group was here.
    pub(crate) leader_version: i64,
    pub(crate) members: BTreeMap<i64, Member>,
}

/// A live broker.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) addr: String,
    pub(crate) ha_addr: String,
    /// Connection over which the broker was last heard.
    pub(crate) channel: u64,
    pub(crate) heard_at: Mono,
    pub(crate) timeout: Duration,
    pub(crate) data_version: DataVersion,
}

/// A broker that was dropped from the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its broker name.
    pub broker_name: String,
    /// Its id.
    pub broker_id: i64,
    /// Its address.
    pub addr: String,
}

impl RouteTable {
    /// An empty table.
    #[must_use]
    pub fn new(limits: RouteLimits) -> Self {
        Self { kv: KvConfig::new(limits.kv_entries_max), limits, ..Self::default() }
    }

    /// KV configuration.
    #[must_use]
    pub fn kv(&self) -> &KvConfig {
        &self.kv
    }

    /// KV configuration, to be changed.
    pub fn kv_mut(&mut self) -> &mut KvConfig {
        &mut self.kv
    }

    /// Number of live brokers.
    #[must_use]
    pub fn broker_count(&self) -> usize {
        self.groups.values().map(|group| group.members.len()).sum()
    }

    /// Number of topics.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Removes a broker that says goodbye. Nothing happens unless it is registered under just this id and address.
    pub fn unregister(&mut self, broker: &BrokerIdentity) -> bool {
        let removed = self.remove_where(|name, id, member| {
            name == broker.broker_name && id == broker.broker_id && member.addr == broker.broker_addr
        });
        !removed.is_empty()
    }

    /// Removes the brokers last heard over a connection that is now closed.
    pub fn channel_closed(&mut self, channel: u64) -> Vec<Removed> {
        self.remove_where(|_, _, member| member.channel == channel)
    }

    /// Removes the brokers that have been silent for longer than their timeout.
    pub fn expire(&mut self, now: Mono) -> Vec<Removed> {
        self.remove_where(|_, _, member| now.since(member.heard_at) > member.timeout)
    }

    /// A broker said that it lives, and nothing else; false if it is not registered under this address.
    pub fn heartbeat(&mut self, broker: &BrokerIdentity, channel: u64, timeout: Option<Duration>, now: Mono) -> bool {
        let Some(member) = self.member_mut(broker) else { return false };
        member.channel = channel;
        member.heard_at = now;
        if let Some(timeout) = timeout {
            member.timeout = timeout;
        }
        true
    }

    /// A broker asks whether its registration is still what it holds itself: whether it must register again, and the
    /// data version that is known here. Counts as a sign of life.
    pub fn query_data_version(
        &mut self,
        broker: &BrokerIdentity,
        own: DataVersion,
        channel: u64,
        now: Mono,
    ) -> (bool, Option<DataVersion>) {
        let changed = match self.member_mut(broker) {
            None => return (true, None),
            Some(member) => member.data_version != own,
        };
        self.heartbeat(broker, channel, None, now);
        (changed, self.member_mut(broker).map(|member| member.data_version))
    }

    /// The member at this id and address.
    fn member_mut(&mut self, broker: &BrokerIdentity) -> Option<&mut Member> {
        let group = self.groups.get_mut(&broker.broker_name)?;
        group.members.get_mut(&broker.broker_id).filter(|member| member.addr == broker.broker_addr)
    }

    fn remove_where(&mut self, mut gone: impl FnMut(&str, i64, &Member) -> bool) -> Vec<Removed> {
        let mut removed = Vec::new();
        let mut emptied = Vec::new();
        for (name, group) in &mut self.groups {
            group.members.retain(|id, member| {
                let goes = gone(name, *id, member);
                if goes {
                    removed.push(Removed { broker_name: name.clone(), broker_id: *id, addr: member.addr.clone() });
                }
                !goes
            });
            if group.members.is_empty() {
                emptied.push(name.clone());
            }
        }
        // Topics outlive their leader: consumers still read from followers. They go with the last member.
        for name in emptied {
            self.groups.remove(&name);
            self.topics.retain(|_, queues| {
                queues.remove(&name);
                !queues.is_empty()
            });
        }
        removed
    }
}

//! Registration of brokers.

use std::time::Duration;

use timbermq_bugs::{Bug, planted};
use timbermq_remoting::body::{DataVersion, QueueData, TopicConfig, TopicConfigTable};
use timbermq_types::{Mono, TopicName};

use crate::table::{Group, Member, RouteTable};

/// Longest cluster name, broker name or address in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The id that accepts writes.
const LEADER_ID: i64 = 0;

/// Who a broker says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerIdentity {
    /// Cluster.
    pub cluster: String,
    /// Name of the broker group.
    pub broker_name: String,
    /// `host:port` that clients connect to.
    pub broker_addr: String,
    /// 0 for the leader.
    pub broker_id: i64,
}

/// What a broker registers.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Who it is.
    pub broker: BrokerIdentity,
    /// `host:port` of its replication.
    pub ha_addr: String,
    /// How long it may be silent; `None` is the table's default.
    pub timeout: Option<Duration>,
    /// Whether it lets the lowest follower stand in for the leader. Only passed on.
    pub enable_acting_master: bool,
    /// The broker group that the name only leads to; administrators see that one.
    pub entrance_of: Option<String>,
    /// The connection it registers over.
    pub channel: u64,
    /// Its topics, all or only what changed, and how new they are.
    pub topics: TopicConfigTable,
    /// Whether `topics` are all its topics, so that others are gone. Stock brokers do not say it.
    pub topics_complete: bool,
}

/// What became of an accepted registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The table has it now.
    Accepted,
    /// A newer leader is known. The broker is not told, as in stock; it will find out from its group.
    Fenced,
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Whether it counts.
    pub admission: Admission,
    /// Address of the leader, for a follower that registered.
    pub leader_addr: Option<String>,
    /// Replication address of the leader, for a follower that registered.
    pub leader_ha_addr: Option<String>,
    /// Topics left out because of an impossible name or number.
    pub topics_skipped: usize,
}

/// Why a registration was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// A name or address is empty or too long, or the id is negative.
    #[error("register broker failed: malformed {0}")]
    Malformed(&'static str),
    /// One single topic, so a change, of a broker that has not registered before: the rest would be missing.
    #[error("register broker failed: a single topic from a broker that has not registered")]
    ChangeOfUnknownBroker,
    /// The broker name is in use in another cluster.
    #[error("register broker failed: the broker name belongs to cluster {cluster}")]
    OtherCluster {
        /// That cluster.
        cluster: String,
    },
    /// The table is full.
    #[error("register broker failed: more than {max} {what}")]
    Full {
        /// "brokers" or "topics".
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

impl RouteTable {
    /// Takes a registration.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub fn register(&mut self, registration: Registration, now: Mono) -> Result<Registered, RegisterError> {
        let Registration { broker, .. } = &registration;
        check(broker, &registration.ha_addr)?;
        let group = self.groups.get(&broker.broker_name);
        if let Some(group) = group
            && group.cluster != broker.cluster
        {
            return Err(RegisterError::OtherCluster { cluster: group.cluster.clone() });
        }
        let incumbent = group.and_then(|group| group.members.get(&broker.broker_id));
        if broker.broker_id == LEADER_ID
            && let Some(group) = group
            && is_fenced(group, broker, registration.topics.data_version)
        {
            let (leader_addr, leader_ha_addr) = (None, None);
            return Ok(Registered { admission: Admission::Fenced, leader_addr, leader_ha_addr, topics_skipped: 0 });
        }
        if incumbent.is_none() && registration.topics.topic_config_table.len() == 1 && !registration.topics_complete {
            return Err(RegisterError::ChangeOfUnknownBroker);
        }
        let known = group.is_some_and(|group| group.members.values().any(|member| member.addr == broker.broker_addr));
        if incumbent.is_none() && !known && self.broker_count() >= self.limits.brokers_max {
            return Err(RegisterError::Full { what: "brokers", max: self.limits.brokers_max });
        }
        let applies_topics = broker.broker_id == LEADER_ID
            && incumbent.is_none_or(|member| {
                member.addr != broker.broker_addr || member.data_version != registration.topics.data_version
            });
        let mut topics_skipped = 0;
        if applies_topics {
            topics_skipped = self.apply_topics(&registration)?;
        }
        Ok(self.admit(registration, topics_skipped, now))
    }

    /// Enters a registration that has passed every check.
    fn admit(&mut self, registration: Registration, topics_skipped: usize, now: Mono) -> Registered {
        let Registration { broker, ha_addr, timeout, enable_acting_master, entrance_of, channel, topics, .. } =
            registration;
        let BrokerIdentity { cluster, broker_name, broker_addr, broker_id } = broker;
        let group = self.groups.entry(broker_name).or_insert_with(|| Group {
            cluster,
            enable_acting_master,
            entrance_of,
            leader_version: 0,
            members: Default::default(),
        });
        group.enable_acting_master = enable_acting_master;
        if broker_id == LEADER_ID {
            group.leader_version = group.leader_version.max(topics.data_version.state_version);
        }
        // One id per address: a broker that changes its role leaves its old id.
        group.members.retain(|id, member| *id == broker_id || member.addr != broker_addr);
        let timeout = timeout.unwrap_or(self.limits.broker_timeout);
        let data_version = topics.data_version;
        let member = Member { addr: broker_addr, ha_addr, channel, heard_at: now, timeout, data_version };
        group.members.insert(broker_id, member);
        let leader = group.members.get(&LEADER_ID).filter(|_| broker_id != LEADER_ID);
        Registered {
            admission: Admission::Accepted,
            leader_addr: leader.map(|leader| leader.addr.clone()),
            leader_ha_addr: leader.map(|leader| leader.ha_addr.clone()),
            topics_skipped,
        }
    }

    /// Merges the leader's topics; says how many had to be left out.
    fn apply_topics(&mut self, registration: &Registration) -> Result<usize, RegisterError> {
        let name = &registration.broker.broker_name;
        let table = &registration.topics.topic_config_table;
        let mut queues = Vec::with_capacity(table.len());
        for (topic, config) in table {
            queues.extend(queue_data(name, topic, config).map(|queue| (topic, queue)));
        }
        let added = queues.iter().filter(|(topic, _)| !self.topics.contains_key(*topic)).count();
        if self.topics.len() + added > self.limits.topics_max {
            return Err(RegisterError::Full { what: "topics", max: self.limits.topics_max });
        }
        let skipped = table.len() - queues.len();
        if registration.topics_complete {
            self.topics.retain(|topic, queues| {
                if !table.contains_key(topic) {
                    queues.remove(name);
                }
                !queues.is_empty()
            });
        }
        for (topic, queue) in queues {
            self.topics.entry(topic.clone()).or_default().insert(name.clone(), queue);
        }
        Ok(skipped)
    }
}

/// Whether a newer leader is known than this broker, which claims to be one.
///
/// Only accepted leaders raise the bar. A follower may know a higher term without a leader in it (one that was cut off
/// and campaigns, say), and must not shut the living leader out.
fn is_fenced(group: &Group, broker: &BrokerIdentity, version: DataVersion) -> bool {
    if planted(Bug::StaleLeaderRegisters) {
        return false;
    }
    if version.state_version != group.leader_version {
        return version.state_version < group.leader_version;
    }
    // Brokers that know nothing of terms say 0; among them the last one counts.
    let other_lives = group.members.get(&LEADER_ID).is_some_and(|leader| leader.addr != broker.broker_addr);
    version.state_version > 0 && other_lives
}

fn check(broker: &BrokerIdentity, ha_addr: &str) -> Result<(), RegisterError> {
    let named = [
        ("cluster name", &broker.cluster),
        ("broker name", &broker.broker_name),
        ("broker address", &broker.broker_addr),
    ];
    for (what, text) in named {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(RegisterError::Malformed(what));
        }
    }
    if ha_addr.len() > NAME_BYTES_MAX {
        return Err(RegisterError::Malformed("replication address"));
    }
    if broker.broker_id < 0 {
        return Err(RegisterError::Malformed("broker id"));
    }
    Ok(())
}

/// A topic's queues in one broker group; `None` if no client could use them.
fn queue_data(broker_name: &str, topic: &str, config: &TopicConfig) -> Option<QueueData> {
    let counts = [config.read_queue_nums, config.write_queue_nums];
    if TopicName::new(topic).is_err() || counts.iter().any(|count| *count < 0) {
        return None;
    }
    Some(QueueData {
        broker_name: broker_name.to_owned(),
        perm: config.perm,
        read_queue_nums: config.read_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    })
}

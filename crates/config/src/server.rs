//! The settings of a broker replica, typed and checked against each other.

use std::time::Duration;

use timbermq_types::{Durability, GroupName, NodeId};

use crate::address::{Member, is_address};
use crate::layers::{ConfigError, Layers};
use crate::value::Value;

/// What a broker replica is configured with.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the broker group, the broker name clients see.
    pub group: String,
    /// The replicas that found the group.
    pub members: Vec<Member>,
    /// This replica's id.
    pub node: NodeId,
    /// What an acknowledgement proves.
    pub durability: Durability,
    /// Directory of log, index and identity.
    pub data_dir: String,
    /// Where clients connect.
    pub listen_broker: String,
    /// Second port for old clients; `None` when switched off.
    pub listen_vip: Option<String>,
    /// Where peers connect.
    pub listen_peer: String,
    /// NameServers to register with.
    pub namesrv: Vec<String>,
    /// How often registrations are renewed.
    pub register_interval: Duration,
    /// Leader's heartbeat.
    pub heartbeat: Duration,
    /// Shortest election timeout.
    pub election_timeout_min: Duration,
    /// Longest election timeout.
    pub election_timeout_max: Duration,
    /// Time a write may wait for its majority.
    pub proposal_deadline: Duration,
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// CommitLog bytes kept in memory.
    pub log_cache_bytes: u64,
    /// Index block cache.
    pub index_cache_bytes: u64,
    /// Age after which messages are removed.
    pub retention_age: Duration,
    /// CommitLog size limit; `None` without one.
    pub retention_bytes: Option<u64>,
    /// Disk use above which messages are removed, 0 to 1.
    pub retention_disk_watermark: f64,
    /// Granularity of removal.
    pub retention_step_bytes: u64,
    /// Bytes of writes under way.
    pub in_flight_bytes: u64,
    /// Longest message body.
    pub message_bytes: u64,
    /// Most client connections.
    pub connections: u64,
    /// Whether sends create topics.
    pub auto_create_topic: bool,
    /// Most queues of such a topic.
    pub auto_create_queues: u32,
    /// Whether followers register as brokers that can be written.
    pub follower_writes: bool,
    /// Whether heartbeats and pulls create groups.
    pub auto_create_group: bool,
    /// Longest hold of a pull.
    pub hold_max: Duration,
    /// Whether far-behind readers are sent to followers.
    pub follower_reads: bool,
    /// Distance from the log's end that counts as memory.
    pub memory_bytes: u64,
}

impl ServerSettings {
    /// Reads the settings in force and checks that they fit together.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] says which settings do not fit and what would.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let get = Typed(layers);
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        let members = Member::parse_list(&get.list("group.members"))
            .map_err(|error| ConfigError::Conflict(format!("group.members: {error}")))?;
        if !matches!(members.len(), 1 | 3 | 5) {
            return conflict(format!("group.members names {} replicas; a group has one, three or five", members.len()));
        }
        let Some(Value::Number(node)) = layers.get("node.id").map(|setting| setting.value.clone()) else {
            return conflict("node.id is not set; it says which of group.members this replica is".into());
        };
        let node = NodeId(node);
        let Some(me) = members.iter().find(|member| member.node == node).cloned() else {
            return conflict(format!("node.id {node} is not one of group.members"));
        };
        let group = get.text("group.name");
        GroupName::new(&group).map_err(|error| ConfigError::Conflict(format!("group.name: {error}")))?;
        let listen_broker = get.optional("listen.broker").unwrap_or_else(|| everywhere(&me.broker));
        let listen_peer = get.optional("listen.peer").unwrap_or_else(|| everywhere(&me.peer));
        let listen_vip = match get.optional("listen.vip") {
            Some(text) if text == "off" => None,
            Some(text) => Some(text),
            None => vip_of(&listen_broker),
        };
        for (name, address) in [("listen.broker", &listen_broker), ("listen.peer", &listen_peer)] {
            if !is_address(address) {
                return conflict(format!("{name}: {address:?} is not host:port"));
            }
        }
        let namesrv = get.list("namesrv.addresses");
        if let Some(bad) = namesrv.iter().find(|address| !is_address(address)) {
            return conflict(format!("namesrv.addresses: {bad:?} is not host:port"));
        }
        let settings = Self {
            cluster: get.text("cluster.name"),
            group,
            members,
            node,
            durability: get.text("group.durability").parse().map_err(ConfigError::Conflict)?,
            data_dir: get.text("node.data_dir"),
            listen_broker,
            listen_vip,
            listen_peer,
            namesrv,
            register_interval: get.time("namesrv.register_interval"),
            heartbeat: get.time("raft.heartbeat"),
            election_timeout_min: get.time("raft.election_timeout_min"),
            election_timeout_max: get.time("raft.election_timeout_max"),
            proposal_deadline: get.time("raft.proposal_deadline"),
            segment_bytes: get.bytes("log.segment_bytes"),
            log_cache_bytes: get.bytes("log.cache_bytes"),
            index_cache_bytes: get.bytes("index.cache_bytes"),
            retention_age: get.time("retention.age"),
            retention_bytes: Some(get.bytes("retention.bytes")).filter(|bytes| *bytes > 0),
            retention_disk_watermark: get.ratio("retention.disk_watermark"),
            retention_step_bytes: get.bytes("retention.step_bytes"),
            in_flight_bytes: get.bytes("limits.in_flight_bytes"),
            message_bytes: get.bytes("limits.message_bytes"),
            connections: get.number("limits.connections"),
            auto_create_topic: get.bool("topic.auto_create"),
            auto_create_queues: u32::try_from(get.number("topic.auto_create_queues")).unwrap_or(u32::MAX),
            follower_writes: get.bool("producer.follower_writes"),
            auto_create_group: get.bool("consumer.auto_create_group"),
            hold_max: get.time("consumer.hold_max"),
            follower_reads: get.bool("consumer.follower_reads"),
            memory_bytes: get.bytes("consumer.memory_bytes"),
        };
        settings.check_timing()?;
        Ok(settings)
    }

    /// The member that this replica is.
    ///
    /// # Panics
    /// Never: [`Self::from_layers`] checked it.
    #[must_use]
    pub fn me(&self) -> &Member {
        self.members.iter().find(|member| member.node == self.node).expect("checked when the settings were read")
    }

    fn check_timing(&self) -> Result<(), ConfigError> {
        if self.election_timeout_min >= self.election_timeout_max {
            return Err(ConfigError::Conflict(format!(
                "raft.election_timeout_min ({}) must be below raft.election_timeout_max ({}), or elections split for ever",
                humantime::format_duration(self.election_timeout_min),
                humantime::format_duration(self.election_timeout_max)
            )));
        }
        if self.heartbeat * 3 > self.election_timeout_min {
            return Err(ConfigError::Conflict(format!(
                "raft.heartbeat ({}) must be at most a third of raft.election_timeout_min ({}), or one lost heartbeat is an election",
                humantime::format_duration(self.heartbeat),
                humantime::format_duration(self.election_timeout_min)
            )));
        }
        Ok(())
    }
}

/// Typed look-ups of keys that have a default. The table's test proves that kinds match their names here.
pub(crate) struct Typed<'a>(pub(crate) &'a Layers);

macro_rules! typed {
    ($name:ident, $variant:ident, $type:ty) => {
        pub(crate) fn $name(&self, key: &str) -> $type {
            match self.0.get(key).map(|setting| &setting.value) {
                Some(Value::$variant(value)) => value.clone(),
                other => unreachable!("{key} has a default of another kind: {other:?}"),
            }
        }
    };
}

impl Typed<'_> {
    typed!(text, Text, String);
    typed!(bool, Bool, bool);
    typed!(number, Number, u64);
    typed!(time, Time, Duration);
    typed!(bytes, Bytes, u64);
    typed!(ratio, Ratio, f64);

    fn list(&self, key: &str) -> Vec<String> {
        match self.0.get(key).map(|setting| &setting.value) {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    fn optional(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|setting| setting.value.to_string()).filter(|text| !text.is_empty())
    }
}

fn everywhere(address: &str) -> String {
    let port = address.rsplit_once(':').map_or("", |(_, port)| port);
    format!("0.0.0.0:{port}")
}

/// Old clients take the advertised port minus 2.
fn vip_of(listen: &str) -> Option<String> {
    let (host, port) = listen.rsplit_once(':')?;
    let port = port.parse::<u16>().ok()?.checked_sub(2).filter(|port| *port > 0)?;
    Some(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    fn layers(extra: &[(&str, &str)]) -> Layers {
        let mut layers = Layers::defaults(Role::Server);
        layers.flag("group.members", "1@a:10912/a:10911,2@b:10912/b:10911,3@c:10912/c:10911").unwrap();
        layers.flag("node.id", "2").unwrap();
        for (key, value) in extra {
            layers.flag(key, value).unwrap();
        }
        layers
    }

    #[test]
    fn every_default_reads_as_its_type() {
        let settings = ServerSettings::from_layers(&layers(&[])).unwrap();
        assert_eq!(settings.listen_broker, "0.0.0.0:10911");
        assert_eq!(settings.listen_vip.as_deref(), Some("0.0.0.0:10909"));
        assert_eq!(settings.listen_peer, "0.0.0.0:10912");
        assert_eq!(settings.me().slot.0, 1);
        assert_eq!(settings.durability, Durability::QuorumFsync);
        assert_eq!(settings.retention_bytes, None);
        assert_eq!(crate::NamesrvSettings::from_layers(&Layers::defaults(Role::Namesrv)).listen, "0.0.0.0:9876");
    }

    #[test]
    fn settings_that_do_not_fit_together_are_refused_with_the_reason() {
        for (extra, says) in [
            (("node.id", "9"), "node.id 9 is not one of group.members"),
            (("group.members", "1@a:1/a:2,2@b:1/b:2"), "one, three or five"),
            (("raft.heartbeat", "400ms"), "at most a third"),
            (("raft.election_timeout_max", "500ms"), "must be below"),
            (("namesrv.addresses", "nowhere"), "is not host:port"),
            (("listen.peer", "nowhere"), "is not host:port"),
            (("group.name", "a b"), "illegal character"),
        ] {
            let error = ServerSettings::from_layers(&layers(&[extra])).unwrap_err().to_string();
            assert!(error.contains(says), "{extra:?}: {error}");
        }
        let without_id = Layers::defaults(Role::Server);
        assert!(ServerSettings::from_layers(&without_id).is_err());
    }

    #[test]
    fn the_old_port_can_be_switched_off() {
        assert_eq!(ServerSettings::from_layers(&layers(&[("listen.vip", "off")])).unwrap().listen_vip, None);
    }
}

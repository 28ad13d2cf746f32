//! The table against a list of brokers that is searched from end to end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use timbermq_remoting::body::{DataVersion, TopicConfig, TopicConfigTable};
use timbermq_route::{Admission, BrokerIdentity, Registration, RouteLimits, RouteTable};
use timbermq_types::Mono;

#[derive(Clone, Debug)]
enum Event {
    Register { name: usize, addr: usize, id: i64, term: i64, timeout_s: u64, channel: u64 },
    Heartbeat { name: usize, addr: usize, id: i64, channel: u64 },
    Unregister { name: usize, addr: usize, id: i64 },
    Close { channel: u64 },
    Pass { seconds: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let who = || (0..2_usize, 0..4_usize, 0..3_i64);
    prop_oneof![
        6 => (who(), 0..5_i64, 1..40_u64, 0..4_u64).prop_map(|((name, addr, id), term, timeout_s, channel)| {
            Event::Register { name, addr, id, term, timeout_s, channel }
        }),
        2 => (who(), 0..4_u64).prop_map(|((name, addr, id), channel)| Event::Heartbeat { name, addr, id, channel }),
        1 => who().prop_map(|(name, addr, id)| Event::Unregister { name, addr, id }),
        1 => (0..4_u64).prop_map(|channel| Event::Close { channel }),
        2 => (1..30_u64).prop_map(|seconds| Event::Pass { seconds }),
    ]
}

#[derive(Clone, Debug)]
struct Broker {
    name: usize,
    addr: usize,
    id: i64,
    channel: u64,
    heard_s: u64,
    timeout_s: u64,
}

#[derive(Default)]
struct Model {
    brokers: Vec<Broker>,
    /// Every term accepted for id 0 since the group last had no member.
    terms: BTreeMap<usize, Vec<i64>>,
    now_s: u64,
}

impl Model {
    fn settle(&mut self) {
        let brokers = &self.brokers;
        self.terms.retain(|name, _| brokers.iter().any(|broker| broker.name == *name));
    }

    fn accepts(&self, name: usize, addr: usize, id: i64, term: i64) -> bool {
        let newest = self.terms.get(&name).and_then(|terms| terms.iter().max()).copied().unwrap_or(0);
        let rival = self.brokers.iter().any(|broker| broker.name == name && broker.id == 0 && broker.addr != addr);
        id != 0 || term > newest || (term == newest && (term == 0 || !rival))
    }

    fn register(&mut self, broker: Broker, term: i64) {
        self.brokers.retain(|other| other.name != broker.name || (other.id != broker.id && other.addr != broker.addr));
        if broker.id == 0 {
            self.terms.entry(broker.name).or_default().push(term);
        }
        self.brokers.push(broker);
    }
}

fn identity(name: usize, addr: usize, id: i64) -> BrokerIdentity {
    let (broker_name, broker_addr) = (format!("b{name}"), format!("10.0.0.{addr}:10911"));
    BrokerIdentity { cluster: "C".into(), broker_name, broker_addr, broker_id: id }
}

fn registration(name: usize, addr: usize, id: i64, term: i64, timeout_s: u64, channel: u64) -> Registration {
    // The topic is named after its author, so that a route tells whose topics were taken.
    let topics = [format!("by-{name}"), "shared".to_owned()];
    let config = |topic: String| (topic.clone(), TopicConfig { topic_name: topic, ..TopicConfig::default() });
    Registration {
        broker: identity(name, addr, id),
        ha_addr: String::new(),
        timeout: Some(Duration::from_secs(timeout_s)),
        enable_acting_master: false,
        entrance_of: None,
        channel,
        topics: TopicConfigTable {
            data_version: DataVersion { state_version: term, ..DataVersion::default() },
            topic_config_table: topics.into_iter().map(config).collect(),
        },
        topics_complete: false,
    }
}

proptest! {
    #[test]
    fn agrees_with_a_list(events in prop::collection::vec(event(), 0..60)) {
        let mut table = RouteTable::new(RouteLimits::default());
        let mut model = Model::default();
        let mut newest_leader: BTreeMap<usize, i64> = BTreeMap::new();
        for event in events {
            let now = Mono(model.now_s * 1_000_000_000);
            match event {
                Event::Register { name, addr, id, term, timeout_s, channel } => {
                    let answer = table.register(registration(name, addr, id, term, timeout_s, channel), now).unwrap();
                    let accepts = model.accepts(name, addr, id, term);
                    prop_assert_eq!(answer.admission == Admission::Accepted, accepts);
                    if accepts {
                        let heard_s = model.now_s;
                        model.register(Broker { name, addr, id, channel, heard_s, timeout_s }, term);
                        if id == 0 {
                            // The promise itself, apart from how the model puts it.
                            prop_assert!(newest_leader.get(&name).is_none_or(|newest| term >= *newest));
                            newest_leader.insert(name, term);
                        }
                    }
                }
                Event::Heartbeat { name, addr, id, channel } => {
                    let known = table.heartbeat(&identity(name, addr, id), channel, None, now);
                    let now_s = model.now_s;
                    let broker = model.brokers.iter_mut().find(|b| b.name == name && b.addr == addr && b.id == id);
                    prop_assert_eq!(known, broker.is_some());
                    if let Some(broker) = broker {
                        (broker.heard_s, broker.channel) = (now_s, channel);
                    }
                }
                Event::Unregister { name, addr, id } => {
                    let before = model.brokers.len();
                    model.brokers.retain(|b| b.name != name || b.addr != addr || b.id != id);
                    prop_assert_eq!(table.unregister(&identity(name, addr, id)), model.brokers.len() < before);
                }
                Event::Close { channel } => {
                    let before = model.brokers.len();
                    model.brokers.retain(|b| b.channel != channel);
                    prop_assert_eq!(table.channel_closed(channel).len(), before - model.brokers.len());
                }
                Event::Pass { seconds } => {
                    model.now_s += seconds;
                    let (before, now_s) = (model.brokers.len(), model.now_s);
                    model.brokers.retain(|b| now_s - b.heard_s <= b.timeout_s);
                    let gone = table.expire(Mono(now_s * 1_000_000_000));
                    prop_assert_eq!(gone.len(), before - model.brokers.len());
                }
            }
            model.settle();
            newest_leader.retain(|name, _| model.brokers.iter().any(|b| b.name == *name));

            prop_assert_eq!(table.broker_count(), model.brokers.len());
            for name in 0..2 {
                let mut expected: Vec<_> = model.brokers.iter().filter(|b| b.name == name).collect();
                expected.sort_by_key(|b| b.id);
                let expected: Vec<_> = expected.iter().map(|b| (b.id, identity(b.name, b.addr, b.id).broker_addr)).collect();
                let members = table.member_group(&format!("b{name}")).map(|g| g.broker_addrs).unwrap_or_default();
                prop_assert_eq!(members.into_iter().collect::<Vec<_>>(), expected);
                // A group has topics exactly if it has had a leader since it last was empty.
                let route = table.route(&format!("by-{name}"));
                prop_assert_eq!(route.is_some(), model.terms.contains_key(&name));
            }
        }
    }
}

//! Routes of a thousand topics.

use std::hint::black_box;

use anyhow::Result;
use timbermq_remoting::body::{DataVersion, JsonBody, RegisterBrokerBody, TopicConfig, TopicConfigTable};
use timbermq_route::{BrokerIdentity, Registration, RouteLimits, RouteTable};
use timbermq_types::Mono;

use crate::{Call, Operation};

const TOPICS: u32 = 1000;

pub(crate) const OPERATIONS: [Operation; 5] = [
    Operation { name: "route-lookup", unit: "lookup, 1,000 topics", units: 1, calls: 2000, prepare: lookup },
    Operation { name: "route-encode", unit: "answer to a lookup", units: 1, calls: 2000, prepare: encode_route },
    Operation { name: "register-encode", unit: "topic of 1,000", units: TOPICS, calls: 4, prepare: encode },
    Operation { name: "register-decode", unit: "topic of 1,000", units: TOPICS, calls: 4, prepare: decode },
    Operation { name: "register", unit: "topic of 1,000", units: TOPICS, calls: 4, prepare: register },
];

fn name(number: u32) -> String {
    format!("orders-{number:05}")
}

fn topics(state_version: i64) -> TopicConfigTable {
    let config = |number| TopicConfig { topic_name: name(number), ..TopicConfig::default() };
    let table = (0..TOPICS).map(|number| (name(number), config(number))).collect();
    TopicConfigTable {
        topic_config_table: table,
        data_version: DataVersion { state_version, timestamp: 1, counter: state_version },
    }
}

fn registration(topics: TopicConfigTable) -> Registration {
    let broker = BrokerIdentity {
        cluster: "cluster".into(),
        broker_name: "broker-a".into(),
        broker_addr: "127.0.0.1:10911".into(),
        broker_id: 0,
    };
    Registration {
        broker,
        ha_addr: "127.0.0.1:10912".into(),
        timeout: None,
        enable_acting_master: false,
        entrance_of: None,
        channel: 1,
        topics,
        topics_complete: true,
    }
}

fn table() -> Result<RouteTable> {
    let mut table = RouteTable::new(RouteLimits::default());
    table.register(registration(topics(1)), Mono(1))?;
    Ok(table)
}

fn lookup() -> Result<Call> {
    let table = table()?;
    let names: Vec<String> = (0..TOPICS).map(name).collect();
    let mut next = 0;
    Ok(Box::new(move || {
        next = (next + 379) % names.len();
        assert!(black_box(table.route(&names[next])).is_some());
    }))
}

fn encode_route() -> Result<Call> {
    let route = table()?.route(&name(7)).unwrap_or_default();
    Ok(Box::new(move || drop(black_box(black_box(&route).to_json()))))
}

fn encode() -> Result<Call> {
    let body = RegisterBrokerBody { filter_server_list: Vec::new(), topics: topics(1) };
    Ok(Box::new(move || drop(black_box(black_box(&body).to_json()))))
}

fn decode() -> Result<Call> {
    let body = RegisterBrokerBody { filter_server_list: Vec::new(), topics: topics(1) }.to_json();
    Ok(Box::new(move || {
        black_box(RegisterBrokerBody::from_json(black_box(&body))).expect("a registration");
    }))
}

/// Each registration is newer than the one before, so that every topic of it is looked at.
fn register() -> Result<Call> {
    let mut table = table()?;
    let (body, mut version) = (topics(1), 1);
    Ok(Box::new(move || {
        version += 1;
        let mut topics = body.clone();
        topics.data_version.state_version = version;
        black_box(table.register(registration(topics), Mono(1))).expect("it is taken");
    }))
}

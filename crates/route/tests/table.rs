//! Registration, fencing, expiry and queries, case by case.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use timbermq_remoting::body::{DataVersion, QueueData, TopicConfig, TopicConfigTable};
use timbermq_route::{
    Admission, BrokerIdentity, ORDER_TOPIC_NAMESPACE, RegisterError, Registered, Registration, RouteLimits, RouteTable,
    UnitTopics,
};
use timbermq_types::Mono;

const NOW: Mono = Mono(0);

fn identity(addr: &str, id: i64) -> BrokerIdentity {
    BrokerIdentity { cluster: "C".into(), broker_name: "broker-a".into(), broker_addr: addr.into(), broker_id: id }
}

fn registration(addr: &str, id: i64, term: i64, topics: &[&str]) -> Registration {
    let config = |name: &&str| {
        (
            name.to_string(),
            TopicConfig {
                topic_name: name.to_string(),
                read_queue_nums: 4,
                write_queue_nums: 4,
                ..TopicConfig::default()
            },
        )
    };
    let data_version = DataVersion { counter: topics.len() as i64, state_version: term, timestamp: 1 };
    Registration {
        broker: identity(addr, id),
        ha_addr: format!("{addr}1"),
        timeout: None,
        enable_acting_master: false,
        entrance_of: None,
        channel: 1,
        topics: TopicConfigTable { data_version, topic_config_table: topics.iter().map(config).collect() },
        topics_complete: false,
    }
}

fn table() -> RouteTable {
    RouteTable::new(RouteLimits::default())
}

fn register(table: &mut RouteTable, addr: &str, id: i64, term: i64) -> Registered {
    table.register(registration(addr, id, term, &["T1", "T2"]), NOW).unwrap()
}

fn leader(table: &RouteTable) -> Option<String> {
    table.member_group("broker-a").and_then(|group| group.broker_addrs.get(&0).cloned())
}

fn ids(table: &RouteTable) -> Vec<(i64, String)> {
    table.member_group("broker-a").map(|group| group.broker_addrs.into_iter().collect()).unwrap_or_default()
}

#[test]
fn an_old_leader_never_wins_in_either_order() {
    for late_first in [false, true] {
        let mut table = table();
        register(&mut table, "f:1", 3, 0);
        let order = if late_first { [("old:1", 4), ("new:1", 5)] } else { [("new:1", 5), ("old:1", 4)] };
        for (addr, term) in order {
            register(&mut table, addr, 0, term);
        }
        assert_eq!(leader(&table).as_deref(), Some("new:1"));
        assert_eq!(register(&mut table, "old:1", 0, 4).admission, Admission::Fenced);
        assert_eq!(leader(&table).as_deref(), Some("new:1"));
    }
}

#[test]
fn the_term_of_a_leader_that_is_gone_is_remembered_while_a_member_lives() {
    let mut table = table();
    register(&mut table, "f:1", 3, 0);
    register(&mut table, "new:1", 0, 5);
    assert!(table.unregister(&identity("new:1", 0)));
    assert_eq!(leader(&table), None);
    assert_eq!(register(&mut table, "old:1", 0, 4).admission, Admission::Fenced);
    assert_eq!(leader(&table), None);
    // When the whole group is gone there is nothing to compare with: the group may have been built anew.
    assert!(table.unregister(&identity("f:1", 3)));
    assert_eq!(register(&mut table, "old:1", 0, 4).admission, Admission::Accepted);
}

#[test]
fn one_term_has_one_leader_while_it_lives() {
    let mut table = table();
    register(&mut table, "f:1", 3, 0);
    register(&mut table, "a:1", 0, 5);
    assert_eq!(register(&mut table, "b:1", 0, 5).admission, Admission::Fenced);
    assert_eq!(register(&mut table, "a:1", 0, 5).admission, Admission::Accepted);
    assert!(table.unregister(&identity("a:1", 0)));
    assert_eq!(register(&mut table, "b:1", 0, 5).admission, Admission::Accepted);
    // Brokers without terms: the last one counts.
    let mut table = RouteTable::new(RouteLimits::default());
    register(&mut table, "a:1", 0, 0);
    register(&mut table, "b:1", 0, 0);
    assert_eq!(leader(&table).as_deref(), Some("b:1"));
}

#[test]
fn a_followers_term_does_not_shut_the_leader_out() {
    let mut table = table();
    register(&mut table, "a:1", 0, 5);
    register(&mut table, "f:1", 2, 99);
    assert_eq!(register(&mut table, "a:1", 0, 5).admission, Admission::Accepted);
}

#[test]
fn a_broker_that_changes_its_role_leaves_its_old_id() {
    let mut table = table();
    register(&mut table, "a:1", 0, 5);
    register(&mut table, "b:1", 2, 5);
    register(&mut table, "b:1", 0, 6);
    assert_eq!(ids(&table), [(0, "b:1".into())]);
    let answer = register(&mut table, "a:1", 1, 6);
    assert_eq!(answer.leader_addr.as_deref(), Some("b:1"));
    assert_eq!(answer.leader_ha_addr.as_deref(), Some("b:11"));
    assert_eq!(ids(&table), [(0, "b:1".into()), (1, "a:1".into())]);
    // A late goodbye of the old role does not touch the new one.
    assert!(!table.unregister(&identity("a:1", 0)));
    assert_eq!(leader(&table).as_deref(), Some("b:1"));
}

#[test]
fn silence_expires_after_each_brokers_own_timeout() {
    let mut table = table();
    let mut quick = registration("a:1", 0, 1, &["T1", "T2"]);
    quick.timeout = Some(Duration::from_secs(10));
    table.register(quick, NOW).unwrap();
    table.register(registration("b:1", 1, 1, &["T1", "T2"]), NOW).unwrap();
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    assert_eq!(table.expire(at(10)), []);
    assert!(table.heartbeat(&identity("a:1", 0), 1, None, at(9)));
    assert_eq!(table.expire(at(19)), []);
    let gone = table.expire(at(20));
    assert_eq!((gone.len(), gone[0].addr.as_str()), (1, "a:1"));
    assert!(table.route("T1").unwrap().broker_datas[0].broker_addrs.keys().eq([&1]));
    assert_eq!(table.expire(at(121)).len(), 1);
    assert_eq!(table.route("T1"), None);
    assert_eq!((table.topic_count(), table.broker_count()), (0, 0));
    assert!(!table.heartbeat(&identity("a:1", 0), 1, None, at(122)));
}

#[test]
fn a_closed_connection_takes_only_those_who_were_last_heard_over_it() {
    let mut table = table();
    register(&mut table, "a:1", 0, 1);
    let (changed, _) = table.query_data_version(&identity("a:1", 0), DataVersion::default(), 2, NOW);
    assert!(changed);
    // The broker has reconnected as 2; that the old connection ends means nothing.
    assert_eq!(table.channel_closed(1), []);
    assert_eq!(table.channel_closed(2).len(), 1);
    assert_eq!(table.route("T1"), None);
}

#[test]
fn a_data_version_that_is_known_needs_no_registration() {
    let mut table = table();
    let version = registration("a:1", 0, 3, &["T1", "T2"]).topics.data_version;
    assert_eq!(table.query_data_version(&identity("a:1", 0), version, 1, NOW), (true, None));
    register(&mut table, "a:1", 0, 3);
    assert_eq!(table.query_data_version(&identity("a:1", 0), version, 1, NOW), (false, Some(version)));
    let newer = DataVersion { counter: 9, ..version };
    assert_eq!(table.query_data_version(&identity("a:1", 0), newer, 1, NOW), (true, Some(version)));
    // The same address under another id is another registration.
    assert_eq!(table.query_data_version(&identity("a:1", 1), version, 1, NOW), (true, None));
}

#[test]
fn topics_come_from_the_leader_and_changes_merge() {
    let mut table = table();
    table.register(registration("f:1", 1, 0, &["F1", "F2"]), NOW).unwrap();
    assert_eq!(table.topic_count(), 0);
    assert_eq!(table.register(registration("a:1", 0, 1, &["T1"]), NOW), Err(RegisterError::ChangeOfUnknownBroker));
    register(&mut table, "a:1", 0, 1);
    table.register(registration("a:1", 0, 1, &["T3"]), NOW).unwrap();
    assert_eq!(table.topic_list().topic_list, ["T1", "T2", "T3"]);
    let mut complete = registration("a:1", 0, 1, &["T2", "T3", "T4"]);
    complete.topics_complete = true;
    table.register(complete, NOW).unwrap();
    assert_eq!(table.topic_list().topic_list, ["T2", "T3", "T4"]);
}

#[test]
fn wiped_write_permission_survives_unchanged_registrations() {
    let mut table = table();
    register(&mut table, "a:1", 0, 1);
    assert_eq!(table.wipe_write_perm("broker-a"), 2);
    assert_eq!(table.wipe_write_perm("unknown"), 0);
    register(&mut table, "a:1", 0, 1);
    assert_eq!(table.route("T1").unwrap().queue_datas[0].perm, 4);
    assert_eq!(table.add_write_perm("broker-a"), 2);
    assert_eq!(table.route("T1").unwrap().queue_datas[0].perm, 6);
    table.wipe_write_perm("broker-a");
    table.register(registration("a:1", 0, 1, &["T1", "T2", "T3"]), NOW).unwrap();
    assert_eq!(table.route("T1").unwrap().queue_datas[0].perm, 6);
}

#[test]
fn what_goes_beyond_the_limits_is_refused_and_changes_nothing() {
    let limits = RouteLimits { brokers_max: 2, topics_max: 2, ..RouteLimits::default() };
    let mut table = RouteTable::new(limits);
    let too_many = table.register(registration("a:1", 0, 1, &["T1", "T2", "T3"]), NOW);
    assert_eq!(too_many, Err(RegisterError::Full { what: "topics", max: 2 }));
    assert_eq!((table.topic_count(), table.broker_count()), (0, 0));
    register(&mut table, "a:1", 0, 1);
    register(&mut table, "b:1", 1, 1);
    let third = table.register(registration("c:1", 2, 1, &[]), NOW);
    assert_eq!(third, Err(RegisterError::Full { what: "brokers", max: 2 }));
    // Changing roles needs no new place.
    table.register(registration("b:1", 2, 1, &[]), NOW).unwrap();
}

#[test]
fn malformed_registrations_are_refused() {
    let mut table = table();
    for (break_it, what) in [
        ((|r: &mut Registration| r.broker.cluster.clear()) as fn(&mut Registration), "cluster name"),
        (|r| r.broker.broker_name = "n".repeat(256), "broker name"),
        (|r| r.broker.broker_addr.clear(), "broker address"),
        (|r| r.broker.broker_id = -1, "broker id"),
    ] {
        let mut broken = registration("a:1", 0, 1, &[]);
        break_it(&mut broken);
        assert_eq!(table.register(broken, NOW), Err(RegisterError::Malformed(what)));
    }
    register(&mut table, "a:1", 0, 1);
    let mut elsewhere = registration("b:1", 1, 1, &[]);
    elsewhere.broker.cluster = "D".into();
    assert_eq!(table.register(elsewhere, NOW), Err(RegisterError::OtherCluster { cluster: "C".into() }));
    let skipped = table.register(registration("a:1", 0, 2, &["good", "bad name", ""]), NOW).unwrap();
    assert_eq!(skipped.topics_skipped, 2);
}

#[test]
fn queries_see_what_was_registered() {
    let mut table = table();
    register(&mut table, "b:1", 1, 1);
    register(&mut table, "a:1", 0, 1);
    let mut other = registration("c:1", 0, 1, &["T2", "T9"]);
    other.broker.broker_name = "broker-0".into();
    other.broker.cluster = "D".into();
    other.topics.topic_config_table.get_mut("T9").unwrap().topic_sys_flag = 2;
    table.register(other, NOW).unwrap();
    table.kv_mut().put(ORDER_TOPIC_NAMESPACE, "T2", "broker-a:4").unwrap();

    let route = table.route("T2").unwrap();
    let names: Vec<_> = route.queue_datas.iter().map(|queue| queue.broker_name.as_str()).collect();
    assert_eq!(names, ["broker-0", "broker-a"]);
    assert_eq!(route.order_topic_conf.as_deref(), Some("broker-a:4"));
    assert_eq!(table.route("nowhere"), None);
    assert_eq!(table.topics_of_cluster("D").topic_list, ["T2", "T9"]);
    assert_eq!(table.system_topic_list().topic_list, ["C", "D", "broker-0", "broker-a"]);
    assert_eq!(table.system_topic_list().broker_addr.as_deref(), Some("c:1"));
    assert_eq!(table.unit_topics(UnitTopics::UnitSubNotUnit).topic_list, ["T9"]);
    assert_eq!(table.unit_topics(UnitTopics::Unit).topic_list, Vec::<String>::new());
    let info = table.cluster_info();
    assert_eq!(info.broker_addr_table["broker-a"].broker_addrs[&1], "b:1");
    assert!(info.cluster_addr_table["C"].contains("broker-a"));

    table.delete_topic("T2", Some("C"));
    assert_eq!(table.route("T2").unwrap().queue_datas.len(), 1);
    table.delete_topic("T2", None);
    assert_eq!(table.route("T2"), None);

    let queue = |broker: &str| QueueData {
        broker_name: broker.into(),
        perm: 6,
        read_queue_nums: 1,
        write_queue_nums: 1,
        topic_sys_flag: 0,
    };
    table.register_topic("made", vec![queue("broker-a"), queue("unknown")]).unwrap();
    assert_eq!(table.route("made").unwrap().queue_datas, [queue("broker-a")]);
}

#[test]
fn an_entrance_is_in_routes_and_nowhere_else_and_loses_what_its_group_loses() {
    let mut table = table();
    register(&mut table, "a:1", 0, 1);
    register(&mut table, "b:1", 1, 1);
    let mut entrance = registration("b:1", 0, 1, &["T1"]);
    entrance.broker.broker_name = "broker-a-node-2".into();
    entrance.entrance_of = Some("broker-a".into());
    entrance.topics_complete = true;
    let config = entrance.topics.topic_config_table.get_mut("T1").unwrap();
    (config.perm, config.read_queue_nums) = (2, 0);
    table.register(entrance, NOW).unwrap();
    let perms = |table: &RouteTable| {
        let queues = table.route("T1").unwrap().queue_datas;
        queues.into_iter().map(|queue| (queue.broker_name, queue.perm)).collect::<Vec<_>>()
    };
    let both = |group, entrance| vec![("broker-a".to_owned(), group), ("broker-a-node-2".to_owned(), entrance)];
    assert_eq!(perms(&table), both(6, 2));
    assert_eq!(ids(&table), [(0, "a:1".to_owned()), (1, "b:1".to_owned())], "the follower is still one");
    let info = table.cluster_info();
    assert_eq!(info.broker_addr_table.keys().collect::<Vec<_>>(), ["broker-a"]);
    assert_eq!(info.cluster_addr_table["C"].len(), 1);
    assert_eq!(table.system_topic_list().topic_list, ["C", "broker-a"]);
    assert_eq!(table.wipe_write_perm("broker-a"), 2, "topics are counted once");
    assert_eq!(perms(&table), both(4, 0));
    table.add_write_perm("broker-a");
    assert_eq!(perms(&table), both(6, 2));
}

#[test]
fn config_is_bounded_and_counted() {
    let mut table = RouteTable::new(RouteLimits { kv_entries_max: 1, ..RouteLimits::default() });
    let kv = table.kv_mut();
    kv.put("n", "k", "1").unwrap();
    kv.put("n", "k", "2").unwrap();
    assert!(kv.put("n", "other", "1").is_err());
    assert_eq!(kv.get("n", "k"), Some("2"));
    assert!(kv.delete("n", "k"));
    assert!(!kv.delete("n", "k"));
    assert_eq!(kv.namespace("n"), None);
    kv.put("n", "other", "1").unwrap();
    assert_eq!(kv.namespace("n").unwrap().table.len(), 1);
}

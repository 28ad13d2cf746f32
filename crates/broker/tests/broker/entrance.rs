//! Followers' entrances: a second broker name for clients that cannot find the leader otherwise.

use std::time::{Duration, Instant};

use timbermq_broker::BrokerSettings;
use timbermq_namesrv::{NameServer, NamesrvConfig};
use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{ClusterInfo, JsonBody, ResetOffsetBody, TopicRouteData};
use timbermq_remoting::header::entrance_name;

use crate::harness::{Client, GROUP, Group, Node, eventually, number, request};
use crate::requests::*;

async fn name_server() -> NameServer {
    let config = NamesrvConfig { listen: vec!["127.0.0.1:0".into()], ..NamesrvConfig::default() };
    NameServer::start(&timbermq_host::env(), config).await.unwrap()
}

async fn group_with(namesrv: &NameServer, adjust: impl Fn(&mut BrokerSettings)) -> Group {
    let address = namesrv.addr().to_string();
    Group::start(3, |settings| {
        settings.namesrv = vec![address.clone()];
        settings.register_interval = Duration::from_millis(200);
        adjust(settings);
    })
    .await
}

fn entrance_of(node: &Node) -> String {
    entrance_name(GROUP, node.replica.status().node.0)
}

async fn route(client: &Client, topic: &str) -> TopicRouteData {
    let answer = client.ask(request(105, &[("topic", topic)])).await;
    if answer.code == 0 { TopicRouteData::from_json(&answer.body).unwrap() } else { TopicRouteData::default() }
}

/// Name, permission, read queues and write queues of each name that has `topic`, but for those without queues.
async fn blocks(client: &Client, topic: &str) -> Vec<(String, i32, i32, i32)> {
    let queues = route(client, topic).await.queue_datas;
    let block = |q: timbermq_remoting::body::QueueData| (q.broker_name, q.perm, q.read_queue_nums, q.write_queue_nums);
    queues.into_iter().map(block).collect()
}

/// The address of id 0 of a broker name in the route of `topic`.
async fn address(client: &Client, topic: &str, name: &str) -> Option<String> {
    let brokers = route(client, topic).await.broker_datas;
    brokers.into_iter().find(|broker| broker.broker_name == name)?.broker_addrs.get(&0).cloned()
}

fn wanted(followers: &[&Node], perm: i32) -> Vec<(String, i32, i32, i32)> {
    let mut all = vec![(GROUP.to_owned(), perm, 3, 3)];
    all.extend(followers.iter().map(|node| (entrance_of(node), 2, 0, 3)));
    all.sort();
    all
}

/// A NameServer, a group of three, and who asks the NameServer.
async fn started(adjust: impl Fn(&mut BrokerSettings)) -> (NameServer, Group, Client) {
    let namesrv = name_server().await;
    let group = group_with(&namesrv, adjust).await;
    let names = Client::new(&group.env, &namesrv.addr().to_string());
    (namesrv, group, names)
}

/// Waits until topic `t` has the entrances of these followers.
async fn entrances(names: &Client, followers: &[&Node]) {
    eventually("entrances", async || (blocks(names, "t").await == wanted(followers, 6)).then_some(())).await;
}

#[tokio::test]
async fn followers_can_be_written_under_names_of_their_own() {
    let (_namesrv, group, names) = started(|_| {}).await;
    let followers = group.followers().await;
    let client = group.client().await;
    client.get(create_topic("t", "3", "6")).await;
    client.get(create_topic("u", "3", "6")).await;
    entrances(&names, &followers).await;
    for follower in &followers {
        assert_eq!(address(&names, "t", &entrance_of(follower)).await.as_ref(), Some(&follower.addr));
        let answer = group.client_of(follower).get(send("t", 2, "by the entrance")).await;
        assert_eq!(number(&answer, "queueId"), 2);
    }
    // What administrators see.
    let cluster = names.get(request(106, &[])).await;
    let cluster = ClusterInfo::from_json(&cluster.body).unwrap();
    assert_eq!(cluster.broker_addr_table.keys().collect::<Vec<_>>(), [GROUP]);
    assert!(cluster.cluster_addr_table.values().flatten().all(|name| name == GROUP));
    // Topics that are not users' to write.
    client.get(heartbeat("c", &[], &[("g", "t", "*")])).await;
    eventually("a retry topic", async || (!route(&names, "%RETRY%g").await.queue_datas.is_empty()).then_some(())).await;
    for topic in ["%RETRY%g", "TBW102", GROUP, "test", "BenchmarkTest"] {
        let named = blocks(&names, topic).await;
        assert!(named.iter().all(|(name, ..)| name == GROUP), "{topic}: {named:?}");
    }
    // Permissions and deletions are the leader's.
    client.get(create_topic("t", "3", "4")).await;
    let only_leader = vec![(GROUP.to_owned(), 4, 3, 3)];
    eventually("no entrance to what is read only", async || (blocks(&names, "t").await == only_leader).then_some(()))
        .await;
    client.get(create_topic("t", "3", "2")).await;
    eventually("entrances again", async || (blocks(&names, "t").await == wanted(&followers, 2)).then_some(())).await;
    client.get(request(215, &[("topic", "t")])).await;
    eventually("gone", async || blocks(&names, "t").await.is_empty().then_some(())).await;
    // Write permission that is taken from the group is taken from its entrances.
    names.get(request(205, &[("brokerName", GROUP)])).await;
    assert!(blocks(&names, "u").await.iter().all(|(_, perm, ..)| perm & 2 == 0));
    names.get(request(327, &[("brokerName", GROUP)])).await;
    assert_eq!(blocks(&names, "u").await, wanted(&followers, 6));
}

#[tokio::test]
async fn a_takeover_closes_the_new_leaders_entrance_and_the_other_leads_to_it() {
    let (_namesrv, group, names) = started(|_| {}).await;
    group.client().await.get(create_topic("t", "3", "6")).await;
    let followers = group.followers().await;
    entrances(&names, &followers).await;
    let old = group.leader().await;
    old.broker.shutdown().await;
    // The group has a leader as before, and nobody can reach it: what a follower sees just after a death. It does not give
    // up before there can be another.
    let since = Instant::now();
    assert_eq!(group.client_of(followers[0]).code(send("t", 0, "nobody answers")).await, 14);
    assert!(since.elapsed() >= Duration::from_secs(1));
    let during = group.client_of(followers[1]).begin(send("t", 0, "during the takeover")).await;
    old.replica.shutdown().await;
    // A machine that is busy may take longer than the follower waits, but what it says is that nothing was done.
    assert!(matches!(during.await.code, 0 | 14));
    let next = eventually("another", async || followers.iter().copied().find(|node| node.leads())).await;
    let other = followers.iter().copied().find(|node| node.addr != next.addr).unwrap();
    eventually("the new leader has no entrance", async || {
        (blocks(&names, "t").await == wanted(&[other], 6)).then_some(())
    })
    .await;
    // It takes its entrance away before it is known to be the leader everywhere.
    eventually("the new leader is named", async || {
        (address(&names, "t", GROUP).await.as_ref() == Some(&next.addr)).then_some(())
    })
    .await;
    assert_eq!(group.client_of(other).code(send("t", 0, "after it")).await, 0);
    other.broker.shutdown().await;
    assert_eq!(blocks(&names, "t").await, wanted(&[], 6), "who stops in order says so");
}

#[tokio::test]
async fn entrances_can_be_switched_off() {
    let (_namesrv, group, names) = started(|settings| settings.follower_writes = false).await;
    group.client().await.get(create_topic("t", "3", "6")).await;
    eventually("the topic", async || (!blocks(&names, "t").await.is_empty()).then_some(())).await;
    group.agree().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(blocks(&names, "t").await, wanted(&[], 6));
}

#[tokio::test]
async fn a_follower_that_is_alone_is_no_entrance() {
    let (_namesrv, group, names) = started(|_| {}).await;
    group.client().await.get(create_topic("t", "3", "6")).await;
    let followers = group.followers().await;
    entrances(&names, &followers).await;
    let alone = followers[0];
    for node in group.nodes.iter().filter(|node| node.addr != alone.addr) {
        node.broker.shutdown().await;
        node.replica.shutdown().await;
    }
    let since = Instant::now();
    eventually("its entrance is closed", async || {
        address(&names, "t", &entrance_of(alone)).await.is_none().then_some(())
    })
    .await;
    assert!(since.elapsed() > Duration::from_secs(1), "an election alone closes nothing");
}

fn by_key() -> RemotingCommand {
    let fields = [
        ("topic", "t"),
        ("key", "blue"),
        ("maxNum", "10"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9223372036854775807"),
    ];
    request(12, &fields)
}

fn reset() -> RemotingCommand {
    request(222, &[("topic", "t"), ("group", "g"), ("timestamp", "0"), ("isForce", "true"), ("queueId", "-1")])
}

fn named(mut request: RemotingCommand, name: &str) -> RemotingCommand {
    request.ext.set("bname", name);
    request
}

#[tokio::test]
async fn who_asks_every_name_hears_the_leader_once() {
    let (_namesrv, group, names) = started(|_| {}).await;
    let client = group.client().await;
    client.get(create_topic("t", "3", "6")).await;
    client.get(send_of("t", 0, "1", &[("KEYS", "blue")])).await;
    client.get(heartbeat("c", &[], &[("g", "t", "*")])).await;
    let followers = group.followers().await;
    entrances(&names, &followers).await;
    let (queries, resets) = eventually("one answer", async || {
        let (mut queries, mut resets) = (Vec::new(), Vec::new());
        for broker in route(&names, "t").await.broker_datas {
            let asked = Client::new(&group.env, &broker.broker_addrs[&0]);
            queries.push(asked.code(by_key()).await);
            let offsets = ResetOffsetBody::from_json(&asked.get(reset()).await.body).unwrap().offset_table.len();
            resets.push(offsets);
        }
        (queries.iter().filter(|code| **code == 0).count() == 1).then_some((queries, resets))
    })
    .await;
    assert_eq!(queries.iter().filter(|code| **code == 22).count(), 2);
    assert_eq!(resets.iter().sum::<usize>(), 3, "each queue once: {resets:?}");
    // Who says which name is meant gets what that name has.
    for follower in &followers {
        let asked = group.client_of(follower);
        assert_eq!(asked.code(named(by_key(), GROUP)).await, 0, "an old route to the leader");
        assert_eq!(asked.code(named(by_key(), &entrance_of(follower))).await, 22);
    }
}

#[tokio::test]
async fn a_leader_that_a_route_may_not_name_yet_is_asked_for_it() {
    let namesrv = name_server().await;
    let group = group_with(&namesrv, |settings| settings.route_age = Duration::from_secs(3600)).await;
    let client = group.client().await;
    client.get(create_topic("t", "3", "6")).await;
    client.get(send_of("t", 0, "1", &[("KEYS", "blue")])).await;
    let asked = group.client_of(group.followers().await[0]);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(asked.code(by_key()).await, 0);
}

#[tokio::test]
async fn members_are_who_the_leader_knows() {
    let group = Group::three().await;
    let client = group.client().await;
    client.get(create_topic("t", "3", "6")).await;
    client.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    // The second one's heartbeats do not reach this follower.
    let follower = group.client_of(group.followers().await[0]);
    let second = group.client().await;
    second.get(heartbeat("c2", &[], &[("g", "t", "*")])).await;
    follower.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    let answer = follower.get(request(38, &[("consumerGroup", "g")])).await;
    let list = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(list.contains("c1") && list.contains("c2"), "{list}");
}

#[tokio::test]
async fn the_entrance_of_a_follower_that_does_not_answer_is_closed_for_it() {
    let (_namesrv, group, names) = started(|settings| settings.register_interval = Duration::from_secs(60)).await;
    group.client().await.get(create_topic("t", "3", "6")).await;
    let followers = group.followers().await;
    entrances(&names, &followers).await;
    followers[0].broker.shutdown().await;
    // What a NameServer goes on saying of a machine that has lost its power.
    let mut stale = request(103, &[("brokerName", &entrance_of(followers[0])), ("brokerAddr", &followers[0].addr)]);
    for (field, value) in [
        ("clusterName", "test"),
        ("haServerAddr", ""),
        ("brokerId", "0"),
        ("entranceOf", GROUP),
        ("topicTableComplete", "true"),
    ] {
        stale.ext.set(field, value);
    }
    let queues = r#"{"topicName":"t","perm":2,"readQueueNums":0,"writeQueueNums":3,"topicFilterType":"SINGLE_TAG","topicSysFlag":0,"order":false}"#;
    let version = r#"{"counter":9,"stateVersion":9,"timestamp":9}"#;
    let body = format!(
        r#"{{"filterServerList":[],"topicConfigSerializeWrapper":{{"dataVersion":{version},"topicConfigTable":{{"t":{queues}}}}}}}"#
    );
    names.get(stale.with_body(body)).await;
    assert_eq!(blocks(&names, "t").await, wanted(&followers, 6));
    eventually("closed", async || (blocks(&names, "t").await == wanted(&followers[1..], 6)).then_some(())).await;
}

#[tokio::test]
async fn where_the_leader_is_not_known_there_is_no_entrance() {
    let (namesrv, group, names) = started(|_| {}).await;
    let address = namesrv.addr().to_string();
    let followers = group.followers().await;
    group.client().await.get(create_topic("t", "3", "6")).await;
    entrances(&names, &followers).await;
    // The NameServer starts anew, and hears of everybody but the leader.
    group.leader().await.broker.shutdown().await;
    namesrv.shutdown(Duration::ZERO).await;
    drop(namesrv);
    let config = NamesrvConfig { listen: vec![address.clone()], ..NamesrvConfig::default() };
    let _namesrv = NameServer::start(&group.env, config).await.unwrap();
    let names = Client::new(&group.env, &address);
    eventually("followers", async || {
        let cluster = names.get(request(106, &[])).await;
        let cluster = ClusterInfo::from_json(&cluster.body).unwrap();
        let known = cluster.broker_addr_table.get(GROUP).map_or(0, |group| group.broker_addrs.len());
        (known == followers.len()).then_some(())
    })
    .await;
    // Each registers again and again; their third time at the latest they would have registered an entrance.
    for _ in 0..10 {
        assert_eq!(blocks(&names, "t").await, [], "a route of entrances only");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

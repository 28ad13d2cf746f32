//! What NameServers are told.

use std::time::Duration;

use timbermq_namesrv::{NameServer, NamesrvConfig};
use timbermq_remoting::body::{JsonBody, TopicRouteData};

use crate::harness::{Client, GROUP, Group, eventually, request};
use crate::requests::*;

async fn name_server() -> NameServer {
    let config = NamesrvConfig { listen: vec!["127.0.0.1:0".into()], ..NamesrvConfig::default() };
    NameServer::start(&timbermq_host::env(), config).await.unwrap()
}

/// Ids and addresses under which the route of `topic` names the group.
async fn route(client: &Client, topic: &str) -> Vec<(i64, String)> {
    let answer = client.ask(request(105, &[("topic", topic)])).await;
    if answer.code != 0 {
        return Vec::new();
    }
    let route = TopicRouteData::from_json(&answer.body).unwrap();
    let brokers = route.broker_datas.iter().filter(|broker| broker.broker_name == GROUP);
    brokers.flat_map(|broker| broker.broker_addrs.clone()).collect()
}

async fn group_with(replicas: u32, namesrv: &NameServer) -> Group {
    let address = namesrv.addr().to_string();
    Group::start(replicas, |settings| {
        settings.namesrv = vec![address.clone()];
        settings.register_interval = Duration::from_millis(200);
    })
    .await
}

fn wanted(group: &Group, leader: &str) -> Vec<(i64, String)> {
    let mut ids: Vec<_> = group
        .nodes
        .iter()
        .map(|node| (if node.addr == leader { 0 } else { i64::try_from(node.replica.status().node.0).unwrap() }, node.addr.clone()))
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn the_leader_is_0_followers_are_their_slot_and_one_and_topics_are_known_at_once() {
    let namesrv = name_server().await;
    let group = group_with(3, &namesrv).await;
    let client = Client::new(&group.env, &namesrv.addr().to_string());
    let leader = group.leader().await;
    eventually("all are registered", async || {
        (route(&client, "TBW102").await == wanted(&group, &leader.addr)).then_some(())
    })
    .await;
    group.client().await.get(create_topic("t", "3", "6")).await;
    eventually("the route of a new topic", async || (!route(&client, "t").await.is_empty()).then_some(())).await;
    group.client().await.get(request(215, &[("topic", "t")])).await;
    eventually("the route is gone", async || route(&client, "t").await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_takeover_moves_id_0_and_a_leader_without_a_majority_does_not_claim_it() {
    let namesrv = name_server().await;
    let group = group_with(3, &namesrv).await;
    let client = Client::new(&group.env, &namesrv.addr().to_string());
    let old = group.leader().await;
    eventually("the first leader", async || (route(&client, "TBW102").await == wanted(&group, &old.addr)).then_some(()))
        .await;
    old.broker.shutdown().await;
    old.replica.shutdown().await;
    let next = eventually("another leader", async || {
        group.nodes.iter().find(|node| node.leads() && node.addr != old.addr)
    })
    .await;
    eventually("id 0 has moved", async || {
        route(&client, "TBW102").await.contains(&(0, next.addr.clone())).then_some(())
    })
    .await;
    assert!(!route(&client, "TBW102").await.iter().any(|(_, addr)| *addr == old.addr), "who stopped is in no route");

    let last = group.nodes.iter().find(|node| node.addr != old.addr && node.addr != next.addr).unwrap();
    last.replica.shutdown().await;
    eventually("the majority is gone", async || (!next.leads()).then_some(())).await;
    // Whatever was on its way has arrived after one more interval; then a fresh NameServer must not hear of a 0.
    let fresh = name_server().await;
    drop(fresh);
}

#[tokio::test]
async fn a_broker_that_stopped_does_not_come_back_into_the_routes() {
    let namesrv = name_server().await;
    let group = group_with(1, &namesrv).await;
    let client = Client::new(&group.env, &namesrv.addr().to_string());
    eventually("it is registered", async || (!route(&client, "TBW102").await.is_empty()).then_some(())).await;
    group.nodes[0].broker.shutdown().await;
    assert!(route(&client, "TBW102").await.is_empty());
    // A change of role is what makes brokers register at once.
    group.nodes[0].replica.shutdown().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(route(&client, "TBW102").await.is_empty());
}

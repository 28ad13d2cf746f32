//! What NameServers are told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use timbermq_namesrv::{NameServer, NamesrvConfig};
use timbermq_remoting::body::{DataVersion, JsonBody, RegisterBrokerBody, TopicRouteData, body_crc32};
use timbermq_remoting::header::{QueryDataVersionResponseHeader, REGISTRATION_COMPLETE, RegisterBrokerHeader};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_transport::{Handler, Peer, Responder, Server, ServerOptions};
use tokio::sync::mpsc;

use crate::harness::{CLUSTER, Client, GROUP, Group, eventually, request};
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
        .map(|node| {
            (
                if node.addr == leader { 0 } else { i64::try_from(node.replica.status().node.0).unwrap() },
                node.addr.clone(),
            )
        })
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
async fn a_takeover_moves_id_0() {
    let namesrv = name_server().await;
    let group = group_with(3, &namesrv).await;
    let client = Client::new(&group.env, &namesrv.addr().to_string());
    let old = group.leader().await;
    eventually("the first leader", async || {
        (route(&client, "TBW102").await == wanted(&group, &old.addr)).then_some(())
    })
    .await;
    old.broker.shutdown().await;
    old.replica.shutdown().await;
    let next =
        eventually("another leader", async || group.nodes.iter().find(|node| node.leads() && node.addr != old.addr))
            .await;
    eventually("id 0 has moved", async || {
        route(&client, "TBW102").await.contains(&(0, next.addr.clone())).then_some(())
    })
    .await;
    assert!(!route(&client, "TBW102").await.iter().any(|(_, addr)| *addr == old.addr), "who stopped is in no route");
}

/// Registrations as they arrive: id, address, term, and whether the body is what the header says.
struct Recorder(mpsc::UnboundedSender<(i64, String, i64)>);

impl Handler for Recorder {
    fn handle(&self, _peer: &Arc<Peer>, request: RemotingCommand, responder: Responder) {
        if request.request_code() == RequestCode::REGISTER_BROKER {
            let header: RegisterBrokerHeader = request.header().unwrap();
            assert_eq!((header.broker_name.as_str(), header.cluster_name.as_str()), (GROUP, CLUSTER));
            assert_eq!(header.body_crc32, body_crc32(&request.body));
            assert_eq!(request.ext.get(REGISTRATION_COMPLETE), Some("true"));
            let body = RegisterBrokerBody::from_json(&request.body).unwrap();
            let _ = self.0.send((header.broker_id, header.broker_addr, body.topics.data_version.state_version));
        }
        let answer = responder.response(ResponseCode::SUCCESS);
        responder.send(answer);
    }
}

#[tokio::test]
async fn registrations_carry_the_term_and_a_leader_without_a_majority_sends_none() {
    let env = timbermq_host::env();
    let (tx, mut registered) = mpsc::unbounded_channel();
    let listener = env.net.listen("127.0.0.1:0").await.unwrap();
    let server = Server::serve(&env, vec![listener], Arc::new(Recorder(tx)), ServerOptions::default());
    let address = server.addrs()[0].to_string();
    let interval = Duration::from_millis(100);
    let group = Group::start(3, |settings| {
        settings.namesrv = vec![address.clone()];
        settings.register_interval = interval;
    })
    .await;
    let leader = group.leader().await;
    let term = i64::try_from(leader.replica.role().borrow().term.0).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let all = wanted(&group, &leader.addr).into_iter().map(|(id, addr)| (id, addr, term)).collect();
    while !seen.is_superset(&all) {
        let next = tokio::time::timeout(crate::harness::PATIENCE, registered.recv()).await;
        seen.insert(next.expect("not all have registered").unwrap());
    }
    for follower in group.followers().await {
        follower.broker.shutdown().await;
        follower.replica.shutdown().await;
    }
    eventually("the majority is gone", async || (!leader.leads()).then_some(())).await;
    // What was on its way arrives; then there is nothing to wait for but silence.
    tokio::time::sleep(2 * interval).await;
    while registered.try_recv().is_ok() {}
    tokio::time::sleep(5 * interval).await;
    let claims = std::iter::from_fn(|| registered.try_recv().ok()).filter(|(id, ..)| *id == 0).count();
    assert_eq!(claims, 0);
}

/// A NameServer that knows one broker: what it has been told, and how often it was asked.
#[derive(Default)]
struct Known {
    /// The last registration of a leader.
    leader: Option<RegisterBrokerBody>,
    /// Registrations of leaders, and of others.
    registrations: (usize, usize),
    questions: usize,
    /// Registrations without an answer, when none are to be answered.
    unanswered: Option<Vec<Responder>>,
}

#[derive(Default)]
struct Knowing(Mutex<Known>);

impl Handler for Knowing {
    fn handle(&self, _peer: &Arc<Peer>, request: RemotingCommand, responder: Responder) {
        let mut known = self.0.lock().unwrap();
        let mut answer = responder.response(ResponseCode::SUCCESS);
        if request.request_code() == RequestCode::REGISTER_BROKER {
            let header: RegisterBrokerHeader = request.header().unwrap();
            if header.broker_id == 0 {
                known.leader = Some(RegisterBrokerBody::from_json(&request.body).unwrap());
                known.registrations.0 += 1;
            } else {
                known.registrations.1 += 1;
            }
            if let Some(unanswered) = &mut known.unanswered {
                unanswered.push(responder);
                return;
            }
        } else if request.request_code() == RequestCode::QUERY_DATA_VERSION {
            known.questions += 1;
            let asked = DataVersion::from_json(&request.body).unwrap();
            let changed = known.leader.as_ref().is_none_or(|body| body.topics.data_version != asked);
            answer = answer.with_header(&QueryDataVersionResponseHeader { changed });
        }
        responder.send(answer);
    }
}

impl Knowing {
    fn look<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn has(&self, topic: &str) -> bool {
        let is_listed = |body: &RegisterBrokerBody| body.topics.topic_config_table.contains_key(topic);
        self.look(|known| known.leader.as_ref().is_some_and(is_listed))
    }
}

/// A group of one that registers often with such a NameServer, and which has told it of topic `t`.
async fn known_group() -> (Arc<Knowing>, Server, Group) {
    let env = timbermq_host::env();
    let knowing = Arc::new(Knowing::default());
    let listener = env.net.listen("127.0.0.1:0").await.unwrap();
    let server = Server::serve(&env, vec![listener], Arc::clone(&knowing) as _, ServerOptions::default());
    let address = server.addrs()[0].to_string();
    let group = Group::start(1, |settings| {
        settings.namesrv = vec![address.clone()];
        settings.register_interval = Duration::from_millis(50);
    })
    .await;
    group.leader().await;
    group.client().await.get(create_topic("t", "3", "6")).await;
    eventually("the topic is known", async || knowing.has("t").then_some(())).await;
    (knowing, server, group)
}

#[tokio::test]
async fn a_table_that_a_name_server_has_is_not_sent_again() {
    let (knowing, _server, group) = known_group().await;
    let before = knowing.look(|known| known.registrations);
    let asked = knowing.look(|known| known.questions);
    eventually("it is asked again and again", async || {
        knowing.look(|known| known.questions >= asked + 5).then_some(())
    })
    .await;
    assert_eq!(knowing.look(|known| known.registrations), before, "the same was sent again");
    group.client().await.get(create_topic("u", "3", "6")).await;
    eventually("a change is told", async || knowing.has("u").then_some(())).await;
    // As after a restart.
    knowing.look(|known| known.leader = None);
    eventually("it is told everything again", async || (knowing.has("t") && knowing.has("u")).then_some(())).await;
}

#[tokio::test]
async fn changes_gather_while_a_name_server_does_not_answer() {
    let (knowing, _server, group) = known_group().await;
    knowing.look(|known| known.unanswered = Some(Vec::new()));
    let client = group.client().await;
    for number in 0..20 {
        client.get(create_topic(&format!("more-{number}"), "3", "6")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waiting = knowing.look(|known| known.unanswered.take().unwrap_or_default());
    assert_eq!(waiting.len(), 1, "registrations pile up");
    for responder in waiting {
        let answer = responder.response(ResponseCode::SUCCESS);
        responder.send(answer);
    }
    eventually("the last change is told", async || knowing.has("more-19").then_some(())).await;
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

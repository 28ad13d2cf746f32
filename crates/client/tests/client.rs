//! The client against a NameServer and brokers that do what each test tells them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use timbermq_client::{
    BatchMessage, Client, ClientConfig, MessageQueue, PullStatus, QueueChoice, SendRequest, TailFrom,
};
use timbermq_env::Env;
use timbermq_record::{MessageId, Properties, RecordBuilder, batch_items, patch_offsets};
use timbermq_remoting::body::{BrokerData, JsonBody, QueueData, TopicRouteData};
use timbermq_remoting::header::{
    OffsetResponseHeader, PullMessageHeader, PullMessageResponseHeader, SendMessageHeader, SendMessageResponseHeader,
};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_transport::{Handler, Peer, Responder, Server, ServerOptions};
use timbermq_types::UnixMillis;

const LONG: Duration = Duration::from_secs(20);

type Act = Box<dyn FnMut(&Arc<Peer>, &RemotingCommand, Responder) + Send>;

struct Node {
    act: Mutex<Act>,
    seen: Mutex<Vec<RemotingCommand>>,
}

impl Handler for Node {
    fn handle(&self, peer: &Arc<Peer>, request: RemotingCommand, responder: Responder) {
        self.seen.lock().unwrap().push(request.clone());
        (self.act.lock().unwrap())(peer, &request, responder);
    }
}

impl Node {
    fn count(&self, code: RequestCode) -> usize {
        self.seen.lock().unwrap().iter().filter(|request| request.request_code() == code).count()
    }

    fn sends(&self) -> Vec<SendMessageHeader> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|request| SendMessageHeader::decode_for(request.request_code(), &request.ext).unwrap())
            .collect()
    }
}

async fn node(
    env: &Env,
    act: impl FnMut(&Arc<Peer>, &RemotingCommand, Responder) + Send + 'static,
) -> (Arc<Node>, Server) {
    let node = Arc::new(Node { act: Mutex::new(Box::new(act)), seen: Mutex::default() });
    let server =
        Server::bind(env, &["127.0.0.1:0".into()], Arc::clone(&node) as _, ServerOptions::default()).await.unwrap();
    (node, server)
}

/// A NameServer that gives topic T two queues at these addresses, and a client of it.
async fn cluster(env: &Env, addrs: &[&Server]) -> (Client, Arc<Node>) {
    cluster_named(env, addrs, "b", 6).await
}

/// The same with another broker name and permission.
async fn cluster_named(env: &Env, addrs: &[&Server], name: &'static str, perm: i32) -> (Client, Arc<Node>) {
    let addrs: Vec<_> = addrs.iter().map(|server| server.addrs()[0].to_string()).collect();
    let (name_server, server) = node(env, move |_, request, responder| {
        if request.ext.get("topic").is_some_and(|topic| topic != "T") {
            return responder.refuse(ResponseCode::TOPIC_NOT_EXIST, "No topic route info");
        }
        let route = TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_name: name.into(),
                cluster: "C".into(),
                broker_addrs: (0..).zip(addrs.clone()).collect(),
                ..BrokerData::default()
            }],
            queue_datas: vec![QueueData {
                broker_name: name.into(),
                perm,
                read_queue_nums: if perm & 4 == 0 { 0 } else { 2 },
                write_queue_nums: 2,
                topic_sys_flag: 0,
            }],
            ..TopicRouteData::default()
        };
        let response = responder.response(ResponseCode::SUCCESS).with_body(route.to_json());
        responder.send(response);
    })
    .await;
    let config =
        ClientConfig { name_servers: vec![server.addrs()[0].to_string()], timeout: LONG, ..ClientConfig::default() };
    (Client::new(env, config), name_server)
}

fn acknowledge(request: &RemotingCommand, responder: Responder) {
    let sent = SendMessageHeader::decode_for(request.request_code(), &request.ext).unwrap();
    let header = SendMessageResponseHeader {
        msg_id: MessageId::new("10.0.0.1:10911".parse().unwrap(), 4711).to_string(),
        queue_id: sent.queue_id,
        queue_offset: 42,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
    };
    let response = responder.response(ResponseCode::SUCCESS).with_header(&header);
    responder.send(response);
}

fn store(_: &Arc<Peer>, request: &RemotingCommand, responder: Responder) {
    acknowledge(request, responder);
}

fn answers(code: ResponseCode) -> impl FnMut(&Arc<Peer>, &RemotingCommand, Responder) + Send {
    move |_, _, responder| responder.refuse(code, "as told")
}

fn message() -> SendRequest {
    SendRequest { timeout: LONG, ..SendRequest::new("T", "body") }
}

fn unique_key(header: &SendMessageHeader) -> String {
    Properties::new(&header.properties).unique_key().unwrap().to_owned()
}

#[tokio::test]
async fn a_send_carries_everything_and_the_ack_says_where_it_went() {
    let env = timbermq_host::env();
    let (broker, server) = node(&env, store).await;
    let (client, _) = cluster(&env, &[&server]).await;
    let mut request = message();
    request.queue = QueueChoice::Queue { broker_name: None, queue_id: 1 };
    (request.tags, request.keys) = (Some("red".into()), vec!["k1".into(), "k2".into()]);
    request.properties = vec![("colour".into(), "blue".into())];
    let ack = client.send(request).await.unwrap();
    assert_eq!((ack.queue, ack.offset), (MessageQueue::new("T", "b", 1), 42));
    assert_eq!(ack.position.unwrap().0, 4711);
    assert_eq!(ack.addr, server.addrs()[0].to_string());
    let sent = broker.sends().remove(0);
    let properties = Properties::new(&sent.properties);
    assert_eq!((properties.tag(), properties.get("colour")), (Some("red"), Some("blue")));
    assert!(properties.keys().eq(["k1", "k2"]));
    assert_eq!(properties.unique_key(), Some(ack.unique_key.as_str()));

    for _ in 0..4 {
        client.send(message()).await.unwrap();
    }
    let queues: Vec<_> = broker.sends()[1..].iter().map(|sent| sent.queue_id).collect();
    assert_eq!(queues, [0, 1, 0, 1]);
    let mut keys: Vec<_> = broker.sends().iter().map(unique_key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);
    let keyed = SendRequest { queue: QueueChoice::Key("customer-7".into()), ..message() };
    let first = client.send(keyed.clone()).await.unwrap();
    assert_eq!(client.send(keyed).await.unwrap().queue, first.queue);
}

#[tokio::test]
async fn a_batch_is_one_request_of_items() {
    let env = timbermq_host::env();
    let (broker, server) = node(&env, store).await;
    let (client, _) = cluster(&env, &[&server]).await;
    let item =
        |body: &'static str| BatchMessage { body: body.into(), tags: Some("t".into()), ..BatchMessage::default() };
    client.send_batch("T", QueueChoice::RoundRobin, vec![item("one"), item("two")], LONG).await.unwrap();
    let seen = broker.seen.lock().unwrap().remove(0);
    assert_eq!(seen.request_code(), RequestCode::SEND_BATCH_MESSAGE);
    assert_eq!(seen.ext.get("m"), Some("true"));
    let items: Vec<_> = batch_items(&seen.body, Default::default()).map(Result::unwrap).collect();
    assert_eq!(items.iter().map(|item| item.body).collect::<Vec<_>>(), [b"one", b"two"]);
    let empty = client.send_batch("T", QueueChoice::RoundRobin, vec![], LONG).await.unwrap_err();
    assert!(!empty.is_unknown());
}

#[tokio::test]
async fn many_sends_are_in_flight_on_one_connection() {
    let env = timbermq_host::env();
    let mut held = Vec::new();
    let (broker, server) = node(&env, move |_, request, responder| {
        held.push((request.clone(), responder));
        if held.len() == 100 {
            held.drain(..).for_each(|(request, responder)| acknowledge(&request, responder));
        }
    })
    .await;
    let (client, _) = cluster(&env, &[&server]).await;
    let sends: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { client.send(message()).await }
            })
        })
        .collect();
    for send in sends {
        send.await.unwrap().unwrap();
    }
    assert_eq!((broker.sends().len(), server.stats().accepted), (100, 1));
}

#[tokio::test]
async fn what_was_certainly_not_stored_goes_to_another_replica_at_once() {
    let env = timbermq_host::env();
    let (dead, dead_server) = node(&env, store).await;
    let (stale, stale_server) = node(&env, answers(ResponseCode::SERVICE_NOT_AVAILABLE)).await;
    let (good, good_server) = node(&env, store).await;
    dead_server.shutdown(LONG).await;
    let (client, name_server) = cluster(&env, &[&dead_server, &stale_server, &good_server]).await;
    let ack = client.send(message()).await.unwrap();
    assert_eq!(ack.addr, good_server.addrs()[0].to_string());
    assert_eq!((dead.sends().len(), stale.sends().len(), good.sends().len()), (0, 1, 1));
    // Once to find the queues, once because the first address failed.
    assert_eq!(name_server.count(RequestCode::GET_ROUTEINFO_BY_TOPIC), 2);
}

#[tokio::test]
async fn what_may_be_stored_is_not_repeated_unless_asked_and_then_under_the_same_id() {
    let env = timbermq_host::env();
    let (unsure, unsure_server) = node(&env, answers(ResponseCode::SYSTEM_ERROR)).await;
    let (second, second_server) = node(&env, store).await;
    let (client, _) = cluster(&env, &[&unsure_server, &second_server]).await;
    let error = client.send(message()).await.unwrap_err();
    assert_eq!((error.is_unknown(), error.code()), (true, Some(ResponseCode::SYSTEM_ERROR)));
    assert_eq!((unsure.sends().len(), second.sends().len()), (1, 0));

    let mut attempts = 0;
    *unsure.act.lock().unwrap() = Box::new(move |peer, request, responder| {
        attempts += 1;
        match attempts {
            1 => responder.refuse(ResponseCode::SYSTEM_ERROR, "unsure"),
            2 => peer.close(),
            _ => acknowledge(request, responder),
        }
    });
    let ack = client.send_with_retry(message()).await.unwrap();
    let keys: Vec<_> = unsure.sends()[1..].iter().map(unique_key).collect();
    assert_eq!(keys, vec![ack.unique_key; 3]);
    assert_eq!(second.sends().len(), 0);

    *unsure.act.lock().unwrap() = Box::new(|peer, _, _responder| peer.close());
    assert!(client.send(message()).await.unwrap_err().is_unknown());
}

#[tokio::test]
async fn a_final_refusal_is_told_at_once() {
    let env = timbermq_host::env();
    let (broker, server) = node(&env, answers(ResponseCode::MESSAGE_ILLEGAL)).await;
    let (client, _) = cluster(&env, &[&server]).await;
    for error in [client.send(message()).await.unwrap_err(), client.send_with_retry(message()).await.unwrap_err()] {
        assert_eq!((error.is_unknown(), error.code()), (false, Some(ResponseCode::MESSAGE_ILLEGAL)));
        assert!(error.to_string().contains("as told"), "{error}");
    }
    assert_eq!(broker.sends().len(), 2);
    let nowhere = client.send(SendRequest::new("nowhere", "")).await.unwrap_err();
    assert_eq!((nowhere.is_unknown(), nowhere.code()), (false, Some(ResponseCode::TOPIC_NOT_EXIST)));
}

#[tokio::test]
async fn a_replica_that_hangs_leaves_time_for_the_others() {
    let env = timbermq_host::env();
    let mut held = Vec::new();
    let (hanging, hanging_server) = node(&env, move |_, _, responder| held.push(responder)).await;
    let (_, good_server) = node(&env, serve_queue()).await;
    let (client, _) = cluster(&env, &[&hanging_server, &good_server]).await;
    let config = ClientConfig { attempt_timeout: Duration::from_millis(20), ..client.config().clone() };
    let client = Client::new(&env, config);
    assert_eq!(client.min_offset(&MessageQueue::new("T", "b", 0)).await.unwrap(), 3);
    assert_eq!(hanging.count(RequestCode::GET_MIN_OFFSET), 1);
}

#[tokio::test]
async fn what_all_replicas_say_twice_is_believed() {
    let env = timbermq_host::env();
    let (broker, server) = node(&env, answers(ResponseCode::TOPIC_NOT_EXIST)).await;
    let (client, _) = cluster(&env, &[&server]).await;
    let error = client.max_offset(&MessageQueue::new("T", "b", 0)).await.unwrap_err();
    assert_eq!(error.code(), Some(ResponseCode::TOPIC_NOT_EXIST));
    assert_eq!(broker.count(RequestCode::GET_MAX_OFFSET), 2);
}

fn record(offset: i64) -> Bytes {
    let text = format!("message {offset}");
    let properties = timbermq_record::properties::encode([("TAGS", "red"), ("KEYS", "a b")]).unwrap();
    let mut bytes = BytesMut::new();
    let builder = RecordBuilder { properties: &properties, ..RecordBuilder::new("T", text.as_bytes()) };
    builder.encode(&mut bytes).unwrap();
    patch_offsets(&mut bytes, offset, 1000 + offset).unwrap();
    bytes.freeze()
}

/// Queue 0 has messages 3 to 7, one a pull; queue 1 none. What finds nothing is held for ever.
fn serve_queue() -> impl FnMut(&Arc<Peer>, &RemotingCommand, Responder) + Send {
    let mut held = Vec::new();
    move |_, request, responder| {
        let response = match request.request_code() {
            RequestCode::PULL_MESSAGE => {
                let pull: PullMessageHeader = request.header().unwrap();
                let (code, next, body) = match (pull.queue_id, pull.queue_offset) {
                    (0, 3..8) => (ResponseCode::SUCCESS, pull.queue_offset + 1, record(pull.queue_offset)),
                    (0, 8) => return held.push(responder),
                    (0, _) => (ResponseCode::PULL_OFFSET_MOVED, 3, Bytes::new()),
                    _ => return held.push(responder),
                };
                let header = PullMessageResponseHeader {
                    suggest_which_broker_id: 0,
                    next_begin_offset: next,
                    min_offset: 3,
                    max_offset: 8,
                    offset_delta: None,
                    topic_sys_flag: None,
                    group_sys_flag: None,
                    forbidden_type: None,
                };
                responder.response(code).with_header(&header).with_body(body)
            }
            RequestCode::GET_MIN_OFFSET => {
                responder.response(ResponseCode::SUCCESS).with_header(&OffsetResponseHeader { offset: 3 })
            }
            _ => responder.response(ResponseCode::QUERY_NOT_FOUND),
        };
        responder.send(response);
    }
}

#[tokio::test]
async fn pulls_decode_messages_and_tell_where_to_go_on() {
    let env = timbermq_host::env();
    let (_, server) = node(&env, serve_queue()).await;
    let (client, _) = cluster(&env, &[&server]).await;
    let queue = MessageQueue::new("T", "b", 0);
    let found = client.pull(&queue, 4, 32, None).await.unwrap();
    assert_eq!((found.status, found.next, found.min, found.max), (PullStatus::Found, 5, 3, 8));
    let message = &found.messages[0];
    assert_eq!((message.queue_offset, message.position, &message.body[..]), (4, 1004, &b"message 4"[..]));
    assert_eq!(message.tags(), Some("red"));
    assert!(message.keys().eq(["a", "b"]));
    let moved = client.pull(&queue, 0, 32, None).await.unwrap();
    assert_eq!((moved.status, moved.next), (PullStatus::OffsetMoved, 3));
    assert_eq!(client.min_offset(&queue).await.unwrap(), 3);
    assert_eq!(client.consumer_offset("G", &queue).await.unwrap(), None);
}

#[tokio::test]
async fn a_tail_follows_every_queue_in_order() {
    let env = timbermq_host::env();
    let (_, server) = node(&env, serve_queue()).await;
    let (client, _) = cluster(&env, &[&server]).await;
    let mut tail = client.tail("T", TailFrom::Earliest, 1).await.unwrap();
    for offset in 3..8 {
        let message = env.timeout(LONG, tail.next()).await.expect("a message comes").unwrap().unwrap();
        assert_eq!(message.queue_offset, offset);
    }
}

#[tokio::test]
async fn one_attempt_of_unknown_outcome_makes_the_whole_unknown() {
    let env = timbermq_host::env();
    let (_, unsure_server) = node(&env, answers(ResponseCode::SYSTEM_ERROR)).await;
    let (busy, busy_server) = node(&env, answers(ResponseCode::SERVICE_NOT_AVAILABLE)).await;
    let (client, _) = cluster(&env, &[&unsure_server, &busy_server]).await;
    let config = ClientConfig { timeout: Duration::from_millis(200), ..client.config().clone() };
    let client = Client::new(&env, config);
    let error = client.max_offset(&MessageQueue::new("T", "b", 0)).await.unwrap_err();
    assert!(error.is_unknown() && busy.count(RequestCode::GET_MAX_OFFSET) > 0, "{error}");
}

#[tokio::test]
async fn an_offset_that_may_be_stored_is_not_sent_again() {
    let env = timbermq_host::env();
    let (unsure, unsure_server) = node(&env, answers(ResponseCode::SYSTEM_ERROR)).await;
    let (second, second_server) = node(&env, store).await;
    let (client, _) = cluster(&env, &[&unsure_server, &second_server]).await;
    let error = client.update_consumer_offset("G", &MessageQueue::new("T", "b", 0), 7).await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    let count = |node: &Node| node.count(RequestCode::UPDATE_CONSUMER_OFFSET);
    assert_eq!((count(&unsure), count(&second)), (1, 0));
}

#[tokio::test]
async fn a_resend_begins_with_another_replica_than_the_one_that_said_nothing() {
    let env = timbermq_host::env();
    let mut held = Vec::new();
    let (hangs, hanging) = node(&env, move |_, _, responder| held.push(responder)).await;
    let (other, follower) = node(&env, store).await;
    let (client, _) = cluster(&env, &[&hanging, &follower]).await;
    let ack = client.send_with_retry(SendRequest { timeout: Duration::from_secs(8), ..message() }).await.unwrap();
    assert_eq!(ack.addr, follower.addrs()[0].to_string());
    let (first, second) = (hangs.sends(), other.sends());
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(unique_key(&first[0]), unique_key(&second[0]));
}

#[tokio::test]
async fn a_replica_that_said_nothing_is_not_asked_again_because_another_one_did_not_know() {
    let env = timbermq_host::env();
    let mut held = Vec::new();
    // Who led is cut off, the NameServer names it still, and a follower tells first that nobody knows.
    let (hangs, hanging) = node(&env, move |_, _, responder| held.push(responder)).await;
    let mut asked = 0;
    let (other, follower) = node(&env, move |_, request, responder| {
        asked += 1;
        if asked == 1 {
            return responder.refuse(ResponseCode::SYSTEM_ERROR, "the outcome is unknown");
        }
        acknowledge(request, responder);
    })
    .await;
    let (client, _) = cluster(&env, &[&hanging, &follower]).await;
    let ack = client.send_with_retry(SendRequest { timeout: Duration::from_secs(8), ..message() }).await.unwrap();
    assert_eq!(ack.addr, follower.addrs()[0].to_string());
    assert_eq!((hangs.sends().len(), other.sends().len()), (1, 2));
}

#[tokio::test]
async fn a_leader_that_the_route_did_not_name_is_looked_for() {
    let env = timbermq_host::env();
    let (_, follower) = node(&env, store).await;
    let (_, leader) = node(&env, store).await;
    let addr = |server: &Server| server.addrs()[0].to_string();
    let (follower_addr, leader_addr) = (addr(&follower), addr(&leader));
    let addrs = [(0, leader_addr.clone()), (2, follower_addr.clone())];
    let mut asked = 0;
    // The route is fetched in the middle of a takeover.
    let (name_server, server) = node(&env, move |_, _, responder| {
        asked += 1;
        let known = addrs.iter().filter(|(id, _)| asked > 2 || *id != 0).cloned().collect();
        let broker = BrokerData { broker_name: "b".into(), broker_addrs: known, ..BrokerData::default() };
        let queues = QueueData { broker_name: "b".into(), perm: 6, write_queue_nums: 1, ..QueueData::default() };
        let route =
            TopicRouteData { broker_datas: vec![broker], queue_datas: vec![queues], ..TopicRouteData::default() };
        let response = responder.response(ResponseCode::SUCCESS).with_body(route.to_json());
        responder.send(response);
    })
    .await;
    let config = ClientConfig { name_servers: vec![addr(&server)], timeout: LONG, ..ClientConfig::default() };
    let client = Client::new(&env, config);
    assert_eq!(client.send(message()).await.unwrap().addr, follower_addr);
    // Many answers of followers are one search.
    let found = async {
        while client.send(message()).await.unwrap().addr != leader_addr {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, found).await.expect("the leader is found");
    assert_eq!(name_server.count(RequestCode::GET_ROUTEINFO_BY_TOPIC), 3);
    client.send(message()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(name_server.count(RequestCode::GET_ROUTEINFO_BY_TOPIC), 3, "nobody looks for what is known");
}

#[tokio::test]
async fn a_query_without_a_group_to_ask_is_no_empty_answer() {
    let env = timbermq_host::env();
    let (node, server) = node(&env, answers(ResponseCode::QUERY_NOT_FOUND)).await;
    let always = || UnixMillis(0)..=UnixMillis(u64::MAX >> 1);
    // A NameServer that has not heard of the leader may know a follower's entrance already.
    let (client, _) = cluster_named(&env, &[&server], "b-node-2", 2).await;
    let error = client.query_by_key("T", "k", 1, always()).await.unwrap_err();
    assert!(error.to_string().contains("no broker group of topic T"), "{error}");
    assert_eq!(node.count(RequestCode::QUERY_MESSAGE), 0);
    let (client, _) = cluster_named(&env, &[&server], "b", 6).await;
    assert!(client.query_by_key("T", "k", 1, always()).await.unwrap().is_empty());
    assert_eq!(node.count(RequestCode::QUERY_MESSAGE), 1);
}

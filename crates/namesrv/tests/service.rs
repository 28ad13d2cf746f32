//! A NameServer on loopback, spoken to over real connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use timbermq_env::Env;
use timbermq_namesrv::{NameServer, NamesrvConfig};
use timbermq_remoting::body::{
    DataVersion, JsonBody, KvTable, RegisterBrokerBody, TopicConfig, TopicConfigTable, TopicList, TopicRouteData,
    body_crc32,
};
use timbermq_remoting::header::REGISTRATION_COMPLETE;
use timbermq_remoting::header::{BrokerIdentityHeader, RegisterBrokerHeader};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_transport::{Connector, ConnectorOptions, Remote};

const LONG: Duration = Duration::from_secs(20);

struct Fixture {
    env: Env,
    server: NameServer,
    /// One connector per broker: each has a connection of its own.
    client: Arc<Remote>,
}

impl Fixture {
    async fn new() -> Self {
        let env = timbermq_host::env();
        let config = NamesrvConfig { listen: vec!["127.0.0.1:0".into()], ..NamesrvConfig::default() };
        let server = NameServer::start(&env, config).await.unwrap();
        let client = remote(&env, &server);
        Self { env, server, client }
    }

    fn broker(&self) -> Arc<Remote> {
        remote(&self.env, &self.server)
    }

    async fn ask(&self, code: RequestCode, fields: &[(&str, &str)]) -> RemotingCommand {
        ask(&self.client, request(code, fields)).await
    }

    async fn route_text(&self, version: i32, fields: &[(&str, &str)]) -> String {
        let mut route = request(RequestCode::GET_ROUTEINFO_BY_TOPIC, fields);
        route.version = version;
        String::from_utf8(ask(&self.client, route).await.body.to_vec()).unwrap()
    }

    async fn leader(&self) -> Option<String> {
        let route = self.ask(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T1")]).await;
        if route.response_code() != ResponseCode::SUCCESS {
            return None;
        }
        let route = TopicRouteData::from_json(&route.body).unwrap();
        route.broker_datas[0].broker_addrs.get(&0).cloned()
    }
}

fn remote(env: &Env, server: &NameServer) -> Arc<Remote> {
    Connector::new(env, None, ConnectorOptions::default()).remote(&server.addr().to_string()).unwrap()
}

fn request(code: RequestCode, fields: &[(&str, &str)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    fields.iter().for_each(|(name, value)| request.ext.set(name, value));
    request
}

async fn ask(remote: &Remote, request: RemotingCommand) -> RemotingCommand {
    remote.request(request, LONG).await.unwrap()
}

fn registration(addr: &str, id: i64, term: i64, compressed: bool) -> RemotingCommand {
    let config = |name: &str| {
        let config =
            TopicConfig { topic_name: name.into(), read_queue_nums: 4, write_queue_nums: 4, ..TopicConfig::default() };
        (name.to_owned(), config)
    };
    let body = RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topics: TopicConfigTable {
            data_version: DataVersion { counter: 1, state_version: term, timestamp: 7 },
            topic_config_table: [config("T1"), config("T2")].into(),
        },
    };
    let request = RemotingCommand::request(RequestCode::REGISTER_BROKER);
    let body = if compressed { body.to_compressed(request.version) } else { body.to_json() };
    let header = RegisterBrokerHeader {
        broker_name: "broker-a".into(),
        broker_addr: addr.into(),
        cluster_name: "C".into(),
        ha_server_addr: format!("{addr}-ha"),
        broker_id: id,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed,
        body_crc32: body_crc32(&body),
    };
    request.with_header(&header).with_body(body)
}

async fn register(remote: &Remote, addr: &str, id: i64, term: i64) -> RemotingCommand {
    let response = ask(remote, registration(addr, id, term, id % 2 == 1)).await;
    assert_eq!(response.response_code(), ResponseCode::SUCCESS, "{:?}", response.remark);
    response
}

#[tokio::test]
async fn a_group_registers_and_clients_of_each_age_read_its_route() {
    let fixture = Fixture::new().await;
    let brokers = [fixture.broker(), fixture.broker(), fixture.broker()];
    register(&brokers[0], "10.0.0.1:10911", 0, 3).await;
    for id in [1, 2] {
        let answer = register(&brokers[id as usize], &format!("10.0.0.{}:10911", id + 1), id, 3).await;
        assert_eq!(answer.ext.get("masterAddr"), Some("10.0.0.1:10911"));
        assert_eq!(answer.ext.get("haServerAddr"), Some("10.0.0.1:10911-ha"));
    }
    let rest = r#""brokerName":"broker-a","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
    let bare = r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911",2:"10.0.0.3:10911"},"#;
    let quoted = r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911","2":"10.0.0.3:10911"},"#;
    assert_eq!(fixture.route_text(317, &[("topic", "T1")]).await, format!("{bare}{rest}"));
    assert_eq!(fixture.route_text(401, &[("topic", "T1")]).await, format!("{quoted}{rest}"));
    let only_standard = [("topic", "T1"), ("acceptStandardJsonOnly", "true")];
    assert_eq!(fixture.route_text(317, &only_standard).await, format!("{quoted}{rest}"));

    let unknown = fixture.ask(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "X")]).await;
    assert_eq!(unknown.response_code(), ResponseCode::TOPIC_NOT_EXIST);
    assert!(unknown.remark.unwrap().starts_with("No topic route info in name server for the topic: X"));
    let topics = fixture.ask(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]).await;
    assert_eq!(TopicList::from_json(&topics.body).unwrap().topic_list, ["T1", "T2"]);
    let members =
        fixture.ask(RequestCode::GET_BROKER_MEMBER_GROUP, &[("clusterName", "C"), ("brokerName", "broker-a")]).await;
    assert!(String::from_utf8_lossy(&members.body).contains(r#"2:"10.0.0.3:10911""#));
    fixture.server.shutdown(LONG).await;
}

#[tokio::test]
async fn a_closed_connection_and_a_new_term_change_the_route() {
    let fixture = Fixture::new().await;
    let (old, new) = (fixture.broker(), fixture.broker());
    register(&old, "10.0.0.1:10911", 0, 3).await;
    register(&new, "10.0.0.2:10911", 2, 3).await;
    assert_eq!(fixture.leader().await.as_deref(), Some("10.0.0.1:10911"));
    register(&new, "10.0.0.2:10911", 0, 4).await;
    assert_eq!(fixture.leader().await.as_deref(), Some("10.0.0.2:10911"));
    // The stale leader gets its success without fields, and no influence.
    let ignored = register(&old, "10.0.0.1:10911", 0, 3).await;
    assert!(ignored.ext.is_empty());
    assert_eq!(fixture.leader().await.as_deref(), Some("10.0.0.2:10911"));
    register(&old, "10.0.0.1:10911", 1, 4).await;

    new.close();
    let gone = async {
        while fixture.leader().await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    fixture.env.timeout(LONG, gone).await.expect("the route loses its leader");
    fixture.server.read(|table| assert_eq!(table.broker_count(), 1));
    register(&old, "10.0.0.1:10911", 0, 3).await;
    assert_eq!(fixture.leader().await, None);
}

#[tokio::test]
async fn damaged_and_impossible_requests_are_refused_with_a_reason() {
    let fixture = Fixture::new().await;
    let broker = fixture.broker();
    let mut damaged = registration("10.0.0.1:10911", 0, 1, true);
    damaged.body = damaged.body.slice(1..);
    let refused = ask(&broker, damaged.clone()).await;
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some("crc32 not match")));
    damaged.ext.set("bodyCrc32", "0");
    let refused = ask(&broker, damaged).await;
    assert_eq!(refused.response_code(), ResponseCode::SYSTEM_ERROR);
    let unsupported = fixture.ask(RequestCode::SEND_MESSAGE, &[]).await;
    assert_eq!((unsupported.code, unsupported.remark.as_deref()), (3, Some(" request type 10 not supported")));
    let missing = fixture.ask(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[]).await;
    assert_eq!(missing.response_code(), ResponseCode::SYSTEM_ERROR);
    fixture.server.read(|table| assert_eq!(table.broker_count(), 0));
}

#[tokio::test]
async fn configuration_is_kept_and_told_to_brokers_and_clients() {
    let fixture = Fixture::new().await;
    let item = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T1"), ("value", "broker-a:4")];
    let absent = fixture.ask(RequestCode::GET_KV_CONFIG, &item[..2]).await;
    assert_eq!(absent.response_code(), ResponseCode::QUERY_NOT_FOUND);
    assert_eq!(absent.remark.as_deref(), Some("No config item, Namespace: ORDER_TOPIC_CONFIG Key: T1"));
    assert_eq!(fixture.ask(RequestCode::PUT_KV_CONFIG, &item).await.code, 0);
    assert_eq!(fixture.ask(RequestCode::GET_KV_CONFIG, &item[..2]).await.ext.get("value"), Some("broker-a:4"));
    let broker = fixture.broker();
    let answer = register(&broker, "10.0.0.1:10911", 0, 1).await;
    assert_eq!(KvTable::from_json(&answer.body).unwrap().table["T1"], "broker-a:4");
    assert!(fixture.route_text(453, &[("topic", "T1")]).await.contains(r#""orderTopicConf":"broker-a:4""#));
    assert_eq!(fixture.ask(RequestCode::DELETE_KV_CONFIG, &item[..2]).await.code, 0);
    assert_eq!(fixture.ask(RequestCode::GET_KVLIST_BY_NAMESPACE, &item[..1]).await.code, 22);

    let settings = fixture.ask(RequestCode::GET_NAMESRV_CONFIG, &[]).await;
    let listen_port = format!("listenPort={}\n", fixture.server.addr().port());
    assert!(String::from_utf8_lossy(&settings.body).contains(&listen_port));
    let change = RemotingCommand::request(RequestCode::UPDATE_NAMESRV_CONFIG).with_body(&b"a=b"[..]);
    assert_eq!(ask(&fixture.client, change).await.response_code(), ResponseCode::NO_PERMISSION);
}

#[tokio::test]
async fn brokers_ask_whether_they_must_register_again_and_say_when_a_table_is_complete() {
    let fixture = Fixture::new().await;
    let broker = fixture.broker();
    register(&broker, "10.0.0.1:10911", 0, 5).await;
    let identity = BrokerIdentityHeader {
        broker_name: "broker-a".into(),
        broker_addr: "10.0.0.1:10911".into(),
        cluster_name: "C".into(),
        broker_id: 0,
    };
    let mut version = DataVersion { counter: 1, state_version: 5, timestamp: 7 };
    for changed in ["false", "true"] {
        let query = RemotingCommand::request(RequestCode::QUERY_DATA_VERSION)
            .with_header(&identity)
            .with_body(version.to_json());
        let answer = ask(&broker, query).await;
        assert_eq!(answer.ext.get("changed"), Some(changed));
        assert_eq!(DataVersion::from_json(&answer.body).unwrap().counter, 1);
        version.counter = 2;
    }
    let wiped = ask(&broker, request(RequestCode::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "broker-a")])).await;
    assert_eq!(wiped.ext.get("wipeTopicCount"), Some("2"));
    let added = ask(&broker, request(RequestCode::ADD_WRITE_PERM_OF_BROKER, &[("brokerName", "broker-a")])).await;
    assert_eq!(added.ext.get("addTopicCount"), Some("2"));

    let body = RegisterBrokerBody {
        topics: TopicConfigTable { data_version: version, ..Default::default() },
        ..Default::default()
    };
    let mut complete = registration("10.0.0.1:10911", 0, 5, false).with_body(body.to_json());
    complete.ext.set("bodyCrc32", "0");
    complete.ext.set(REGISTRATION_COMPLETE, "true");
    assert_eq!(ask(&broker, complete).await.code, 0);
    fixture.server.read(|table| assert_eq!(table.topic_count(), 0));

    let goodbye = RemotingCommand::request(RequestCode::UNREGISTER_BROKER).with_header(&identity);
    assert_eq!(ask(&broker, goodbye).await.code, 0);
    fixture.server.read(|table| assert_eq!(table.broker_count(), 0));
}

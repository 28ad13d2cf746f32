use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::subscription::Tags;
use crate::version::CURRENT_VERSION;

fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).expect("JSON is text")
}

fn queue(topic: &str, id: i32) -> MessageQueue {
    MessageQueue::new(topic, "broker-a", id)
}

fn route() -> TopicRouteData {
    TopicRouteData {
        broker_datas: vec![BrokerData {
            broker_addrs: BTreeMap::from([(0, "10.0.0.1:10911".into()), (1, "10.0.0.2:10911".into())]),
            broker_name: "broker-a".into(),
            cluster: "DefaultCluster".into(),
            enable_acting_master: false,
            zone_name: None,
        }],
        filter_server_table: BTreeMap::new(),
        order_topic_conf: None,
        queue_datas: vec![QueueData {
            broker_name: "broker-a".into(),
            perm: 6,
            read_queue_nums: 4,
            topic_sys_flag: 0,
            write_queue_nums: 4,
        }],
    }
}

#[test]
fn routes_are_written_for_clients_of_each_age() {
    let old = r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
    let new = old.replace("{0:", "{\"0\":").replace(",1:", ",\"1\":");
    for (version, standard_only, expected) in
        [(317, false, old), (400, false, old), (401, false, &new), (CURRENT_VERSION, false, &new), (317, true, &new)]
    {
        let dialect = JsonDialect::for_client(version, standard_only);
        assert_eq!(text(route().to_json_dialect(dialect)), expected, "{version} {standard_only}");
    }
    assert_eq!(TopicRouteData::from_json(old.as_bytes()).unwrap(), route());
    assert_eq!(TopicRouteData::from_json(new.as_bytes()).unwrap(), route());
    let loose = "{brokerDatas:[{'brokerAddrs':{ 0 : '10.0.0.1:10911', 1:\"10.0.0.2:10911\",}, brokerName:\"broker-a\",\"cluster\":\"DefaultCluster\"}],\"filterServerTable\":null,\"zz\":{{\"a\":1}:2},\"queueDatas\":[{\"brokerName\":\"broker-a\",\"perm\":6,\"readQueueNums\":4,\"writeQueueNums\":4}]} ";
    assert_eq!(TopicRouteData::from_json(loose.as_bytes()).unwrap(), route());
}

#[test]
fn standard_json_is_ascii() {
    let list = TopicList { broker_addr: None, topic_list: vec!["é\u{1f600}\"\n".into()] };
    assert_eq!(text(list.to_json_dialect(JsonDialect::Standard)), r#"{"topicList":["\u00E9\uD83D\uDE00\"\n"]}"#);
    assert_eq!(text(list.to_json()), "{\"topicList\":[\"é\u{1f600}\\\"\\n\"]}");
    let table = KvTable { table: BTreeMap::from([("é".into(), String::new()), (String::new(), "0".into())]) };
    assert_eq!(text(table.to_json_dialect(JsonDialect::Standard)), r#"{"table":{"":"0","\u00E9":""}}"#);
}

#[test]
fn text_keys_that_look_like_numbers_stay_quoted() {
    let table = KvTable { table: BTreeMap::from([("7".into(), "x".into()), ("{\"a\":1}".into(), "y".into())]) };
    assert_eq!(text(table.to_json()), r#"{"table":{"7":"x","{\"a\":1}":"y"}}"#);
    assert_eq!(KvTable::from_json(&table.to_json()).unwrap(), table);
}

#[test]
fn cluster_info_has_bare_ids() {
    let info = ClusterInfo {
        broker_addr_table: BTreeMap::from([("broker-a".into(), route().broker_datas.remove(0))]),
        cluster_addr_table: BTreeMap::from([("DefaultCluster".into(), BTreeSet::from(["broker-a".into()]))]),
    };
    let json = text(info.to_json());
    assert!(json.contains(r#""brokerAddrs":{0:"10.0.0.1:10911",1:"#), "{json}");
    assert!(json.ends_with(r#""clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#), "{json}");
    assert_eq!(ClusterInfo::from_json(json.as_bytes()).unwrap(), info);
}

#[test]
fn heartbeats_of_every_client_are_read() {
    let java = r#"{"clientID":"10.0.0.5@1#2","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_ACTIVELY","groupName":"CG","messageModel":"BROADCASTING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[65],"expressionType":"TAG","subString":"A","subVersion":1690000000000,"tagsSet":["A"],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"PG"}],"withoutSub":false}"#;
    let heartbeat = HeartbeatData::from_json(java.as_bytes()).unwrap();
    assert_eq!(heartbeat.client_id, "10.0.0.5@1#2");
    assert_eq!(heartbeat.producer_data_set, [ProducerData { group_name: "PG".into() }]);
    let group = &heartbeat.consumer_data_set[0];
    assert_eq!((group.consume_type, group.message_model), (ConsumeType::Actively, MessageModel::Broadcasting));
    assert_eq!(group.consume_from_where, ConsumeFromWhere::FirstOffset);
    assert_eq!(group.subscription_data_set[0], SubscriptionData::for_tags("T", "A", 1_690_000_000_000));
    assert_eq!(text(heartbeat.to_json()), java, "alphabetical and compact, as Java writes it");

    let cpp = r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"CG","messageModel":1,"subscriptionDataSet":[{"codeSet":["0",7,"99999999999",null,"x",1.5],"subString":"TagA","subVersion":"1690000000000","tagsSet":["TagA"],"topic":"T"}],"unitMode":null}],"producerDataSet":null,"future":{"a":[]}}"#;
    let heartbeat = HeartbeatData::from_json(cpp.as_bytes()).unwrap();
    let group = &heartbeat.consumer_data_set[0];
    assert_eq!((group.consume_type, group.message_model), (ConsumeType::Passively, MessageModel::Clustering));
    let subscription = &group.subscription_data_set[0];
    assert_eq!((subscription.sub_version, subscription.is_tags()), (1_690_000_000_000, true));
    assert_eq!(subscription.code_set, [0, 7]);
    assert_eq!(subscription.tags(), Tags::Set(vec!["TagA".into()]));

    let go = r#"{"clientID":"c","producerDataSet":[],"consumerDataSet":[{"groupName":"CG","consumeType":"CONSUME_PASSIVELY","messageModel":"Clustering","subscriptionDataSet":[]}]}"#;
    assert!(HeartbeatData::from_json(go.as_bytes()).is_err(), "an unknown name is an error, not a guess");
    let go = go.replace("Clustering", "CLUSTERING").replace("\"subscriptionDataSet\":[]", r#""subscriptionDataSet":[{"topic":"T","subString":"*","tagsSet":[],"codeSet":["1","2"],"subVersion":1690000000000000000,"expressionType":""}]"#);
    let heartbeat = HeartbeatData::from_json(go.as_bytes()).unwrap();
    let subscription = &heartbeat.consumer_data_set[0].subscription_data_set[0];
    assert_eq!((subscription.code_set.as_slice(), subscription.tags()), (&[1, 2][..], Tags::All));
    assert_eq!(HeartbeatData::from_json(b"{}").unwrap(), HeartbeatData::default());
}

#[test]
fn subscriptions_are_made_as_clients_make_them() {
    let all = SubscriptionData::for_tags("T", "", 1);
    assert_eq!((all.sub_string.as_str(), all.tags_set.len(), all.code_set.len()), ("*", 0, 0));
    let two = SubscriptionData::for_tags("T", "A || B", 1);
    assert_eq!((two.sub_string.as_str(), two.code_set.as_slice()), ("A || B", &[65, 66][..]));
    assert_eq!(two.tags_set, ["A", "B"]);
}

#[test]
fn locks_and_members_have_the_names_clients_use() {
    let request = r#"{"consumerGroup":"g","clientId":"c","onlyThisBroker":false,"mqSet":[{"topic":"T","brokerName":"broker-a","queueId":0}]}"#;
    let request = LockBatchRequest::from_json(request.as_bytes()).unwrap();
    assert_eq!((request.consumer_group.as_str(), request.client_id.as_str()), ("g", "c"));
    assert_eq!(request.mq_set, [queue("T", 0)]);
    let response = LockBatchResponse { locked: request.mq_set };
    let json = r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":0,"topic":"T"}]}"#;
    assert_eq!(text(response.to_json()), json);
    assert_eq!(LockBatchResponse::from_json(json.as_bytes()).unwrap(), response);
    let list = ConsumerList { consumer_id_list: vec!["a".into(), "b".into()] };
    assert_eq!(text(list.to_json()), r#"{"consumerIdList":["a","b"]}"#);
}

#[test]
fn objects_are_map_keys() {
    let offset = ConsumeOffset { broker_offset: 9, consumer_offset: 7, last_timestamp: 5, pull_offset: 8 };
    let stats = ConsumeStats {
        consume_tps: 1.5,
        offset_table: QueueTable::from([(queue("T", 0), offset), (queue("T", 1), offset)]),
    };
    let native = r#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"brokerOffset":9,"consumerOffset":7,"lastTimestamp":5,"pullOffset":8},{"brokerName":"broker-a","queueId":1,"topic":"T"}:{"brokerOffset":9,"consumerOffset":7,"lastTimestamp":5,"pullOffset":8}}}"#;
    assert_eq!(text(stats.to_json()), native);
    assert_eq!(ConsumeStats::from_json(native.as_bytes()).unwrap(), stats);
    let standard = text(stats.to_json_dialect(JsonDialect::Standard));
    assert!(standard.contains(r#"{"{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"T\"}":{"#), "{standard}");
    assert_eq!(ConsumeStats::from_json(standard.as_bytes()).unwrap(), stats);

    let bounds = TopicOffset { last_update_timestamp: 3, max_offset: 2, min_offset: 1 };
    let table = TopicStatsTable { offset_table: QueueTable::from([(queue("é\"", 0), bounds)]), topic_put_tps: 0.0 };
    for dialect in [JsonDialect::Fastjson, JsonDialect::Standard] {
        assert_eq!(TopicStatsTable::from_json(&table.to_json_dialect(dialect)).unwrap(), table);
    }
    for bad in
        [r#"{"offsetTable":{"not a queue":{}}}"#, r#"{"offsetTable":{[1]:{}}}"#, r#"{"offsetTable":{{{1:2}:3}:{}}}"#]
    {
        assert!(ConsumeStats::from_json(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn resets_have_a_map_form_and_a_list_form() {
    let body = ResetOffsetBody { offset_table: QueueTable::from([(queue("T", 2), 77)]) };
    let map = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":2,"topic":"T"}:77}}"#;
    let list = r#"{"offsetTable":[{"brokerName":"broker-a","queueId":2,"topic":"T","offset":77}]}"#;
    assert_eq!(text(body.to_json()), map);
    assert_eq!(text(body.to_json_list()), list);
    for json in [map, list] {
        assert_eq!(ResetOffsetBody::from_json(json.as_bytes()).unwrap(), body);
    }
    let null = ResetOffsetBody::from_json(br#"{"offsetTable":null}"#).unwrap();
    assert_eq!(null, ResetOffsetBody::default());
    let status = ConsumerStatusBody {
        consumer_table: BTreeMap::from([("c1".into(), body.offset_table.clone()), ("c2".into(), QueueTable::new())]),
        message_queue_table: body.offset_table,
    };
    assert_eq!(ConsumerStatusBody::from_json(&status.to_json()).unwrap(), status);
    assert_eq!(ConsumerStatusBody::from_json(b"{}").unwrap(), ConsumerStatusBody::default());
}

fn registration() -> RegisterBrokerBody {
    let attributes = BTreeMap::from([("+message.type".into(), "NORMAL x".into())]);
    let topics = [
        TopicConfig { topic_name: "A".into(), perm: 7, read_queue_nums: 8, ..TopicConfig::default() },
        TopicConfig {
            topic_name: "B".into(),
            attributes,
            topic_filter_type: "MULTI_TAG".into(),
            ..TopicConfig::default()
        },
    ];
    RegisterBrokerBody {
        filter_server_list: vec!["f".into()],
        topics: TopicConfigTable {
            data_version: DataVersion { counter: 3, state_version: 2, timestamp: 1 },
            topic_config_table: topics.into_iter().map(|topic| (topic.topic_name.clone(), topic)).collect(),
        },
    }
}

#[test]
fn registrations_are_read_plain_and_compressed() {
    let body = registration();
    assert_eq!(RegisterBrokerBody::decode(&body.to_json(), false, 453).unwrap(), body);
    for version in [399, 413, 453] {
        assert_eq!(RegisterBrokerBody::decode(&body.to_compressed(version), true, version).unwrap(), body);
    }
    let mislabelled = RegisterBrokerBody::decode(&body.to_compressed(479), false, 479);
    assert_eq!(mislabelled.unwrap(), body, "brokers of 5.3.3 do so");
    assert!(RegisterBrokerBody::decode(&body.to_compressed(399), true, 413).is_err(), "the last section is missing");
    assert!(RegisterBrokerBody::decode(&body.to_json(), true, 453).is_err());
    let stock = br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":2},"mappingDataVersion":{"counter":0},"topicConfigTable":{"T":{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}"#;
    let topics = RegisterBrokerBody::from_json(stock).unwrap().topics.topic_config_table;
    assert_eq!((topics["T"].write_queue_nums, topics["T"].attributes.len()), (4, 0));
}

#[test]
fn a_compressed_registration_cannot_grow_without_bound() {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1024 * 1024];
    (0..65).for_each(|_| encoder.write_all(&zeros).unwrap());
    let mut bomb = encoder.finish().unwrap();
    // Without its end the stream is damaged; a reader that stops at the limit never gets there.
    bomb.truncate(bomb.len() - 8);
    assert!(bomb.len() < 100_000);
    let result = RegisterBrokerBody::from_compressed(&bomb, 453);
    let allowed = (1 << 20) + 128 * bomb.len();
    assert!(matches!(result, Err(BodyError::TooLarge { max }) if max == allowed));
    // What compresses badly meets the other limit.
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let noise: Vec<u8> = noise.take(REGISTRATION_MAX_BYTES + 1).collect();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&noise).unwrap();
    let result = RegisterBrokerBody::from_compressed(&encoder.finish().unwrap(), 453);
    assert!(matches!(result, Err(BodyError::TooLarge { max: REGISTRATION_MAX_BYTES })));
}

#[test]
fn a_registration_of_many_topics_is_read() {
    let named = |number: usize| {
        let topic = TopicConfig { topic_name: format!("topic-{number:06}"), ..TopicConfig::default() };
        (topic.topic_name.clone(), topic)
    };
    let topics = TopicConfigTable { topic_config_table: (0..80_000).map(named).collect(), ..Default::default() };
    let body = RegisterBrokerBody { topics, ..Default::default() };
    assert!(RegisterBrokerBody::decode(&body.to_json(), false, 453).unwrap() == body);
    assert!(RegisterBrokerBody::decode(&body.to_compressed(453), true, 453).unwrap() == body);
}

#[test]
fn more_objects_and_lists_than_a_body_has_are_refused() {
    let heartbeat = |count: usize, item: &str| {
        let text = format!(r#"{{"producerDataSet":[{}]}}"#, vec![item; count].join(","));
        HeartbeatData::from_json(text.as_bytes()).map(|body| body.producer_data_set.len())
    };
    assert_eq!(heartbeat(60, "{}").unwrap(), 60);
    for item in ["{}", "[]", "{'groupName':''}", r#"{"a":[]}"#] {
        assert!(matches!(heartbeat(1000, item), Err(BodyError::TooDense { .. })), "{item}");
    }
    // Brackets in text are text.
    assert_eq!(heartbeat(1000, r#"{"groupName":"a-long-name \\"}"#).unwrap(), 1000);
    assert_eq!(heartbeat(1000, r#"{"groupName":"[[[[ \" {{{{ "}"#).unwrap(), 1000);
    // A quotation mark that opens no string to the standard hides nothing.
    let hidden = format!(r#"{{'clientID':'"',"producerDataSet":[{}]}}"#, vec!["{}"; 1000].join(","));
    assert!(matches!(HeartbeatData::from_json(hidden.as_bytes()), Err(BodyError::TooDense { .. })));
}

#[test]
fn damaged_registrations_are_refused() {
    let good = registration().to_compressed(453);
    for end in 0..good.len() {
        assert!(RegisterBrokerBody::from_compressed(&good[..end], 453).is_err());
    }
    let deflate = |plain: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        RegisterBrokerBody::from_compressed(&encoder.finish().unwrap(), 453)
    };
    for plain in [
        &b""[..],
        b"\xff\xff\xff\xff",
        b"\0\0\0\x09{}",
        b"\0\0\0\x02{}\x7f\xff\xff\xff",
        b"\0\0\0\x02{}\0\0\0\x01\0\0\0\x03T 1",
        b"\0\0\0\x02{}\0\0\0\x01\0\0\0\x02\xff\xff",
    ] {
        assert!(deflate(plain).is_err(), "{plain:?}");
    }
    assert_eq!(deflate(b"\0\0\0\x02{}\0\0\0\0\0\0\0\x04null\0\0\0\0").unwrap(), RegisterBrokerBody::default());
    assert_eq!(body_crc32(b"123456789"), 0x4bf4_3926);
}

#[test]
fn settings_have_their_defaults() {
    let group = SubscriptionGroupConfig::from_json(
        br#"{"groupName":"g","retryMaxTimes":3,"groupRetryPolicy":{"type":"CUSTOMIZED"}}"#,
    )
    .unwrap();
    assert_eq!((group.retry_max_times, group.retry_queue_nums, group.consume_enable), (3, 1, true));
    assert_eq!((group.which_broker_when_consume_slowly, group.consume_timeout_minute), (1, 15));
    assert_eq!(SubscriptionGroupConfig::from_json(&group.to_json()).unwrap(), group);
    let topic = TopicConfig::from_json(br#"{"topicName":"T","attributes":null,"topicFilterType":null}"#).unwrap();
    assert_eq!(topic, TopicConfig { topic_name: "T".into(), ..TopicConfig::default() });
}

#[test]
fn nesting_is_bounded() {
    for open in ["[", "{a:", "{a:[", "{{a:"] {
        let deep = open.repeat(100_000);
        assert!(HeartbeatData::from_json(deep.as_bytes()).is_err());
        assert!(relaxed::to_standard(deep.as_bytes()).is_err());
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(relaxed::to_standard(nested(65).as_bytes()).is_ok());
    assert!(relaxed::to_standard(nested(66).as_bytes()).is_err());
}

#[test]
fn size_is_bounded() {
    let mut long = vec![b' '; JSON_MAX_BYTES + 1];
    long[..2].copy_from_slice(b"{}");
    assert!(matches!(TopicList::from_json(&long), Err(BodyError::TooLarge { .. })));
    long.pop();
    assert_eq!(TopicList::from_json(&long).unwrap(), TopicList::default());
}

#[test]
fn codes_are_picked_out_of_whatever_stands_there() {
    let read = |text: &str| tolerant::codes(&mut serde_json::Deserializer::from_str(text)).unwrap();
    let codes = read(r#"[1, "-7", 4294967296, "x", 1.5, true, null, [2, [3]], {"a": {"b": 4}}, 8]"#);
    assert_eq!(codes, [1, -7, 8]);
    assert!(read("null").is_empty());
}

#[test]
fn an_integer_is_a_number_a_text_or_nothing() {
    let read = |text: &str| tolerant::integer(&mut serde_json::Deserializer::from_str(text)).ok();
    assert_eq!([read("5"), read("-5"), read(r#"" 6 ""#), read("null")], [Some(5), Some(-5), Some(6), Some(0)]);
    assert_eq!([read(r#""x""#), read("18446744073709551615"), read("true")], [None, None, None]);
}

proptest! {
    #[test]
    fn rewriting_standard_json_changes_nothing(value in any_json()) {
        let text = value.to_string();
        let rewritten = relaxed::to_standard(text.as_bytes()).unwrap();
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&rewritten).unwrap(), value);
    }

    #[test]
    fn any_text_is_answered(text in "[{}\\[\\]\"':,\\\\ua0-9. é\u{1}]{0,40}") {
        let _ = relaxed::to_standard(text.as_bytes());
        let _ = HeartbeatData::from_json(text.as_bytes());
        let _ = ConsumeStats::from_json(format!("{{\"offsetTable\":{text}}}").as_bytes());
        let _ = ResetOffsetBody::from_json(format!("{{offsetTable:{text}}}").as_bytes());
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = TopicRouteData::from_json(&bytes);
        let _ = RegisterBrokerBody::from_compressed(&bytes, 453);
    }

    #[test]
    fn routes_round_trip(
        addrs in prop::collection::btree_map(0i64..9, "[0-9.:]{1,12}", 0..4),
        (name, cluster) in ("\\PC{0,8}", "\\PC{0,8}"),
        order in prop::option::of("\\PC{0,8}"),
        standard: bool,
    ) {
        let broker = BrokerData { broker_addrs: addrs, broker_name: name, cluster, ..BrokerData::default() };
        let route = TopicRouteData { broker_datas: vec![broker], order_topic_conf: order, ..route() };
        let dialect = if standard { JsonDialect::Standard } else { JsonDialect::Fastjson };
        let json = route.to_json_dialect(dialect);
        prop_assert!(!standard || json.is_ascii());
        prop_assert_eq!(TopicRouteData::from_json(&json).unwrap(), route);
    }

    #[test]
    fn queue_tables_round_trip(
        table in prop::collection::btree_map(("\\PC{0,6}", any::<i32>()), any::<i64>(), 0..5),
        standard: bool,
    ) {
        let offset_table = table.into_iter().map(|((topic, id), offset)| (queue(&topic, id), offset)).collect();
        let body = ResetOffsetBody { offset_table };
        let dialect = if standard { JsonDialect::Standard } else { JsonDialect::Fastjson };
        prop_assert_eq!(&ResetOffsetBody::from_json(&body.to_json_dialect(dialect)).unwrap(), &body);
        prop_assert_eq!(&ResetOffsetBody::from_json(&body.to_json_list()).unwrap(), &body);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[\\PC\u{0}-\u{1f}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,4}", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

use proptest::prelude::*;

use super::*;
use crate::code::RequestCode;

fn ext(fields: &[(&str, &str)]) -> ExtFields {
    fields.iter().copied().collect()
}

fn send() -> SendMessageHeader {
    SendMessageHeader {
        producer_group: "pg".into(),
        topic: "T".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: -1,
        sys_flag: 0x301,
        born_timestamp: 1_700_000_000_000,
        flag: i32::MIN,
        properties: "TAGS\u{1}a\u{2}".into(),
        reconsume_times: 2,
        unit_mode: true,
        batch: true,
        max_reconsume_times: Some(16),
        broker_name: Some("b".into()),
    }
}

/// Fields that a header writes are those it reads.
fn round_trip<H: Header + PartialEq + std::fmt::Debug>(header: &H, wire: &[(&str, &str)]) {
    let mut fields = ExtFields::new();
    header.encode(&mut fields);
    assert_eq!(fields, ext(wire));
    assert_eq!(H::decode(&fields).as_ref(), Ok(header));
}

#[test]
fn send_headers_have_long_and_short_names() {
    let long = ext(&[
        ("producerGroup", "pg"),
        ("topic", "T"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "-1"),
        ("sysFlag", "769"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "-2147483648"),
        ("properties", "TAGS\u{1}a\u{2}"),
        ("reconsumeTimes", "2"),
        ("unitMode", "true"),
        ("batch", "true"),
        ("maxReconsumeTimes", "16"),
        ("bname", "b"),
    ]);
    let short = ext(&[
        ("a", "pg"),
        ("b", "T"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "-1"),
        ("f", "769"),
        ("g", "1700000000000"),
        ("h", "-2147483648"),
        ("i", "TAGS\u{1}a\u{2}"),
        ("j", "2"),
        ("k", "true"),
        ("l", "16"),
        ("m", "true"),
        ("n", "b"),
    ]);
    for (code, fields) in [(10, &long), (324, &long), (310, &short), (320, &short), (325, &short)] {
        assert_eq!(SendMessageHeader::decode_for(RequestCode(code), fields), Ok(send()), "{code}");
        let mut written = ExtFields::new();
        send().encode_for(RequestCode(code), &mut written);
        assert_eq!(&written, fields, "{code}");
    }
}

#[test]
fn optional_fields_may_be_missing_and_mandatory_ones_not() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let least: ExtFields = names.iter().map(|name| (*name, "1")).collect();
    let header = SendMessageHeader::decode_for(RequestCode::SEND_MESSAGE_V2, &least).unwrap();
    assert_eq!((header.properties.as_str(), header.reconsume_times, header.batch), ("", 0, false));
    assert_eq!((header.unit_mode, header.max_reconsume_times, header.broker_name), (false, None, None));
    for name in names {
        let mut fields = least.clone();
        fields.remove(name);
        let error = SendMessageHeader::decode_for(RequestCode::SEND_MESSAGE_V2, &fields).unwrap_err();
        assert_eq!(error, HeaderError::Missing { field: name });
    }
}

#[test]
fn numbers_keep_to_the_range_of_their_field() {
    let queue =
        |text: &str| QueueHeader::decode(&ext(&[("topic", "T"), ("queueId", text)])).map(|header| header.queue_id);
    assert_eq!(queue("2147483647"), Ok(i32::MAX));
    assert_eq!(queue("-2147483648"), Ok(i32::MIN));
    for text in ["2147483648", "1.0", "0x1", " 1", "one", "1e3", "--1"] {
        assert_eq!(queue(text), Err(HeaderError::Malformed { field: "queueId", value: text.into() }));
    }
    assert_eq!(queue(""), Err(HeaderError::Missing { field: "queueId" }));
    let long = "é".repeat(100);
    let Err(HeaderError::Malformed { value, .. }) = queue(&long) else { panic!("no number") };
    assert_eq!(value.len(), 64, "an error repeats only the beginning");
    let odd = format!("x{long}");
    assert!(queue(&odd).is_err(), "the beginning ends between characters");
}

#[test]
fn unknown_fields_are_ignored_and_order_does_not_matter() {
    let fields = ext(&[("queueId", "1"), ("__ZONE_NAME", "z"), ("topic", "T"), ("ns", "n")]);
    let header = QueueHeader::decode(&fields).unwrap();
    assert_eq!(header, QueueHeader { topic: "T".into(), queue_id: 1, committed: None });
}

#[test]
fn pull_headers_have_the_names_clients_use() {
    let header = PullMessageHeader {
        consumer_group: "g".into(),
        topic: "T".into(),
        queue_id: 1,
        queue_offset: 2,
        max_msg_nums: 32,
        sys_flag: PULL_SUSPEND | PULL_COMMIT_OFFSET,
        commit_offset: 3,
        suspend_timeout_millis: 15_000,
        subscription: Some("*".into()),
        sub_version: 4,
        expression_type: Some("TAG".into()),
        max_msg_bytes: Some(5),
        request_source: Some(6),
        proxy_forward_client_id: Some("c".into()),
        broker_name: Some("b".into()),
    };
    assert!(header.may_suspend() && header.commits_offset() && !header.has_subscription());
    round_trip(
        &header,
        &[
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "1"),
            ("queueOffset", "2"),
            ("maxMsgNums", "32"),
            ("sysFlag", "3"),
            ("commitOffset", "3"),
            ("suspendTimeoutMillis", "15000"),
            ("subscription", "*"),
            ("subVersion", "4"),
            ("expressionType", "TAG"),
            ("maxMsgBytes", "5"),
            ("requestSource", "6"),
            ("proxyFrowardClientId", "c"),
            ("bname", "b"),
        ],
    );
    let response = PullMessageResponseHeader {
        suggest_which_broker_id: 0,
        next_begin_offset: 1,
        min_offset: 2,
        max_offset: 3,
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type: None,
    };
    let wire = [("suggestWhichBrokerId", "0"), ("nextBeginOffset", "1"), ("minOffset", "2"), ("maxOffset", "3")];
    round_trip(&response, &wire);
}

#[test]
fn other_core_headers_have_the_names_clients_use() {
    let response = SendMessageResponseHeader {
        msg_id: "m".into(),
        queue_id: 1,
        queue_offset: 2,
        transaction_id: Some("t".into()),
        batch_uniq_id: None,
        recall_handle: None,
    };
    round_trip(&response, &[("msgId", "m"), ("queueId", "1"), ("queueOffset", "2"), ("transactionId", "t")]);
    let back = ConsumerSendMsgBackHeader {
        offset: 1,
        group: "g".into(),
        delay_level: -1,
        origin_msg_id: Some("m".into()),
        origin_topic: Some("T".into()),
        unit_mode: false,
        max_reconsume_times: Some(16),
        broker_name: None,
    };
    round_trip(
        &back,
        &[
            ("offset", "1"),
            ("group", "g"),
            ("delayLevel", "-1"),
            ("originMsgId", "m"),
            ("originTopic", "T"),
            ("unitMode", "false"),
            ("maxReconsumeTimes", "16"),
        ],
    );
    let end = EndTransactionHeader {
        topic: None,
        producer_group: "p".into(),
        tran_state_table_offset: 1,
        commit_log_offset: 2,
        commit_or_rollback: TRANSACTION_ROLLBACK,
        from_transaction_check: true,
        msg_id: "m".into(),
        transaction_id: Some("t".into()),
        broker_name: None,
    };
    round_trip(
        &end,
        &[
            ("producerGroup", "p"),
            ("tranStateTableOffset", "1"),
            ("commitLogOffset", "2"),
            ("commitOrRollback", "12"),
            ("fromTransactionCheck", "true"),
            ("msgId", "m"),
            ("transactionId", "t"),
        ],
    );
    let unregister =
        UnregisterClientHeader { client_id: "c".into(), producer_group: Some("p".into()), consumer_group: None };
    round_trip(&unregister, &[("clientID", "c"), ("producerGroup", "p")]);
    let register = RegisterBrokerHeader {
        broker_name: "b".into(),
        broker_addr: "a".into(),
        cluster_name: "c".into(),
        ha_server_addr: "h".into(),
        broker_id: 0,
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        compressed: true,
        body_crc32: 7,
    };
    round_trip(
        &register,
        &[
            ("brokerName", "b"),
            ("brokerAddr", "a"),
            ("clusterName", "c"),
            ("haServerAddr", "h"),
            ("brokerId", "0"),
            ("enableActingMaster", "false"),
            ("compressed", "true"),
            ("bodyCrc32", "7"),
        ],
    );
}

proptest! {
    #[test]
    fn send_headers_round_trip(
        texts in prop::array::uniform4("\\PC{0,10}"),
        ints in any::<[i32; 5]>(),
        born: i64,
        flags in any::<(bool, bool)>(),
        max_reconsume_times: Option<i32>,
        code in prop::sample::select(vec![10, 310, 320, 324, 325]),
    ) {
        let [producer_group, topic, default_topic, properties] = texts;
        let header = SendMessageHeader {
            producer_group, topic, default_topic, properties,
            default_topic_queue_nums: ints[0], queue_id: ints[1], sys_flag: ints[2], flag: ints[3],
            reconsume_times: ints[4], born_timestamp: born, unit_mode: flags.0, batch: flags.1,
            max_reconsume_times, broker_name: None,
        };
        let mut fields = ExtFields::new();
        header.encode_for(RequestCode(code), &mut fields);
        prop_assert_eq!(SendMessageHeader::decode_for(RequestCode(code), &fields), Ok(header));
    }

    #[test]
    fn any_fields_are_answered(fields in prop::collection::vec(("[a-n]|topic|queueId|queueOffset|offset", "\\PC{0,8}|[0-9]{1,20}"), 0..20)) {
        let fields: ExtFields = fields.into_iter().collect();
        let _ = SendMessageHeader::decode_for(RequestCode(310), &fields);
        let _ = SendMessageHeader::decode(&fields);
        let _ = PullMessageHeader::decode(&fields);
        let _ = QueueHeader::decode(&fields);
    }

    /// Every header: fields that it can read, in any mixture with others, it writes so that it reads the same again.
    #[test]
    fn what_a_header_reads_it_writes(
        fields in prop::collection::btree_map(prop::sample::select(WIRE_NAMES), "[0-9]{1,3}|true|false|-1|\\PC{0,4}", 60..120),
    ) {
        let fields: ExtFields = fields.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        every_header(&fields);
        // Numbers and flags for everything, so that every header is read.
        for text in ["1", "true", "-1"] {
            let fields = WIRE_NAMES.iter().map(|name| ((*name).to_owned(), text.to_owned()));
            every_header(&fields.collect());
        }
    }
}

const WIRE_NAMES: &[&str] = &[
    "a",
    "acceptStandardJsonOnly",
    "addTopicCount",
    "attributes",
    "b",
    "batch",
    "batchUniqId",
    "beginTimestamp",
    "bname",
    "bornHost",
    "bornTimestamp",
    "boundaryType",
    "brokerAddr",
    "brokerId",
    "brokerName",
    "c",
    "changed",
    "cleanOffset",
    "clientAddr",
    "clientID",
    "clientId",
    "cluster",
    "clusterName",
    "commitLogOffset",
    "commitOffset",
    "commitOrRollback",
    "committed",
    "compressed",
    "confirmOffset",
    "consumerGroup",
    "d",
    "dataVersion",
    "defaultTopic",
    "defaultTopicQueueNums",
    "delayLevel",
    "e",
    "electionPriority",
    "enableActingMaster",
    "endTimestamp",
    "epoch",
    "expressionType",
    "f",
    "flag",
    "forbiddenType",
    "force",
    "fromTransactionCheck",
    "g",
    "group",
    "groupName",
    "groupSeq",
    "groupSysFlag",
    "h",
    "haServerAddr",
    "heartbeatTimeoutMillis",
    "heartbeatTimeoutMills",
    "i",
    "indexLastUpdatePhyoffset",
    "indexLastUpdateTimestamp",
    "isForce",
    "j",
    "jstackEnable",
    "k",
    "key",
    "l",
    "m",
    "masterAddr",
    "maxGroupNum",
    "maxMsgBytes",
    "maxMsgNums",
    "maxNum",
    "maxOffset",
    "maxReconsumeTimes",
    "maxTopicNum",
    "minOffset",
    "msgId",
    "n",
    "namespace",
    "nextBeginOffset",
    "offset",
    "offsetDelta",
    "offsetMsgId",
    "order",
    "originMsgId",
    "originTopic",
    "perm",
    "producerGroup",
    "properties",
    "proxyFrowardClientId",
    "queueId",
    "queueOffset",
    "readQueueNums",
    "recallHandle",
    "reconsumeTimes",
    "requestSource",
    "setZeroIfNotFound",
    "storeHost",
    "storeTimestamp",
    "subVersion",
    "subscription",
    "suggestWhichBrokerId",
    "suspendTimeoutMillis",
    "sysFlag",
    "timestamp",
    "topic",
    "topicFilterType",
    "topicList",
    "topicSeq",
    "topicSysFlag",
    "topicTableComplete",
    "totalGroupNum",
    "totalTopicNum",
    "tranStateTableOffset",
    "transactionId",
    "unitMode",
    "value",
    "version",
    "wipeTopicCount",
    "writeQueueNums",
];

/// Reads each header from the fields; one that can be read is written and read again.
fn every_header(fields: &ExtFields) {
    macro_rules! fixpoints {
        ($($header:ident),* $(,)?) => {$(
            if let Ok(header) = $header::decode(fields) {
                let mut written = ExtFields::new();
                header.encode(&mut written);
                assert_eq!($header::decode(&written).as_ref(), Ok(&header));
            }
        )*};
    }
    fixpoints!(
        CreateTopicHeader,
        TopicHeader,
        GetAllTopicConfigHeader,
        GetAllTopicConfigResponseHeader,
        GetBrokerConfigResponseHeader,
        GetConsumerStatusHeader,
        GetConsumerRunningInfoHeader,
        ConsumeMessageDirectlyHeader,
        ReplyMessageHeader,
        HeartbeatResponseHeader,
        UnregisterClientHeader,
        ConsumerGroupHeader,
        ProducerGroupHeader,
        GroupHeader,
        DeleteSubscriptionGroupHeader,
        GetAllSubscriptionGroupHeader,
        GetAllSubscriptionGroupResponseHeader,
        GetConsumeStatsHeader,
        GetRouteInfoHeader,
        PutKvConfigHeader,
        KvConfigHeader,
        GetKvConfigResponseHeader,
        KvNamespaceHeader,
        RegisterBrokerHeader,
        RegisterBrokerResponseHeader,
        BrokerIdentityHeader,
        QueryDataVersionResponseHeader,
        BrokerHeartbeatHeader,
        BrokerGroupHeader,
        BrokerNameHeader,
        WipeWritePermResponseHeader,
        AddWritePermResponseHeader,
        DeleteTopicFromNamesrvHeader,
        RegisterTopicHeader,
        ClusterHeader,
        QueryConsumerOffsetHeader,
        UpdateConsumerOffsetHeader,
        OffsetResponseHeader,
        QueueHeader,
        SearchOffsetHeader,
        EarliestStoreTimeResponseHeader,
        ResetOffsetHeader,
        PullMessageHeader,
        PullMessageResponseHeader,
        QueryMessageHeader,
        QueryMessageResponseHeader,
        ViewMessageHeader,
        SendMessageHeader,
        SendMessageResponseHeader,
        ConsumerSendMsgBackHeader,
        EndTransactionHeader,
        CheckTransactionStateHeader,
    );
}

/// A header that reads these fields writes the same ones.
fn names<H: Header>(wire: &[(&str, &str)]) {
    let fields = ext(wire);
    let header = H::decode(&fields).unwrap();
    let mut written = ExtFields::new();
    header.encode(&mut written);
    let sorted = |ext: &ExtFields| {
        let fields = ext.iter().map(|(name, text)| (name.to_owned(), text.to_owned()));
        fields.collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(sorted(&written), sorted(&fields));
}

#[test]
fn offset_and_query_headers_have_the_names_clients_use() {
    let queue = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "1")];
    names::<QueryConsumerOffsetHeader>(&[&queue[..], &[("setZeroIfNotFound", "false")]].concat());
    names::<UpdateConsumerOffsetHeader>(&[&queue[..], &[("commitOffset", "-1")]].concat());
    names::<OffsetResponseHeader>(&[("offset", "9223372036854775807")]);
    names::<QueueHeader>(&[("topic", "T"), ("queueId", "1"), ("committed", "true")]);
    let at = [("topic", "T"), ("queueId", "1"), ("timestamp", "2"), ("boundaryType", "UPPER")];
    names::<SearchOffsetHeader>(&at);
    names::<EarliestStoreTimeResponseHeader>(&[("timestamp", "-1")]);
    let reset =
        [("topic", "T"), ("group", "g"), ("queueId", "-1"), ("offset", "1"), ("timestamp", "-1"), ("isForce", "true")];
    names::<ResetOffsetHeader>(&reset);
    let query = [("topic", "T"), ("key", "k"), ("maxNum", "32"), ("beginTimestamp", "0"), ("endTimestamp", "1")];
    names::<QueryMessageHeader>(&[&query[..], &[("_UNIQUE_KEY_QUERY", "true")]].concat());
    names::<QueryMessageResponseHeader>(&[("indexLastUpdateTimestamp", "1"), ("indexLastUpdatePhyoffset", "2")]);
    names::<ViewMessageHeader>(&[("offset", "1"), ("topic", "T")]);
}

#[test]
fn group_and_client_headers_have_the_names_clients_use() {
    names::<HeartbeatResponseHeader>(&[("IS_SUPPORT_HEART_BEAT_V2", "true"), ("IS_SUB_CHANGE", "false")]);
    names::<ConsumerGroupHeader>(&[("consumerGroup", "g")]);
    names::<ProducerGroupHeader>(&[("producerGroup", "g")]);
    names::<GroupHeader>(&[("group", "g")]);
    names::<DeleteSubscriptionGroupHeader>(&[("groupName", "g"), ("cleanOffset", "true")]);
    names::<GetAllSubscriptionGroupHeader>(&[("groupSeq", "0"), ("dataVersion", "{}"), ("maxGroupNum", "9")]);
    names::<GetAllSubscriptionGroupResponseHeader>(&[("totalGroupNum", "1")]);
    names::<GetConsumeStatsHeader>(&[("consumerGroup", "g"), ("topic", "T"), ("topicList", "T;U")]);
    let half = [("tranStateTableOffset", "1"), ("commitLogOffset", "2"), ("msgId", "m"), ("transactionId", "t")];
    let rest = [("topic", "T"), ("offsetMsgId", "o"), ("bname", "b")];
    names::<CheckTransactionStateHeader>(&[&half[..], &rest[..]].concat());
    names::<GetConsumerStatusHeader>(&[("topic", "T"), ("group", "g"), ("clientAddr", "a")]);
    names::<GetConsumerRunningInfoHeader>(&[("consumerGroup", "g"), ("clientId", "c"), ("jstackEnable", "true")]);
    let consume = [("consumerGroup", "g"), ("clientId", "c"), ("msgId", "m"), ("brokerName", "b"), ("topic", "T")];
    names::<ConsumeMessageDirectlyHeader>(&[&consume[..], &[("topicSysFlag", "1"), ("groupSysFlag", "2")]].concat());
    names::<ReplyMessageHeader>(&[
        ("producerGroup", "g"),
        ("topic", "T"),
        ("defaultTopic", "D"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1"),
        ("flag", "0"),
        ("properties", "p"),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("bornHost", "1.2.3.4:5"),
        ("storeHost", "1.2.3.4:6"),
        ("storeTimestamp", "2"),
    ]);
}

#[test]
fn administration_headers_have_the_names_clients_use() {
    names::<CreateTopicHeader>(&[
        ("topic", "T"),
        ("defaultTopic", "D"),
        ("readQueueNums", "8"),
        ("writeQueueNums", "8"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
        ("attributes", "+a=b"),
        ("force", "false"),
    ]);
    names::<TopicHeader>(&[("topic", "T")]);
    names::<GetAllTopicConfigHeader>(&[("topicSeq", "0"), ("dataVersion", "{}"), ("maxTopicNum", "9")]);
    names::<GetAllTopicConfigResponseHeader>(&[("totalTopicNum", "1")]);
    names::<GetBrokerConfigResponseHeader>(&[("version", "v")]);
    names::<GetRouteInfoHeader>(&[("topic", "T"), ("acceptStandardJsonOnly", "true")]);
    names::<PutKvConfigHeader>(&[("namespace", "n"), ("key", "k"), ("value", "v")]);
    names::<KvConfigHeader>(&[("namespace", "n"), ("key", "k")]);
    names::<GetKvConfigResponseHeader>(&[("value", "v")]);
    names::<KvNamespaceHeader>(&[("namespace", "n")]);
    names::<RegisterBrokerResponseHeader>(&[("haServerAddr", "h"), ("masterAddr", "m")]);
    let broker = [("brokerName", "b"), ("brokerAddr", "a"), ("clusterName", "c"), ("brokerId", "0")];
    names::<BrokerIdentityHeader>(&broker);
    let alive = [("epoch", "1"), ("maxOffset", "2"), ("confirmOffset", "3"), ("heartbeatTimeoutMills", "4")];
    names::<BrokerHeartbeatHeader>(&[&broker[..], &alive[..], &[("electionPriority", "5")]].concat());
    names::<RegisterBrokerHeader>(
        &[
            &broker[..],
            &[("haServerAddr", "h"), ("heartbeatTimeoutMillis", "1"), ("enableActingMaster", "true")],
            &[("compressed", "false"), ("bodyCrc32", "0")],
        ]
        .concat(),
    );
    names::<QueryDataVersionResponseHeader>(&[("changed", "true")]);
    names::<BrokerGroupHeader>(&[("clusterName", "c"), ("brokerName", "b")]);
    names::<BrokerNameHeader>(&[("brokerName", "b")]);
    names::<WipeWritePermResponseHeader>(&[("wipeTopicCount", "1")]);
    names::<AddWritePermResponseHeader>(&[("addTopicCount", "1")]);
    names::<DeleteTopicFromNamesrvHeader>(&[("topic", "T"), ("clusterName", "c")]);
    names::<RegisterTopicHeader>(&[("topic", "T")]);
    names::<ClusterHeader>(&[("cluster", "c")]);
}

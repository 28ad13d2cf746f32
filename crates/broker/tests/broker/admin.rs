//! Topics, groups and what tools ask.

use timbermq_remoting::body::{
    JsonBody, KvTable, SubscriptionGroupConfig, SubscriptionGroupTable, TopicConfigTable, TopicList,
};
use timbermq_remoting::header::GetBrokerConfigResponseHeader;

use crate::harness::{CLUSTER, GROUP, Group, number, request};
use crate::requests::*;

#[tokio::test]
async fn topics_are_created_changed_listed_and_deleted() {
    let group = Group::one().await;
    let client = group.client().await;
    let mut create = create_topic("t", "3", "6");
    create.ext.set("attributes", "+message.type=NORMAL");
    client.get(create).await;
    put(&client, "t", 0, "x").await;
    let mut change = create_topic("t", "5", "4");
    change.ext.set("order", "true");
    client.get(change).await;
    let one = client.get(request(351, &[("topic", "t")])).await;
    let text = String::from_utf8_lossy(&one.body).into_owned();
    assert!(text.contains("\"readQueueNums\":5") && text.contains("\"perm\":4") && text.contains("NORMAL"), "{text}");
    let all = client.get(request(21, &[])).await;
    let table = TopicConfigTable::from_json(&all.body).unwrap();
    assert!(table.topic_config_table["t"].order);
    assert_eq!(number(&all, "totalTopicNum"), i64::try_from(table.topic_config_table.len()).unwrap());
    assert!(table.data_version.state_version >= 1, "the term");

    client.get(request(215, &[("topic", "t")])).await;
    assert_eq!(client.code(request(351, &[("topic", "t")])).await, 17);
    client.get(create_topic("t", "1", "6")).await;
    assert_eq!(number(&client.get(queue(30, "t", "0")).await, "offset"), 0, "its messages went with it");
}

#[tokio::test]
async fn bad_topics_and_system_topics_are_refused() {
    let group = Group::one().await;
    let client = group.client().await;
    for (topic, queues, perm) in [
        ("a b", "1", "6"),
        ("", "1", "6"),
        ("t", "0", "6"),
        ("t", "-1", "6"),
        ("t", "65537", "6"),
        ("t", "1", "16"),
        ("t", "1", "-1"),
        ("TBW102", "1", "6"),
        (CLUSTER, "1", "6"),
    ] {
        assert_eq!(client.code(create_topic(topic, queues, perm)).await, 29, "{topic} {queues} {perm}");
    }
    let mut odd = create_topic("t", "1", "6");
    odd.ext.set("attributes", "message.type=NORMAL");
    assert_eq!(client.code(odd).await, 29);
    for topic in ["TBW102", "SELF_TEST_TOPIC", GROUP, "test_REPLY_TOPIC"] {
        assert_eq!(client.code(request(215, &[("topic", topic)])).await, 29, "{topic}");
    }
    let list = client.get(request(305, &[])).await;
    let list = TopicList::from_json(&list.body).unwrap().topic_list;
    assert!(list.iter().any(|topic| topic == "TBW102") && list.iter().any(|topic| topic == "test_REPLY_TOPIC"));
}

#[tokio::test]
async fn groups_are_created_changed_listed_and_deleted() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let config =
        SubscriptionGroupConfig { group_name: "g".into(), retry_max_times: 3, ..SubscriptionGroupConfig::default() };
    client.get(request(200, &[]).with_body(config.to_json())).await;
    let one = client.get(request(352, &[("group", "g")])).await;
    assert_eq!(SubscriptionGroupConfig::from_json(&one.body).unwrap().retry_max_times, 3);
    let all = client.get(request(201, &[])).await;
    let table = SubscriptionGroupTable::from_json(&all.body).unwrap();
    assert_eq!(table.subscription_group_table.keys().collect::<Vec<_>>(), ["g"]);
    client.get(commit("g", "t", "0", "0")).await;
    client.get(request(207, &[("groupName", "g"), ("cleanOffset", "true")])).await;
    assert_eq!(client.code(request(352, &[("group", "g")])).await, 26);
    assert_eq!(client.code(query_offset("g", "t", "0")).await, 22, "its offsets went with it");
    assert_eq!(client.code(request(200, &[]).with_body("{\"groupName\":\"\"}")).await, 29);
    assert_eq!(client.code(request(200, &[]).with_body("{\"groupName\":\"g\",\"brokerId\":-1}")).await, 29);
    assert_eq!(client.code(request(200, &[]).with_body("null")).await, 29);
}

#[tokio::test]
async fn tools_find_the_keys_that_they_read() {
    let group = Group::one().await;
    let client = group.client().await;
    put(&client, "t", 0, "x").await;
    let info = client.get(request(28, &[])).await;
    let table = KvTable::from_json(&info.body).unwrap().table;
    for key in [
        "brokerVersionDesc",
        "brokerVersion",
        "bootTimestamp",
        "putTps",
        "getTransferredTps",
        "getTransferedTps",
        "msgPutTotalTodayNow",
        "msgPutTotalTodayMorning",
        "msgPutTotalYesterdayMorning",
        "msgGetTotalTodayMorning",
        "msgGetTotalYesterdayMorning",
        "msgGetTotalTodayNow",
        "sendThreadPoolQueueSize",
        "pullThreadPoolQueueSize",
        "sendThreadPoolQueueHeadWaitTimeMills",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "pageCacheLockTimeMills",
        "earliestMessageTimeStamp",
        "commitLogDiskRatio",
        "timerReadBehind",
        "timerOffsetBehind",
        "timerCongestNum",
        "timerEnqueueTps",
        "timerDequeueTps",
    ] {
        assert!(table.contains_key(key), "{key}");
    }
    assert_eq!((table["brokerActive"].as_str(), table["msgPutTotalTodayNow"].as_str()), ("true", "1"));
    assert!(table["commitLogMaxOffset"].parse::<u64>().unwrap() > 0);
    let config = client.get(request(26, &[])).await;
    let text = String::from_utf8(config.body.to_vec()).unwrap();
    for line in ["brokerName=broker-a", "brokerClusterName=test", "brokerId=0"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    config.header::<GetBrokerConfigResponseHeader>().unwrap();
}

#[tokio::test]
async fn an_unknown_request_is_answered_3_and_the_connection_goes_on() {
    let group = Group::one().await;
    let client = group.client().await;
    for code in [9_999, 0, -1, i32::MAX, i32::MIN, 106] {
        assert_eq!(client.code(request(code, &[])).await, 3, "{code}");
    }
    assert_eq!(put(&client, "t", 0, "x").await, 0);
}

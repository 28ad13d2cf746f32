//! Sending: what is stored, what is answered, what is refused.

use timbermq_remoting::header::SendMessageHeader;

use crate::harness::{Group, Wire, eventually, number, request, text};
use crate::requests::*;

#[tokio::test]
async fn batches_of_several_producers_stay_together() {
    let group = Group::one().await;
    let clients = [group.client().await, group.client().await, group.client().await];
    clients[0].get(create_topic("t", "1", "6")).await;
    let batch_header = SendMessageHeader { batch: true, ..header("t", 0) };
    for round in 0..20 {
        let mut sent = Vec::new();
        for client in &clients {
            let bodies: Vec<String> = (0..8).map(|n| n.to_string()).collect();
            let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
            sent.push(client.begin(send_as(320, &batch_header, &batch(&bodies))).await);
        }
        for answer in futures_util::future::join_all(sent).await {
            assert_eq!(answer.code, 0, "{answer:?}");
        }
        let found = clients[0].get(pull("g", "t", 0, round * 24).request()).await;
        assert_eq!(bodies(&found), ["0", "1", "2", "3", "4", "5", "6", "7"].repeat(3), "round {round}");
    }
}

#[tokio::test]
async fn all_three_send_codes_store_and_answer_id_queue_and_dense_offsets() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "4", "6")).await;
    let one = client.get(send_as(10, &header("t", 1), b"a")).await;
    let two = client.get(send_of("t", 1, "b", &[("UNIQ_KEY", "U1")])).await;
    let batch_header = SendMessageHeader { batch: true, ..header("t", 1) };
    let three = client.get(send_as(320, &batch_header, &batch(&["c", "d", "e"]))).await;
    let four = client.get(send("t", 1, "f")).await;
    let offsets: Vec<_> = [&one, &two, &three, &four].map(|a| (number(a, "queueId"), number(a, "queueOffset"))).into();
    assert_eq!(offsets, [(1, 0), (1, 1), (1, 2), (1, 5)]);
    assert_eq!(two.ext.get("transactionId"), Some("U1"));
    assert_eq!((text(&one, "MSG_REGION"), text(&one, "TRACE_ON")), ("DefaultRegion", "true"));

    let found = client.get(pull("g", "t", 1, 0).request()).await;
    assert_eq!(bodies(&found), ["a", "b", "c", "d", "e", "f"]);
    let ids = [&one, &two, &three, &four].map(|a| text(a, "msgId").to_owned()).join(",");
    let ids: Vec<_> = ids.split(',').map(str::to_owned).collect();
    assert_eq!(ids.len(), 6);
    let leader = group.leader().await;
    let port: u16 = leader.addr.rsplit(':').next().unwrap().parse().unwrap();
    for (record, id) in parsed(&found).iter().zip(&ids) {
        assert_eq!((id.len(), &id[..16]), (32, format!("7F000001{:08X}", u32::from(port)).as_str()));
        assert_eq!(record.physical_offset(), position(id), "an id names the place of its record");
    }
    let stored: Vec<_> = parsed(&found).iter().map(timbermq_record::Record::queue_offset).collect();
    assert_eq!(stored, [0, 1, 2, 3, 4, 5]);
    assert!(parsed(&found)[0].properties().unique_key().is_some_and(|key| key.len() == 32), "the broker makes a key");
    assert_eq!(parsed(&found)[0].born_timestamp_ms(), 1_700_000_000_000);
    assert!(parsed(&found)[0].store_timestamp_ms() > 1_700_000_000_000);
}

/// The header of a send to queue 1 of topic `t`, as the C++ client writes it: numbers are JSON numbers.
fn cpp(opaque: i32, flag: i32) -> String {
    format!(
        r#"{{"code":310,"language":2,"version":79,"opaque":{opaque},"flag":{flag},"remark":"","extFields":{{
        "a":"p","b":"t","c":"TBW102","d":4,"e":1,"f":0,"g":1700000000000,"h":0,"i":"","j":0,"k":false,"m":false}}}}"#
    )
}

#[tokio::test]
async fn a_one_way_send_is_stored_and_gets_no_answer() {
    let group = Group::one().await;
    group.client().await.get(create_topic("t", "2", "6")).await;
    let node = group.leader().await;
    let mut wire = Wire::connect(&node.addr).await;
    wire.send(&cpp(1, 2), b"quiet").await;
    let queue = timbermq_types::QueueId(1);
    eventually("the message", async || (node.view().queue_bounds("t", queue).max.0 == 1).then_some(())).await;
    wire.send(&cpp(2, 0), b"loud").await;
    let answer = wire.receive().await;
    assert_eq!((answer["opaque"].as_i64(), answer["extFields"]["queueOffset"].as_str()), (Some(2), Some("1")));
}

#[tokio::test]
async fn illegal_messages_are_refused_and_nothing_is_stored() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "2", "6")).await;
    client.get(create_topic("readonly", "2", "4")).await;
    let large = "x".repeat(64 * 1024 + 1);
    let long = "v".repeat(32_760);
    let prepared = SendMessageHeader { sys_flag: 4, ..header("t", 0) };
    let bad_batch = SendMessageHeader { batch: true, ..header("t", 0) };
    for (what, request, code) in [
        ("too large", send("t", 0, &large), 13),
        ("too many properties", send_of("t", 0, "x", &[("k", &long)]), 13),
        ("delayed", send_of("t", 0, "x", &[("DELAY", "3")]), 13),
        ("delayed, said to be a retry", send_of("t", 0, "x", &[("DELAY", "3"), ("RETRY_TOPIC", "t")]), 13),
        ("prepared", send_of("t", 0, "x", &[("TRAN_MSG", "true")]), 13),
        ("prepared, in capitals", send_of("t", 0, "x", &[("TRAN_MSG", "TRUE")]), 13),
        ("prepared, by its flag alone", send_as(310, &prepared, b"x"), 13),
        ("timed, seconds", send_of("t", 0, "x", &[("TIMER_DELAY_SEC", "3")]), 13),
        ("timed, ms", send_of("t", 0, "x", &[("TIMER_DELAY_MS", "3")]), 13),
        ("timed, at", send_of("t", 0, "x", &[("TIMER_DELIVER_MS", "3")]), 13),
        ("a cut batch", send_as(320, &bad_batch, &batch(&["a", "b"])[..30]), 13),
        ("an empty batch", send_as(320, &bad_batch, b""), 13),
        ("a topic's name", send("bad topic!", 0, "x"), 29),
        ("write protected", send("SCHEDULE_TOPIC_XXXX", 0, "x"), 16),
        ("write protected", send("SELF_TEST_TOPIC", 0, "x"), 16),
        ("read only", send("readonly", 0, "x"), 16),
        ("a queue too far", send("t", 2, "x"), 1),
        ("an unknown dead-letter topic", send("%DLQ%g", 0, "x"), 17),
        ("no header", request(310, &[("b", "t")]), 1),
        ("a header of letters", request(310, &[("a", "p"), ("b", "t"), ("c", "d"), ("d", "many")]), 1),
    ] {
        let answer = client.ask(request).await;
        assert_eq!(answer.code, code, "{what}: {answer:?}");
        assert!(answer.remark.is_some_and(|remark| !remark.is_empty()), "{what}");
    }
    for queue in 0..2 {
        assert_eq!(number(&client.get(crate::requests::queue(30, "t", &queue.to_string())).await, "offset"), 0);
    }
}

#[tokio::test]
async fn a_negative_queue_lets_the_broker_choose_among_all() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "2", "6")).await;
    let mut chosen = std::collections::BTreeSet::new();
    for _ in 0..64 {
        chosen.insert(number(&client.get(send("t", -1, "x")).await, "queueId"));
    }
    assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn a_first_send_creates_its_topic_where_that_is_allowed() {
    let group = Group::one().await;
    let client = group.client().await;
    put(&client, "fresh", 0, "x").await;
    let wide = SendMessageHeader { default_topic_queue_nums: 100, ..header("wide", 0) };
    client.get(send_as(310, &wide, b"x")).await;
    let view = group.leader().await.view();
    let fresh = view.topic("fresh").unwrap();
    assert_eq!((fresh.read_queues, fresh.write_queues, fresh.perm), (4, 4, 6), "and it passes nothing on");
    assert_eq!(view.topic("wide").unwrap().write_queues, 8, "no wider than the template");
    let heir = SendMessageHeader { default_topic: "fresh".into(), ..header("orphan", 0) };
    assert_eq!(client.code(send_as(310, &heir, b"x")).await, 17, "that topic is no template");

    let strict = Group::start(1, |settings| settings.auto_create_topic = false).await;
    let client = strict.client().await;
    assert_eq!(client.code(send("fresh", 0, "x")).await, 17);
    assert!(strict.leader().await.view().topic("fresh").is_none());
}

#[tokio::test]
async fn numbers_and_booleans_as_other_languages_write_them_are_read() {
    let group = Group::one().await;
    group.client().await.get(create_topic("t", "2", "6")).await;
    let mut wire = Wire::connect(&group.leader().await.addr).await;
    wire.send(&cpp(-7, 0), b"hi").await;
    let answer = wire.receive().await;
    let head = ["code", "opaque", "flag"].map(|name| answer[name].as_i64().unwrap());
    assert_eq!(head, [0, -7, 1], "the opaque comes back whatever it is");
    assert_eq!(answer["extFields"]["queueOffset"].as_str(), Some("0"), "values are always strings");
    assert_eq!(answer["extFields"]["queueId"].as_str(), Some("1"));
}

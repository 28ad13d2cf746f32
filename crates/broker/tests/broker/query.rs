//! Looking messages up.

use std::time::Duration;

use timbermq_remoting::RemotingCommand;
use timbermq_replica::Retention;

use crate::harness::{Group, eventually, number, request, text};
use crate::requests::*;

fn by_key(topic: &str, key: &str, unique: bool, max: &str) -> RemotingCommand {
    let end = i64::MAX.to_string();
    let fields = [("topic", topic), ("key", key), ("maxNum", max), ("beginTimestamp", "0"), ("endTimestamp", &end)];
    let mut query = request(12, &fields);
    if unique {
        query.ext.set("_UNIQUE_KEY_QUERY", "true");
    }
    query
}

fn view(offset: i64) -> RemotingCommand {
    request(33, &[("offset", &offset.to_string())])
}

#[tokio::test]
async fn messages_are_found_by_any_of_their_keys_newest_first() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    client.get(create_topic("u", "1", "6")).await;
    put_of(&client, "t", "1", &[("KEYS", "red blue"), ("UNIQ_KEY", "U1")]).await;
    put_of(&client, "t", "2", &[("KEYS", "blue"), ("UNIQ_KEY", "U2")]).await;
    let last = put_of(&client, "t", "3", &[("KEYS", "U1"), ("UNIQ_KEY", "U3")]).await;
    put_of(&client, "u", "4", &[("KEYS", "blue"), ("UNIQ_KEY", "U4")]).await;
    let blue = client.get(by_key("t", "blue", false, "10")).await;
    assert_eq!(bodies(&blue), ["2", "1"]);
    assert_eq!(parsed(&blue).iter().map(timbermq_record::Record::queue_offset).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(bodies(&client.get(by_key("t", "blue", false, "1")).await), ["2"]);
    assert_eq!(bodies(&client.get(by_key("t", "red", false, "10")).await), ["1"]);
    assert_eq!(bodies(&client.get(by_key("t", "U1", true, "10")).await), ["1"], "by unique key alone");
    let both = client.get(by_key("t", "U1", false, "10")).await;
    assert_eq!(bodies(&both), ["3", "1"]);
    assert_eq!(number(&both, "indexLastUpdatePhyoffset"), last);
    assert_eq!(client.code(by_key("t", "green", false, "10")).await, 22);
    assert_eq!(client.code(by_key("t", "blue", true, "10")).await, 22);
    let mut early = by_key("t", "blue", false, "10");
    early.ext.set("endTimestamp", "5");
    assert_eq!(client.code(early).await, 22);
}

#[tokio::test]
async fn an_id_shows_its_message_and_no_other_place_shows_anything() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    put(&client, "t", 0, "before").await;
    let found = client.get(pull("g", "t", 0, 0).request()).await;
    // A whole record, offsets and all, as the body of a message: its place is not a message.
    let header = header("t", 0);
    let answer = client.get(send_as(310, &header, &found.body)).await;
    let offset = position(text(&answer, "msgId"));
    let shown = client.get(view(offset)).await;
    let record = &parsed(&shown)[0];
    assert_eq!((record.queue_offset(), record.physical_offset(), record.body()), (1, offset, &found.body[..]));
    let inner =
        offset + i64::try_from(shown.body.windows(found.body.len()).position(|w| w == found.body).unwrap()).unwrap();
    for bad in [inner, offset + 1, offset - 4, 0, -1, i64::MAX, i64::MIN] {
        assert_eq!(client.code(view(bad)).await, 1, "{bad}");
    }
}

/// An answer without it would say that the message is not there.
#[tokio::test]
async fn a_message_that_cannot_be_read_now_is_an_error() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let first = put_of(&client, "t", "a", &[("KEYS", "k")]).await;
    let body = "x".repeat(8 << 10);
    for _ in 0..64 {
        put(&client, "t", 0, &body).await;
    }
    put_of(&client, "t", "b", &[("KEYS", "k")]).await;
    let disk = &group.leader().await.disk;
    disk.set_unreadable(true);
    for lookup in [by_key("t", "k", false, "9"), view(first)] {
        let refused = client.ask(lookup).await;
        assert_eq!(refused.code, 1);
        assert!(refused.remark.as_deref().unwrap().contains("unreadable sector"), "{refused:?}");
    }
    assert_eq!(bodies(&client.get(by_key("t", "k", false, "1")).await), ["b"], "nothing else is needed");
    disk.set_unreadable(false);
    assert_eq!(bodies(&client.get(by_key("t", "k", false, "9")).await), ["b", "a"]);
}

#[tokio::test]
async fn what_retention_took_is_gone_for_every_question() {
    let retention = Retention {
        bytes: 64 << 10,
        mark_bytes: 8 << 10,
        check_interval: Duration::from_millis(20),
        ..Retention::default()
    };
    let group = Group::with(1, retention, |_| {}).await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let first = put_of(&client, "t", "old", &[("KEYS", "old")]).await;
    let body = "x".repeat(8 << 10);
    let view_of = group.leader().await.view();
    for _ in 0..20 {
        put(&client, "t", 0, &body).await;
    }
    let min = eventually("the first messages are gone", async || {
        let min = view_of.queue_bounds("t", timbermq_types::QueueId(0)).min.0;
        (min > 0).then_some(i64::try_from(min).unwrap())
    })
    .await;
    let (code, next, lowest, _) = offsets(&client.ask(pull("g", "t", 0, 0).request()).await);
    assert!(code == 21 && next >= min && lowest >= next, "{code} {next} {lowest}");
    assert!(number(&client.get(queue(31, "t", "0")).await, "offset") >= min);
    assert_eq!(client.code(view(first)).await, 1);
    assert_eq!(client.code(by_key("t", "old", false, "9")).await, 22);
    let back = request(36, &[("offset", &first.to_string()), ("group", "g"), ("delayLevel", "0")]);
    assert_eq!(client.code(back).await, 1);
    assert_eq!(client.code(query_offset("g", "t", "0")).await, 22, "the queue is not young any more");
}

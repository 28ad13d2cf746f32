//! Messages that consumers could not process.

use timbermq_remoting::RemotingCommand;
use timbermq_remoting::header::SendMessageHeader;

use crate::harness::{Client, Group, request, text};
use crate::requests::*;

fn send_back(group: &str, offset: i64, level: &str, max: Option<&str>) -> RemotingCommand {
    let offset = offset.to_string();
    let mut back =
        request(36, &[("offset", &offset), ("group", group), ("delayLevel", level), ("originMsgId", "ORIGIN")]);
    if let Some(max) = max {
        back.ext.set("maxReconsumeTimes", max);
    }
    back
}

async fn all(client: &Client, topic: &str) -> RemotingCommand {
    client.get(pull("reader", topic, 0, 0).request()).await
}

#[tokio::test]
async fn a_message_handed_back_comes_again_and_dies_at_the_last_attempt() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let first = put_of(&client, "t", "body", &[("TAGS", "A"), ("KEYS", "k"), ("UNIQ_KEY", "U1")]).await;
    client.get(send_back("g", first, "0", Some("2"))).await;
    let once = all(&client, "%RETRY%g").await;
    let record = &parsed(&once)[0];
    let found = record.properties();
    assert_eq!((record.body(), record.reconsume_times(), record.topic()), (&b"body"[..], 1, "%RETRY%g"));
    assert_eq!((found.get("RETRY_TOPIC"), found.get("ORIGIN_MESSAGE_ID")), (Some("t"), Some("ORIGIN")));
    assert_eq!((found.tag(), found.unique_key()), (Some("A"), Some("U1")));
    assert_eq!(record.born_timestamp_ms(), 1_700_000_000_000);

    let mut again = send_back("g", record.physical_offset(), "0", Some("2"));
    again.ext.set("originMsgId", "ANOTHER");
    client.get(again).await;
    let twice = all(&client, "%RETRY%g").await;
    let record = &parsed(&twice)[1];
    assert_eq!(record.reconsume_times(), 2);
    assert_eq!(record.properties().get("ORIGIN_MESSAGE_ID"), Some("ORIGIN"), "the first one stays");
    assert_eq!(record.properties().get("RETRY_TOPIC"), Some("t"));

    client.get(send_back("g", record.physical_offset(), "0", Some("2"))).await;
    assert_eq!(parsed(&all(&client, "%RETRY%g").await).len(), 2);
    let dead = all(&client, "%DLQ%g").await;
    let record = &parsed(&dead)[0];
    assert_eq!((record.body(), record.properties().get("RETRY_TOPIC")), (&b"body"[..], Some("t")));
    client.get(send_back("g", first, "-1", None)).await;
    assert_eq!(parsed(&all(&client, "%DLQ%g").await).len(), 2, "a negative level means at once");
}

#[tokio::test]
async fn the_groups_own_limit_counts_when_the_client_says_none() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    client.get(request(200, &[]).with_body("{\"groupName\":\"g\",\"retryMaxTimes\":0}")).await;
    client.get(request(200, &[]).with_body("{\"groupName\":\"none\",\"retryQueueNums\":0}")).await;
    let offset = put_of(&client, "t", "x", &[]).await;
    client.get(send_back("g", offset, "0", None)).await;
    assert_eq!(parsed(&all(&client, "%DLQ%g").await).len(), 1);
    client.get(send_back("none", offset, "0", None)).await;
    assert!(group.leader().await.view().topic("%RETRY%none").is_none(), "such a group wants no retries");
}

#[tokio::test]
async fn a_place_that_holds_no_message_cannot_be_handed_back() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let offset = put_of(&client, "t", "x", &[]).await;
    for bad in [offset + 1, offset - 1, -1, i64::MAX, 0] {
        assert_eq!(client.code(send_back("g", bad, "0", None)).await, 1, "{bad}");
    }
    assert_eq!(client.code(send_back("b d", offset, "0", None)).await, 29);
    let strict = Group::start(1, |settings| settings.auto_create_group = false).await;
    assert_eq!(strict.client().await.code(send_back("g", 0, "0", None)).await, 26);
}

#[tokio::test]
async fn a_client_may_send_to_the_retry_topic_itself() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    let resend = |times: i32| {
        let pairs = [("RETRY_TOPIC", "t"), ("ORIGIN_MESSAGE_ID", "O"), ("DELAY", "4"), ("UNIQ_KEY", "U")];
        let header = SendMessageHeader {
            properties: text_of(&pairs),
            reconsume_times: times,
            max_reconsume_times: Some(3),
            ..header("%RETRY%g", 0)
        };
        send_as(310, &header, b"x")
    };
    client.get(resend(3)).await;
    let retried = all(&client, "%RETRY%g").await;
    assert_eq!(parsed(&retried)[0].reconsume_times(), 3);
    let dead_id = client.get(resend(4)).await;
    assert!(!text(&dead_id, "msgId").is_empty());
    let dead = all(&client, "%DLQ%g").await;
    assert_eq!(parsed(&dead)[0].properties().get("DELAY"), None);
    assert_eq!(parsed(&all(&client, "%RETRY%g").await).len(), 1);
    let other = SendMessageHeader { reconsume_times: 1, ..header("%RETRY%unknown", 0) };
    assert_eq!(client.code(send_as(310, &other, b"x")).await, 26);
    assert_eq!(client.code(send("%RETRY%", 0, "x")).await, 29, "no group");
}

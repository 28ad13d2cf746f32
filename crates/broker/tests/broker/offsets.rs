//! Consumer offsets, bounds and searches.

use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{ConsumeStats, JsonBody};
use timbermq_types::QueueId;

use crate::harness::{Client, Group, eventually, number, request};
use crate::requests::*;

async fn stored(client: &Client) -> Option<i64> {
    let answer = client.ask(query_offset("g", "t", "0")).await;
    match answer.code {
        0 => Some(number(&answer, "offset")),
        code => {
            assert_eq!(code, 22, "{answer:?}");
            None
        }
    }
}

async fn with_messages(group: &Group, count: usize) -> Client {
    let client = group.client().await;
    client.get(create_topic("t", "2", "6")).await;
    client.get(request(200, &[]).with_body("{\"groupName\":\"g\"}")).await;
    for n in 0..count {
        put(&client, "t", 0, &n.to_string()).await;
    }
    client
}

#[tokio::test]
async fn a_group_without_an_offset_begins_at_zero_only_where_the_queue_is_young() {
    let group = Group::one().await;
    let client = with_messages(&group, 0).await;
    assert_eq!(stored(&client).await, None, "an empty queue is no reason to begin at its beginning");
    put(&client, "t", 0, "x").await;
    assert_eq!(stored(&client).await, Some(0));
    let mut careful = query_offset("g", "t", "0");
    careful.ext.set("setZeroIfNotFound", "false");
    assert_eq!(client.code(careful).await, 22);
    assert_eq!(client.code(query_offset("g", "t", "-1")).await, 29);
    assert_eq!(client.code(query_offset("g", "none", "0")).await, 22);

    let old = Group::start(1, |settings| settings.memory_bytes = 0).await;
    let client = with_messages(&old, 1).await;
    assert_eq!(stored(&client).await, None, "the beginning is no longer in memory");
}

#[tokio::test]
async fn commits_are_stored_with_and_without_an_answer_and_with_a_pull() {
    let group = Group::one().await;
    let client = with_messages(&group, 9).await;
    client.get(commit("g", "t", "0", "3")).await;
    let view = group.leader().await.view();
    assert_eq!(view.offset_of("g", "t", QueueId(0)).map(|offset| offset.0), Some(3), "an answer means stored");
    client.tell(commit("g", "t", "0", "4")).await;
    assert_eq!(stored(&client).await, Some(4), "a question waits for the commits before it");
    client.get(pull("g", "t", 0, 8).commits(5).request()).await;
    assert_eq!(stored(&client).await, Some(5));
    assert_eq!(client.code(commit("none", "t", "0", "1")).await, 26);
    assert_eq!(client.code(commit("g", "none", "0", "1")).await, 17);
    assert_eq!(client.code(commit("g", "t", "-1", "1")).await, 29);
    assert_eq!(client.code(commit("g", "t", "0", "-1")).await, 29);
}

#[tokio::test]
async fn only_the_present_owner_may_lower_an_offset() {
    let group = Group::one().await;
    let old = with_messages(&group, 9).await;
    let new = group.client().await;
    assert_eq!(stored(&old).await, Some(0));
    old.get(commit("g", "t", "0", "8")).await;
    old.get(commit("g", "t", "0", "2")).await;
    assert_eq!(stored(&old).await, Some(2), "the owner may");
    new.get(commit("g", "t", "0", "6")).await;
    new.get(commit("g", "t", "0", "4")).await;
    assert_eq!(stored(&old).await, Some(6), "who never asked may raise it but not lower it");
    assert_eq!(stored(&new).await, Some(6));
    old.get(commit("g", "t", "0", "1")).await;
    assert_eq!(stored(&new).await, Some(6), "the late commit of the owner before");
    new.get(commit("g", "t", "0", "5")).await;
    assert_eq!(stored(&new).await, Some(5));
}

#[tokio::test]
async fn a_pull_that_was_held_since_before_does_not_take_the_queue_back() {
    let group = Group::one().await;
    let old = with_messages(&group, 5).await;
    let new = group.client().await;
    let held = old.begin(pull("g", "t", 0, 5).held(20_000).request()).await;
    old.get(commit("g", "t", "0", "4")).await;
    assert_eq!(stored(&new).await, Some(4), "the queue changes hands");
    put(&new, "t", 0, "x").await;
    assert_eq!(held.await.code, 0);
    old.get(commit("g", "t", "0", "1")).await;
    assert_eq!(stored(&new).await, Some(4));
}

#[tokio::test]
async fn bounds_and_times_of_a_queue() {
    let group = Group::one().await;
    let client = with_messages(&group, 3).await;
    let offset = async |request: RemotingCommand| number(&client.get(request).await, "offset");
    assert_eq!((offset(queue(30, "t", "0")).await, offset(queue(31, "t", "0")).await), (3, 0));
    assert_eq!(offset(queue(30, "none", "0")).await, 0, "never an error");
    assert_eq!(offset(queue(30, "t", "99")).await, 0);
    let found = client.get(pull("g", "t", 0, 0).request()).await;
    let times: Vec<i64> = parsed(&found).iter().map(timbermq_record::Record::store_timestamp_ms).collect();
    let search = |at: i64, boundary: &str| {
        let at = at.to_string();
        request(29, &[("topic", "t"), ("queueId", "0"), ("timestamp", &at), ("boundaryType", boundary)])
    };
    assert_eq!(offset(search(0, "LOWER")).await, 0);
    assert_eq!(offset(search(-1, "LOWER")).await, 0);
    assert_eq!(offset(search(times[2] + 1, "LOWER")).await, 3);
    assert_eq!(offset(search(times[0], "LOWER")).await, 0);
    let earliest = client.get(queue(32, "t", "0")).await;
    assert_eq!(number(&earliest, "timestamp"), times[0]);
    assert_eq!(number(&client.get(queue(32, "t", "1")).await, "timestamp"), -1);
    assert_eq!(client.code(queue(30, "t", "-2")).await, 29);
}

#[tokio::test]
async fn a_reset_moves_the_group_and_tells_its_members() {
    let group = Group::one().await;
    let mut client = with_messages(&group, 6).await;
    client.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    client.get(commit("g", "t", "0", "6")).await;
    client.asked_so_far().await;
    let reset = |fields: &[(&str, &str)]| {
        let mut reset = request(222, &[("topic", "t"), ("group", "g"), ("timestamp", "-1")]);
        fields.iter().for_each(|(name, value)| reset.ext.set(name, value));
        reset
    };
    client.get(reset(&[("queueId", "0"), ("offset", "2")])).await;
    let other = group.client().await;
    assert_eq!(stored(&other).await, Some(2), "an explicit reset lowers");
    let told = client.asked_so_far().await;
    assert_eq!(told.iter().map(|notice| notice.code).collect::<Vec<_>>(), [220]);
    assert!(String::from_utf8_lossy(&told[0].body).contains("\"queueId\":0"), "{:?}", told[0].body);
    assert_eq!(client.code(reset(&[("queueId", "0"), ("offset", "7")])).await, 1, "outside the queue");
    assert_eq!(client.code(reset(&[("queueId", "2"), ("offset", "0")])).await, 1, "no such queue");
    assert_eq!(client.code(reset(&[("group", "none")])).await, 26);
    assert_eq!(client.code(reset(&[("topic", "none")])).await, 17);
    client.get(reset(&[])).await;
    assert_eq!(stored(&other).await, Some(6), "to the end, in all queues");
}

#[tokio::test]
async fn statistics_of_a_group_and_of_a_topic() {
    let group = Group::one().await;
    let client = with_messages(&group, 4).await;
    client.get(commit("g", "t", "0", "1")).await;
    let answer = client.get(request(208, &[("consumerGroup", "g")])).await;
    let stats = ConsumeStats::from_json(&answer.body).unwrap();
    let rows: Vec<_> =
        stats.offset_table.iter().map(|(q, o)| (q.queue_id, o.broker_offset, o.consumer_offset)).collect();
    assert_eq!(rows, [(0, 4, 1), (1, 0, -1)]);
    let topic = client.get(request(202, &[("topic", "t")])).await;
    assert!(String::from_utf8_lossy(&topic.body).contains("\"maxOffset\":4"));
    assert_eq!(client.code(request(202, &[("topic", "none")])).await, 17);
}

#[tokio::test]
async fn a_commit_that_cannot_be_stored_is_not_reported_as_stored() {
    let group = Group::three().await;
    let client = with_messages(&group, 2).await;
    let leader = group.leader().await;
    let direct = group.client_of(leader);
    for node in group.followers().await {
        node.replica.shutdown().await;
    }
    let answer = direct.ask(commit("g", "t", "0", "1")).await;
    assert!([1, 14].contains(&answer.code), "{answer:?}");
    eventually("the leader knows", async || (!leader.leads()).then_some(())).await;
    assert_eq!(client.code(send("t", 0, "x")).await, 14);
    assert_eq!(client.code(query_offset("g", "t", "0")).await, 14, "never 22: the group would skip to the end");
}

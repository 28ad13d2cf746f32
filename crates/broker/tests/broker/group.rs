//! Three replicas: what followers do, and what happens between them and the leader.

use std::time::Duration;

use timbermq_remoting::body::{JsonBody, LockBatchResponse};

use crate::harness::{Group, eventually, number, request, text};
use crate::requests::*;

#[tokio::test]
async fn followers_pass_on_what_is_for_the_leader() {
    let group = Group::three().await;
    let follower = group.followers().await[0];
    let client = group.client_of(follower);
    client.get(create_topic("t", "2", "6")).await;
    assert_eq!(put(&client, "t", 0, "x").await, 0);
    client.get(request(200, &[]).with_body("{\"groupName\":\"g\"}")).await;
    client.get(commit("g", "t", "0", "1")).await;
    assert_eq!(number(&client.get(query_offset("g", "t", "0")).await, "offset"), 1);
    client.tell(commit("g", "t", "1", "1")).await;
    let view = group.leader().await.view();
    eventually("the one-way commit", async || view.offset_of("g", "t", timbermq_types::QueueId(1))).await;
    let answer = client.get(lock(41, "g", "c1", "t", &[0])).await;
    assert_eq!(LockBatchResponse::from_json(&answer.body).unwrap().locked.len(), 1);
    assert_eq!(number(&client.get(queue(30, "t", "0")).await, "offset"), 1);
    client.get(send_of("t", 0, "k", &[("KEYS", "key")])).await;
    let end = i64::MAX.to_string();
    let fields = [("topic", "t"), ("key", "key"), ("maxNum", "9"), ("beginTimestamp", "0"), ("endTimestamp", &end)];
    assert_eq!(bodies(&client.get(request(12, &fields)).await), ["k"]);
    assert_eq!(client.code(send("none such!", 0, "x")).await, 29, "the leader's refusal comes back as it is");
    let record = client.get(pull("g", "t", 0, 0).request());
    let born = parsed(&record.await)[0].born_host();
    assert_ne!(born.to_string(), follower.addr);
}

#[tokio::test]
async fn what_was_forwarded_once_is_not_forwarded_again() {
    let group = Group::three().await;
    let client = group.client_of(group.followers().await[0]);
    let mut request = send("t", 0, "x");
    request.ext.set("__TMQ_FORWARDED_FOR", "10.0.0.1:5");
    assert_eq!(client.code(request).await, 14);
}

#[tokio::test]
async fn clients_behind_one_follower_are_not_taken_for_one_owner() {
    let group = Group::three().await;
    let follower = group.followers().await[0];
    let (old, new) = (group.client_of(follower), group.client_of(follower));
    old.get(create_topic("t", "1", "6")).await;
    old.get(request(200, &[]).with_body("{\"groupName\":\"g\"}")).await;
    old.get(commit("g", "t", "0", "8")).await;
    let stored = async || number(&new.get(query_offset("g", "t", "0")).await, "offset");
    assert_eq!(stored().await, 8);
    old.get(commit("g", "t", "0", "1")).await;
    assert_eq!(stored().await, 8, "the late commit of the owner before, by the same way");
}

#[tokio::test]
async fn followers_serve_and_hold_pulls_and_pass_their_offsets_on() {
    let group = Group::three().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    client.get(request(200, &[]).with_body("{\"groupName\":\"g\"}")).await;
    let offset = put_of(&client, "t", "x", &[]).await;
    group.agree().await;
    for follower in group.followers().await {
        let there = group.client_of(follower);
        assert_eq!(bodies(&there.get(pull("g", "t", 0, 0).request()).await), ["x"]);
        let shown = there.get(request(33, &[("offset", &offset.to_string())])).await;
        assert_eq!(bodies(&shown), ["x"], "an id names whichever replica it names");
        assert_eq!(there.code(request(33, &[("offset", &(offset + 1).to_string())])).await, 1);
    }
    let there = group.client_of(group.followers().await[0]);
    let held = there.begin(pull("g", "t", 0, 1).commits(1).held(20_000).request()).await;
    let view = group.leader().await.view();
    eventually("the offset", async || view.offset_of("g", "t", timbermq_types::QueueId(0))).await;
    put(&client, "t", 0, "y").await;
    assert_eq!(bodies(&held.await), ["y"]);
}

#[tokio::test]
async fn a_follower_sends_nobody_back() {
    let group = Group::three().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    put(&client, "t", 0, "x").await;
    group.agree().await;
    let there = group.client_of(group.followers().await[0]);
    let ahead = there.ask(pull("g", "t", 0, 5).request()).await;
    assert_eq!(offsets(&ahead), (20, 5, 0, 1), "it may be the one that is behind");
    assert_eq!(number(&ahead, "suggestWhichBrokerId"), 0);
    assert_eq!(offsets(&there.ask(pull("g", "t", 0, -1).request()).await), (21, 0, 0, 1));
    assert_eq!(offsets(&client.ask(pull("g", "t", 0, 5).request()).await), (21, 1, 0, 1), "the leader knows");
}

/// A majority may have an entry durable before the leader's own disk does; the followers apply it first.
#[tokio::test]
async fn a_leader_behind_its_followers_answers_when_it_is_not() {
    let group = Group::three().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    client.get(request(200, &[]).with_body("{\"groupName\":\"g\"}")).await;
    put(&client, "t", 0, "a").await;
    let leader = group.leader().await;
    let direct = group.client_of(leader);
    leader.disk.set_stalled(true);
    let sent = client.begin(send_of("t", 0, "b", &[("KEYS", "k")])).await;
    let queue = timbermq_types::QueueId(0);
    let follower = group.followers().await[0];
    eventually("a follower has it", async || (follower.view().queue_bounds("t", queue).max.0 == 2).then_some(())).await;
    assert_eq!(leader.view().queue_bounds("t", queue).max.0, 1);
    let there = group.client_of(follower);
    let next = number(&there.get(pull("g", "t", 0, 1).request()).await, "nextBeginOffset");
    assert_eq!(next, 2);
    let position = follower.view().rows("t", queue, timbermq_types::QueueOffset(1), 1).unwrap()[0].position;
    let pulled = direct.begin(pull("g", "t", 0, next).request()).await;
    let end = i64::MAX.to_string();
    let fields = [("topic", "t"), ("key", "k"), ("maxNum", "9"), ("beginTimestamp", "0"), ("endTimestamp", &end)];
    let by_key = direct.begin(request(12, &fields)).await;
    let by_id = direct.begin(request(33, &[("offset", &position.to_string())])).await;
    let made = client.begin(create_topic("u", "1", "6")).await;
    let made_group = client.begin(request(200, &[]).with_body("{\"groupName\":\"h\"}")).await;
    eventually("a follower has them", async || {
        (follower.view().topic("u").is_some() && follower.view().group("h").is_some()).then_some(())
    })
    .await;
    let topic = direct.begin(request(351, &[("topic", "u")])).await;
    let group_config = direct.begin(request(352, &[("group", "h")])).await;
    let reset = [("topic", "t"), ("group", "h"), ("timestamp", "-1"), ("queueId", "0")];
    let reset = direct.begin(request(222, &reset)).await;
    // The requests are in their barriers once a later request of the connection is answered.
    direct.code(request(9_999, &[])).await;
    leader.disk.set_stalled(false);
    assert_eq!(sent.await.code, 0);
    assert_eq!(offsets(&pulled.await), (19, 2, 0, 2), "a 21 would have made it read again");
    assert_eq!(bodies(&by_key.await), ["b"]);
    assert_eq!(bodies(&by_id.await), ["b"]);
    assert_eq!((made.await.code, made_group.await.code), (0, 0));
    assert_eq!((topic.await.code, group_config.await.code, reset.await.code), (0, 0, 0), "they are there");
}

#[tokio::test]
async fn a_takeover_loses_nothing_and_ids_stay_good() {
    let group = Group::three().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let id = text(&client.get(send("t", 0, "x")).await, "msgId").to_owned();
    let old = group.leader().await;
    old.broker.shutdown().await;
    old.replica.shutdown().await;
    let next =
        eventually("another leader", async || group.nodes.iter().find(|node| node.leads() && node.addr != old.addr))
            .await;
    let there = group.client_of(next);
    assert_eq!(put(&there, "t", 0, "y").await, 1);
    assert_eq!(bodies(&there.get(request(33, &[("offset", &position(&id).to_string())])).await), ["x"]);
    let other = group.nodes.iter().find(|node| node.addr != next.addr && node.addr != old.addr).unwrap();
    let through = group.client_of(other);
    let sent = tokio::time::timeout(Duration::from_secs(10), through.ask(send("t", 0, "z"))).await.unwrap();
    assert_eq!(number(&sent, "queueOffset"), 2, "the follower knows the new leader");
}

#[tokio::test]
async fn replicas_describe_themselves_and_are_the_same() {
    let group = Group::three().await;
    let client = group.client().await;
    for n in 0..20 {
        put(&client, "t", n % 4, "x").await;
    }
    group.agree().await;
    let leader = group.leader().await;
    let mut digests = Vec::new();
    for node in &group.nodes {
        let client = group.client_of(node);
        let status = client.get(request(timbermq_broker::GROUP_STATUS.0, &[])).await;
        let status: timbermq_broker::GroupStatus = serde_json::from_slice(&status.body).unwrap();
        let leads = node.addr == leader.addr;
        assert_eq!(status.role, if leads { "leader" } else { "follower" });
        assert_eq!(status.broker_id, if leads { 0 } else { u64::from(status.slot) + 1 });
        assert_eq!((status.members.len(), status.leader), (3, Some(leader.replica.status().node.0)));
        let digest = client.get(request(timbermq_broker::STATE_DIGEST.0, &[("logFrom", "1")])).await;
        digests.push(serde_json::from_slice::<timbermq_broker::StateDigest>(&digest.body).unwrap());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

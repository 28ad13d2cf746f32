//! Long polling.

use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::harness::{Client, Group, eventually};
use crate::requests::*;

async fn topic(client: &Client) {
    client.get(create_topic("t", "2", "6")).await;
    for group in ["g", "h"] {
        let body = format!("{{\"groupName\":\"{group}\"}}");
        client.get(crate::harness::request(200, &[]).with_body(body)).await;
    }
}

#[tokio::test]
async fn a_held_pull_is_woken_by_a_message_that_it_wants_and_by_no_other() {
    let group = Group::one().await;
    let client = group.client().await;
    let other = group.client().await;
    topic(&client).await;
    let wants_a = client.begin(pull("g", "t", 0, 0).tags("A").held(20_000).request()).await;
    let wants_all = client.begin(pull("h", "t", 0, 0).held(20_000).request()).await;
    let mut wants_a = std::pin::pin!(wants_a);
    // Requests of a connection begin in order, and the answer to this one comes after.
    client.code(pull("g", "t", 1, 0).request()).await;
    other.get(send_of("t", 1, "elsewhere", &[("TAGS", "A")])).await;
    other.get(send_of("t", 0, "b", &[("TAGS", "B")])).await;
    assert_eq!(bodies(&wants_all.await), ["b"]);
    assert!(wants_a.as_mut().now_or_never().is_none(), "it was woken by a message that it does not want");
    let sent = Instant::now();
    other.get(send_of("t", 0, "a", &[("TAGS", "A")])).await;
    let answer = wants_a.await;
    assert_eq!((answer.code, bodies(&answer)), (0, vec!["a".to_owned()]));
    assert!(sent.elapsed() < Duration::from_secs(4), "it was not the sweep that woke it");
}

#[tokio::test]
async fn a_held_pull_is_answered_19_when_its_time_is_over() {
    let group = Group::start(1, |settings| settings.hold_max = Duration::from_millis(700)).await;
    let client = group.client().await;
    topic(&client).await;
    put(&client, "t", 0, "x").await;
    let began = Instant::now();
    let short = client.begin(pull("g", "t", 0, 1).held(300).request()).await;
    let long = client.begin(pull("g", "t", 0, 1).held(i64::MAX).request()).await;
    let none = client.ask(pull("g", "t", 0, 1).held(-1).request()).await;
    assert_eq!(offsets(&none), (19, 1, 0, 1));
    assert_eq!(offsets(&short.await), (19, 1, 0, 1));
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(offsets(&long.await), (19, 1, 0, 1), "no longer than the broker allows");
    assert!(began.elapsed() >= Duration::from_millis(700));
}

#[tokio::test]
async fn a_held_pull_for_a_rare_tag_moves_on_with_the_sweep() {
    let group = Group::one().await;
    let client = group.client().await;
    let other = group.client().await;
    topic(&client).await;
    let held = client.begin(pull("g", "t", 0, 0).tags("A").held(20_000).request()).await;
    client.code(pull("g", "t", 1, 0).request()).await;
    other.get(send_of("t", 0, "b", &[("TAGS", "B")])).await;
    assert_eq!(offsets(&held.await), (20, 1, 0, 1));
}

// On several threads: on one, nothing comes between the look and the holding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_the_look_and_the_holding() {
    let group = Group::one().await;
    let client = group.client().await;
    let other = group.client().await;
    topic(&client).await;
    for n in 0..100 {
        let sent = other.begin(send("t", 0, "x")).await;
        let mut pulls = Vec::new();
        // Some of them look just before the message is there, and are held just after.
        for _ in 0..100 {
            pulls.push(client.begin(pull("g", "t", 0, n).held(20_000).request()).await);
            tokio::task::yield_now().await;
        }
        assert_eq!(sent.await.code, 0);
        let answers = tokio::time::timeout(Duration::from_secs(4), futures_util::future::join_all(pulls)).await;
        assert!(answers.expect("a wake-up was lost").iter().all(|answer| answer.code == 0));
    }
}

#[tokio::test]
async fn held_pulls_are_answered_when_the_broker_stops() {
    let group = Group::one().await;
    let client = group.client().await;
    topic(&client).await;
    put(&client, "t", 0, "x").await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(client.begin(pull("g", "t", 0, 1).held(20_000).request()).await);
    }
    client.code(pull("g", "t", 1, 0).request()).await;
    group.nodes[0].broker.shutdown().await;
    for answer in held {
        assert_eq!(offsets(&answer.await), (19, 1, 0, 1));
    }
}

#[tokio::test]
async fn a_held_pull_learns_that_its_topic_went_at_the_latest_with_its_time() {
    let group = Group::one().await;
    let client = group.client().await;
    topic(&client).await;
    let held = client.begin(pull("g", "t", 0, 0).held(400).request()).await;
    client.get(crate::harness::request(215, &[("topic", "t")])).await;
    assert_eq!(held.await.code, 17);
}

#[tokio::test]
async fn the_offset_that_comes_with_a_pull_is_stored_once_and_by_the_first_pass() {
    let group = Group::one().await;
    let client = group.client().await;
    let other = group.client().await;
    topic(&client).await;
    for body in ["a", "b", "c"] {
        put(&client, "t", 0, body).await;
    }
    let held = client.begin(pull("g", "t", 0, 3).commits(2).held(20_000).request()).await;
    let view = group.leader().await.view();
    let stored = || view.offset_of("g", "t", timbermq_types::QueueId(0)).map(|offset| offset.0);
    eventually("the offset", async || (stored() == Some(2)).then_some(())).await;
    other.get(commit("g", "t", "0", "3")).await;
    other.get(send("t", 0, "d")).await;
    assert_eq!(held.await.code, 0);
    // A later commit is gathered after whatever the second pass would have added.
    other.get(commit("h", "t", "0", "1")).await;
    assert_eq!(stored(), Some(3));
}

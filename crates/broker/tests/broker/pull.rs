//! Pulling: the reading rules and filters.

use timbermq_remoting::header::PULL_COMMIT_OFFSET;

use crate::harness::{Group, number};
use crate::requests::*;

#[tokio::test]
async fn the_reading_rules_with_their_four_offsets() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "2", "6")).await;
    for body in ["a", "b", "c"] {
        put(&client, "t", 0, body).await;
    }
    for (queue, from, expected) in [
        (0, 3, (19, 3, 0, 3)),
        (0, 4, (21, 3, 0, 3)),
        (0, -1, (21, 0, 0, 3)),
        (0, i64::MAX, (21, 3, 0, 3)),
        (0, i64::MIN, (21, 0, 0, 3)),
        (1, 0, (19, 0, 0, 0)),
        (1, 7, (21, 0, 0, 0)),
        (0, 1, (0, 3, 0, 3)),
    ] {
        let answer = client.ask(pull("g", "t", queue, from).request()).await;
        assert_eq!(offsets(&answer), expected, "queue {queue} from {from}");
        assert_eq!(number(&answer, "suggestWhichBrokerId"), 0);
    }
}

#[tokio::test]
async fn found_messages_carry_their_offsets_and_keep_to_the_limits() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let mut positions = Vec::new();
    for n in 0..5 {
        positions.push(put_of(&client, "t", &format!("{n}"), &[]).await);
    }
    let answer = client.get(pull("g", "t", 0, 1).change(|h| h.max_msg_nums = 3).request()).await;
    assert_eq!(offsets(&answer), (0, 4, 0, 5));
    let got: Vec<_> = parsed(&answer).iter().map(|r| (r.queue_offset(), r.physical_offset())).collect();
    assert_eq!(got, [(1, positions[1]), (2, positions[2]), (3, positions[3])]);
    let small = client.get(pull("g", "t", 0, 0).change(|h| h.max_msg_bytes = Some(1)).request()).await;
    assert_eq!((bodies(&small).len(), number(&small, "nextBeginOffset")), (1, 1), "the first is always given");
    let none = client.get(pull("g", "t", 0, 0).change(|h| h.max_msg_nums = -5).request()).await;
    assert_eq!(bodies(&none).len(), 1);
    for record in parsed(&answer) {
        record.verify_crc().unwrap();
    }
}

#[tokio::test]
async fn tags_are_filtered_and_the_offset_advances_over_what_is_not_wanted() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    for tag in ["A", "B", "A", "B", "B"] {
        client.get(send_of("t", 0, tag, &[("TAGS", tag)])).await;
    }
    client.get(send("t", 0, "untagged")).await;
    let answer = client.get(pull("g", "t", 0, 0).tags("A").request()).await;
    assert_eq!(bodies(&answer), ["A", "A"]);
    assert_eq!(number(&answer, "nextBeginOffset"), 6, "over the filtered rest");
    let none = client.ask(pull("g", "t", 0, 3).tags("A || C").request()).await;
    assert_eq!(offsets(&none), (20, 6, 0, 6));
    let all = client.get(pull("g", "t", 0, 0).tags("*").request()).await;
    assert_eq!(bodies(&all).len(), 6);
    let sql = pull("g", "t", 0, 0).tags("a > 1").change(|h| h.expression_type = Some("SQL92".into()));
    assert_eq!(client.code(sql.request()).await, 1);
}

#[tokio::test]
async fn a_rare_tag_is_found_a_bounded_step_at_a_time() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let many: Vec<&str> = vec!["x"; 1_000];
    let header = timbermq_remoting::header::SendMessageHeader { batch: true, ..header("t", 0) };
    client.get(send_as(320, &header, &batch(&many))).await;
    client.get(send_of("t", 0, "found", &[("TAGS", "A")])).await;
    let (mut from, mut steps) = (0, 0);
    let found = loop {
        let answer = client.ask(pull("g", "t", 0, from).tags("A").request()).await;
        if answer.code == 0 {
            break answer;
        }
        let (code, next, ..) = offsets(&answer);
        assert!(code == 20 && next > from, "{code} {next}");
        (from, steps) = (next, steps + 1);
    };
    assert_eq!(bodies(&found), ["found"]);
    assert!((1..=2).contains(&steps), "{steps} empty answers for 1000 messages");
}

#[tokio::test]
async fn pulls_are_refused_by_the_table() {
    let group = Group::start(1, |settings| settings.auto_create_group = false).await;
    let client = group.client().await;
    client.get(create_topic("t", "2", "6")).await;
    client.get(create_topic("writeonly", "2", "2")).await;
    let config = |name: &str, extra: &str| {
        crate::harness::request(200, &[]).with_body(format!("{{\"groupName\":\"{name}\"{extra}}}"))
    };
    client.get(config("g", "")).await;
    client.get(config("off", ",\"consumeEnable\":false")).await;
    for (what, request, code) in [
        ("no group", pull("nobody", "t", 0, 0).request(), 26),
        ("a disabled group", pull("off", "t", 0, 0).request(), 16),
        ("no topic", pull("g", "none", 0, 0).request(), 17),
        ("unreadable", pull("g", "writeonly", 0, 0).request(), 16),
        ("no queue", pull("g", "t", 2, 0).request(), 1),
        ("a negative queue", pull("g", "t", -1, 0).request(), 1),
        ("no heartbeat", pull("g", "t", 0, 0).registered(0).request(), 24),
        ("a bad group", pull("b d", "t", 0, 0).request(), 29),
        ("no header", crate::harness::request(11, &[("topic", "t")]), 1),
    ] {
        let answer = client.ask(request).await;
        assert_eq!(answer.code, code, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_registered_subscription_filters_pulls_without_one() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    for tag in ["A", "B"] {
        client.get(send_of("t", 0, tag, &[("TAGS", tag)])).await;
    }
    client.get(heartbeat("c1", &[], &[("g", "t", "B")])).await;
    let answer = client.get(pull("g", "t", 0, 0).registered(10).request()).await;
    assert_eq!(bodies(&answer), ["B"]);
    let newer = client.get(pull("g", "t", 0, 0).registered(11).request()).await;
    assert_eq!(bodies(&newer), ["A", "B"], "what it wants is not known yet: nothing may be missed");
    assert_eq!(client.code(pull("g", "SELF_TEST_TOPIC", 0, 0).registered(10).request()).await, 24);
}

#[tokio::test]
async fn lite_pulls_are_served_alike() {
    let group = Group::one().await;
    let client = group.client().await;
    put(&client, "t", 0, "x").await;
    let mut request = pull("g", "t", 0, 0).change(|h| h.sys_flag &= !PULL_COMMIT_OFFSET).request();
    request.code = 361;
    assert_eq!(bodies(&client.get(request).await), ["x"]);
}

#[tokio::test]
async fn a_reader_far_behind_is_sent_to_a_follower_and_back() {
    let group = Group::start(3, |settings| settings.memory_bytes = 4_096).await;
    let client = group.client().await;
    client.get(create_topic("t", "1", "6")).await;
    let body = "x".repeat(1_000);
    for _ in 0..20 {
        put(&client, "t", 0, &body).await;
    }
    let behind = client.get(pull("g", "t", 0, 0).change(|h| h.max_msg_nums = 1).request()).await;
    let suggested = number(&behind, "suggestWhichBrokerId");
    let ids: Vec<_> = group.followers().await.iter().map(|node| id_of(node)).collect();
    assert!(ids.contains(&suggested), "{suggested} of {ids:?}");
    let near = client.get(pull("g", "t", 0, 19).request()).await;
    assert_eq!(number(&near, "suggestWhichBrokerId"), 0);
    group.agree().await;
    for follower in group.followers().await {
        let there = group.client_of(follower);
        let far = there.get(pull("g", "t", 0, 0).change(|h| h.max_msg_nums = 1).request()).await;
        assert_eq!(number(&far, "suggestWhichBrokerId"), id_of(follower), "it stays");
        let near = there.get(pull("g", "t", 0, 19).request()).await;
        assert_eq!(number(&near, "suggestWhichBrokerId"), 0, "it goes back");
    }
}

fn id_of(node: &crate::harness::Node) -> i64 {
    i64::try_from(node.replica.status().node.0).unwrap()
}

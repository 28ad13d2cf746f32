//! Heartbeats, consumer lists and notices.

use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{ConsumerConnection, ConsumerList, JsonBody};
use timbermq_remoting::header::SendMessageHeader;

use crate::harness::{Client, Group, eventually, request};
use crate::requests::*;

fn list(group: &str) -> RemotingCommand {
    request(38, &[("consumerGroup", group)])
}

async fn ids(client: &Client, group: &str) -> Vec<String> {
    let answer = client.ask(list(group)).await;
    match answer.code {
        0 => ConsumerList::from_json(&answer.body).unwrap().consumer_id_list,
        code => {
            assert_eq!(code, 1, "{answer:?}");
            Vec::new()
        }
    }
}

fn notices(asked: &[RemotingCommand]) -> Vec<(i32, &str)> {
    asked.iter().map(|notice| (notice.code, notice.ext.get("consumerGroup").unwrap_or("?"))).collect()
}

#[tokio::test]
async fn a_heartbeat_makes_a_member_creates_the_retry_topic_and_tells_everyone() {
    let group = Group::one().await;
    let mut one = group.client().await;
    let mut two = group.client().await;
    assert_eq!(one.code(list("g")).await, 1, "an empty list would cost a consumer its queues");
    let answer = one.get(heartbeat("c1", &["p"], &[("g", "t", "*")])).await;
    assert_eq!(answer.ext.get("IS_SUPPORT_HEART_BEAT_V2"), None);
    assert_eq!(notices(&one.asked_so_far().await), [(40, "g")], "the joiner is told, too");
    assert_eq!(ids(&one, "g").await, ["c1"]);
    let view = group.leader().await.view();
    let retry = view.topic("%RETRY%g").expect("its retry topic");
    assert_eq!((retry.read_queues, retry.write_queues, retry.perm), (1, 1, 6));

    two.get(heartbeat("c2", &[], &[("g", "t", "*")])).await;
    assert_eq!(ids(&one, "g").await, ["c1", "c2"]);
    let notice = one.asked().await;
    assert_eq!((notice.code, notice.is_one_way()), (40, true));
    two.asked_so_far().await;
    one.get(heartbeat("c1", &["p"], &[("g", "t", "*")])).await;
    assert!(one.asked_so_far().await.is_empty(), "nothing changed");

    two.get(request(35, &[("clientID", "c2"), ("consumerGroup", "g")])).await;
    assert_eq!(ids(&one, "g").await, ["c1"]);
    assert_eq!(notices(&one.asked_so_far().await), [(40, "g")]);
}

#[tokio::test]
async fn a_client_on_two_connections_is_listed_once() {
    let group = Group::one().await;
    let (old, new) = (group.client().await, group.client().await);
    old.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    new.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    assert_eq!(ids(&new, "g").await, ["c1"]);
    old.close();
    put(&new, "t", 0, "x").await;
    assert_eq!(ids(&new, "g").await, ["c1"], "the end of the old connection takes nothing away");
}

#[tokio::test]
async fn a_closed_connection_leaves_its_groups_and_the_others_are_told() {
    let group = Group::one().await;
    let (mut one, two) = (group.client().await, group.client().await);
    one.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    two.get(heartbeat("c2", &[], &[("g", "t", "*")])).await;
    one.asked().await;
    one.asked().await;
    two.close();
    assert_eq!(one.asked().await.code, 40);
    assert_eq!(ids(&one, "g").await, ["c1"]);
}

#[tokio::test]
async fn a_connection_that_closes_while_its_heartbeat_is_served_leaves_no_ghost() {
    let group = Group::one().await;
    let (watcher, gone) = (group.client().await, group.client().await);
    let node = group.leader().await;
    node.disk.set_stalled(true);
    // The heartbeat has to create its group, which takes a sync.
    gone.tell(heartbeat("ghost", &[], &[("g", "t", "*")])).await;
    eventually("the proposal", async || (node.replica.log().last() > node.view().applied()).then_some(())).await;
    gone.close();
    // The broker has seen the end once it answers a later connection's question this way.
    eventually("the end", async || ids(&watcher, "g").await.is_empty().then_some(())).await;
    node.disk.set_stalled(false);
    eventually("the retry topic", async || node.view().topic("%RETRY%g")).await;
    watcher.get(create_topic("later", "1", "6")).await;
    assert!(ids(&watcher, "g").await.is_empty());
}

#[tokio::test]
async fn unknown_groups_are_left_out_where_they_may_not_be_created() {
    let group = Group::start(1, |settings| settings.auto_create_group = false).await;
    let mut client = group.client().await;
    client.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    assert_eq!(client.code(list("g")).await, 1);
    assert!(client.asked_so_far().await.is_empty());
    assert!(group.leader().await.view().topic("%RETRY%g").is_none());
}

#[tokio::test]
async fn a_heartbeat_of_too_many_groups_is_refused_before_anything_is_created() {
    let group = Group::one().await;
    let client = group.client().await;
    let names: Vec<String> = (0..1_100).map(|n| format!("g{n}")).collect();
    let consumers: Vec<_> = names.iter().map(|name| (name.as_str(), "t", "*")).collect();
    assert_eq!(client.code(heartbeat("c1", &[], &consumers)).await, 29);
    assert!(group.leader().await.view().groups().is_empty());
    assert_eq!(client.code(request(34, &[]).with_body("{")).await, 29);
}

#[tokio::test]
async fn connections_of_groups_are_shown_to_tools() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(heartbeat("c1", &["p"], &[("g", "t", "A || B")])).await;
    let answer = client.get(request(203, &[("consumerGroup", "g")])).await;
    let shown = ConsumerConnection::from_json(&answer.body).unwrap();
    assert_eq!(shown.connection_set[0].client_id, "c1");
    assert_eq!(shown.subscription_table["t"].sub_string, "A || B");
    assert_eq!(client.code(request(203, &[("consumerGroup", "none")])).await, 206);
    client.get(request(204, &[("producerGroup", "p")])).await;
    assert_eq!(client.code(request(204, &[("producerGroup", "none")])).await, 1);
    let who = client.get(request(300, &[("topic", "t")])).await;
    assert!(String::from_utf8_lossy(&who.body).contains("\"g\""));
}

#[tokio::test]
async fn a_fresh_node_completes_its_list_from_the_others() {
    let group = Group::three().await;
    let mut clients = Vec::new();
    for (n, node) in group.nodes.iter().enumerate() {
        let client = group.client_of(node);
        client.get(heartbeat(&format!("c{n}"), &[], &[("g", "t", "*")])).await;
        clients.push(client);
    }
    for client in &clients {
        assert_eq!(ids(client, "g").await, ["c0", "c1", "c2"]);
    }
}

#[tokio::test]
async fn a_reply_is_pushed_to_the_producer_that_asked() {
    let group = Group::one().await;
    let mut requester = group.client().await;
    let replier = group.client().await;
    requester.get(heartbeat("asker", &["p"], &[])).await;
    let reply = |to: &str| {
        let pairs = [("REPLY_TO_CLIENT", to), ("CORRELATION_ID", "7")];
        send_as(325, &SendMessageHeader { properties: text_of(&pairs), ..header("test_REPLY_TOPIC", 0) }, b"answer")
    };
    assert_eq!(replier.get(reply("asker")).await.ext.get("queueOffset"), Some("0"));
    let pushed = requester.asked().await;
    assert_eq!((pushed.code, &pushed.body[..]), (326, &b"answer"[..]));
    assert!(pushed.ext.get("properties").unwrap().contains("CORRELATION_ID"));
    assert_eq!(replier.code(reply("nobody")).await, 1);
    assert_eq!(replier.code(send("test_REPLY_TOPIC", 0, "x")).await, 0);
}

#[tokio::test]
async fn a_member_is_asked_to_describe_itself() {
    let group = Group::one().await;
    let mut member = group.client().await;
    let tool = group.client().await;
    member.get(heartbeat("c1", &[], &[("g", "t", "*")])).await;
    assert_eq!(member.asked().await.code, 40);
    let ask = |group: &str, client: &str| request(307, &[("consumerGroup", group), ("clientId", client)]);
    assert_eq!(tool.code(ask("g", "c1")).await, 0);
    assert_eq!(member.asked().await.code, 307);
    assert_eq!(tool.code(ask("g", "c2")).await, 1);
    assert_eq!(tool.code(ask("none", "c1")).await, 206);
}

#[tokio::test]
async fn subscriptions_that_are_no_tags_are_refused_before_their_consumer_starts() {
    let group = Group::one().await;
    let client = group.client().await;
    let check = |kind: &str| {
        let body = format!(
            r#"{{"clientId":"c1","group":"g","subscriptionData":{{"topic":"t","subString":"a > 1","expressionType":"{kind}"}}}}"#
        );
        request(46, &[]).with_body(body)
    };
    assert_eq!(client.code(check("SQL92")).await, 1);
    assert_eq!(client.code(check("TAG")).await, 0);
}

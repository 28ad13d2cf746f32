//! Order locks.

use timbermq_remoting::body::{JsonBody, LockBatchResponse};

use crate::harness::{Client, GROUP, Group, request};
use crate::requests::*;

async fn locked(client: &Client, id: &str, queues: &[i32]) -> Vec<i32> {
    let answer = client.get(lock(41, "g", id, "t", queues)).await;
    let locked = LockBatchResponse::from_json(&answer.body).unwrap().locked;
    assert!(locked.iter().all(|queue| queue.broker_name == GROUP && queue.topic == "t"));
    locked.iter().map(|queue| queue.queue_id).collect()
}

#[tokio::test]
async fn a_queue_is_one_clients_until_it_gives_it_up() {
    let group = Group::one().await;
    let (one, two) = (group.client().await, group.client().await);
    one.get(create_topic("t", "4", "6")).await;
    assert_eq!(locked(&one, "c1", &[0, 1]).await, [0, 1]);
    assert_eq!(locked(&one, "c1", &[0, 1]).await, [0, 1], "again");
    assert_eq!(locked(&two, "c2", &[1, 2]).await, [2], "what is another's is left out");
    two.get(lock(42, "g", "c2", "t", &[0, 1])).await;
    assert!(locked(&two, "c2", &[0, 1]).await.is_empty(), "nobody gives up another's lock");
    one.get(lock(42, "g", "c1", "t", &[1])).await;
    assert_eq!(locked(&two, "c2", &[0, 1]).await, [1]);
    one.tell(lock(42, "g", "c1", "t", &[0])).await;
    crate::harness::eventually("the one-way unlock", async || (locked(&two, "c2", &[0]).await == [0]).then_some(()))
        .await;
}

#[tokio::test]
async fn bad_lock_requests_are_refused() {
    let group = Group::one().await;
    let client = group.client().await;
    client.get(create_topic("t", "4", "6")).await;
    assert_eq!(client.code(request(41, &[]).with_body("[]")).await, 29);
    assert_eq!(client.code(lock(41, "g", "c1", "t", &[-1])).await, 29);
    assert_eq!(client.code(lock(41, "b d", "c1", "t", &[0])).await, 29);
    let many: Vec<i32> = (0..10_001).collect();
    assert_eq!(client.code(lock(41, "g", "c1", "t", &many)).await, 29);
    let body = r#"{"clientId":"c1","consumerGroup":"g","mqSet":[{"topic":"t","brokerName":"other","queueId":0}]}"#;
    let answer = client.get(request(41, &[]).with_body(body)).await;
    assert!(LockBatchResponse::from_json(&answer.body).unwrap().locked.is_empty(), "another broker's queue");
}

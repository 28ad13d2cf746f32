//! Readings of queues whose replicas do what they are told.

use serde_json::json;
use timbermq_remoting::ResponseCode;
use timbermq_remoting::header::PullMessageHeader;

use super::*;
use crate::reading::puppets::{Reaction, body, pulls, replica, topic};

fn options(time: Duration) -> Options {
    Options { pulls: pulls(), time, watched: Watched::default() }
}

/// Reads queues of one broker group whose replicas, by broker id, are these.
async fn read_from(addrs: &[&str], queues: i32, options: Options) -> Result<Run> {
    finish(options, &topic(addrs, queues)).await
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_queue_is_read_to_its_end_over_one_connection() {
    let (leader, asked) = replica(|_, pull| Reaction::Give(pull.max_msg_nums.into(), 0)).await;
    let run = read_from(&[&leader], 3, options(MINUTE)).await.unwrap();
    let figures = run.to_json("s 1");
    // Three pulls of four go two beyond the end, which has moved meanwhile.
    assert_eq!((&figures["messages"], &figures["pulls"], &figures["finished"]), (&json!(36), &json!(9), &json!(true)));
    assert_eq!(figures["bytes"], body(36).len());
    assert_eq!((&figures["skipped"], &figures["errors"], &figures["reconnects"]), (&json!(0), &json!({}), &json!(0)));
    assert_eq!(figures["pullsByReplica"], json!({ leader: 9 }));
    assert!(figures["consumeRate"].as_f64().unwrap() > 0.0 && figures["pullLatency99pct"].is_number());
    let mut asked = asked.lock().unwrap().clone();
    asked.sort_unstable();
    let expected: Vec<_> = (0..3).flat_map(|queue| [0, 4, 8].map(|offset| (0, queue, offset))).collect();
    assert_eq!(asked, expected);
    assert!(run.to_text("s 1").contains("36 messages") && !run.to_text("s 1").contains("the time was up"));
}

#[tokio::test]
async fn the_next_pull_goes_where_the_last_answer_says_unless_leaders_alone_are_wanted() {
    let give_and_name = |_: usize, _: &PullMessageHeader| Reaction::Give(4, 1);
    let ((leader, of_leader), (follower, of_follower)) = (replica(give_and_name).await, replica(give_and_name).await);
    let addrs: [&str; 2] = [&leader, &follower];
    read_from(&addrs, 1, options(MINUTE)).await.unwrap();
    assert_eq!(*of_leader.lock().unwrap(), [(0, 0, 0)]);
    assert_eq!(*of_follower.lock().unwrap(), [(0, 0, 4), (0, 0, 8)]);
    let leader_only = Pulls { leader_only: true, ..pulls() };
    let run = read_from(&addrs, 1, Options { pulls: leader_only, ..options(MINUTE) }).await.unwrap();
    assert!(run.elapsed < MINUTE, "whoever is never asked does not wait until the time is up");
    assert_eq!((of_leader.lock().unwrap().len(), of_follower.lock().unwrap().len()), (4, 2));
    // Nobody has this id: the one that answered goes on.
    read_from(&addrs[..1], 1, options(MINUTE)).await.unwrap();
    assert_eq!(of_leader.lock().unwrap().len(), 7);
}

#[tokio::test]
async fn what_was_in_flight_on_a_lost_connection_is_asked_for_again() {
    let (leader, asked) = replica(|number, _| match number {
        1 => Reaction::Close,
        _ => Reaction::Give(5, 0),
    })
    .await;
    let run = read_from(&[&leader], 1, options(MINUTE)).await.unwrap();
    assert_eq!((run.tally.messages, run.tally.reconnects, run.is_finished), (10, 1, true));
    assert_eq!(*asked.lock().unwrap(), [(0, 0, 0), (0, 0, 5), (1, 0, 5)]);
    // A follower that is not there: the leader is asked again.
    let (leader, _) = replica(|number, _| Reaction::Give(5, i64::from(number == 0))).await;
    let run = read_from(&[&leader, "127.0.0.1:1"], 1, options(MINUTE)).await.unwrap();
    assert_eq!((run.tally.messages, run.tally.reconnects, run.is_finished), (10, 1, true));
}

#[tokio::test]
async fn what_is_refused_or_empty_is_asked_again_and_what_is_passed_over_is_told() {
    let (leader, asked) = replica(|number, _| match number {
        0 => Reaction::Say(ResponseCode::SYSTEM_BUSY, 0),
        1 => Reaction::Say(ResponseCode::PULL_RETRY_IMMEDIATELY, 0),
        2 => Reaction::Say(ResponseCode::PULL_OFFSET_MOVED, 6),
        _ => Reaction::Give(4, 0),
    })
    .await;
    let run = read_from(&[&leader], 1, options(MINUTE)).await.unwrap();
    let figures = run.to_json("s 1");
    assert_eq!((&figures["messages"], &figures["skipped"], &figures["emptyPulls"]), (&json!(4), &json!(6), &json!(2)));
    assert_eq!(figures["errors"], json!({ "SYSTEM_BUSY(2)": 1 }));
    assert_eq!(asked.lock().unwrap().iter().map(|(_, _, offset)| *offset).collect::<Vec<_>>(), [0, 0, 0, 6]);
}

#[tokio::test]
async fn reading_ends_with_its_time_and_with_an_answer_that_is_none() {
    let (empty, asked) = replica(|_, pull| Reaction::Say(ResponseCode::PULL_NOT_FOUND, pull.queue_offset)).await;
    let run = read_from(&[&empty], 1, options(Duration::from_millis(100))).await.unwrap();
    assert!(!run.is_finished && run.to_text("s 1").contains("the time was up before the end"));
    assert!(asked.lock().unwrap().len() < 50, "a queue that gives nothing is not asked without a pause");
    let (garbled, _) = replica(|_, _| Reaction::Cut).await;
    let error = read_from(&[&garbled], 1, options(MINUTE)).await.unwrap_err();
    assert!(format!("{error:#}").contains("ends within a message"), "{error:#}");
    let (standing, _) = replica(|_, _| Reaction::Give(0, 0)).await;
    let error = read_from(&[&standing], 1, options(MINUTE)).await.unwrap_err();
    assert!(format!("{error:#}").contains("says to go on at 0"), "{error:#}");
}

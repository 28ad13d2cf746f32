//! Readings of queues whose replicas do what they are told.

use std::sync::{Arc, Mutex};

use timbermq_record::RecordBuilder;
use timbermq_remoting::header::PullMessageHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Messages of each queue.
const END: i64 = 10;

/// Bytes of the records that a pull gave.
fn body(messages: i64) -> BytesMut {
    let mut body = BytesMut::new();
    for _ in 0..messages {
        RecordBuilder::new("bench", b"hello").encode(&mut body).unwrap();
    }
    body
}

/// What a replica does with a pull.
#[derive(Clone, Copy)]
enum Reaction {
    /// Gives this many messages, and names the replica to be asked next.
    Give(i64, i64),
    /// Answers with this code, and says where to go on.
    Say(ResponseCode, i64),
    Close,
    Cut,
}

/// What a replica was asked: queue and offset of each pull, over which connection.
type Asked = Arc<Mutex<Vec<(usize, i32, i64)>>>;

/// A replica; `react` gets the number of the pull, from 0, and the pull.
async fn replica(react: fn(usize, &PullMessageHeader) -> Reaction) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, asked) = (listener.local_addr().unwrap().to_string(), Asked::default());
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        for connection in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let asked = Arc::clone(&log);
            tokio::spawn(async move {
                let (mut received, decoder) = (BytesMut::new(), FrameDecoder::default());
                while stream.read_buf(&mut received).await.is_ok_and(|bytes| bytes > 0) {
                    while let Some(pull) = decoder.decode(&mut received).unwrap() {
                        let header: PullMessageHeader = pull.header().unwrap();
                        let number = {
                            let mut asked = asked.lock().unwrap();
                            asked.push((connection, header.queue_id, header.queue_offset));
                            asked.len() - 1
                        };
                        let mut found = PullMessageResponseHeader {
                            suggest_which_broker_id: 0,
                            next_begin_offset: header.queue_offset,
                            min_offset: 0,
                            max_offset: END,
                            offset_delta: None,
                            topic_sys_flag: None,
                            group_sys_flag: None,
                            forbidden_type: None,
                        };
                        let mut code = ResponseCode::SUCCESS;
                        let mut records = BytesMut::new();
                        match react(number, &header) {
                            Reaction::Give(messages, id) => {
                                records = body(messages);
                                found.next_begin_offset += messages;
                                found.suggest_which_broker_id = id;
                            }
                            Reaction::Say(said, next) => (code, found.next_begin_offset) = (said, next),
                            Reaction::Close => return,
                            Reaction::Cut => {
                                records = body(2);
                                records.truncate(records.len() - 1);
                                found.next_begin_offset += 2;
                            }
                        }
                        let answer = pull.respond(code).with_header(&found).with_body(records.freeze());
                        let mut out = BytesMut::new();
                        answer.encode(&mut out).unwrap();
                        stream.write_all(&out).await.unwrap();
                    }
                }
            });
        }
    });
    (addr, asked)
}

fn options(time: Duration) -> Options {
    Options {
        name_servers: Vec::new(),
        topic: "bench".into(),
        queues: Vec::new(),
        group: "readers".into(),
        batch: 4,
        batch_bytes: None,
        leader_only: false,
        time,
        answer_max: Duration::from_secs(10),
        watched: Watched::default(),
    }
}

/// Reads queues of one broker group whose replicas, by broker id, are these.
async fn read_from(addrs: &[&str], queues: i32, options: Options) -> Result<Run> {
    let queue = |id| MessageQueue::new("bench", "broker-a", id);
    let cursors = (0..queues).map(|id| Cursor::new(&options, &queue(id), 0, 0..END)).collect();
    let replicas = (0..).zip(addrs).map(|(id, addr)| Replica::new(0, id, (*addr).to_owned())).collect();
    read(options, cursors, replicas).await
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
    read_from(&addrs, 1, Options { leader_only: true, ..options(MINUTE) }).await.unwrap();
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

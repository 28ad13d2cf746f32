//! Replicas that do what they are told, and readers of them.

use std::sync::{Arc, Mutex};

use timbermq_record::RecordBuilder;
use timbermq_remoting::header::PullMessageHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Messages of each queue.
pub(crate) const END: i64 = 10;

/// Bytes of the records that a pull gave.
pub(crate) fn body(messages: i64) -> BytesMut {
    let mut body = BytesMut::new();
    for _ in 0..messages {
        RecordBuilder::new("bench", b"hello").encode(&mut body).unwrap();
    }
    body
}

/// What a replica does with a pull.
#[derive(Clone)]
pub(crate) enum Reaction {
    /// Gives this many messages, and names the replica to be asked next.
    Give(i64, i64),
    /// Gives these records, so many.
    Records(BytesMut, i64),
    /// Answers with this code, and says where to go on.
    Say(ResponseCode, i64),
    Close,
    Cut,
    /// Says nothing.
    Wait,
}

/// What a replica was asked: queue and offset of each pull, over which connection.
pub(crate) type Asked = Arc<Mutex<Vec<(usize, i32, i64)>>>;

/// A replica; `react` gets the number of the pull, from 0, and the pull.
pub(crate) async fn replica(react: fn(usize, &PullMessageHeader) -> Reaction) -> (String, Asked) {
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
                            Reaction::Records(given, messages) => {
                                records = given;
                                found.next_begin_offset += messages;
                            }
                            Reaction::Say(said, next) => (code, found.next_begin_offset) = (said, next),
                            Reaction::Close => return,
                            Reaction::Wait => continue,
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

/// Pulls of four messages at most.
pub(crate) fn pulls() -> Pulls {
    Pulls {
        name_servers: Vec::new(),
        topic: "bench".into(),
        queues: Vec::new(),
        group: "readers".into(),
        batch: 4,
        batch_bytes: None,
        leader_only: false,
        suspend: None,
        answer_max: Duration::from_secs(10),
    }
}

/// A topic with messages to [`END`] in its queues, on one broker group whose replicas, by broker id, are these.
pub(crate) fn topic(addrs: &[&str], queues: i32) -> Topic {
    let queue = |id| (MessageQueue::new("bench", "broker-a", id), 0, 0..END);
    let replicas = (0..).zip(addrs).map(|(id, addr)| (0, id, (*addr).to_owned())).collect();
    Topic { queues: (0..queues).map(queue).collect(), replicas }
}

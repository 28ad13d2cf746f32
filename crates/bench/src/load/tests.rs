//! Loads on a server that does what it is told.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::{Buf, BufMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::tally::Fate;

/// A message is its token, an answer token and code.
struct Plain;

impl Sender for Plain {
    fn put(&mut self, token: u32, _: Moment, out: &mut BytesMut) {
        out.put_u32(token);
    }

    fn take(&mut self, received: &mut BytesMut) -> Result<Option<Answer>> {
        ensure!(received.first() != Some(&0xff), "no answer begins so");
        if received.len() < 8 {
            return Ok(None);
        }
        Ok(Some(Answer { token: received.get_u32(), code: received.get_i32() }))
    }
}

struct Server {
    addr: std::net::SocketAddr,
}

impl Endpoint for Server {
    type Sender = Plain;

    async fn connect(&self, _: usize) -> Result<(TcpStream, Plain)> {
        Ok((TcpStream::connect(self.addr).await?, Plain))
    }
}

/// What the server does with the n-th message it gets.
#[derive(Clone, Copy)]
enum Reaction {
    Answer(i32),
    Silence,
    Close,
    Garbage,
}

/// Most messages that waited for an answer at a time, over all connections.
#[derive(Default)]
struct Crowd {
    waiting: usize,
    most: usize,
    got: u64,
}

/// Answers when everything that came in one piece has been read, so that messages do gather.
async fn serve(listener: TcpListener, react: fn(u64) -> Reaction, crowd: Arc<Mutex<Crowd>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let crowd = Arc::clone(&crowd);
        tokio::spawn(async move {
            let mut received = BytesMut::new();
            while stream.read_buf(&mut received).await.is_ok_and(|bytes| bytes > 0) {
                let mut answers = BytesMut::new();
                let mut close = false;
                {
                    let mut crowd = crowd.lock().unwrap();
                    let before = crowd.waiting;
                    crowd.waiting += received.len() / 4;
                    crowd.most = crowd.most.max(crowd.waiting);
                    while received.len() >= 4 && !close {
                        let token = received.get_u32();
                        crowd.got += 1;
                        match react(crowd.got) {
                            Reaction::Answer(code) => {
                                answers.put_u32(token);
                                answers.put_i32(code);
                            }
                            Reaction::Silence => {}
                            Reaction::Close => close = true,
                            Reaction::Garbage => answers.put_u8(0xff),
                        }
                    }
                    crowd.waiting = before;
                }
                if stream.write_all(&answers).await.is_err() || close {
                    return;
                }
            }
        });
    }
}

fn load(pace: Pace, connections: usize, react: fn(u64) -> Reaction) -> (Result<Run>, Crowd) {
    let options = Options {
        pace,
        connections,
        batch: 1,
        warmup: Duration::ZERO,
        time: Duration::from_millis(150),
        answer_max: Duration::from_millis(300),
        progress: false,
        watched: Watched::default(),
    };
    let crowd = Arc::new(Mutex::new(Crowd::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server { addr: listener.local_addr().unwrap() };
        tokio::spawn(serve(listener, react, Arc::clone(&crowd)));
        run(server, options).await
    });
    let crowd = std::mem::take(&mut *crowd.lock().unwrap());
    (run, crowd)
}

fn fates(run: &Run) -> BTreeMap<Fate, u64> {
    run.tally.errors.clone()
}

#[test]
fn a_closed_loop_keeps_its_window_and_everything_is_accounted_for() {
    let (run, crowd) = load(Pace::Window(6), 2, |_| Reaction::Answer(0));
    let run = run.unwrap();
    assert!(fates(&run).is_empty());
    assert!(crowd.most <= 6, "{} in flight", crowd.most);
    assert_eq!(run.tally.latency.count(), crowd.got, "every message of the span has a latency");
    assert!(run.tally.acknowledged <= crowd.got && crowd.got > 6);
    assert_eq!(run.tally.unsent, 0);
}

#[test]
fn an_open_loop_sends_what_was_due_and_no_more() {
    let (run, crowd) = load(Pace::Rate { per_second: 2_000, in_flight_max: 50 }, 3, |_| Reaction::Answer(0));
    let run = run.unwrap();
    assert_eq!(run.tally.latency.count() + run.tally.unsent, 300, "150 ms at 2000/s");
    assert_eq!(crowd.got, 300 - run.tally.unsent);
}

#[test]
fn an_open_loop_is_not_slowed_by_a_server_that_says_nothing() {
    let (run, crowd) = load(Pace::Rate { per_second: 1_000, in_flight_max: 20 }, 1, |_| Reaction::Silence);
    let run = run.unwrap();
    // The connection is given up when its time is up; what was sent has got no answer, and the rest was never sent.
    let unanswered: u64 = fates(&run).values().sum();
    assert_eq!(fates(&run).keys().copied().collect::<Vec<_>>(), [Fate::NoAnswer]);
    assert_eq!((unanswered, run.tally.latency.count()), (crowd.got, 0));
    assert_eq!(unanswered + run.tally.unsent, 150);
    assert_eq!(unanswered, 20, "no more than may be in flight");
}

#[test]
fn refusals_are_counted_by_their_code() {
    let (run, crowd) = load(Pace::Window(4), 1, |n| Reaction::Answer(if n % 2 == 0 { 2 } else { 0 }));
    let run = run.unwrap();
    let refused = fates(&run)[&Fate::Refused(2)];
    assert_eq!(refused, crowd.got / 2);
    assert_eq!(run.tally.latency.count() + refused, crowd.got);
}

#[test]
fn a_connection_that_is_lost_is_made_again_and_its_messages_are_errors() {
    for end in [
        |n| if n == 3 { Reaction::Close } else { Reaction::Answer(0) },
        |n| {
            if n == 3 { Reaction::Garbage } else { Reaction::Answer(0) }
        },
    ] {
        let (run, crowd) = load(Pace::Window(4), 1, end);
        let run = run.unwrap();
        assert_eq!(run.tally.reconnects, 1);
        let lost = fates(&run)[&Fate::ConnectionLost];
        assert!((1..=4).contains(&lost), "{lost}");
        assert!(run.tally.latency.count() > 0 && crowd.got > 4, "it went on");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let answered = |_| Reaction::Answer(0);
    assert!(load(Pace::Window(1), 2, answered).0.is_err());
    assert!(load(Pace::Window(1), 0, answered).0.is_err());
    assert!(load(Pace::Rate { per_second: 0, in_flight_max: 1 }, 1, answered).0.is_err());
    assert!(load(Pace::Window(TOKENS_MAX), 1, answered).0.is_err());
}

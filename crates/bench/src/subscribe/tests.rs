//! Subscriptions to queues whose replicas do what they are told.

use serde_json::json;
use timbermq_record::RecordBuilder;
use timbermq_remoting::ResponseCode;
use timbermq_remoting::header::{PULL_SUSPEND, PullMessageHeader};

use super::*;
use crate::arrivals::stamp;
use crate::reading::puppets::{END, Reaction, pulls, replica, topic};

/// Messages that come to each queue while it is followed.
const NEW: i64 = 8;

fn options(subscriptions: usize) -> Options {
    Options {
        pulls: Pulls { suspend: Some(Duration::from_secs(15)), ..pulls() },
        subscriptions,
        warmup: Duration::ZERO,
        time: Duration::from_secs(1),
        linger: Duration::from_millis(100),
        watched: Watched::default(),
    }
}

/// Two messages that are due now, as long as there are some.
fn give(_: usize, pull: &PullMessageHeader) -> Reaction {
    if pull.sys_flag & PULL_SUSPEND == 0 || pull.suspend_timeout_millis != 15_000 {
        return Reaction::Close;
    }
    if pull.queue_offset >= END + NEW {
        return Reaction::Say(ResponseCode::PULL_NOT_FOUND, pull.queue_offset);
    }
    let (mut body, mut records) = ([0; 16], bytes::BytesMut::new());
    let clock = Clock::start();
    stamp(&mut body, clock.wall_us(clock.now()));
    for _ in 0..2 {
        RecordBuilder::new("bench", &body).encode(&mut records).unwrap();
    }
    Reaction::Records(records, 2)
}

#[tokio::test]
async fn every_subscription_gets_every_message_from_the_end_over_a_connection_of_its_own() {
    let (leader, asked) = replica(give).await;
    let run = follow(options(3), &topic(&[&leader], 2)).await.unwrap();
    let figures = run.to_json("s 1");
    assert_eq!((&figures["delivered"], &figures["messages"]), (&json!(3 * 2 * NEW), &json!(3 * 2 * NEW)));
    assert_eq!((&figures["skipped"], &figures["errors"], &figures["reconnects"]), (&json!(0), &json!({}), &json!(0)));
    assert!(figures["endToEndLatency99pct"].is_number() && figures["consumeRate"].as_f64().unwrap() > 0.0);
    assert!(run.to_text("s 1").contains("3 subscriptions of 2 queues"));
    let asked = asked.lock().unwrap().clone();
    for connection in 0..3 {
        let of =
            |queue| asked.iter().filter(move |asked| (asked.0, asked.1) == (connection, queue)).map(|asked| asked.2);
        assert_eq!(of(0).take(5).collect::<Vec<_>>(), [10, 12, 14, 16, 18], "{connection}");
        assert_eq!(of(1).next(), Some(END));
    }
    assert!(asked.len() < 6 * 200, "a broker that does not wait is not asked without a pause: {}", asked.len());
}

#[tokio::test]
async fn each_subscription_is_a_group_of_its_own() {
    let of_its_own = |number: usize, pull: &PullMessageHeader| match pull.consumer_group.as_str() {
        "readers-0" | "readers-1" => give(number, pull),
        _ => Reaction::Close,
    };
    let (leader, _) = replica(of_its_own).await;
    let run = follow(options(2), &topic(&[&leader], 1)).await.unwrap();
    assert_eq!((run.arrivals.latency.count(), run.tally.reconnects), (16, 0));
}

#[tokio::test]
async fn a_broker_may_wait_as_long_as_it_was_told() {
    let (waiting, asked) = replica(|_, _| Reaction::Wait).await;
    let mut options = options(1);
    options.pulls.answer_max = Duration::from_millis(20);
    let run = follow(options.clone(), &topic(&[&waiting], 1)).await.unwrap();
    assert_eq!((asked.lock().unwrap().len(), run.tally.reconnects), (1, 0));
    options.pulls.suspend = None;
    let run = follow(options, &topic(&[&waiting], 1)).await.unwrap();
    assert!(run.tally.reconnects > 0, "nothing was said that was to be said at once");
}

#[tokio::test]
async fn what_is_no_message_ends_it_and_so_many_subscriptions_are_refused() {
    let (garbled, _) = replica(|_, _| Reaction::Cut).await;
    let error = follow(options(1), &topic(&[&garbled], 1)).await.unwrap_err();
    assert!(format!("{error:#}").contains("no row of messages"), "{error:#}");
    for wrong in [0, SUBSCRIPTIONS_MAX + 1] {
        assert!(run(options(wrong)).await.unwrap_err().to_string().contains("1 to 10000"), "{wrong}");
    }
}

//! Producers and consumers that run for the whole time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use timbermq_check::{Event, Outcome, Place};

use super::{History, Kind, LastAck};
use crate::admin::{Admin, SendOutcome};
use crate::driver::Driver;
use crate::monotonic::now_ms;
use crate::stock::{STOCK, clients_dir};

/// The topic of the run.
pub(crate) const TOPIC: &str = "failover";
/// Its queues.
pub(crate) const QUEUES: u32 = 8;
/// Producers and consumers of each kind.
const STOCK_PRODUCERS: usize = 4;
const OWN_PRODUCERS: usize = 4;
const STOCK_CONSUMERS: usize = 2;
const OWN_CONSUMERS: u32 = 2;
/// Group of our own consumers.
const OWN_GROUP: &str = "failover_own";

/// Everything that runs beside the kills.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    own: Vec<JoinHandle<Vec<Event>>>,
    readers: Vec<JoinHandle<Vec<Event>>>,
    producers: Mutex<Vec<Driver>>,
    consumers: Mutex<Vec<Driver>>,
    last_ack: LastAck,
}

impl Load {
    pub(crate) fn start(admin: &Admin, dir: &Path, own_only: bool) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let last_ack: LastAck = Arc::new(Mutex::new(0.0));
        let mut producers = Vec::new();
        let mut consumers = Vec::new();
        if !own_only {
            let Some(java) = STOCK.iter().rfind(|stock| stock.client == "java") else { bail!("no Java client") };
            let clients = clients_dir();
            java.build(&clients)?;
            let command = java.command(&clients);
            for i in 0..STOCK_CONSUMERS {
                let args = [
                    ("namesrv", admin.namesrv().to_owned()),
                    ("topic", TOPIC.into()),
                    ("group", "failover_stock".into()),
                    ("kind", "push".into()),
                    ("instance", format!("c{i}")),
                    ("from", "first".into()),
                ];
                consumers.push(Driver::start(&command, "consume", &args, &dir.join(format!("stock-consumer-{i}")))?);
            }
            for i in 0..STOCK_PRODUCERS {
                let args = [
                    ("namesrv", admin.namesrv().to_owned()),
                    ("topic", TOPIC.into()),
                    ("group", format!("failover_producers_{i}")),
                    ("id", format!("java{i}")),
                    ("kind", "sync".into()),
                    ("count", "0".into()),
                    ("rate", "150".into()),
                    ("queues", QUEUES.to_string()),
                ];
                producers.push(Driver::start(&command, "send", &args, &dir.join(format!("stock-producer-{i}")))?);
            }
        }
        admin.create_group(OWN_GROUP)?;
        let own = (0..OWN_PRODUCERS)
            .map(|i| {
                let (stop, last, namesrv) = (Arc::clone(&stop), Arc::clone(&last_ack), admin.namesrv().to_owned());
                std::thread::spawn(move || produce(&namesrv, &format!("own{i}"), &stop, &last))
            })
            .collect();
        let readers = (0..OWN_CONSUMERS)
            .map(|i| {
                let (stop, namesrv) = (Arc::clone(&stop), admin.namesrv().to_owned());
                std::thread::spawn(move || consume(&namesrv, &format!("reader{i}"), i, &stop))
            })
            .collect();
        Ok(Self { stop, own, readers, producers: Mutex::new(producers), consumers: Mutex::new(consumers), last_ack })
    }

    /// Waits until every kind of client has got something done.
    pub(crate) fn wait_warm(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let sent = |driver: &Driver| driver.events().iter().any(|event| event["ev"] == "sent");
            let stock = self.producers.lock().expect("the load does not panic").iter().all(sent);
            let own = *self.last_ack.lock().expect("the load does not panic") > 0.0;
            if stock && own {
                return Ok(());
            }
            if Instant::now() > deadline {
                let heard: Vec<Value> = self
                    .producers
                    .lock()
                    .expect("the load does not panic")
                    .iter()
                    .flat_map(|d| d.events().pop())
                    .collect();
                bail!("the load did not start within {limit:?}: own client {own}, stock clients {stock}; {heard:?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Whether our own client got an acknowledgement for a send made after `at`.
    pub(crate) fn wait_for_ack_after(&self, at: f64, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if *self.last_ack.lock().expect("the load does not panic") > at {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// A word about what the stock clients have done.
    pub(crate) fn summary(&self) -> String {
        let sent: usize = self.producers.lock().expect("the load does not panic").iter().map(Driver::count).sum();
        let read: usize = self.consumers.lock().expect("the load does not panic").iter().map(Driver::count).sum();
        format!("stock clients so far: {sent} sends, {read} deliveries")
    }

    /// Stops everything and gathers what everybody saw.
    pub(crate) fn finish(self) -> History {
        // Let the last takeover end, so that producers have something to say after it.
        std::thread::sleep(Duration::from_secs(3));
        self.stop.store(true, Ordering::Relaxed);
        let mut history = History { events: Vec::new(), acks: Vec::new(), complaints: Vec::new() };
        let mut producers = self.producers.into_inner().expect("the load does not panic");
        producers.iter_mut().for_each(Driver::ask_to_stop);
        for (i, producer) in producers.into_iter().enumerate() {
            match producer.stop() {
                Ok(events) => stock_sends(&mut history, &format!("java{i}"), &events),
                Err(error) => history.complaints.push(format!("stock producer {i}: {error:#}")),
            }
        }
        for handle in self.own {
            let events = handle.join().expect("the load does not panic");
            for event in &events {
                if let Event::Send { return_ms, outcome: Outcome::Ok(_), .. } = event {
                    history.acks.push((Kind::Own, *return_ms));
                }
            }
            history.events.extend(events);
        }
        for handle in self.readers {
            history.events.extend(handle.join().expect("the load does not panic"));
        }
        let mut consumers = self.consumers.into_inner().expect("the load does not panic");
        consumers.iter_mut().for_each(Driver::ask_to_stop);
        for (i, consumer) in consumers.into_iter().enumerate() {
            match consumer.stop() {
                Ok(events) => stock_reads(&mut history, &format!("java{i}"), &events),
                Err(error) => history.complaints.push(format!("stock consumer {i}: {error:#}")),
            }
        }
        history
    }
}

/// One of our producers: a send after the other, the queues in turn. A send that failed or whose outcome is unknown is
/// not repeated; the next message is sent.
fn produce(namesrv: &str, id: &str, stop: &AtomicBool, last_ack: &LastAck) -> Vec<Event> {
    let admin = Admin::new(namesrv).expect("the NameServer's address is well formed");
    let mut events = Vec::new();
    for seq in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let queue = u32::try_from(seq % u64::from(QUEUES)).unwrap_or(0);
        let invoke_ms = now_ms();
        let outcome = admin.send(TOPIC, queue, id, seq, Duration::from_secs(3));
        let return_ms = now_ms();
        let outcome = match outcome {
            SendOutcome::Stored { queue, offset } => {
                let mut last = last_ack.lock().expect("the load does not panic");
                *last = last.max(invoke_ms);
                Outcome::Ok(Place { topic: TOPIC.to_owned(), queue, offset })
            }
            SendOutcome::NotStored => Outcome::Failed,
            SendOutcome::Unknown => Outcome::Unknown,
        };
        let pause = if matches!(outcome, Outcome::Ok(_)) { 4 } else { 20 };
        events.push(Event::Send { producer: id.to_owned(), seq, invoke_ms, return_ms, outcome });
        std::thread::sleep(Duration::from_millis(pause));
    }
    events
}

/// One of our consumers: reads its share of the queues from the stored offset on, and stores how far it got.
fn consume(namesrv: &str, id: &str, share: u32, stop: &AtomicBool) -> Vec<Event> {
    let admin = Admin::new(namesrv).expect("the NameServer's address is well formed");
    let mut events = Vec::new();
    let shown = |events: &mut Vec<Event>, queue: u32, offset: u64, invoke_ms: f64| {
        events.push(Event::Progress {
            group: OWN_GROUP.to_owned(),
            place: Place { topic: TOPIC.to_owned(), queue, offset },
            invoke_ms,
            return_ms: now_ms(),
        });
    };
    while !stop.load(Ordering::Relaxed) {
        for queue in (0..QUEUES).filter(|queue| queue % OWN_CONSUMERS == share) {
            let invoke_ms = now_ms();
            let Ok(stored) = admin.stored_offset(OWN_GROUP, TOPIC, queue) else { continue };
            if let Some(stored) = stored {
                shown(&mut events, queue, stored, invoke_ms);
            }
            let Ok(messages) = admin.pull(TOPIC, queue, stored.unwrap_or(0)) else { continue };
            let Some(next) = messages.last().map(|message| message.offset + 1) else { continue };
            for message in messages {
                events.push(Event::Read {
                    consumer: id.to_owned(),
                    producer: message.pid,
                    seq: message.seq,
                    place: Place { topic: TOPIC.to_owned(), queue, offset: message.offset },
                    intact: message.intact,
                });
            }
            let invoke_ms = now_ms();
            if admin.store_offset(OWN_GROUP, TOPIC, queue, next).is_ok() {
                shown(&mut events, queue, next, invoke_ms);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    events
}

/// A stock client's answer names the place; its errors leave it open whether the message was stored, since the client
/// may have tried several times inside one call.
fn stock_sends(history: &mut History, producer: &str, events: &[Value]) {
    for event in events {
        let outcome = match event["ev"].as_str() {
            Some("sent") => match (event["queue"].as_u64(), event["offset"].as_u64()) {
                (Some(queue), Some(offset)) if event["status"] == "SEND_OK" => Outcome::Ok(Place {
                    topic: TOPIC.to_owned(),
                    queue: u32::try_from(queue).unwrap_or(u32::MAX),
                    offset,
                }),
                _ => {
                    history.complaints.push(format!("a stock client was told half success: {event}"));
                    Outcome::Unknown
                }
            },
            Some("error") => Outcome::Unknown,
            _ => continue,
        };
        let return_ms = event["t1"].as_f64().unwrap_or(f64::MAX);
        if matches!(outcome, Outcome::Ok(_)) {
            history.acks.push((Kind::Stock, return_ms));
        }
        history.events.push(Event::Send {
            producer: producer.to_owned(),
            seq: event["seq"].as_u64().unwrap_or(u64::MAX),
            invoke_ms: event["t0"].as_f64().unwrap_or(0.0),
            return_ms,
            outcome,
        });
    }
}

fn stock_reads(history: &mut History, consumer: &str, events: &[Value]) {
    for event in events.iter().filter(|event| event["ev"] == "recv") {
        history.events.push(Event::Read {
            consumer: consumer.to_owned(),
            producer: event["pid"].as_str().unwrap_or_default().to_owned(),
            seq: event["seq"].as_u64().unwrap_or(u64::MAX),
            place: Place {
                topic: event["topic"].as_str().filter(|topic| !topic.is_empty()).unwrap_or(TOPIC).to_owned(),
                queue: event["queue"].as_u64().and_then(|queue| u32::try_from(queue).ok()).unwrap_or(u32::MAX),
                offset: event["offset"].as_u64().unwrap_or(u64::MAX),
            },
            intact: event["body_ok"] == true,
        });
    }
}

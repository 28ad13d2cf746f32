//! Producers and consumers that run for the whole time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use timbermq_check::history::{Action, MessageId, Operation, Outcome, PullStatus};

use super::{Kind, LastAck, Seen};
use crate::admin::{Admin, SendOutcome};
use crate::driver::{self, Driver};
use crate::monotonic::{now_ms, now_us};
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
pub(crate) const OWN_GROUP: &str = "failover_own";
/// Group of the stock consumers.
const STOCK_GROUP: &str = "failover_stock";

/// What one client saw.
type Operations = Vec<Operation<String>>;

/// Everything that runs beside the kills.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    own: Vec<JoinHandle<Operations>>,
    readers: Vec<JoinHandle<Operations>>,
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
                    ("group", STOCK_GROUP.into()),
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
    pub(crate) fn finish(self) -> Seen {
        // Let the last takeover end, so that producers have something to say after it.
        std::thread::sleep(Duration::from_secs(3));
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = Seen::default();
        let mut producers = self.producers.into_inner().expect("the load does not panic");
        producers.iter_mut().for_each(Driver::ask_to_stop);
        for (i, producer) in producers.into_iter().enumerate() {
            match producer.stop() {
                Ok(events) => {
                    let (sends, complaints) = driver::sends(&events, TOPIC, &format!("java{i}"));
                    let acknowledged = sends.iter().filter(|send| send.outcome == Outcome::Ok);
                    seen.acks.extend(acknowledged.map(|send| (Kind::Stock, ms(send.returned))));
                    seen.operations.extend(sends);
                    seen.complaints.extend(complaints);
                }
                Err(error) => seen.complaints.push(format!("stock producer {i}: {error:#}")),
            }
        }
        for handle in self.own {
            let operations = handle.join().expect("the load does not panic");
            for operation in operations.iter().filter(|operation| operation.outcome == Outcome::Ok) {
                seen.acks.push((Kind::Own, ms(operation.returned)));
            }
            seen.operations.extend(operations);
        }
        for handle in self.readers {
            seen.operations.extend(handle.join().expect("the load does not panic"));
        }
        let mut consumers = self.consumers.into_inner().expect("the load does not panic");
        consumers.iter_mut().for_each(Driver::ask_to_stop);
        for (i, consumer) in consumers.into_iter().enumerate() {
            match consumer.stop() {
                Ok(events) => {
                    let consumer = format!("java-consumer{i}");
                    seen.operations.extend(driver::deliveries(&events, TOPIC, STOCK_GROUP, &consumer));
                }
                Err(error) => seen.complaints.push(format!("stock consumer {i}: {error:#}")),
            }
        }
        seen
    }
}

#[allow(clippy::cast_precision_loss)] // microseconds since boot fit
fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// One of our producers: a send after the other, the queues in turn. A send that failed or whose outcome is unknown is
/// not repeated; the next message is sent.
fn produce(namesrv: &str, id: &str, stop: &AtomicBool, last_ack: &LastAck) -> Operations {
    let admin = Admin::new(namesrv).expect("the NameServer's address is well formed");
    let mut operations = Vec::new();
    for seq in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let asked = u32::try_from(seq % u64::from(QUEUES)).unwrap_or(0);
        let (invoke_ms, invoke) = (now_ms(), now_us());
        let answer = admin.send(TOPIC, asked, id, seq, Duration::from_secs(3));
        let returned = now_us();
        let (outcome, queue, offset) = match answer {
            SendOutcome::Stored { queue, offset } => {
                let mut last = last_ack.lock().expect("the load does not panic");
                *last = last.max(invoke_ms);
                (Outcome::Ok, queue, Some(offset))
            }
            SendOutcome::NotStored => (Outcome::Fail, asked, None),
            SendOutcome::Unknown => (Outcome::Unknown, asked, None),
        };
        let pause = if outcome == Outcome::Ok { 4 } else { 20 };
        let message = MessageId { producer: id.to_owned(), seq, attempt: 0 };
        let action = Action::send(TOPIC.to_owned(), Some(queue), message, offset);
        operations.push(Operation { outcome, ..Operation::new(id.to_owned(), invoke, returned, action) });
        std::thread::sleep(Duration::from_millis(pause));
    }
    operations
}

/// One of our consumers: reads its share of the queues from the stored offset on, and stores how far it got.
fn consume(namesrv: &str, id: &str, share: u32, stop: &AtomicBool) -> Operations {
    let admin = Admin::new(namesrv).expect("the NameServer's address is well formed");
    let mut operations = Vec::new();
    let mut note = |invoke: u64, outcome: Outcome, action: Action<String>| {
        operations.push(Operation { outcome, ..Operation::new(id.to_owned(), invoke, now_us(), action) });
    };
    let (group, topic) = (|| OWN_GROUP.to_owned(), || TOPIC.to_owned());
    while !stop.load(Ordering::Relaxed) {
        for queue in (0..QUEUES).filter(|queue| queue % OWN_CONSUMERS == share) {
            let invoke = now_us();
            let Ok(offset) = admin.stored_offset(OWN_GROUP, TOPIC, queue) else { continue };
            note(invoke, Outcome::Ok, Action::QueryOffset { group: group(), topic: topic(), queue, offset });
            let (from, invoke) = (offset.unwrap_or(0), now_us());
            let Ok(messages) = admin.pull(TOPIC, queue, from) else { continue };
            let Some(next) = messages.last().map(|message| message.offset + 1) else { continue };
            let pulled = Action::Pull {
                group: Some(group()),
                topic: topic(),
                queue,
                from,
                tags: Vec::new(),
                status: PullStatus::Read,
                messages,
                next,
                bounds: None,
            };
            note(invoke, Outcome::Ok, pulled);
            let invoke = now_us();
            let stored = admin.store_offset(OWN_GROUP, TOPIC, queue, next);
            let outcome = if stored.is_ok() { Outcome::Ok } else { Outcome::Unknown };
            let store = Action::StoreOffset { group: group(), topic: topic(), queue, offset: next, reset: false };
            note(invoke, outcome, store);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    operations
}

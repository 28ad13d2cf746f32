//! What every stock client must be able to do, one row per client, version and test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::driver::Driver;
use crate::stock::{Stock, clients_dir};

/// Messages of the main test.
const MESSAGES: u64 = 10_000;
/// Queues of every topic.
const QUEUES: u32 = 8;
/// How long a consumer may go without news before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for ordered consumers: the Go client does not unlock a queue that it gives up, so the next owner gets it when the
/// lock has expired, 60 s later, at one of its attempts 20 s apart.
const LOCK_PATIENCE: Duration = Duration::from_secs(150);
/// How long a whole run of a sender may take.
const SEND_LIMIT: Duration = Duration::from_secs(180);

/// One line of the matrix.
#[derive(Clone, Debug)]
pub struct Row {
    /// Client.
    pub client: String,
    /// Its version.
    pub version: String,
    /// Test.
    pub test: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Row {
    /// Says on stderr how it went.
    pub(crate) fn tell(&self) {
        let verdict = self.failure.as_deref().map_or("ok".to_owned(), |why| format!("FAILED: {why}"));
        eprintln!("{:>6} {:<6} {:<13} {:>5.1} s  {verdict}", self.client, self.version, self.test, self.seconds);
    }

    /// The row as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "client": self.client,
            "version": self.version,
            "test": self.test,
            "result": if self.failure.is_none() { "pass" } else { "fail" },
            "reason": self.failure,
            "seconds": (self.seconds * 10.0).round() / 10.0,
        })
    }
}

/// Runs `stocks` against the cluster behind `admin`, `lanes` clients at a time.
///
/// # Errors
/// A driver cannot be built.
pub fn run(admin: &Admin, stocks: &[&Stock], only: Option<&str>, dir: &Path, lanes: usize) -> Result<Vec<Row>> {
    let clients = clients_dir();
    for stock in stocks {
        eprintln!("preparing the {} client {}", stock.client, stock.version);
        stock.build(&clients)?;
    }
    let queue = Mutex::new(stocks.iter().rev().copied().collect::<Vec<_>>());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..lanes.max(1) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("lanes do not panic").pop();
                    let Some(stock) = next else { return };
                    let found = one_client(admin, stock, only, &clients, dir);
                    rows.lock().expect("lanes do not panic").extend(found);
                }
            });
        }
    });
    Ok(rows.into_inner().expect("lanes do not panic"))
}

fn one_client(admin: &Admin, stock: &Stock, only: Option<&str>, clients: &Path, dir: &Path) -> Vec<Row> {
    let tag = format!("{}_{}", stock.client, stock.version.replace('.', "_"));
    let bench = Bench { admin, command: stock.command(clients), tag, dir: dir.to_owned() };
    let mut rows = Vec::new();
    for test in stock.kinds.iter().filter(|test| only.is_none_or(|only| only == **test)) {
        let started = Instant::now();
        let outcome = bench.run(test);
        let row = Row {
            client: stock.client.into(),
            version: stock.version.into(),
            test: (*test).into(),
            failure: outcome.err().map(|error| format!("{error:#}")),
            seconds: started.elapsed().as_secs_f64(),
        };
        row.tell();
        rows.push(row);
    }
    rows
}

/// A client with all that a test needs.
pub(crate) struct Bench<'a> {
    admin: &'a Admin,
    command: Vec<String>,
    tag: String,
    dir: PathBuf,
}

/// What a consumer was given, as far as the checks need it.
#[derive(Clone, Debug)]
struct Delivery {
    pid: String,
    seq: u64,
    tag: String,
    queue: u64,
    offset: u64,
    body_ok: bool,
    reconsume: u64,
}

fn deliveries(events: &[Value]) -> Vec<Delivery> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    events
        .iter()
        .filter(|event| event["ev"] == "recv")
        .map(|event| Delivery {
            pid: text(event, "pid"),
            seq: event["seq"].as_u64().unwrap_or(u64::MAX),
            tag: text(event, "tag"),
            queue: event["queue"].as_u64().unwrap_or(u64::MAX),
            offset: event["offset"].as_u64().unwrap_or(u64::MAX),
            body_ok: event["body_ok"] == true,
            reconsume: event["reconsume"].as_u64().unwrap_or(0),
        })
        .collect()
}

fn seqs(all: &[Delivery], pid: &str) -> BTreeSet<u64> {
    all.iter().filter(|d| d.pid == pid).map(|d| d.seq).collect()
}

fn received(events: &[Value]) -> usize {
    events.iter().filter(|event| event["ev"] == "recv").count()
}

impl<'a> Bench<'a> {
    /// A bench for `stock`, whose topics and groups carry `tag`.
    pub(crate) fn new(admin: &'a Admin, stock: &Stock, tag: &str, dir: &Path) -> Self {
        Self { admin, command: stock.command(&clients_dir()), tag: tag.to_owned(), dir: dir.to_owned() }
    }

    /// Sends `count` messages to a topic of this name and has one consumer take them all.
    pub(crate) fn round_trip(&self, name: &str, count: u64) -> Result<()> {
        let topic = self.topic(name)?;
        self.send(&topic, "p", "sync", count, 0)?;
        let mut consumer = self.consumer(&topic, name, "m1", "push", &[])?;
        let all = Self::wait_all(&mut [&mut consumer], "p", count)?;
        consumer.stop()?;
        self.check_content(&all, "p", true)
    }

    fn run(&self, test: &str) -> Result<()> {
        match test {
            "group" => self.group(),
            "tags" => self.tags(),
            "async" | "batch" | "ordered" => self.send_kind(test),
            "oneway" => self.oneway(),
            "broadcast" => self.broadcast(),
            "orderly" => self.orderly(),
            "pull" | "litepull" => self.pull(test),
            "retry" => self.retry(),
            "query" => self.query(),
            "offsets" => self.offsets(),
            other => bail!("no test is called {other}"),
        }
    }

    fn topic(&self, test: &str) -> Result<String> {
        let topic = format!("T_{}_{test}", self.tag);
        self.admin.create_topic(&topic, QUEUES).with_context(|| format!("creating {topic}"))?;
        Ok(topic)
    }

    fn driver(&self, verb: &str, name: &str, args: &[(&str, String)]) -> Result<Driver> {
        let mut all = vec![("namesrv", self.admin.namesrv().to_owned())];
        all.extend(args.iter().map(|(key, value)| (*key, value.clone())));
        Driver::start(&self.command, verb, &all, &self.dir.join(&self.tag).join(name))
    }

    fn send(&self, topic: &str, id: &str, kind: &str, count: u64, start: u64) -> Result<Vec<Value>> {
        let args = [
            ("topic", topic.to_owned()),
            ("group", format!("P_{}", self.tag)),
            ("id", id.to_owned()),
            ("kind", kind.to_owned()),
            ("count", count.to_string()),
            ("start", start.to_string()),
            ("queues", QUEUES.to_string()),
        ];
        let mut driver = self.driver("send", &format!("send-{id}-{start}"), &args)?;
        let done = driver.expect("done", SEND_LIMIT)?;
        let events = driver.stop()?;
        let first_error = events.iter().find(|event| event["ev"] == "error");
        ensure!(done["failed"] == 0, "{} of {count} sends failed, the first: {first_error:?}", done["failed"]);
        Ok(events)
    }

    fn consumer(&self, topic: &str, group: &str, name: &str, kind: &str, more: &[(&str, String)]) -> Result<Driver> {
        let mut args = vec![
            ("topic", topic.to_owned()),
            ("group", format!("G_{}_{group}", self.tag)),
            ("instance", format!("{}_{name}", self.tag)),
            ("kind", kind.to_owned()),
            ("from", "first".to_owned()),
        ];
        args.extend(more.iter().map(|(key, value)| (*key, value.clone())));
        let mut driver = self.driver("consume", &format!("consume-{group}-{name}"), &args)?;
        driver.expect("ready", PATIENCE)?;
        Ok(driver)
    }

    /// Waits until `members` together were given all of `0..count` of `pid`, with no longer pause than [`PATIENCE`].
    fn wait_all(members: &mut [&mut Driver], pid: &str, count: u64) -> Result<Vec<Delivery>> {
        Self::wait_patiently(members, pid, count, PATIENCE)
    }

    fn wait_patiently(members: &mut [&mut Driver], pid: &str, count: u64, patience: Duration) -> Result<Vec<Delivery>> {
        let mut last = (0, Instant::now());
        loop {
            let all: Vec<Delivery> = members.iter().flat_map(|member| deliveries(&member.events())).collect();
            let got = seqs(&all, pid);
            if got.len() as u64 >= count {
                return Ok(all);
            }
            if got.len() > last.0 {
                last = (got.len(), Instant::now());
            }
            if last.1.elapsed() > patience {
                let missing: Vec<u64> = (0..count).filter(|seq| !got.contains(seq)).take(10).collect();
                bail!("{} of {count} messages delivered, then none for {patience:?}; missing {missing:?}…", got.len());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Content is as sent, and within a queue the sender's order is the order of the offsets.
    fn check_content(&self, all: &[Delivery], pid: &str, in_order: bool) -> Result<()> {
        let mut lanes: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
        for delivery in all.iter().filter(|d| d.pid == pid) {
            ensure!(delivery.body_ok, "other content than was sent: {delivery:?}");
            let known = lanes.entry(delivery.queue).or_default().insert(delivery.offset, delivery.seq);
            ensure!(known.is_none_or(|seq| seq == delivery.seq), "two messages at one offset: {delivery:?}, {known:?}");
        }
        for (queue, lane) in lanes.iter().filter(|_| in_order) {
            let seqs: Vec<u64> = lane.values().copied().collect();
            ensure!(seqs.is_sorted(), "queue {queue} is not in the order of the sends");
        }
        Ok(())
    }

    /// 10 000 messages over eight queues to a group of two; then a third member joins, and one leaves.
    fn group(&self) -> Result<()> {
        let topic = self.topic("group")?;
        let mut one = self.consumer(&topic, "group", "m1", "push", &[])?;
        let mut two = self.consumer(&topic, "group", "m2", "push", &[])?;
        let sent = self.send(&topic, "p", "sync", MESSAGES, 0)?;
        let queues: BTreeSet<u64> = sent.iter().filter_map(|event| event["queue"].as_u64()).collect();
        ensure!(queues.is_empty() || queues.len() == QUEUES as usize, "sent to queues {queues:?} only");
        let all = Self::wait_all(&mut [&mut one, &mut two], "p", MESSAGES)?;
        self.check_content(&all, "p", true)?;
        for (name, member) in [("first", &one), ("second", &two)] {
            ensure!(received(&member.events()) > 0, "the {name} member was given nothing");
        }
        let mut three = self.consumer(&topic, "group", "m3", "push", &[])?;
        self.share(&topic, "q", &mut [&mut one, &mut two, &mut three])?;
        one.stop()?;
        self.share(&topic, "r", &mut [&mut two, &mut three])?;
        two.stop()?;
        three.stop()?;
        Ok(())
    }

    /// Sends until every member was given something of it: the queues have been shared out anew.
    fn share(&self, topic: &str, id: &str, members: &mut [&mut Driver]) -> Result<()> {
        let step = 200;
        let deadline = Instant::now() + PATIENCE;
        let mut sent = 0;
        loop {
            self.send(topic, id, "sync", step, sent)?;
            sent += step;
            let all = Self::wait_all(members, id, sent)?;
            self.check_content(&all, id, true)?;
            let shares: Vec<usize> =
                members.iter().map(|member| seqs(&deliveries(&member.events()), id).len()).collect();
            if shares.iter().all(|share| *share > 0) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "of {sent} messages the members were given {shares:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn tags(&self) -> Result<()> {
        let topic = self.topic("tags")?;
        self.send(&topic, "p", "sync", 300, 0)?;
        let mut consumer = self.consumer(&topic, "tags", "m1", "push", &[("tag", "TagA || TagC".into())])?;
        let enough = |events: &[Value]| received(events) >= 200;
        ensure!(consumer.wait(PATIENCE, enough), "{} of 200 delivered", received(&consumer.events()));
        // Anything too much would come right behind.
        std::thread::sleep(Duration::from_millis(500));
        let all = deliveries(&consumer.stop()?);
        self.check_content(&all, "p", true)?;
        let wanted: BTreeSet<u64> = (0..300).filter(|seq| seq % 3 != 1).collect();
        ensure!(seqs(&all, "p") == wanted, "delivered {} instead of the 200 with the tags", seqs(&all, "p").len());
        ensure!(all.iter().all(|d| d.tag == "TagA" || d.tag == "TagC"), "another tag was delivered");
        Ok(())
    }

    fn send_kind(&self, kind: &str) -> Result<()> {
        let count = 2_000;
        let topic = self.topic(kind)?;
        let sent = self.send(&topic, "p", kind, count, 0)?;
        if kind == "ordered" {
            for event in sent.iter().filter(|event| event["ev"] == "sent" && event["queue"].is_u64()) {
                let expected = event["seq"].as_u64().map(|seq| seq % u64::from(QUEUES));
                ensure!(event["queue"].as_u64() == expected, "the selector's queue was not taken: {event}");
            }
        }
        let mut consumer = self.consumer(&topic, kind, "m1", "push", &[])?;
        let all = Self::wait_all(&mut [&mut consumer], "p", count)?;
        consumer.stop()?;
        self.check_content(&all, "p", kind != "async")?;
        self.check_places(&sent, &all)
    }

    /// Every acknowledgement names the queue and offset at which the message was then found.
    fn check_places(&self, sent: &[Value], all: &[Delivery]) -> Result<()> {
        let found: BTreeMap<u64, (u64, u64)> = all.iter().map(|d| (d.seq, (d.queue, d.offset))).collect();
        for event in sent.iter().filter(|event| event["ev"] == "sent") {
            let (Some(seq), Some(queue), Some(offset)) =
                (event["seq"].as_u64(), event["queue"].as_u64(), event["offset"].as_u64())
            else {
                continue;
            };
            for i in 0..event["n"].as_u64().unwrap_or(1) {
                let place = (queue, offset + i);
                ensure!(
                    found.get(&(seq + i)) == Some(&place),
                    "{} acknowledged at {place:?}, found at {:?}",
                    seq + i,
                    found.get(&(seq + i))
                );
            }
        }
        Ok(())
    }

    fn oneway(&self) -> Result<()> {
        let topic = self.topic("oneway")?;
        self.send(&topic, "p", "oneway", 500, 0)?;
        let mut consumer = self.consumer(&topic, "oneway", "m1", "push", &[])?;
        let all = Self::wait_all(&mut [&mut consumer], "p", 500)?;
        consumer.stop()?;
        self.check_content(&all, "p", false)
    }

    fn broadcast(&self) -> Result<()> {
        let topic = self.topic("broadcast")?;
        let mut one = self.consumer(&topic, "broadcast", "m1", "broadcast", &[])?;
        let mut two = self.consumer(&topic, "broadcast", "m2", "broadcast", &[])?;
        self.send(&topic, "p", "sync", 300, 0)?;
        for member in [&mut one, &mut two] {
            let all = Self::wait_all(&mut [member], "p", 300)?;
            self.check_content(&all, "p", true)?;
        }
        one.stop()?;
        two.stop()?;
        Ok(())
    }

    /// Ordered delivery: every queue's messages come in order, each from one member at a time.
    fn orderly(&self) -> Result<()> {
        let topic = self.topic("orderly")?;
        let mut one = self.consumer(&topic, "orderly", "m1", "orderly", &[])?;
        let mut two = self.consumer(&topic, "orderly", "m2", "orderly", &[])?;
        self.send(&topic, "p", "ordered", 2_000, 0)?;
        let all = Self::wait_patiently(&mut [&mut one, &mut two], "p", 2_000, LOCK_PATIENCE)?;
        self.check_content(&all, "p", true)?;
        for member in [one, two] {
            let mut last: BTreeMap<u64, u64> = BTreeMap::new();
            for delivery in deliveries(&member.stop()?) {
                if let Some(before) = last.insert(delivery.queue, delivery.offset) {
                    // A queue that changes hands starts again at the stored offset, which is never ahead.
                    ensure!(
                        delivery.offset <= before + 1,
                        "queue {}: {} after {before}",
                        delivery.queue,
                        delivery.offset
                    );
                }
            }
        }
        Ok(())
    }

    fn pull(&self, kind: &str) -> Result<()> {
        let topic = self.topic(kind)?;
        self.send(&topic, "p", "sync", 500, 0)?;
        let mut consumer = self.consumer(&topic, kind, "m1", kind, &[])?;
        let all = Self::wait_all(&mut [&mut consumer], "p", 500)?;
        consumer.stop()?;
        self.check_content(&all, "p", true)
    }

    /// A message that is handed back comes again, once more counted.
    fn retry(&self) -> Result<()> {
        let topic = self.topic("retry")?;
        let mut consumer = self.consumer(&topic, "retry", "m1", "push", &[("fail_first", "1".into())])?;
        self.send(&topic, "p", "sync", 20, 0)?;
        let enough = |events: &[Value]| {
            let again: BTreeSet<u64> = deliveries(events).iter().filter(|d| d.reconsume > 0).map(|d| d.seq).collect();
            again.len() >= 20
        };
        ensure!(
            consumer.wait(PATIENCE, enough),
            "not all of 20 messages came again: {:?}",
            deliveries(&consumer.events())
        );
        let all = deliveries(&consumer.stop()?);
        ensure!(all.iter().all(|d| d.body_ok), "other content than was sent");
        Ok(())
    }

    fn query(&self) -> Result<()> {
        let topic = self.topic("query")?;
        let sent = self.send(&topic, "p", "sync", 50, 0)?;
        let event =
            sent.iter().find(|event| event["ev"] == "sent" && event["seq"] == 17).context("number 17 was sent")?;
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        for (kind, id) in [("offsetid", text("offset_msgid")), ("key", "p-17".into()), ("unique", text("msgid"))] {
            let args = [("topic", topic.clone()), ("kind", kind.to_owned()), ("id", id.clone())];
            let mut driver = self.driver("query", &format!("query-{kind}"), &args)?;
            let hit = driver.expect("found", PATIENCE).with_context(|| format!("query by {kind} {id}"))?;
            driver.stop()?;
            ensure!(hit["key"] == "p-17" && hit["body_ok"] == true, "query by {kind} {id} found {hit}");
            ensure!(
                hit["queue"] == event["queue"] && hit["offset"] == event["offset"],
                "query by {kind}: {hit}, sent {event}"
            );
        }
        Ok(())
    }

    fn offsets(&self) -> Result<()> {
        let topic = self.topic("offsets")?;
        self.send(&topic, "p", "ordered", 80, 0)?;
        let mut driver = self.driver("offsets", "offsets", &[("topic", topic), ("timestamp", "0".into())])?;
        driver.expect("done", PATIENCE)?;
        let events = driver.stop()?;
        let queues: Vec<&Value> = events.iter().filter(|event| event["ev"] == "queue").collect();
        ensure!(queues.len() == QUEUES as usize, "{} queues", queues.len());
        for queue in queues {
            ensure!(queue["min"] == 0 && queue["max"] == 10 && queue["by_time"] == 0, "{queue}");
        }
        Ok(())
    }
}

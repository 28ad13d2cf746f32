//! Reads what a topic has, from the beginning and as fast as it comes, as stock consumers pull: one pull in flight for each
//! queue, all of them over one connection to each replica that is asked.
//!
//! Nothing is done with messages but to count them: their sizes are looked at, and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use serde_json::{Map, Value, json};
use timbermq_client::{Client, ClientConfig, MessageQueue, is_entrance};
use timbermq_record::peek_len;
use timbermq_remoting::header::{PULL_SUBSCRIPTION, PullMessageHeader, PullMessageResponseHeader};
use timbermq_remoting::{FrameDecoder, RemotingCommand, RequestCode, ResponseCode};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::latency::Latency;
use crate::report::{or_null, rounded};
use crate::rocketmq::CONNECT_MAX;
use crate::usage::{Snapshot, Usage, Watched};

/// Header field of a pull that differs each time.
const OFFSET: &str = "queueOffset";
/// Free space offered to each read.
const READ_BYTES: usize = 256 * 1024;
/// How often a connection on which nothing happens looks at the time.
const TICK: Duration = Duration::from_millis(10);
/// How long a queue is left alone whose pull was refused, or found nothing although more is there.
const HOLD: Duration = Duration::from_millis(10);
/// Pause before a lost connection is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// What is read how.
#[derive(Clone, Debug)]
pub struct Options {
    /// NameServers, `host:port`.
    pub name_servers: Vec<String>,
    /// Topic.
    pub topic: String,
    /// Its queues that are read; all if none is named.
    pub queues: Vec<u32>,
    /// Group that the pulls say they belong to. Its offsets are neither read nor stored.
    pub group: String,
    /// Most messages of one pull.
    pub batch: u32,
    /// Most bytes of one pull, which 5.x brokers heed; theirs unless given.
    pub batch_bytes: Option<u32>,
    /// Reads from leaders alone. Otherwise a queue's next pull goes to the replica that the last answer named, as stock
    /// consumers' do.
    pub leader_only: bool,
    /// Longest time all of it may take.
    pub time: Duration,
    /// A connection on which answers are due and nothing is heard for so long is given up.
    pub answer_max: Duration,
    /// Whose costs are measured beside our own.
    pub watched: Watched,
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    options: Options,
    tally: Tally,
    /// Queues that were read.
    queues: usize,
    /// Whether every queue was read to where it ended at the beginning.
    is_finished: bool,
    elapsed: Duration,
    usage: Usage,
}

/// Counts of all queues.
#[derive(Debug)]
struct Tally {
    messages: u64,
    /// Of records as brokers give them: header, properties, topic and body.
    bytes: u64,
    pulls: u64,
    /// Pulls answered by each replica.
    by_replica: BTreeMap<String, u64>,
    latency: Latency,
    /// Pulls that found nothing where there was to be something, and pulls to be repeated.
    empty: u64,
    /// Offsets that answers passed over without a message.
    skipped: u64,
    /// Answers of other codes, by their names.
    errors: BTreeMap<String, u64>,
    reconnects: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            messages: 0,
            bytes: 0,
            pulls: 0,
            by_replica: BTreeMap::new(),
            latency: Latency::new(),
            empty: 0,
            skipped: 0,
            errors: BTreeMap::new(),
            reconnects: 0,
        }
    }
}

/// Where the reading of one queue stands.
#[derive(Debug)]
struct Cursor {
    /// The pull, of which only offset and opaque are written anew.
    request: RemotingCommand,
    /// The next offset wanted.
    next: i64,
    /// Where the queue ended at the beginning.
    end: i64,
    /// Broker group, by number.
    group: usize,
    /// When the pull in flight was sent.
    sent: Option<Instant>,
    /// No pull before.
    hold_until: Option<Instant>,
}

/// Whom the next pull of a queue goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nobody: it has been read.
    Nobody,
    /// The replica with this broker id.
    Replica(i64),
    /// Whoever was asked, a little later.
    Later,
}

impl Cursor {
    fn new(options: &Options, queue: &MessageQueue, group: usize, span: std::ops::Range<i64>) -> Self {
        let header = PullMessageHeader {
            consumer_group: options.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: span.start,
            max_msg_nums: i32::try_from(options.batch).unwrap_or(i32::MAX),
            sys_flag: PULL_SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: 0,
            subscription: Some("*".to_owned()),
            sub_version: 0,
            expression_type: Some("TAG".to_owned()),
            max_msg_bytes: options.batch_bytes.map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX)),
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: Some(queue.broker_name.clone()),
        };
        let request = RemotingCommand::request(RequestCode::PULL_MESSAGE).with_header(&header);
        Self { request, next: span.start, end: span.end, group, sent: None, hold_until: None }
    }

    fn is_done(&self) -> bool {
        self.next >= self.end
    }

    /// Appends the next pull, whose answer will be known by `token`.
    fn put(&mut self, token: usize, now: Instant, out: &mut BytesMut) -> Result<()> {
        self.request.ext.set_display(OFFSET, self.next);
        self.request.opaque = i32::try_from(token).unwrap_or(i32::MAX);
        self.request.encode(out)?;
        (self.sent, self.hold_until) = (Some(now), None);
        Ok(())
    }

    /// Counts an answer.
    ///
    /// # Errors
    /// It is none that a pull can have.
    fn take(&mut self, answer: &RemotingCommand, now: Instant, tally: &mut Tally) -> Result<Next> {
        let Some(sent) = self.sent.take() else { bail!("an answer to a pull that was not made") };
        tally.pulls += 1;
        tally.latency.record(u64::try_from(now.duration_since(sent).as_nanos()).unwrap_or(u64::MAX));
        let code = answer.response_code();
        let answers =
            [ResponseCode::PULL_NOT_FOUND, ResponseCode::PULL_RETRY_IMMEDIATELY, ResponseCode::PULL_OFFSET_MOVED];
        if code != ResponseCode::SUCCESS && !answers.contains(&code) {
            *tally.errors.entry(code.to_string()).or_default() += 1;
            return Ok(self.later(now));
        }
        let found: PullMessageResponseHeader = answer.header()?;
        if code == ResponseCode::SUCCESS {
            let messages = counted(&answer.body)?;
            tally.messages += messages;
            tally.bytes += answer.body.len() as u64;
            let passed = found.next_begin_offset - self.next;
            ensure!(
                passed > 0,
                "a pull at {} found something and says to go on at {}",
                self.next,
                found.next_begin_offset
            );
            tally.skipped += passed.unsigned_abs().saturating_sub(messages);
        } else {
            tally.empty += 1;
            tally.skipped += u64::try_from(found.next_begin_offset - self.next).unwrap_or(0);
        }
        let is_further = found.next_begin_offset > self.next;
        self.next = found.next_begin_offset;
        Ok(match (self.is_done(), is_further) {
            (true, _) => Next::Nobody,
            (false, true) => Next::Replica(found.suggest_which_broker_id),
            (false, false) => self.later(now),
        })
    }

    fn later(&mut self, now: Instant) -> Next {
        self.hold_until = Some(now + HOLD);
        Next::Later
    }
}

/// How many records stand back to back.
fn counted(mut body: &[u8]) -> Result<u64> {
    let mut messages = 0;
    while !body.is_empty() {
        let len = peek_len(body)?.filter(|len| *len <= body.len());
        let Some(len) = len else { bail!("an answer ends within a message") };
        body = &body[len..];
        messages += 1;
    }
    Ok(messages)
}

/// A replica of a broker group.
#[derive(Debug)]
struct Replica {
    group: usize,
    id: i64,
    addr: String,
    /// Queues to be asked for there.
    waiting: RefCell<VecDeque<usize>>,
    /// Told when there are more.
    more: Notify,
}

impl Replica {
    fn new(group: usize, id: i64, addr: String) -> Self {
        Self { group, id, addr, waiting: RefCell::default(), more: Notify::new() }
    }

    fn give(&self, token: usize) {
        self.waiting.borrow_mut().push_back(token);
        self.more.notify_one();
    }
}

/// What the connections share.
struct Shared {
    options: Options,
    began: Instant,
    cursors: RefCell<Vec<Cursor>>,
    /// Queues that have not been read to their end.
    left: Cell<usize>,
    replicas: Vec<Replica>,
    tally: RefCell<Tally>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.left.get() == 0 || self.began.elapsed() >= self.options.time
    }

    /// Where the next pull of a queue goes that the replica `from` has answered.
    fn next(&self, from: usize, group: usize, id: i64) -> usize {
        if self.options.leader_only {
            return from;
        }
        self.replicas.iter().position(|replica| replica.group == group && replica.id == id).unwrap_or(from)
    }

    fn leader_of(&self, group: usize) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.group == group && replica.id == 0)
    }
}

/// Reads the queues to where they end now, or until the time is up.
///
/// # Errors
/// There is no such topic or queue, nobody leads, or an answer is none of the protocol's. Connections that are lost are made
/// again.
pub async fn run(options: Options) -> Result<Run> {
    ensure!(options.batch > 0, "a pull of no messages reads nothing");
    let env = timbermq_host::env();
    let config = ClientConfig { name_servers: options.name_servers.clone(), ..ClientConfig::default() };
    let client = Client::new(&env, config);
    let (cursors, replicas) = opened(&client, &options).await?;
    read(options, cursors, replicas).await
}

/// Reads from the replicas until all cursors are at their ends, or the time is up.
async fn read(options: Options, cursors: Vec<Cursor>, replicas: Vec<Replica>) -> Result<Run> {
    let (queues, left) = (cursors.len(), cursors.iter().filter(|cursor| !cursor.is_done()).count());
    for (token, cursor) in cursors.iter().enumerate().filter(|(_, cursor)| !cursor.is_done()) {
        let leader = replicas.iter().find(|replica| replica.group == cursor.group && replica.id == 0);
        leader.context("a broker group has no leader")?.give(token);
    }
    let before = Snapshot::take(&options.watched);
    let shared = Rc::new(Shared {
        options,
        began: Instant::now(),
        cursors: RefCell::new(cursors),
        left: Cell::new(left),
        replicas,
        tally: RefCell::new(Tally::new()),
    });
    LocalSet::new()
        .run_until(async {
            let links: Vec<_> = (0..shared.replicas.len())
                .map(|replica| tokio::task::spawn_local(live(Rc::clone(&shared), replica)))
                .collect();
            for link in links {
                link.await.context("a connection's task failed")??;
            }
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    let elapsed = shared.began.elapsed();
    let usage = Usage::between(&before, &Snapshot::take(&shared.options.watched));
    let Shared { options, tally, left, .. } = Rc::into_inner(shared).context("a task still runs")?;
    Ok(Run { options, tally: tally.into_inner(), queues, is_finished: left.get() == 0, elapsed, usage })
}

/// The queues asked for, each from its first message to where it ends now, and the replicas that have them.
async fn opened(client: &Client, options: &Options) -> Result<(Vec<Cursor>, Vec<Replica>)> {
    let route = client.refresh_route(&options.topic).await.context("asking for the route")?;
    let is_group =
        |name: &str| !route.queue_datas.iter().any(|queues| queues.broker_name == name && is_entrance(queues));
    let groups: Vec<_> = route.broker_datas.iter().filter(|group| is_group(&group.broker_name)).collect();
    let mut cursors = Vec::new();
    for queue in client.read_queues(&options.topic).await? {
        let number = u32::try_from(queue.queue_id).ok();
        if !options.queues.is_empty() && !number.is_some_and(|number| options.queues.contains(&number)) {
            continue;
        }
        let group = groups.iter().position(|group| group.broker_name == queue.broker_name);
        let group = group.with_context(|| format!("nobody has the queues of {}", queue.broker_name))?;
        let (min, max) = (client.min_offset(&queue).await?, client.max_offset(&queue).await?);
        cursors.push(Cursor::new(options, &queue, group, min..max));
    }
    ensure!(!cursors.is_empty(), "topic {} has no such queue that may be read", options.topic);
    let replicas = groups.iter().enumerate().flat_map(|(number, group)| {
        group.broker_addrs.iter().map(move |(id, addr)| Replica::new(number, *id, addr.clone()))
    });
    Ok((cursors, replicas.collect()))
}

/// Pulls from one replica until all has been read, connected as long as something is to be asked there.
async fn live(shared: Rc<Shared>, replica: usize) -> Result<()> {
    let me = &shared.replicas[replica];
    while !shared.is_over() {
        if me.waiting.borrow().is_empty() {
            // Whoever is never asked is never connected to.
            let _ = tokio::time::timeout(TICK, me.more.notified()).await;
            continue;
        }
        let mut link = Link { replica, in_flight: Vec::new(), out: BytesMut::new(), received: BytesMut::new() };
        let Err(lost) = link.drive(&shared).await else { break };
        if let Lost::Garbled(error) = lost {
            return Err(error.context(format!("an answer of {}", me.addr)));
        }
        shared.tally.borrow_mut().reconnects += 1;
        tokio::time::sleep(RECONNECT_PAUSE).await;
        // Another replica may be gone for long; the leader is asked again.
        let waiting = std::mem::take(&mut *me.waiting.borrow_mut());
        for token in link.in_flight.drain(..).chain(waiting) {
            let group = {
                let cursor = &mut shared.cursors.borrow_mut()[token];
                cursor.sent = None;
                cursor.group
            };
            shared.replicas[shared.leader_of(group).unwrap_or(replica)].give(token);
        }
    }
    Ok(())
}

/// Why a connection is given up.
enum Lost {
    /// It is made again.
    Connection,
    /// There is no sense in that.
    Garbled(anyhow::Error),
}

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self::Connection
    }
}

/// A connection to a replica.
struct Link {
    replica: usize,
    /// Queues whose pulls have no answer yet.
    in_flight: Vec<usize>,
    out: BytesMut,
    received: BytesMut,
}

impl Link {
    async fn drive(&mut self, shared: &Shared) -> Result<(), Lost> {
        let me = &shared.replicas[self.replica];
        let connected = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(&me.addr)).await;
        let stream = connected.map_err(|_| Lost::Connection)??;
        stream.set_nodelay(true)?;
        let decoder = FrameDecoder::default();
        let mut heard = Instant::now();
        loop {
            let now = Instant::now();
            if shared.is_over() {
                return Ok(());
            }
            if self.in_flight.is_empty() {
                heard = now;
            }
            if now.duration_since(heard) > shared.options.answer_max {
                return Err(Lost::Connection);
            }
            self.ask(shared, now).map_err(Lost::Garbled)?;
            self.write(&stream)?;
            let interest =
                if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let is_readable = tokio::select! {
                biased;
                ready = stream.ready(interest) => ready?.is_readable(),
                () = me.more.notified() => false,
                () = tokio::time::sleep(TICK) => false,
            };
            if is_readable && self.read(&stream)? {
                heard = Instant::now();
                while let Some(answer) =
                    decoder.decode(&mut self.received).map_err(|error| Lost::Garbled(error.into()))?
                {
                    self.answered(shared, &answer, heard).map_err(Lost::Garbled)?;
                }
            }
        }
    }

    /// Makes the pulls that may be made now.
    fn ask(&mut self, shared: &Shared, now: Instant) -> Result<()> {
        let mut cursors = shared.cursors.borrow_mut();
        let mut waiting = shared.replicas[self.replica].waiting.borrow_mut();
        for _ in 0..waiting.len() {
            let Some(token) = waiting.pop_front() else { break };
            if cursors[token].hold_until.is_some_and(|until| until > now) {
                waiting.push_back(token);
                continue;
            }
            cursors[token].put(token, now, &mut self.out)?;
            self.in_flight.push(token);
        }
        Ok(())
    }

    fn answered(&mut self, shared: &Shared, answer: &RemotingCommand, now: Instant) -> Result<()> {
        // A broker may also ask something of a client.
        if !answer.is_response() {
            return Ok(());
        }
        let token = usize::try_from(answer.opaque).ok();
        let Some(at) = self.in_flight.iter().position(|flight| Some(*flight) == token) else { return Ok(()) };
        let token = self.in_flight.swap_remove(at);
        let mut tally = shared.tally.borrow_mut();
        *tally.by_replica.entry(shared.replicas[self.replica].addr.clone()).or_default() += 1;
        let (next, group) = {
            let cursor = &mut shared.cursors.borrow_mut()[token];
            (cursor.take(answer, now, &mut tally)?, cursor.group)
        };
        match next {
            Next::Nobody => shared.left.set(shared.left.get() - 1),
            Next::Later => shared.replicas[self.replica].waiting.borrow_mut().push_back(token),
            Next::Replica(id) => {
                let next = shared.next(self.replica, group, id);
                if next == self.replica {
                    shared.replicas[next].waiting.borrow_mut().push_back(token);
                } else {
                    shared.replicas[next].give(token);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, stream: &TcpStream) -> std::io::Result<()> {
        while !self.out.is_empty() {
            match stream.try_write(&self.out) {
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether anything came.
    fn read(&mut self, stream: &TcpStream) -> std::io::Result<bool> {
        self.received.reserve(READ_BYTES);
        match stream.try_read_buf(&mut self.received) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Run {
    /// The figures, under the names of the OpenMessaging Benchmark where it has one. `system` is who was measured.
    #[allow(clippy::cast_precision_loss)] // counts of one run
    pub fn to_json(&self, system: &str) -> Value {
        let Self { options, tally, usage, .. } = self;
        let (seconds, messages) = (self.elapsed.as_secs_f64().max(1e-9), tally.messages as f64);
        let per_message = |us: Option<f64>| or_null(us.filter(|_| tally.messages > 0).map(|us| us / messages), 1000.0);
        let all = usage.servers_cpu_us.zip(usage.client_cpu_us).map(|(servers, client)| servers + client);
        let servers: Vec<Value> = usage.servers_rss_mb.iter().map(|mb| or_null(*mb, 10.0)).collect();
        let mut figures = Map::new();
        figures.insert("system".into(), system.into());
        figures.insert("topic".into(), options.topic.clone().into());
        figures.insert("queues".into(), self.queues.into());
        figures.insert("batch".into(), options.batch.into());
        figures.insert("batchBytes".into(), options.batch_bytes.into());
        figures.insert("leaderOnly".into(), options.leader_only.into());
        figures.insert("finished".into(), self.is_finished.into());
        figures.insert("seconds".into(), rounded(seconds, 1000.0));
        figures.insert("messages".into(), tally.messages.into());
        figures.insert("bytes".into(), tally.bytes.into());
        figures.insert("consumeRate".into(), rounded(messages / seconds, 10.0));
        figures.insert("consumeMBps".into(), rounded(tally.bytes as f64 / 1e6 / seconds, 10.0));
        figures.insert("pulls".into(), tally.pulls.into());
        figures.insert("pullsByReplica".into(), json!(tally.by_replica));
        tally.latency.put("pullLatency", &mut figures);
        figures.insert("emptyPulls".into(), tally.empty.into());
        figures.insert("skipped".into(), tally.skipped.into());
        figures.insert("errors".into(), json!(tally.errors));
        figures.insert("reconnects".into(), tally.reconnects.into());
        let micros = json!({
            "servers": or_null(usage.servers_cpu_us, 1.0),
            "client": or_null(usage.client_cpu_us, 1.0),
        });
        figures.insert("cpuMicros".into(), micros);
        let per_message = json!({
            "servers": per_message(usage.servers_cpu_us),
            "client": per_message(usage.client_cpu_us),
            "total": per_message(all),
        });
        figures.insert("cpuMicrosPerMessage".into(), per_message);
        figures.insert("rssMB".into(), json!({ "servers": servers, "client": or_null(usage.client_rss_mb, 10.0) }));
        figures.insert("othersCores".into(), or_null(usage.others_cores, 100.0));
        figures.insert("stealPercent".into(), or_null(usage.steal_percent, 10.0));
        Value::Object(figures)
    }

    /// The figures in a few lines.
    pub fn to_text(&self, system: &str) -> String {
        let figures = self.to_json(system);
        let errors: u64 = self.tally.errors.values().sum();
        let end = if self.is_finished { "" } else { "; the time was up before the end" };
        format!(
            "{} messages in {} s from {} queues, {} a pull{end}\n{} msg/s, {} MB/s\npulls ms  p50 {}  p99 {}  max {}\n\
             {} offsets skipped, {errors} errors",
            figures["messages"],
            figures["seconds"],
            figures["queues"],
            figures["batch"],
            figures["consumeRate"],
            figures["consumeMBps"],
            figures["pullLatency50pct"],
            figures["pullLatency99pct"],
            figures["pullLatencyMax"],
            figures["skipped"],
        )
    }
}

#[cfg(test)]
mod tests;

//! Pulls as stock consumers make them: one in flight for each queue, all of a reader's over one connection to each replica that is
//! asked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use serde_json::{Map, Value, json};
use timbermq_client::{Client, ClientConfig, MessageQueue, is_entrance};
use timbermq_record::peek_len;
use timbermq_remoting::header::{PULL_SUBSCRIPTION, PULL_SUSPEND, PullMessageHeader, PullMessageResponseHeader};
use timbermq_remoting::{FrameDecoder, RemotingCommand, RequestCode, ResponseCode};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::arrivals::Arrivals;
use crate::latency::Latency;
use crate::report::or_null;
use crate::rocketmq::CONNECT_MAX;
use crate::usage::Usage;

/// Header field of a pull that differs each time.
const OFFSET: &str = "queueOffset";
/// Free space offered to each read.
const READ_BYTES: usize = 256 * 1024;
/// How often a connection on which nothing happens looks at the time.
const TICK: Duration = Duration::from_millis(10);
/// How long a queue is left alone whose pull was refused. One that found nothing is not repeated sooner after it was made: a broker
/// that was to wait has done so.
const HOLD: Duration = Duration::from_millis(10);
/// Pause before a lost connection is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// What is pulled how.
#[derive(Clone, Debug)]
pub struct Pulls {
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
    /// How long a broker may wait until there is something to give.
    pub suspend: Option<Duration>,
    /// A connection on which answers are due and nothing is heard for so long, and as long as a broker may wait, is given up.
    pub answer_max: Duration,
}

/// Counts of all queues of all readers.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    /// Of records as brokers give them: header, properties, topic and body.
    pub(crate) bytes: u64,
    pulls: u64,
    /// Pulls answered by each replica.
    by_replica: BTreeMap<String, u64>,
    latency: Latency,
    /// Pulls that found nothing, and pulls to be repeated.
    empty: u64,
    /// Offsets that answers passed over without a message.
    skipped: u64,
    /// Answers of other codes, by their names.
    errors: BTreeMap<String, u64>,
    pub(crate) reconnects: u64,
    /// When messages arrived, where somebody wants to know: then they are read, else only counted.
    pub(crate) arrivals: Option<Arrivals>,
}

impl Tally {
    pub(crate) fn new(arrivals: Option<Arrivals>) -> Self {
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
            arrivals,
        }
    }

    /// Counts the messages of an answer that has just been decoded. How many there are.
    fn add(&mut self, records: &[u8]) -> Result<u64> {
        let messages = match &mut self.arrivals {
            Some(arrivals) => arrivals.add(records)?,
            None => counted(records)?,
        };
        self.messages += messages;
        self.bytes += records.len() as u64;
        Ok(messages)
    }

    /// Answers of other codes.
    pub(crate) fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Puts what became of the pulls.
    pub(crate) fn put(&self, figures: &mut Map<String, Value>) {
        figures.insert("pulls".into(), self.pulls.into());
        figures.insert("pullsByReplica".into(), json!(self.by_replica));
        self.latency.put("pullLatency", figures);
        figures.insert("emptyPulls".into(), self.empty.into());
        figures.insert("skipped".into(), self.skipped.into());
        figures.insert("errors".into(), json!(self.errors));
        figures.insert("reconnects".into(), self.reconnects.into());
    }
}

/// Puts what reading so many messages has cost.
#[allow(clippy::cast_precision_loss)] // counts of one run
pub(crate) fn put_usage(usage: &Usage, messages: u64, figures: &mut Map<String, Value>) {
    let per_message = |us: Option<f64>| or_null(us.filter(|_| messages > 0).map(|us| us / messages as f64), 1000.0);
    let all = usage.servers_cpu_us.zip(usage.client_cpu_us).map(|(servers, client)| servers + client);
    let servers: Vec<Value> = usage.servers_rss_mb.iter().map(|mb| or_null(*mb, 10.0)).collect();
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
}

/// Where the reading of one queue stands.
#[derive(Debug)]
struct Cursor {
    /// The pull, of which only offset and opaque are written anew.
    request: RemotingCommand,
    /// The next offset wanted.
    next: i64,
    /// Where the reading ends.
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
    /// Whoever was asked.
    Same,
}

impl Cursor {
    fn new(pulls: &Pulls, queue: &MessageQueue, group: usize, span: Range<i64>) -> Self {
        let suspend = pulls.suspend.unwrap_or_default().as_millis();
        let header = PullMessageHeader {
            consumer_group: pulls.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: span.start,
            max_msg_nums: i32::try_from(pulls.batch).unwrap_or(i32::MAX),
            sys_flag: PULL_SUBSCRIPTION | if pulls.suspend.is_some() { PULL_SUSPEND } else { 0 },
            commit_offset: 0,
            suspend_timeout_millis: i64::try_from(suspend).unwrap_or(i64::MAX),
            subscription: Some("*".to_owned()),
            sub_version: 0,
            expression_type: Some("TAG".to_owned()),
            max_msg_bytes: pulls.batch_bytes.map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX)),
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
            self.hold_until = Some(now + HOLD);
            return Ok(Next::Same);
        }
        let found: PullMessageResponseHeader = answer.header()?;
        if code == ResponseCode::SUCCESS {
            let messages = tally.add(&answer.body)?;
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
        if found.next_begin_offset <= self.next {
            self.hold_until = Some(sent + HOLD);
        }
        self.next = found.next_begin_offset;
        Ok(if self.is_done() { Next::Nobody } else { Next::Replica(found.suggest_which_broker_id) })
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

/// A topic as it is before it is read.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// The queues that are asked for, with the number of the broker group that has them and the offsets from the first message to
    /// behind the last.
    pub(crate) queues: Vec<(MessageQueue, usize, Range<i64>)>,
    /// The replicas of the broker groups: number of the group, broker id, address.
    replicas: Vec<(usize, i64, String)>,
}

impl Topic {
    /// Looks at the topic.
    ///
    /// # Errors
    /// There is no such topic or queue, or nobody answers.
    pub(crate) async fn open(pulls: &Pulls) -> Result<Self> {
        ensure!(pulls.batch > 0, "a pull of no messages reads nothing");
        let config = ClientConfig { name_servers: pulls.name_servers.clone(), ..ClientConfig::default() };
        let client = Client::new(&timbermq_host::env(), config);
        let route = client.refresh_route(&pulls.topic).await.context("asking for the route")?;
        let is_group =
            |name: &str| !route.queue_datas.iter().any(|queues| queues.broker_name == name && is_entrance(queues));
        let groups: Vec<_> = route.broker_datas.iter().filter(|group| is_group(&group.broker_name)).collect();
        let mut queues = Vec::new();
        for queue in client.read_queues(&pulls.topic).await? {
            let number = u32::try_from(queue.queue_id).ok();
            if !pulls.queues.is_empty() && !number.is_some_and(|number| pulls.queues.contains(&number)) {
                continue;
            }
            let group = groups.iter().position(|group| group.broker_name == queue.broker_name);
            let group = group.with_context(|| format!("nobody has the queues of {}", queue.broker_name))?;
            let (min, max) = (client.min_offset(&queue).await?, client.max_offset(&queue).await?);
            queues.push((queue, group, min..max));
        }
        ensure!(!queues.is_empty(), "topic {} has no such queue that may be read", pulls.topic);
        let replicas = groups
            .iter()
            .enumerate()
            .flat_map(|(number, group)| group.broker_addrs.iter().map(move |(id, addr)| (number, *id, addr.clone())));
        Ok(Self { queues, replicas: replicas.collect() })
    }
}

/// One who reads, over connections of its own.
#[derive(Debug)]
pub(crate) struct Reader {
    pulls: Pulls,
    cursors: Vec<Cursor>,
    replicas: Vec<Replica>,
}

impl Reader {
    /// Reads each queue of the topic from where to where `span` says; it is given what the queue has.
    pub(crate) fn new(pulls: Pulls, topic: &Topic, span: fn(&Range<i64>) -> Range<i64>) -> Self {
        let cursor = |(queue, group, has): &(_, usize, _)| Cursor::new(&pulls, queue, *group, span(has));
        let cursors = topic.queues.iter().map(cursor).collect();
        let replica = |(group, id, addr): &(usize, i64, String)| Replica::new(*group, *id, addr.clone());
        Self { pulls, cursors, replicas: topic.replicas.iter().map(replica).collect() }
    }
}

/// What the connections of a reader share.
struct Shared {
    pulls: Pulls,
    /// When it ends at the latest.
    until: Instant,
    cursors: RefCell<Vec<Cursor>>,
    /// Queues that have not been read to their end.
    left: Cell<usize>,
    replicas: Vec<Replica>,
    /// That of all readers.
    tally: Rc<RefCell<Tally>>,
}

impl Shared {
    /// Begins with the leaders.
    fn begin(reader: Reader, until: Instant, tally: Rc<RefCell<Tally>>) -> Result<Self> {
        let Reader { pulls, cursors, replicas } = reader;
        let mut left = 0;
        for (token, cursor) in cursors.iter().enumerate().filter(|(_, cursor)| !cursor.is_done()) {
            let leader = replicas.iter().find(|replica| replica.group == cursor.group && replica.id == 0);
            leader.context("a broker group has no leader")?.give(token);
            left += 1;
        }
        Ok(Self { pulls, until, cursors: RefCell::new(cursors), left: Cell::new(left), replicas, tally })
    }

    fn is_over(&self) -> bool {
        self.left.get() == 0 || Instant::now() >= self.until
    }

    /// A queue has been read to its end. After the last one nobody waits any more for something to ask.
    fn end_one(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            self.replicas.iter().for_each(|replica| replica.more.notify_one());
        }
    }

    /// Where the next pull of a queue goes that the replica `from` has answered.
    fn next(&self, from: usize, group: usize, id: i64) -> usize {
        if self.pulls.leader_only {
            return from;
        }
        self.replicas.iter().position(|replica| replica.group == group && replica.id == id).unwrap_or(from)
    }

    fn leader_of(&self, group: usize) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.group == group && replica.id == 0)
    }
}

/// Reads side by side, until all are at their ends or the time is up; to be called on a local set of tasks. What was counted, and
/// whether all are at their ends.
///
/// # Errors
/// Nobody leads, or an answer is none of the protocol's. Connections that are lost are made again.
pub(crate) async fn read(readers: Vec<Reader>, until: Instant, tally: Tally) -> Result<(Tally, bool)> {
    let tally = Rc::new(RefCell::new(tally));
    let begun = readers.into_iter().map(|reader| Shared::begin(reader, until, Rc::clone(&tally)).map(Rc::new));
    let begun: Vec<Rc<Shared>> = begun.collect::<Result<_>>()?;
    let links: Vec<_> = begun
        .iter()
        .flat_map(|shared| (0..shared.replicas.len()).map(|replica| live(Rc::clone(shared), replica)))
        .map(tokio::task::spawn_local)
        .collect();
    for link in links {
        link.await.context("a connection's task failed")??;
    }
    let is_finished = begun.iter().all(|shared| shared.left.get() == 0);
    drop(begun);
    let tally = Rc::into_inner(tally).context("a task still runs")?;
    Ok((tally.into_inner(), is_finished))
}

/// Pulls from one replica until all has been read, connected as long as something is to be asked there.
async fn live(shared: Rc<Shared>, replica: usize) -> Result<()> {
    let me = &shared.replicas[replica];
    while !shared.is_over() {
        if me.waiting.borrow().is_empty() {
            // Whoever is never asked is never connected to.
            let _ = tokio::time::timeout_at(shared.until.into(), me.more.notified()).await;
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
            if now.duration_since(heard) > shared.pulls.answer_max + shared.pulls.suspend.unwrap_or_default() {
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
            Next::Nobody => shared.end_one(),
            Next::Same => shared.replicas[self.replica].waiting.borrow_mut().push_back(token),
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

#[cfg(test)]
pub(crate) mod puppets;

//! One run: boot, warm up, faults, heal, drain, check.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use timbermq_check::history::{Action, FaultKind, History, Micros, Operation, Origin, Outcome, Reader};
use timbermq_check::{Id, Verdict};
use timbermq_client::{Client, RemotingCommand, RequestCode, TopicSettings};
use timbermq_remoting::ResponseCode;
use timbermq_tests::admin::Digest;
use timbermq_tests::content;
use timbermq_tests::dice::Dice;

use crate::cluster::{Cluster, GROUP, Settings, Status, Statuses};
use crate::edn;
use crate::nemesis::{self, Nemesis, Strike};
use crate::recorder::Recorder;
use crate::schedule::{Planned, plan};
use crate::workload::{self, Bench, QUEUES, SEND_TIMEOUT, TOPIC, Workload, message_queue};

/// How long the cluster may take to come up.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to serve again after the last fault, for the run to go on at all.
const SERVE_LIMIT: Duration = Duration::from_secs(60);
/// Within which time it must. Microseconds.
const RECOVER_WITHIN: Micros = 30_000_000;
/// How long a request may stay without an answer. Microseconds.
const ANSWER_WITHIN: Micros = 20_000_000;
/// How long the replicas may take to become equal.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// How long clients may take to end; every request has a shorter timeout.
const END_LIMIT: Duration = Duration::from_secs(30);
/// How long a group may take to consume what is left.
const CONSUME_LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks at processes and the schedule.
const LOOK: Duration = Duration::from_millis(20);
/// Time between two looks at what the replicas say of themselves.
const SAMPLE: Duration = Duration::from_millis(150);
/// How long a replica may take to say it.
const SAMPLE_TIMEOUT: Duration = Duration::from_millis(400);
/// Fewest operations that must have succeeded for a run to say anything.
const OK_MIN: u64 = 100;
/// Most messages in one operation of a drain.
const DRAIN_PART: usize = 1_000;
/// Request by which a replica tells its view of the group.
const GROUP_STATUS: RequestCode = RequestCode(30_001);
/// Request by which a replica tells digests of its log and state.
const STATE_DIGEST: RequestCode = RequestCode(30_002);

/// What a run is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Names of the workloads.
    pub workloads: Vec<String>,
    /// Names of the nemeses.
    pub nemeses: Vec<String>,
    /// Replicas.
    pub nodes: usize,
    /// Seconds under load.
    pub seconds: u64,
    /// Operations a second.
    pub rate: u32,
    /// Clients of each workload.
    pub clients: u32,
    /// Seed.
    pub seed: u64,
    /// The binary under test.
    pub binary: PathBuf,
    /// Seeded bug in the replicas.
    pub bug: Option<String>,
    /// Further settings of the replicas.
    pub settings: Vec<String>,
    /// Where everything that the run leaves goes.
    pub dir: PathBuf,
}

impl Options {
    /// The command that repeats the run.
    #[must_use]
    pub fn command(&self) -> String {
        let mut command = format!("timbermq-jepsen run --workload {}", self.workloads.join(","));
        if !self.nemeses.is_empty() {
            command.push_str(&format!(" --nemesis {}", self.nemeses.join(",")));
        }
        command.push_str(&format!(
            " --nodes {} --time {} --rate {} --clients {} --seed {}",
            self.nodes, self.seconds, self.rate, self.clients, self.seed
        ));
        if let Some(bug) = &self.bug {
            command.push_str(&format!(" --bug {bug}"));
        }
        for setting in &self.settings {
            command.push_str(&format!(" --set {setting}"));
        }
        command
    }

    fn workloads(&self) -> Vec<&'static dyn Workload> {
        self.workloads.iter().filter_map(|name| workload::named(name)).collect()
    }

    fn nemeses(&self) -> Vec<&'static dyn Nemesis> {
        self.nemeses.iter().filter_map(|name| nemesis::named(name)).collect()
    }
}

/// A change of what a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in microseconds of the history.
    pub at: Micros,
    /// Which replica.
    pub node: String,
    /// Its role; none when it does not answer.
    pub role: Option<String>,
    /// Its term.
    pub term: u64,
}

/// What became of a fault that was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Which nemesis.
    pub nemesis: String,
    /// What it did; none when there was nothing to hit.
    pub detail: Option<String>,
    /// When it began and when it was taken back, in microseconds of the history.
    pub from: Micros,
    /// See `from`.
    pub to: Micros,
}

/// What is kept of a run beside its history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What it was to be.
    pub options: Options,
    /// What the replicas said of themselves.
    pub samples: Vec<Sample>,
    /// The faults.
    pub ledger: Vec<Ledger>,
    /// Begin and end of the load, in microseconds of the history.
    pub load: (Micros, Micros),
    /// What stopped the run before its end.
    pub broken: Option<String>,
}

/// A run with its history and what the checkers say of it.
#[derive(Debug)]
pub struct Finished {
    /// The run.
    pub record: Record,
    /// What everybody saw.
    pub history: History,
    /// What the checkers say.
    pub judged: timbermq_check::Report,
}

/// The file of a run's [`Record`].
const RECORD: &str = "run.json";
/// The file of its history.
const HISTORY: &str = "history.jsonl";

impl Finished {
    /// Has the checkers judge a run.
    #[must_use]
    pub fn judge(record: Record, history: History) -> Self {
        let mut required: BTreeSet<Id> = [26, 30, 31].map(Id::new).into();
        for workload in record.options.workloads() {
            required.extend(workload.required().iter().copied().map(Id::new));
        }
        if record.ledger.iter().any(|fault| fault.nemesis == "power-all" && fault.detail.is_some()) {
            required.insert(Id::new(28));
        }
        let options = timbermq_check::Options {
            required,
            recover_within: RECOVER_WITHIN,
            answer_within: Some(ANSWER_WITHIN),
            ok_min: OK_MIN,
            ..timbermq_check::Options::default()
        };
        let judged = timbermq_check::check(&history, &options);
        Self { record, history, judged }
    }

    /// The verdict of the whole: a run that stopped before its end, or whose faults did not happen, is not valid.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if *self.judged.verdict() == Verdict::Invalid {
            return Verdict::Invalid;
        }
        if let Some(why) = &self.record.broken {
            return Verdict::Unknown(why.clone());
        }
        let struck: BTreeSet<&str> = self.faults().map(|fault| fault.nemesis.as_str()).collect();
        let planned: BTreeSet<&str> = self.record.ledger.iter().map(|fault| fault.nemesis.as_str()).collect();
        if let Some(missed) = planned.difference(&struck).next() {
            return Verdict::Unknown(format!("{missed} never had anything to hit"));
        }
        if struck.is_empty() && !self.record.options.nemeses.is_empty() {
            return Verdict::Unknown("the run was too short for a fault".to_owned());
        }
        self.judged.verdict().clone()
    }

    /// The faults that happened.
    pub fn faults(&self) -> impl Iterator<Item = &Ledger> {
        self.record.ledger.iter().filter(|fault| fault.detail.is_some())
    }

    /// How many faults were power cuts.
    #[must_use]
    pub fn power_cuts(&self) -> usize {
        let is_power =
            |fault: &&Ledger| nemesis::named(&fault.nemesis).is_some_and(|nemesis| nemesis.kind() == FaultKind::Power);
        self.faults().filter(is_power).count()
    }

    /// Writes what is kept of a run into its directory: the history as JSON lines and as EDN, and the rest.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self) -> Result<()> {
        let dir = &self.record.options.dir;
        let create = |name: &str| {
            let file = File::create(dir.join(name)).with_context(|| dir.join(name).display().to_string());
            file.map(BufWriter::new)
        };
        self.history.write_jsonl(create(HISTORY)?)?;
        edn::write(&self.history, &mut create("history.edn")?)?;
        serde_json::to_writer_pretty(create(RECORD)?, &self.record)?;
        Ok(())
    }

    /// Reads a run again that was kept in a directory, and judges it again.
    ///
    /// # Errors
    /// A file is missing or cannot be understood.
    pub fn read(dir: &Path) -> Result<Self> {
        let open = |name: &str| File::open(dir.join(name)).with_context(|| dir.join(name).display().to_string());
        let record: Record = serde_json::from_reader(BufReader::new(open(RECORD)?))?;
        let history = Reader::default().read(BufReader::new(open(HISTORY)?))?;
        Ok(Self::judge(record, history))
    }
}

/// A fault at work.
struct Active {
    nemesis: &'static dyn Nemesis,
    strike: Strike,
    since: Micros,
    until: Instant,
}

struct Run {
    options: Options,
    runtime: tokio::runtime::Runtime,
    recorder: Recorder,
    cluster: Cluster,
    client: Client,
    bench: Bench,
    samples: Arc<Mutex<Vec<Sample>>>,
    ledger: Vec<Ledger>,
    active: Vec<Active>,
    load: (Micros, Micros),
    /// Groups that consumed everything.
    settled: Vec<String>,
}

/// Makes a run. To be called inside a sandbox.
///
/// # Errors
/// The cluster could not be made.
pub fn run(options: &Options) -> Result<Finished> {
    let recorder = Recorder::new();
    let settings = Settings {
        binary: options.binary.clone(),
        replicas: options.nodes,
        has_disks: crate::disk::missing().is_none(),
        dir: options.dir.clone(),
        bug: options.bug.clone(),
        settings: options.settings.clone(),
    };
    let cluster = Cluster::start(&settings, &recorder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bench = Bench {
        runtime: runtime.handle().clone(),
        recorder: recorder.clone(),
        namesrv: cluster.namesrv(),
        directory: Arc::new(cluster.directory()),
        name_servers: Arc::new(
            cluster.name_servers.iter().map(|server| (server.name.clone(), server.addr.clone())).collect(),
        ),
        seed: options.seed,
        workload: "",
        rate: options.rate,
        clients: options.clients,
        stop: Arc::new(AtomicBool::new(false)),
        over: Arc::new(AtomicBool::new(false)),
        running: Arc::new(AtomicUsize::new(0)),
    };
    let client = bench.worker("observer").client;
    let mut run = Run {
        options: options.clone(),
        runtime,
        recorder,
        cluster,
        client,
        bench,
        samples: Arc::default(),
        ledger: Vec::new(),
        active: Vec::new(),
        load: (0, 0),
        settled: Vec::new(),
    };
    run.watch_roles();
    let broken = run.phases().err().map(|error| format!("{error:#}"));
    run.finish(broken)
}

impl Run {
    fn phases(&mut self) -> Result<()> {
        self.boot()?;
        self.faults()?;
        self.heal()?;
        self.drain()
    }

    fn boot(&mut self) -> Result<()> {
        let settings = TopicSettings { read_queues: QUEUES, write_queues: QUEUES, ..TopicSettings::default() };
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            self.cluster.supervise()?;
            let made = self.runtime.block_on(self.client.put_topic(GROUP, TOPIC, &settings));
            match made {
                Ok(()) => break,
                Err(error) if Instant::now() > deadline => {
                    return Err(anyhow::Error::from(error).context("the cluster did not come up"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        let deadline = Instant::now() + BOOT_LIMIT;
        while self.runtime.block_on(self.client.refresh_route(TOPIC)).is_err() || self.cluster.leader().is_none() {
            anyhow::ensure!(Instant::now() < deadline, "no leader and no route within {BOOT_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn faults(&mut self) -> Result<()> {
        self.load.0 = self.recorder.now();
        for workload in self.options.workloads() {
            workload.start(&Bench { workload: workload.name(), ..self.bench.clone() });
        }
        let begin = Instant::now();
        let end = begin + Duration::from_secs(self.options.seconds);
        let mut planned = plan(self.options.seed, &self.options.nemeses(), self.options.seconds).into_iter().peekable();
        let mut next_look = begin;
        while Instant::now() < end {
            self.cluster.supervise()?;
            self.heal_due(false)?;
            if let Some(fault) = planned.next_if(|fault| begin + Duration::from_millis(fault.at_ms) <= Instant::now()) {
                self.strike(&fault)?;
            }
            if next_look <= Instant::now() {
                self.cluster.sample_resources();
                next_look += Duration::from_secs(2);
            }
            std::thread::sleep(LOOK);
        }
        self.load.1 = self.recorder.now();
        Ok(())
    }

    fn strike(&mut self, planned: &Planned) -> Result<()> {
        let Some(nemesis) = nemesis::named(planned.nemesis) else { return Ok(()) };
        let since = self.recorder.now();
        let until = Instant::now() + Duration::from_millis(planned.lasts_ms);
        let struck = nemesis.strike(&mut self.cluster, &mut Dice::new(planned.draw));
        let struck = struck.with_context(|| format!("nemesis {}", nemesis.name()))?;
        let seconds = Duration::from_micros(since - self.load.0).as_secs_f64();
        match struck {
            Some(strike) => {
                eprintln!("{seconds:7.2} s  {}: {}", nemesis.name(), strike.detail);
                self.active.push(Active { nemesis, strike, since, until });
            }
            None => {
                let nemesis = nemesis.name().to_owned();
                self.ledger.push(Ledger { nemesis, detail: None, from: since, to: since });
            }
        }
        Ok(())
    }

    fn heal_due(&mut self, all: bool) -> Result<()> {
        let now = Instant::now();
        let due: Vec<Active> = {
            let (due, rest) = std::mem::take(&mut self.active).into_iter().partition(|fault| all || fault.until <= now);
            self.active = rest;
            due
        };
        for fault in due {
            let healed = fault.nemesis.heal(&mut self.cluster, &fault.strike);
            healed.with_context(|| format!("healing after {}", fault.strike.detail))?;
            let to = self.recorder.now();
            let Strike { detail, names, .. } = fault.strike;
            let action = Action::Fault { kind: fault.nemesis.kind(), detail: Some(detail.clone()), nodes: names };
            self.recorder.push(Operation::new("nemesis".to_owned(), fault.since, to, action));
            let nemesis = fault.nemesis.name().to_owned();
            self.ledger.push(Ledger { nemesis, detail: Some(detail), from: fault.since, to });
        }
        Ok(())
    }

    /// Everything whole again; every queue must serve, and the clients end.
    fn heal(&mut self) -> Result<()> {
        self.heal_due(true)?;
        self.cluster.make_whole()?;
        let healed = Instant::now();
        let mut worker = self.bench.worker("service");
        for queue in 0..QUEUES {
            let invoke = self.recorder.now();
            let served = loop {
                self.cluster.supervise()?;
                let works = self.runtime.block_on(async {
                    worker.send(queue).await == Outcome::Ok
                        && worker.client.max_offset(&message_queue(queue)).await.is_ok()
                });
                if works || healed.elapsed() > SERVE_LIMIT {
                    break works;
                }
                std::thread::sleep(Duration::from_millis(50));
            };
            let outcome = if served { Outcome::Ok } else { Outcome::Unknown };
            self.recorder.done("service", invoke, outcome, Action::Service { topic: TOPIC.to_owned(), queue });
        }
        self.bench.stop.store(true, Ordering::Relaxed);
        for group in self.options.workloads().iter().filter_map(|workload| workload.consumers()) {
            self.settle_group(group)?;
        }
        self.bench.over.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + END_LIMIT;
        while self.bench.running.load(Ordering::Relaxed) > 0 {
            anyhow::ensure!(Instant::now() < deadline, "a client's request did not end within {END_LIMIT:?}");
            self.cluster.supervise()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until a group has consumed everything. Requests that nobody waits for any more may still add a message, so the
    /// ends are looked at again and again.
    fn settle_group(&mut self, group: &str) -> Result<()> {
        let deadline = Instant::now() + CONSUME_LIMIT;
        let quiet_from = Instant::now() + SEND_TIMEOUT;
        loop {
            self.cluster.supervise()?;
            let consumed = (0..QUEUES).all(|queue| {
                let at = message_queue(queue);
                let stored = self.runtime.block_on(self.client.consumer_offset(group, &at));
                let max = self.runtime.block_on(self.client.max_offset(&at));
                matches!((stored, max), (Ok(Some(stored)), Ok(max)) if stored >= max)
            });
            if consumed && Instant::now() > quiet_from {
                self.settled.push(group.to_owned());
                return Ok(());
            }
            if Instant::now() > deadline {
                eprintln!("group {group} did not consume everything within {CONSUME_LIMIT:?}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the replicas hold in the end.
    fn drain(&mut self) -> Result<()> {
        let digests = self.equal_digests()?;
        for (node, digest) in self.cluster.nodes.iter().zip(digests) {
            let action = Action::Digest {
                applied: digest.applied.unwrap_or(0),
                log_from: digest.log_from,
                log: format!("{:08x}", digest.log_crc),
                state: format!("{:016x}-{:08x}", digest.rolling, digest.state_crc),
                origin: Origin::Live,
            };
            self.recorder.fact(&node.name, action);
        }
        for (name, addr) in self.cluster.directory() {
            for queue in 0..QUEUES {
                let deadline = Instant::now() + SETTLE_LIMIT;
                while !self.runtime.block_on(drain_queue(&self.client, &self.recorder, &name, &addr, queue)) {
                    anyhow::ensure!(
                        Instant::now() < deadline,
                        "{TOPIC}/{queue} cannot be read from end to end on {name}"
                    );
                    self.cluster.supervise()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
        let now = self.recorder.now();
        for group in std::mem::take(&mut self.settled) {
            let settled = Action::Settled { group, topic: TOPIC.to_owned() };
            self.recorder.push(Operation::new("observer".to_owned(), now, now, settled));
        }
        Ok(())
    }

    /// Waits until all replicas have applied the same entry, and returns what each says.
    fn equal_digests(&mut self) -> Result<Vec<Digest>> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let told = self.digests(None);
            match told {
                Ok(all) if all.windows(2).all(|pair| pair[0].applied == pair[1].applied) => {
                    let from = all.iter().map(|digest| digest.log_from).max().unwrap_or(0);
                    if all.iter().all(|digest| digest.log_from == from) {
                        return Ok(all);
                    }
                    return self.digests(Some(from));
                }
                Ok(all) => anyhow::ensure!(
                    Instant::now() < deadline,
                    "the replicas do not come to the same entry: {:?}",
                    all.iter().map(|digest| digest.applied).collect::<Vec<_>>()
                ),
                Err(error) => {
                    if Instant::now() > deadline {
                        return Err(error.context("asking the replicas for their digests"));
                    }
                }
            }
            self.cluster.supervise()?;
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn digests(&self, from: Option<u64>) -> Result<Vec<Digest>> {
        let ask = |addr: &str| {
            let mut request = RemotingCommand::request(STATE_DIGEST);
            if let Some(from) = from {
                request.ext.set("logFrom", &from.to_string());
            }
            let answer = self.runtime.block_on(self.client.call(addr, request, Duration::from_secs(30)))?;
            let code = answer.response_code();
            anyhow::ensure!(code == ResponseCode::SUCCESS, "{addr} answered {code}: {:?}", answer.remark);
            Ok(serde_json::from_slice(&answer.body)?)
        };
        self.cluster.nodes.iter().map(|node| ask(&node.addr)).collect()
    }

    /// Keeps looking at what the replicas say of themselves.
    fn watch_roles(&self) {
        for (n, (name, addr)) in self.cluster.directory().into_iter().enumerate() {
            let (recorder, samples) = (self.recorder.clone(), Arc::clone(&self.samples));
            let statuses: Statuses = Arc::clone(&self.cluster.statuses);
            let client = self.bench.worker(&format!("watcher-{name}")).client;
            self.runtime.spawn(async move {
                let mut is_first = true;
                loop {
                    let at = recorder.now();
                    let status = ask_status(&client, &addr).await;
                    let before = {
                        let mut told = statuses.lock().unwrap_or_else(PoisonError::into_inner);
                        std::mem::replace(&mut told[n], status.clone())
                    };
                    if before != status || is_first {
                        is_first = false;
                        let (role, term) = status.map_or((None, 0), |status| (Some(status.role), status.term));
                        let sample = Sample { at, node: name.clone(), role, term };
                        samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                    }
                    tokio::time::sleep(SAMPLE).await;
                }
            });
        }
    }

    fn finish(mut self, broken: Option<String>) -> Result<Finished> {
        if self.load.1 == 0 {
            self.load.1 = self.recorder.now();
        }
        // A run that broke off has faults that were never taken back.
        for fault in std::mem::take(&mut self.active) {
            let Strike { detail, names, .. } = fault.strike;
            let action = Action::Fault { kind: fault.nemesis.kind(), detail: Some(detail), nodes: names };
            let now = self.recorder.now();
            self.recorder.push(Operation::new("nemesis".to_owned(), fault.since, now, action));
        }
        for (name, line) in self.cluster.panics()? {
            self.recorder.fact(&name, Action::Panic { text: line });
        }
        let replicas = self.cluster.nodes.iter().map(|node| node.name.clone()).collect();
        let id = format!("jepsen, seed {}", self.options.seed);
        let end = self.recorder.now();
        self.recorder.push(Operation::new("observer".to_owned(), 0, end, Action::Run { id, replicas }));
        // Clients of a run that broke off may still be at it.
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        let samples = std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self.cluster);
        self.ledger.sort_by_key(|fault| fault.from);
        let record = Record { options: self.options, samples, ledger: self.ledger, load: self.load, broken };
        let history = std::mem::take(&mut *self.recorder.history());
        Ok(Finished::judge(record, history))
    }
}

/// Asks a replica what it is; none when it does not answer in time.
pub async fn ask_status(client: &Client, addr: &str) -> Option<Status> {
    #[derive(Deserialize)]
    struct Told {
        role: String,
        term: u64,
    }
    let answer = client.call(addr, RemotingCommand::request(GROUP_STATUS), SAMPLE_TIMEOUT).await.ok()?;
    let told: Told = serde_json::from_slice(&answer.body).ok()?;
    Some(Status { role: told.role, term: told.term })
}

/// Reads a queue from end to end on one replica. False when that did not work; then nothing is written down.
async fn drain_queue(client: &Client, recorder: &Recorder, name: &str, addr: &str, queue: u32) -> bool {
    let at = message_queue(queue);
    let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(0);
    let invoke = recorder.now();
    // An offset that cannot be there is answered with the bounds.
    let Ok(probe) = client.pull_at(addr, &at, i64::MAX / 2, 1).await else { return false };
    let (min, max) = (unsigned(probe.min), unsigned(probe.max));
    let mut parts: Vec<Vec<_>> = vec![Vec::new()];
    let mut from = min;
    while from < max {
        let offset = i64::try_from(from).unwrap_or(i64::MAX);
        let Ok(pulled) = client.pull_at(addr, &at, offset, 64).await else { return false };
        if pulled.status != timbermq_client::PullStatus::Found {
            return false;
        }
        for found in pulled.messages.iter().map(content::found) {
            match parts.last_mut() {
                Some(part) if part.len() < DRAIN_PART => part.push(found),
                _ => parts.push(vec![found]),
            }
        }
        from = unsigned(pulled.next);
    }
    // Each part begins where the one before ends, the last ends with the queue.
    let begins: Vec<u64> =
        parts.iter().enumerate().map(|(n, part)| if n == 0 { min } else { part[0].offset }).collect();
    let returned = recorder.now();
    for (n, messages) in parts.into_iter().enumerate() {
        let (from, to) = (begins[n], begins.get(n + 1).copied().unwrap_or(max));
        let action = Action::Drain { pass: 0, topic: TOPIC.to_owned(), queue, min, max, from, to, messages };
        let operation = Operation::new("observer".to_owned(), invoke, returned, action);
        recorder.push(Operation { node: Some(name.to_owned()), ..operation });
    }
    true
}

/// The directory of a run that has none of its own.
#[must_use]
pub fn default_dir(seed: u64, base: &Path) -> PathBuf {
    base.join(format!("run-{seed}-{}", std::process::id()))
}

//! One run: boot, warm up, faults, heal, drain, check.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use timbermq_check::history::{Action, Micros, Operation, Origin};
use timbermq_client::{RemotingCommand, RequestCode};
use timbermq_remoting::ResponseCode;
use timbermq_tests::admin::Digest;
use timbermq_tests::dice::Dice;

use crate::cluster::{Cluster, Settings, Statuses};
use crate::load::{Load, ask_status};
use crate::nemesis::{self, Nemesis, Strike};
use crate::record::{Finished, Ledger, Options, Record, Sample};
use crate::recorder::Recorder;
use crate::schedule::{Planned, plan};

/// The topic of a run in a cluster of its own.
const TOPIC: &str = "jepsen";
/// How long the first leader may take.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// How long the replicas may take to become equal.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks at processes and the schedule.
const LOOK: Duration = Duration::from_millis(20);
/// Time between two looks at what the replicas say of themselves.
const SAMPLE: Duration = Duration::from_millis(150);
/// Request by which a replica tells digests of its log and state.
const STATE_DIGEST: RequestCode = RequestCode(30_002);

/// A fault at work.
struct Active {
    nemesis: &'static dyn Nemesis,
    strike: Strike,
    since: Micros,
    until: Instant,
}

struct Run {
    options: Options,
    recorder: Recorder,
    cluster: Cluster,
    load: Load,
    samples: Arc<Mutex<Vec<Sample>>>,
    ledger: Vec<Ledger>,
    active: Vec<Active>,
    /// Begin and end of the load.
    span: (Micros, Micros),
}

/// Makes a run. To be called inside a sandbox.
///
/// # Errors
/// The cluster could not be made.
pub fn run(options: &Options) -> Result<Finished> {
    let recorder = Recorder::new();
    let mut settings = Settings {
        system: options.system(),
        binary: options.binary.clone(),
        apache: options.apache.as_ref().map(|(jars, _)| jars.clone()),
        replicas: options.nodes,
        has_disks: crate::disk::missing().is_none(),
        dir: options.dir.clone(),
        bug: options.bug.clone(),
        seed: options.seed,
        ..Settings::default()
    };
    options.nemeses().iter().for_each(|nemesis| nemesis.fit(&mut settings));
    settings.settings.extend(options.settings.iter().cloned());
    let cluster = Cluster::start(&settings, &recorder)?;
    let load = Load::new(options, cluster.target(), TOPIC, &recorder)?;
    let mut run = Run {
        options: options.clone(),
        recorder,
        cluster,
        load,
        samples: Arc::default(),
        ledger: Vec::new(),
        active: Vec::new(),
        span: (0, 0),
    };
    run.watch_roles();
    let broken = run.phases().err().map(|error| format!("{error:#}"));
    run.finish(broken)
}

impl Run {
    fn phases(&mut self) -> Result<()> {
        let cluster = &mut self.cluster;
        self.load.make_topic(&mut || cluster.supervise())?;
        let deadline = Instant::now() + BOOT_LIMIT;
        while self.cluster.leader().is_none() {
            anyhow::ensure!(Instant::now() < deadline, "no leader within {BOOT_LIMIT:?}");
            std::thread::sleep(LOOK);
        }
        self.faults()?;
        self.heal_due(true)?;
        self.cluster.make_whole()?;
        let cluster = &mut self.cluster;
        self.load.prove_service(&mut || cluster.supervise())?;
        for nemesis in self.options.nemeses() {
            let struck = self.ledger.iter().any(|fault| fault.nemesis == nemesis.name() && fault.detail.is_some());
            if let Some(words) = nemesis.trace().filter(|_| struck) {
                anyhow::ensure!(cluster.says(words)?, "{} had no effect: no log says {words}", nemesis.name());
            }
        }
        self.load.end(&mut || cluster.supervise())?;
        if self.options.system().is_product() {
            self.compare()?;
            let cluster = &mut self.cluster;
            return self.load.drain(&[], &mut || cluster.supervise());
        }
        // A replica that never comes to the leader's end is not read: what it lacks it would be said to have lost.
        let leader = self.cluster.leader().context("nobody leads in the end")?;
        let leader = self.cluster.nodes[leader].name.clone();
        let cluster = &mut self.cluster;
        let behind = self.load.catch_up(&leader, &mut || cluster.supervise())?;
        self.load.drain(&behind, &mut || cluster.supervise())?;
        anyhow::ensure!(behind.is_empty(), "{} did not come to the end of {leader}", behind.join(", "));
        Ok(())
    }

    fn faults(&mut self) -> Result<()> {
        self.span.0 = self.recorder.now();
        self.load.start();
        let begin = Instant::now();
        let end = begin + Duration::from_secs(self.options.seconds);
        let mut planned = self.planned().into_iter().peekable();
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
        self.span.1 = self.recorder.now();
        Ok(())
    }

    fn planned(&self) -> Vec<Planned> {
        plan(self.options.seed, &self.options.nemeses(), self.options.seconds, self.options.pace)
    }

    fn strike(&mut self, planned: &Planned) -> Result<()> {
        let Some(nemesis) = nemesis::named(planned.nemesis) else { return Ok(()) };
        let since = self.recorder.now();
        let until = Instant::now() + Duration::from_millis(planned.lasts_ms);
        let struck = nemesis.strike(&mut self.cluster, &mut Dice::new(planned.draw));
        let struck = struck.with_context(|| format!("nemesis {}", nemesis.name()))?;
        let seconds = Duration::from_micros(since).as_secs_f64();
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

    /// Has all replicas tell digests of what they hold.
    fn compare(&mut self) -> Result<()> {
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
            let answer = self.load.runtime.block_on(self.load.client.call(addr, request, Duration::from_secs(30)))?;
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
            let client = self.load.bench.worker(&format!("watcher-{name}")).client;
            let system = self.options.system();
            self.load.runtime.spawn(async move {
                let mut is_first = true;
                loop {
                    let at = recorder.now();
                    let status = ask_status(&client, system, &addr).await;
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
        if self.span.1 == 0 {
            self.span.1 = self.recorder.now();
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
        self.load.close(format!("jepsen, seed {}", self.options.seed));
        let samples = std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self.cluster);
        self.ledger.sort_by_key(|fault| fault.from);
        let record = Record { options: self.options, samples, ledger: self.ledger, load: self.span, broken };
        let history = std::mem::take(&mut *self.recorder.history());
        Ok(Finished::judge(record, history))
    }
}

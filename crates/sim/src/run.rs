//! One run: boot, faults, a majority that must serve, everybody again, drain and check, restart from disk and check again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::Serialize;
use timbermq_check::history::{Action, History, Operation, Origin};
use timbermq_check::{Id, Options as CheckOptions, Verdict};
use timbermq_simdisk::Crash;

use crate::cluster::Cluster;
use crate::faults::Nemesis;
use crate::options::Options;
use crate::rng::Rng;
use crate::workload::CONSUMERS;

/// Nanoseconds without a change after which nothing more is to be expected.
const QUIET: u64 = 6_000_000_000;
/// Nanoseconds between two looks at processes, routes and faults.
const LOOK: u64 = 50_000_000;

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Its seed.
    pub seed: u64,
    /// What is wrong, in words; empty when nothing is.
    pub failures: Vec<String>,
    /// Virtual seconds.
    pub simulated_s: f64,
    /// Faults injected.
    pub faults: u64,
    /// By group.
    pub faults_by_group: std::collections::BTreeMap<String, u64>,
    /// Segments lost, repeated, reordered and held up by the network.
    pub network_faults: u64,
    /// Operations of clients.
    pub operations: usize,
    /// Acknowledged sends.
    pub acked: u64,
    /// Operations that the checker of each invariant looked at.
    pub examined: std::collections::BTreeMap<String, u64>,
    /// What else happened, by name.
    pub counts: std::collections::BTreeMap<String, u64>,
    /// Highest term.
    pub terms: u64,
    /// Tasks polled.
    pub polls: u64,
    /// Hash of everything that happened.
    pub digest: String,
    /// What the seed expanded to.
    pub options: Options,
    /// CPU seconds of the process.
    pub cpu_s: f64,
}

/// A run that goes on.
pub struct Run {
    cluster: Cluster,
    nemesis: Nemesis,
    stop: Arc<AtomicBool>,
    workers: Arc<AtomicUsize>,
    failures: Vec<String>,
    next_strike: Option<u64>,
}

impl Run {
    /// A run of `options`.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let cluster = Cluster::new(options);
        let nemesis = Nemesis::new(&cluster);
        Self {
            cluster,
            nemesis,
            stop: Arc::default(),
            workers: Arc::default(),
            failures: Vec::new(),
            next_strike: None,
        }
    }

    /// Runs all phases.
    pub fn run(mut self) -> (Summary, History) {
        self.boot();
        if self.failures.is_empty() {
            self.faults();
            self.heal_majority();
        }
        if self.failures.is_empty() {
            self.heal_all();
        }
        if self.failures.is_empty() {
            self.settle(0);
        }
        if self.failures.is_empty() {
            self.restart_all();
            self.settle(1);
        }
        self.finish()
    }

    /// Lets time pass until `done` says so, or `seconds` are over; then false.
    fn pass(&mut self, seconds: f64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // seconds of a run are few
        let end = self.cluster.world.now() + (seconds * 1e9) as u64;
        loop {
            if done(self) {
                return true;
            }
            let now = self.cluster.world.now();
            if now >= end {
                return false;
            }
            let mut next = (now + LOOK).min(end);
            if let Some(at) = self.next_strike {
                next = next.min(at.max(now + 1));
            }
            if let Some(at) = self.nemesis.next_heal() {
                next = next.min(at.max(now + 1));
            }
            self.cluster.world.run_until(next);
            self.cluster.supervise();
            self.cluster.drive_change();
            self.nemesis.heal_due(&mut self.cluster);
            if self.next_strike.is_some_and(|at| at <= self.cluster.world.now()) {
                self.nemesis.strike(&mut self.cluster);
                let pause = self.nemesis.pause(&self.cluster);
                self.next_strike = Some(self.cluster.world.now() + pause);
            }
            self.cluster.sample_routes();
        }
    }

    fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        tracing::error!(what, "run.failed");
        self.failures.push(what);
    }

    fn boot(&mut self) {
        for n in 0..self.cluster.name_servers.len() {
            self.cluster.start_name_server(n);
        }
        for n in 0..self.cluster.nodes.len() {
            self.cluster.start_node(n);
        }
        let ready = Arc::new(AtomicBool::new(false));
        let admin = self.cluster.worker("admin", &self.stop, &self.workers);
        admin.create_topics(Arc::clone(&ready));
        if !self.pass(30.0, |_| ready.load(Ordering::Relaxed)) {
            self.fail("the cluster did not come up");
        }
    }

    fn start_clients(&mut self) {
        let producers = self.cluster.options.producers;
        for n in 0..producers {
            self.worker(&format!("producer-{n}")).produce();
        }
        self.worker("reader").read();
        let members = 2;
        for n in 0..members {
            self.worker(&format!("consumer-{n}")).consume(CONSUMERS, n, members);
        }
        for n in 0..2u64 {
            self.worker(&format!("storer-{n}")).store();
            self.worker(&format!("locker-{n}")).lock();
            self.worker(&format!("operator-{n}")).configure(n);
        }
    }

    fn worker(&mut self, name: &str) -> crate::workload::Worker {
        self.cluster.worker(name, &self.stop, &self.workers)
    }

    fn faults(&mut self) {
        self.start_clients();
        let pause = self.nemesis.pause(&self.cluster);
        self.next_strike = Some(self.cluster.world.now() + pause);
        #[allow(clippy::cast_precision_loss)] // seconds of a run are few
        let seconds = self.cluster.options.fault_seconds as f64;
        self.pass(seconds, |_| false);
        self.next_strike = None;
    }

    /// Only a random majority is made whole; it must serve without the others.
    fn heal_majority(&mut self) {
        self.nemesis.heal_all(&mut self.cluster);
        let voters: Vec<usize> = (0..self.cluster.nodes.len()).filter(|n| !self.cluster.nodes[*n].retired).collect();
        let mut rng = Rng::new(self.cluster.options.seed, "majority");
        let mut whole: Vec<usize> =
            voters.iter().copied().filter(|n| self.cluster.nodes[*n].broken.is_none()).collect();
        let majority = voters.len() / 2 + 1;
        if whole.len() < majority {
            self.fail(format!("only {} of {} replicas can be started", whole.len(), voters.len()));
            return;
        }
        // While a replica is being replaced, who counts is not for the run to say.
        while whole.len() > majority && !self.cluster.is_changing() {
            let harmed = whole.iter().position(|n| self.cluster.nodes[*n].harmed);
            let drawn = usize::try_from(rng.below(whole.len() as u64)).unwrap_or(0);
            let gone = whole.swap_remove(harmed.unwrap_or(drawn));
            if self.cluster.world.is_alive(self.cluster.nodes[gone].host) {
                self.cluster.stop_node(gone, None);
            }
            self.cluster.nodes[gone].restart_at = None;
        }
        self.start_what_is_down(&whole);
        self.serve_check("a majority");
    }

    fn start_what_is_down(&mut self, nodes: &[usize]) {
        for n in nodes {
            if !self.cluster.world.is_alive(self.cluster.nodes[*n].host) && self.cluster.nodes[*n].broken.is_none() {
                self.cluster.start_node(*n);
            }
        }
        for n in 0..self.cluster.name_servers.len() {
            if !self.cluster.world.is_alive(self.cluster.name_servers[n].host) {
                self.cluster.start_name_server(n);
            }
        }
    }

    fn serve_check(&mut self, who: &str) {
        let done = Arc::new(AtomicBool::new(false));
        let name = format!("service-{}", who.replace(' ', "-"));
        let worker = self.worker(&name);
        worker.serve_check(Arc::clone(&done));
        let patience = self.cluster.options.patience().as_secs_f64();
        if !self.pass(patience, |_| done.load(Ordering::Relaxed)) {
            self.fail(format!("{who} healed, but it does not serve within {patience} s"));
        }
    }

    fn heal_all(&mut self) {
        let all: Vec<usize> = (0..self.cluster.nodes.len()).filter(|n| !self.cluster.nodes[*n].retired).collect();
        self.start_what_is_down(&all);
        self.serve_check("everybody");
        // What cannot be started any more is replaced, as its message asks for.
        let mut left = 6;
        let whole = |run: &mut Self| {
            let broken = run.cluster.nodes.iter().any(|node| !node.retired && node.broken.is_some());
            if broken && !run.cluster.is_changing() && left > 0 {
                left -= 1;
                run.cluster.begin_change(0);
            }
            !broken && !run.cluster.is_changing()
        };
        if !self.pass(120.0, whole) {
            self.fail("a replica that cannot be started any more is not replaced within 120 s");
            return;
        }
        self.stop.store(true, Ordering::Relaxed);
        // Operations end by their own timeouts.
        if !self.pass(60.0, |run| run.workers.load(Ordering::Relaxed) == 0) {
            self.fail("a client's operation did not end");
        }
    }

    /// Waits until all replicas have applied the same, compares them, and reads everything.
    fn settle(&mut self, pass: u32) {
        let up = |run: &Self| {
            (0..run.cluster.nodes.len())
                .filter(|n| !run.cluster.nodes[*n].retired && run.cluster.nodes[*n].broken.is_none())
                .count()
        };
        // Retention may still have something to do: only what stays as it is can be compared.
        let mut last = (std::collections::BTreeMap::new(), 0);
        let agree = |run: &mut Self| {
            let applied = run.cluster.applied();
            if last.0 != applied {
                last = (applied.clone(), run.cluster.world.now());
            }
            applied.len() == up(run)
                && run.cluster.world.now() - last.1 > QUIET
                && run.cluster.leader().is_some()
                && applied.values().map(|(index, _, _)| index).collect::<std::collections::BTreeSet<_>>().len() == 1
        };
        if !self.pass(60.0, agree) {
            let applied = self.cluster.applied();
            self.fail(format!("the replicas do not come to the same entry: {applied:?} of {}", up(self)));
            return;
        }
        let now = self.cluster.recorder.now();
        for (n, (index, digest, small)) in self.cluster.applied() {
            let action = Action::Digest {
                applied: index,
                log_from: 0,
                log: format!("{digest:016x}"),
                state: format!("{small:08x}"),
                origin: if self.cluster.nodes[n].rebuilt { Origin::Replay } else { Origin::Live },
            };
            self.cluster.recorder.push(Operation {
                node: Some(self.cluster.name(n)),
                ..Operation::new("observer".to_owned(), now, now, action)
            });
        }
        let done = Arc::new(AtomicBool::new(false));
        let worker = self.worker(&format!("drain-{pass}"));
        // What cannot be started any more has nothing to say.
        let there: Vec<(String, String, bool)> = (0..self.cluster.nodes.len())
            .filter(|n| self.cluster.running(*n).is_some())
            .map(|n| {
                let node = &self.cluster.nodes[n];
                (self.cluster.name(n), node.member.addr.broker_addr.clone(), node.harmed)
            })
            .collect();
        worker.drain(pass, there, Arc::clone(&done));
        if !self.pass(120.0, |_| done.load(Ordering::Relaxed)) {
            self.fail("the queues cannot be read from end to end");
        }
    }

    /// Every machine loses power, and comes back with what its disk has. One may lose its index besides, which is to be
    /// made anew from its log.
    fn restart_all(&mut self) {
        let mut rng = Rng::new(self.cluster.options.seed, "restart");
        let mut rebuild = Rng::new(self.cluster.options.seed, "rebuild");
        for n in 0..self.cluster.nodes.len() {
            if self.cluster.world.is_alive(self.cluster.nodes[n].host) {
                let crash = if rng.chance(500) { Crash::LoseAll } else { Crash::Random(rng.next_u64()) };
                let steps = usize::try_from(rng.below(4)).unwrap_or(0);
                self.cluster.stop_node(n, Some((crash, steps)));
            }
        }
        let all: Vec<usize> = (0..self.cluster.nodes.len()).filter(|n| !self.cluster.nodes[*n].retired).collect();
        // Where the disk was harmed, what an index is made from may be gone.
        let whole: Vec<usize> = all.iter().copied().filter(|n| !self.cluster.nodes[*n].harmed).collect();
        if rebuild.chance(500) && !whole.is_empty() {
            let node = &mut self.cluster.nodes[*rebuild.pick(&whole)];
            (node.store, node.rebuilt) = (Arc::default(), true);
        }
        self.start_what_is_down(&all);
    }

    /// Has the checkers judge the history.
    fn judge(&mut self, examined: &mut std::collections::BTreeMap<String, u64>) {
        let mut options = CheckOptions { recover_within: 30_000_000, store_skew_ms: 0, ..CheckOptions::default() };
        let age_ms = self.cluster.options.retention_ms;
        options.retention = (age_ms > 0).then_some(age_ms * 1000);
        if self.cluster.options.retains_less() {
            // Everything may have been trimmed away when the queues are read.
            options.required.remove(&Id::new(3));
        }
        let report = {
            let mut history = self.cluster.recorder.history();
            let replicas = self.cluster.nodes.iter().filter(|node| !node.retired && node.broken.is_none());
            let replicas = replicas.map(|node| format!("n{}", node.member.node.0)).collect();
            let id = format!("sim-{}", self.cluster.options.seed);
            let run =
                Operation::new("run".to_owned(), 0, self.cluster.world.now() / 1000, Action::Run { id, replicas });
            history.push_named(run);
            timbermq_check::check(&history, &options)
        };
        for row in &report.invariants {
            examined.insert(row.id.to_string(), row.examined);
            // A run that failed before its end was not drained: what is missing then says nothing.
            let counts = row.verdict == Verdict::Invalid
                || matches!(row.verdict, Verdict::Unknown(_)) && row.required && self.failures.is_empty();
            if counts {
                let first = row.anomalies.first().map_or_else(String::new, |anomaly| anomaly.words.clone());
                self.failures.push(format!(
                    "{} {}: {first}{}",
                    row.id,
                    row.verdict.word(),
                    row.why.as_deref().unwrap_or_default()
                ));
            }
        }
    }

    fn finish(mut self) -> (Summary, History) {
        for node in &self.cluster.nodes {
            if let Some(reason) = &node.broken {
                tracing::info!(node = %node.member.node, reason, "run.broken_node");
            }
        }
        let terms = (0..self.cluster.nodes.len())
            .filter_map(|n| self.cluster.running(n))
            .map(|running| running.replica.role().borrow().term.0)
            .max()
            .unwrap_or(0);
        let history = self.cluster.recorder.history();
        let acked = history
            .operations()
            .iter()
            .filter(|operation| {
                matches!(operation.action, Action::Send { .. })
                    && operation.outcome == timbermq_check::history::Outcome::Ok
            })
            .count() as u64;
        let operations = history.len();
        drop(history);
        let mut examined = std::collections::BTreeMap::new();
        self.judge(&mut examined);
        let mut counts = std::collections::BTreeMap::new();
        counts.insert("membership_changes".to_owned(), self.cluster.changes);
        let broken = self.cluster.nodes.iter().filter(|node| node.broken.is_some()).count() as u64;
        counts.insert("replicas_given_up".to_owned(), broken);
        let net = self.cluster.net.counts();
        #[allow(clippy::cast_precision_loss)] // for a person
        let simulated_s = self.cluster.world.now() as f64 / 1e9;
        let summary = Summary {
            seed: self.cluster.options.seed,
            failures: std::mem::take(&mut self.failures),
            simulated_s,
            faults: self.nemesis.injected,
            faults_by_group: self
                .nemesis
                .by_group
                .iter()
                .map(|(group, count)| (group.name().to_owned(), *count))
                .collect(),
            network_faults: net.lost + net.repeated + net.reordered + net.held,
            operations,
            acked,
            examined,
            counts,
            terms,
            polls: self.cluster.world.polls(),
            digest: format!("{:016x}", self.cluster.world.digest()),
            options: (*self.cluster.options).clone(),
            cpu_s: 0.0,
        };
        let history = std::mem::take(&mut *self.cluster.recorder.history());
        (summary, history)
    }
}

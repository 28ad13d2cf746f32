//! The cluster under test: replicas and NameServers, each a process on a machine of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use timbermq_check::history::{Action, ExitCause};
use timbermq_tests::hub::Weather;
use timbermq_tests::namespace::{Link, Machine, Network};

use crate::disk::Disk;
use crate::load::Target;
use crate::nemesis::{Flipped, RIGHT};
use crate::process::{Process, Program};
use crate::recorder::Recorder;
use crate::system::{self, BROKER_PORT, GROUP, Layout, Start, System};
use crate::throttle::Throttle;

/// How long a process that ended by itself stays down.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How much later than the others a replica may come back: long enough for them to elect and to write.
const LATE: Duration = Duration::from_secs(4);
/// How long after a disk had no room a replica may still stop over it.
const EXCUSED: Duration = Duration::from_secs(2);
/// How long a replica may take to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// The exit code of a server that stopped because going on would have been unsafe.
const FAIL_STOP: i32 = 3;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is tested.
    pub system: &'static dyn System,
    /// The binary under test, of the product.
    pub binary: PathBuf,
    /// The directory of the jars, of Apache RocketMQ.
    pub apache: Option<PathBuf>,
    /// Replicas.
    pub replicas: usize,
    /// Whether each replica gets a disk of its own.
    pub has_disks: bool,
    /// Directory for logs, and for data where there are no disks.
    pub dir: PathBuf,
    /// The seeded bug in the replicas.
    pub bug: Option<String>,
    /// Further `key=value` settings of the replicas.
    pub settings: Vec<String>,
    /// Seed of what happens to packets.
    pub seed: u64,
    /// Whether packets pass through this process, so that they can be late.
    pub has_hub: bool,
    /// Whether disks can be made slow.
    pub has_throttle: bool,
    /// The library through which replicas are told the time, if they are.
    pub clocks: Option<PathBuf>,
}

impl Default for Settings {
    /// A group of three of the product, with nothing that a fault may ask for.
    fn default() -> Self {
        Self {
            system: system::PRODUCT,
            binary: PathBuf::new(),
            apache: None,
            replicas: 3,
            has_disks: false,
            dir: PathBuf::new(),
            bug: None,
            settings: Vec::new(),
            seed: 0,
            has_hub: false,
            has_throttle: false,
            clocks: None,
        }
    }
}

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `leader`, `leader-without-quorum`, `follower` or `electing`.
    pub role: String,
    /// Its term; 0 where replicas do not tell it.
    pub term: u64,
}

/// What each replica, by number, said last; none when it did not answer.
pub type Statuses = Arc<Mutex<Vec<Option<Status>>>>;

/// One replica.
#[derive(Debug)]
pub struct Node {
    /// Its name in the history.
    pub name: String,
    /// Where clients reach it.
    pub addr: String,
    /// Its disk.
    pub disk: Disk,
    process: Process,
    /// When it is started again after it ended by itself.
    restart_at: Option<Instant>,
    /// How many faults are at work that may make it stop: then it may.
    may_stop: u32,
    /// Until when it may stop over one that has just ended: it may be at it already.
    excused_until: Option<Instant>,
    /// What is damaged in its files.
    damage: Option<Flipped>,
    /// The file that says how wrong its clock is.
    clock: Option<PathBuf>,
}

/// One NameServer.
#[derive(Debug)]
pub struct NameServer {
    /// Its name in the history.
    pub name: String,
    /// Where it listens.
    pub addr: String,
    process: Process,
}

/// The cluster. Dropping it ends its processes.
#[derive(Debug)]
pub struct Cluster {
    system: &'static dyn System,
    /// Replicas.
    pub nodes: Vec<Node>,
    /// NameServers.
    pub name_servers: Vec<NameServer>,
    network: Network,
    cuts: BTreeMap<u64, Vec<Link>>,
    losses: BTreeMap<u64, u32>,
    weathers: BTreeMap<u64, Weather>,
    next_cut: u64,
    throttle: Option<Throttle>,
    /// What the replicas said last.
    pub statuses: Statuses,
    recorder: Recorder,
}

impl Cluster {
    /// Makes the machines and starts the processes.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn start(settings: &Settings, recorder: &Recorder) -> Result<Self> {
        let hub = settings.has_hub.then_some(settings.seed);
        let mut network = Network::new(hub).context("making the network")?;
        let throttle = settings.has_throttle.then(|| Throttle::new(&settings.dir)).transpose()?;
        let group = throttle.as_ref().map(Throttle::members);
        let logs = settings.dir.join("logs");
        std::fs::create_dir_all(&logs)?;
        let system = settings.system;
        let add_name_server = |n: u8| network.add(&format!("ns{n}"), 100 + n);
        let servers = (1..=system.name_servers()).map(add_name_server).collect::<Result<Vec<_>>>()?;
        let replicas = u8::try_from(settings.replicas).context("too many replicas")?;
        let machines = (1..=replicas).map(|n| network.add(&format!("n{n}"), n)).collect::<Result<Vec<_>>>()?;
        let layout = Layout { settings, name_servers: &servers, replicas: &machines };
        let program = |machine: &Machine, start: Start| {
            for (path, text) in &start.files {
                path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                std::fs::write(path, text).with_context(|| path.display().to_string())?;
            }
            anyhow::Ok(Program {
                machine: machine.name.clone(),
                binary: start.binary,
                arguments: start.arguments,
                group: None,
                environment: Vec::new(),
                log: logs.join(format!("{}.log", machine.name)),
            })
        };
        let mut name_servers = Vec::new();
        for (n, (machine, addr)) in servers.iter().zip(layout.name_server_addrs()).enumerate() {
            std::fs::create_dir_all(layout.data(machine))?;
            let process = Process::new(program(machine, system.name_server(&layout, n))?);
            name_servers.push(NameServer { name: machine.name.clone(), addr, process });
        }
        let mut nodes = Vec::new();
        for (n, machine) in machines.iter().enumerate() {
            let path = layout.data(machine);
            let disk = if settings.has_disks { Disk::new(&path) } else { Disk::plain(&path) };
            let disk = disk.with_context(|| format!("the disk of {}", machine.name))?;
            let mut environment: Vec<(String, String)> =
                settings.bug.iter().map(|bug| (timbermq_bugs::VARIABLE.to_owned(), bug.clone())).collect();
            let clock =
                settings.clocks.as_ref().map(|_| settings.dir.join("data").join(format!("{}.clock", machine.name)));
            if let (Some(library), Some(clock)) = (&settings.clocks, &clock) {
                std::fs::write(clock, RIGHT)?;
                environment.extend(faked_time(library, clock));
            }
            let program = program(machine, system.replica(&layout, n))?;
            let process = Process::new(Program { group: group.clone(), environment, ..program });
            let addr = format!("{}:{BROKER_PORT}", machine.ip);
            nodes.push(Node {
                name: machine.name.clone(),
                addr,
                disk,
                process,
                restart_at: None,
                may_stop: 0,
                excused_until: None,
                damage: None,
                clock,
            });
        }
        let mut cluster = Self {
            system,
            statuses: Arc::new(Mutex::new(vec![None; nodes.len()])),
            nodes,
            name_servers,
            network,
            cuts: BTreeMap::new(),
            losses: BTreeMap::new(),
            weathers: BTreeMap::new(),
            next_cut: 0,
            throttle,
            recorder: recorder.clone(),
        };
        for n in 0..cluster.name_servers.len() {
            cluster.start_name_server(n)?;
        }
        for n in 0..cluster.nodes.len() {
            cluster.start_node(n)?;
        }
        Ok(cluster)
    }

    /// The cluster as clients see it.
    #[must_use]
    pub fn target(&self) -> Target {
        let name_servers = self.name_servers.iter().map(|server| (server.name.clone(), server.addr.clone())).collect();
        Target { group: GROUP.to_owned(), name_servers, replicas: self.directory() }
    }

    /// Names and addresses of the replicas.
    #[must_use]
    pub fn directory(&self) -> Vec<(String, String)> {
        self.nodes.iter().map(|node| (node.name.clone(), node.addr.clone())).collect()
    }

    /// Names of these replicas.
    #[must_use]
    pub fn names(&self, nodes: &[usize]) -> Vec<String> {
        nodes.iter().map(|n| self.nodes[*n].name.clone()).collect()
    }

    /// The replica that said last that it leads, in the highest term.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        let leads = |status: &Status| (status.role == "leader").then_some(status.term);
        let leaders = statuses.iter().enumerate().filter_map(|(n, status)| Some((leads(status.as_ref()?)?, n)));
        leaders.max().map(|(_, n)| n)
    }

    /// Starts a replica, unless it runs or has no disk.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_node(&mut self, n: usize) -> Result<()> {
        let node = &mut self.nodes[n];
        node.restart_at = None;
        if node.disk.is_mounted() { node.process.start() } else { Ok(()) }
    }

    /// Whether a replica's process runs.
    #[must_use]
    pub fn is_running(&self, n: usize) -> bool {
        self.nodes[n].process.is_running()
    }

    /// Whether a replica's process is stopped in its tracks.
    #[must_use]
    pub fn is_paused(&self, n: usize) -> bool {
        self.nodes[n].process.is_paused()
    }

    /// Ends replicas at once, all at the same moment. Returns those that ran.
    ///
    /// # Errors
    /// One cannot be ended.
    pub fn kill(&mut self, nodes: &[usize]) -> Result<Vec<usize>> {
        // One that ended by itself a moment ago was not killed.
        self.supervise()?;
        let running: Vec<usize> = nodes.iter().copied().filter(|n| self.is_running(*n)).collect();
        for n in &running {
            self.nodes[*n].process.begin_kill();
        }
        for n in &running {
            self.note_asked(*n);
            self.nodes[*n].process.kill()?;
            self.nodes[*n].restart_at = None;
        }
        Ok(running)
    }

    /// Ends a replica in an orderly way. Says whether it ran and ended by itself.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn stop(&mut self, n: usize) -> Result<bool> {
        self.supervise()?;
        if !self.is_running(n) {
            return Ok(false);
        }
        self.note_asked(n);
        self.nodes[n].process.stop(STOP_LIMIT)
    }

    /// Stops replicas in their tracks. Returns those that ran.
    pub fn pause(&mut self, nodes: &[usize]) -> Vec<usize> {
        nodes.iter().copied().filter(|n| !self.is_paused(*n) && self.nodes[*n].process.pause()).collect()
    }

    /// Lets replicas go on.
    pub fn resume(&mut self, nodes: &[usize]) {
        for n in nodes {
            self.nodes[*n].process.resume();
        }
    }

    /// Cuts the power of replicas, all at the same moment: what they did not sync is gone. Returns those that had power.
    ///
    /// # Errors
    /// A disk has no power to cut.
    pub fn cut_power(&mut self, nodes: &[usize]) -> Result<Vec<usize>> {
        let lit: Vec<usize> = nodes.iter().copied().filter(|n| self.nodes[*n].disk.is_mounted()).collect();
        for n in &lit {
            self.nodes[*n].may_stop += 1;
            // One after the other takes milliseconds, in which a process that trusts its memory still acknowledges. The product
            // must not; of others nobody can ask it.
            if !self.system.is_product() {
                self.nodes[*n].process.pause();
            }
        }
        for n in &lit {
            self.nodes[*n].disk.cut_power()?;
        }
        self.kill(&lit)?;
        for n in &lit {
            self.nodes[*n].disk.unmount()?;
        }
        Ok(lit)
    }

    /// Gives power back and starts what lost it, one of them maybe seconds after the others.
    ///
    /// # Errors
    /// A disk cannot be mounted, a process not started.
    pub fn restore_power(&mut self, nodes: &[usize], late: Option<usize>) -> Result<()> {
        for n in nodes {
            self.nodes[*n].disk.mount()?;
            self.nodes[*n].may_stop -= 1;
            if late == Some(*n) {
                self.nodes[*n].restart_at = Some(Instant::now() + LATE);
            } else {
                self.start_node(*n)?;
            }
        }
        Ok(())
    }

    /// Fills the disks of replicas up. Returns those that have one.
    ///
    /// # Errors
    /// A disk cannot be filled up.
    pub fn fill_disks(&mut self, nodes: &[usize]) -> Result<Vec<usize>> {
        let there: Vec<usize> = nodes.iter().copied().filter(|n| self.nodes[*n].disk.is_whole()).collect();
        for n in &there {
            self.nodes[*n].may_stop += 1;
            self.nodes[*n].disk.fill()?;
        }
        Ok(there)
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// A disk refuses.
    pub fn free_disks(&mut self, nodes: &[usize]) -> Result<()> {
        for n in nodes {
            self.nodes[*n].disk.free()?;
            self.nodes[*n].may_stop -= 1;
            self.nodes[*n].excused_until = Some(Instant::now() + EXCUSED);
        }
        Ok(())
    }

    /// Has every request to the disks of replicas fail for so long. Returns those that have one.
    ///
    /// # Errors
    /// A disk refuses.
    pub fn fail_disks(&mut self, nodes: &[usize], time: Duration) -> Result<Vec<usize>> {
        let there: Vec<usize> = nodes.iter().copied().filter(|n| self.nodes[*n].disk.is_whole()).collect();
        for n in &there {
            self.nodes[*n].may_stop += 1;
            self.nodes[*n].disk.fail()?;
        }
        std::thread::sleep(time);
        there.iter().try_for_each(|n| self.nodes[*n].disk.repair())?;
        Ok(there)
    }

    /// Ends replicas whose disks have failed, and starts them with what is really on the disks.
    ///
    /// # Errors
    /// A process cannot be ended or started, a disk not be mounted.
    pub fn renew_disks(&mut self, nodes: &[usize]) -> Result<()> {
        for n in nodes {
            self.nodes[*n].may_stop -= 1;
            self.renew_disk(*n)?;
        }
        Ok(())
    }

    /// The same for one, if its disk has failed since it was mounted.
    fn renew_disk(&mut self, n: usize) -> Result<()> {
        if self.nodes[n].disk.is_mounted() && !self.nodes[n].disk.is_whole() {
            self.kill(&[n])?;
            self.nodes[n].disk.unmount()?;
            self.nodes[n].disk.mount()?;
            self.start_node(n)?;
        }
        Ok(())
    }

    /// Lets the disk of a replica do so many writes a second; none for as many as it can.
    ///
    /// # Errors
    /// There is no control group for that, or it refuses.
    pub fn throttle(&self, n: usize, writes: Option<u32>) -> Result<()> {
        let throttle = self.throttle.as_ref().context("the cluster was made without a control group")?;
        throttle.limit(&self.nodes[n].disk.number()?, writes)
    }

    /// Sets the clock of a replica, in the words of libfaketime.
    ///
    /// # Errors
    /// It has a right clock only.
    pub fn set_clock(&self, n: usize, clock: &str) -> Result<()> {
        let file = self.nodes[n].clock.as_ref().context("the cluster was made with right clocks")?;
        // In one step: a reader sees the old words or the new ones.
        let fresh = file.with_extension("fresh");
        std::fs::write(&fresh, clock)?;
        Ok(std::fs::rename(&fresh, file)?)
    }

    /// Where a replica keeps its data.
    #[must_use]
    pub fn data_dir(&self, n: usize) -> PathBuf {
        self.nodes[n].disk.path.join("data")
    }

    /// Whether any replica's files are damaged.
    #[must_use]
    pub fn has_damage(&self) -> bool {
        self.nodes.iter().any(|node| node.damage.is_some())
    }

    /// Starts a replica whose files were damaged; it may stop over that.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn damage(&mut self, n: usize, flipped: Flipped) -> Result<()> {
        self.nodes[n].damage = Some(flipped);
        self.nodes[n].may_stop += 1;
        self.start_node(n)
    }

    /// Restores the damaged file of a replica and starts it anew, once it has a disk.
    ///
    /// # Errors
    /// It cannot be restored, or not be started.
    pub fn restore(&mut self, n: usize) -> Result<()> {
        let has_disk = self.nodes[n].disk.is_mounted();
        // Without a disk it is restored when there is one again.
        if !has_disk {
            return Ok(());
        }
        if let Some(flipped) = self.nodes[n].damage.take() {
            self.kill(&[n])?;
            flipped.restore()?;
            self.nodes[n].may_stop -= 1;
            self.start_node(n)?;
        }
        Ok(())
    }

    /// Whether any replica's log has these words.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn says(&self, words: &str) -> Result<bool> {
        for node in &self.nodes {
            let log = node.process.log();
            let log = std::fs::read(log).with_context(|| log.display().to_string())?;
            if String::from_utf8_lossy(&log).contains(words) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Cuts links until [`Cluster::heal`].
    ///
    /// # Errors
    /// The rules are refused.
    pub fn cut(&mut self, links: Vec<Link>) -> Result<u64> {
        self.next_cut += 1;
        self.cuts.insert(self.next_cut, links);
        self.apply_cuts()?;
        Ok(self.next_cut)
    }

    /// Loses so many of a hundred packets between machines until [`Cluster::heal`].
    ///
    /// # Errors
    /// The rules are refused.
    pub fn lose(&mut self, percent: u32) -> Result<u64> {
        self.next_cut += 1;
        self.losses.insert(self.next_cut, percent);
        self.apply_cuts()?;
        Ok(self.next_cut)
    }

    /// Spoils the weather between machines until [`Cluster::heal`].
    ///
    /// # Errors
    /// Packets do not pass through this process.
    pub fn spoil(&mut self, weather: Weather) -> Result<u64> {
        self.next_cut += 1;
        self.weathers.insert(self.next_cut, weather);
        self.apply_cuts()?;
        Ok(self.next_cut)
    }

    /// Heals what [`Cluster::cut`], [`Cluster::lose`] or [`Cluster::spoil`] did.
    ///
    /// # Errors
    /// The rules are refused.
    pub fn heal(&mut self, cut: u64) -> Result<()> {
        self.cuts.remove(&cut);
        self.losses.remove(&cut);
        self.weathers.remove(&cut);
        self.apply_cuts()
    }

    fn apply_cuts(&self) -> Result<()> {
        let links: std::collections::BTreeSet<Link> = self.cuts.values().flatten().cloned().collect();
        let links: Vec<Link> = links.into_iter().collect();
        let weather = self.weathers.values().copied().reduce(Weather::and).unwrap_or_default();
        self.network.cut(&links, self.losses.values().copied().max().unwrap_or(0), weather)
    }

    /// Starts a NameServer, unless it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_name_server(&mut self, n: usize) -> Result<()> {
        self.name_servers[n].process.start()
    }

    /// Ends a NameServer at once. Says whether it ran.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn kill_name_server(&mut self, n: usize) -> Result<bool> {
        let ran = self.name_servers[n].process.kill()?;
        if ran {
            self.recorder.fact(&self.name_servers[n].name, Action::Exit { cause: ExitCause::Asked });
        }
        Ok(ran)
    }

    /// Looks after processes: what ended by itself is written down, and started again a second later.
    ///
    /// # Errors
    /// A process cannot be asked or started.
    pub fn supervise(&mut self) -> Result<()> {
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            if let Some(status) = node.process.ended()? {
                let unsafe_to_go_on = status.code() == Some(FAIL_STOP) || status.code() == Some(1);
                let excused = node.may_stop > 0 || node.excused_until.is_some_and(|until| Instant::now() < until);
                let cause = if unsafe_to_go_on && excused { ExitCause::FailStop } else { ExitCause::Unexpected };
                node.restart_at = Some(Instant::now() + RESTART_AFTER);
                eprintln!("{} ended by itself: {status}", node.name);
                self.recorder.fact(&node.name, Action::Exit { cause });
            }
            if self.nodes[n].restart_at.is_some_and(|at| at <= Instant::now()) {
                self.start_node(n)?;
            }
        }
        for n in 0..self.name_servers.len() {
            let server = &mut self.name_servers[n];
            if server.process.ended()?.is_some() {
                self.recorder.fact(&server.name, Action::Exit { cause: ExitCause::Unexpected });
                self.start_name_server(n)?;
            }
        }
        Ok(())
    }

    /// Makes everything whole, whatever faults there were: no cuts, full power, room on the disks, all processes running.
    ///
    /// # Errors
    /// Something stays broken.
    pub fn make_whole(&mut self) -> Result<()> {
        self.cuts.clear();
        self.losses.clear();
        self.weathers.clear();
        self.apply_cuts()?;
        for n in 0..self.nodes.len() {
            self.nodes[n].process.resume();
            self.nodes[n].disk.mount()?;
            self.renew_disk(n)?;
            self.nodes[n].disk.free()?;
            self.restore(n)?;
            self.start_node(n)?;
        }
        for n in 0..self.name_servers.len() {
            self.start_name_server(n)?;
        }
        Ok(())
    }

    /// Writes down what the processes use.
    pub fn sample_resources(&self) {
        for node in &self.nodes {
            if let Some((memory, descriptors)) = node.process.resources() {
                self.recorder.fact(&node.name, Action::Resources { memory, descriptors });
            }
        }
    }

    /// Panics in the logs of all processes: who, and the line.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn panics(&self) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        let nodes = self.nodes.iter().map(|node| (&node.name, &node.process));
        for (name, process) in nodes.chain(self.name_servers.iter().map(|server| (&server.name, &server.process))) {
            let log = std::fs::read(process.log()).with_context(|| process.log().display().to_string())?;
            let log = String::from_utf8_lossy(&log);
            found.extend(panic_lines(&log).map(|line| (name.clone(), line.to_owned())));
        }
        Ok(found)
    }

    fn note_asked(&self, n: usize) {
        self.recorder.fact(&self.nodes[n].name, Action::Exit { cause: ExitCause::Asked });
    }
}

/// The environment of a process that is told a time that may be wrong. Only the wall clock is.
fn faked_time(library: &Path, clock: &Path) -> Vec<(String, String)> {
    let text = |path: &Path| path.display().to_string();
    vec![
        ("LD_PRELOAD".to_owned(), text(library)),
        ("FAKETIME_TIMESTAMP_FILE".to_owned(), text(clock)),
        // Seconds after which it looks at the file again.
        ("FAKETIME_CACHE_DURATION".to_owned(), "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ]
}

/// The lines in which a Rust program says that it panicked.
fn panic_lines(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| line.contains("panicked at"))
}

/// Removes the data of a run that had no disks of its own, and the empty places of those that had.
pub fn remove_data(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir.join("data"));
    crate::throttle::sweep();
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_is_found_among_other_lines() {
        let log = "INFO started\nthread 'main' panicked at src/lib.rs:1:\nboom\n";
        assert_eq!(super::panic_lines(log).count(), 1);
        assert_eq!(super::panic_lines("INFO nothing\n").count(), 0);
    }
}

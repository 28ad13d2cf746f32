//! The machines of a run: replicas, NameServers, clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use timbermq_check::history::{Action, ExitCause, Operation, Outcome};
use timbermq_env::Env;
use timbermq_machine::MemoryStore;
use timbermq_namesrv::NameServer;
use timbermq_replica::{Member, NodeAddr};
use timbermq_simdisk::{Crash, SimDisk};
use timbermq_types::{NodeId, Slot};

use crate::host::{self, DiskPace, Instantly};
use crate::net::{Link, SimNet};
use crate::node::{
    CLIENT_PORT, NAMESRV_PORT, PEER_PORT, ReplicaProcess, Running, SharedLife, locked, run_name_server, run_replica,
};
use crate::options::Options;
use crate::rng::Rng;
use crate::trace::SPEC;
use crate::workload::{Recorder, Worker};
use crate::world::{HostId, World};

/// How fast a disk is.
pub struct Pace {
    rng: Mutex<Rng>,
    /// Mean of a usual delay, in microseconds.
    usual_us: AtomicU64,
    /// Virtual time until which it stands still.
    stuck_until: AtomicU64,
    world: World,
}

impl Pace {
    fn new(world: &World, rng: Rng) -> Self {
        Self {
            rng: Mutex::new(rng),
            usual_us: AtomicU64::new(300),
            stuck_until: AtomicU64::new(0),
            world: world.clone(),
        }
    }

    /// Makes the disk take about `us` microseconds for everything.
    pub fn set_usual(&self, us: u64) {
        self.usual_us.store(us, Ordering::Relaxed);
    }

    /// Makes the disk stand still for `d` from now on.
    pub fn stick(&self, d: Duration) {
        let until = self.world.now() + u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        self.stuck_until.store(until, Ordering::Relaxed);
    }

    /// Makes the disk usual again.
    pub fn heal(&self) {
        self.set_usual(300);
        self.stuck_until.store(0, Ordering::Relaxed);
    }
}

impl DiskPace for Pace {
    fn delay(&self) -> Duration {
        let mean = self.usual_us.load(Ordering::Relaxed);
        let us = self.rng.lock().unwrap_or_else(PoisonError::into_inner).below(mean * 2 + 1);
        let stuck = self.stuck_until.load(Ordering::Relaxed).saturating_sub(self.world.now());
        Duration::from_micros(us) + Duration::from_nanos(stuck)
    }
}

/// A machine with a replica.
pub struct Node {
    /// Its machine.
    pub host: HostId,
    /// Its place in the group.
    pub member: Member,
    /// Its disk.
    pub disk: SimDisk,
    /// The rows of its index, as the disk has them.
    pub store: Arc<MemoryStore>,
    /// How fast its disk is.
    pub pace: Arc<Pace>,
    /// Its process.
    pub life: SharedLife,
    /// Whether it belongs to the first members.
    pub bootstrap: bool,
    /// Its process is to be started again when this time has come.
    pub restart_at: Option<u64>,
    /// Why it cannot be started any more.
    pub broken: Option<String>,
    /// It was taken out of the group for good.
    pub retired: bool,
    /// Its process may end by itself, because a fault was injected that must stop it.
    pub may_stop: bool,
    /// Starts in a row that came to nothing.
    pub failed_starts: u32,
    /// Its disk was harmed, so that it may refuse to start.
    pub harmed: bool,
    /// Its index was lost, and is built anew from its log.
    pub rebuilt: bool,
    /// Its machine loses power when this time has come, and keeps this of what was not synced.
    pub power_cut: Option<(u64, Crash, usize)>,
}

/// A machine with a NameServer.
pub struct NameServerNode {
    /// Its machine.
    pub host: HostId,
    /// Where it listens.
    pub addr: SocketAddr,
    /// The server, while it runs.
    pub server: Arc<Mutex<Option<NameServer>>>,
    /// Its process is to be started again when this time has come.
    pub restart_at: Option<u64>,
}

/// Starts in a row that may fail, a second apart, before an operator is called: longer than a disk is full.
const STARTS_MAX: u32 = 15;

/// Whether a process that said this cannot be started again with what it has: the rest of the group has the data.
fn is_final(reason: &str) -> bool {
    ["must not vote", "new node id", "damaged"].iter().any(|words| reason.contains(words))
}

/// All machines.
pub struct Cluster {
    /// The world they are in.
    pub world: World,
    /// The network between them.
    pub net: SimNet,
    /// The run.
    pub options: Arc<Options>,
    /// Replicas.
    pub nodes: Vec<Node>,
    /// NameServers.
    pub name_servers: Vec<NameServerNode>,
    /// Machines of clients.
    pub clients: Vec<HostId>,
    /// The history.
    pub recorder: Recorder,
    /// Names and addresses of the replicas, for clients.
    pub directory: Arc<Mutex<Vec<(String, String)>>>,
    next_node: u64,
    /// A change of the membership that is under way.
    change: Option<Change>,
    /// Changes that were completed.
    pub changes: u64,
}

/// A change of the membership.
struct Change {
    /// The replica that joins.
    new: usize,
    /// The replica that leaves for it.
    old: Option<usize>,
    /// How far the step that was asked for has come.
    step: Arc<Mutex<Step>>,
    /// The replica is a learner already.
    learner: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Asked,
    Done,
}

impl Cluster {
    /// Machines for the run, all switched off.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let world = World::new(options.seed, options.leak_order);
        let delay = Duration::from_micros(options.delay_us);
        let usual = Link { delay, jitter: delay, ..Link::default() };
        let net = SimNet::new(&world, usual, Rng::new(options.seed, "network"));
        let recorder = Recorder::new(&world);
        let mut cluster = Self {
            world,
            net,
            options: Arc::new(options),
            nodes: Vec::new(),
            name_servers: Vec::new(),
            clients: Vec::new(),
            recorder,
            directory: Arc::default(),
            next_node: 1,
            change: None,
            changes: 0,
        };
        for n in 0..cluster.options.name_servers {
            let host = cluster.host(&format!("ns{}", n + 1));
            let addr = SocketAddr::new(cluster.net.attach(host), NAMESRV_PORT);
            cluster.name_servers.push(NameServerNode { host, addr, server: Arc::default(), restart_at: None });
        }
        for slot in 0..cluster.options.replicas {
            cluster.add_node(slot, true);
        }
        cluster
    }

    fn host(&self, name: &str) -> HostId {
        self.world.add_host(name, Rng::new(self.options.seed, name))
    }

    /// Adds a machine with a new replica, switched off; returns its number.
    pub fn add_node(&mut self, slot: usize, bootstrap: bool) -> usize {
        let id = self.next_node;
        self.next_node += 1;
        let name = format!("n{id}");
        let host = self.host(&name);
        let ip = self.net.attach(host);
        let broker_addr = SocketAddr::new(ip, CLIENT_PORT).to_string();
        let peer_addr = SocketAddr::new(ip, PEER_PORT).to_string();
        let slot = Slot(u32::try_from(slot).unwrap_or(0));
        let pace = Pace::new(&self.world, Rng::new(self.options.seed, &format!("{name}-pace")));
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).push((name, broker_addr.clone()));
        self.nodes.push(Node {
            host,
            member: Member { node: NodeId(id), addr: NodeAddr { slot, peer_addr, broker_addr } },
            disk: SimDisk::new(),
            store: Arc::default(),
            pace: Arc::new(pace),
            life: SharedLife::default(),
            bootstrap,
            restart_at: None,
            broken: None,
            retired: false,
            may_stop: false,
            harmed: false,
            rebuilt: false,
            failed_starts: 0,
            power_cut: None,
        });
        self.nodes.len() - 1
    }

    /// The name of node `n` in histories.
    #[must_use]
    pub fn name(&self, n: usize) -> String {
        format!("n{}", self.nodes[n].member.node.0)
    }

    /// The members as every configuration lists them.
    fn members(&self) -> Vec<Member> {
        self.nodes.iter().filter(|node| !node.retired).map(|node| node.member.clone()).collect()
    }

    /// Starts the process of node `n`.
    pub fn start_node(&mut self, n: usize) {
        let members = self.members();
        let namesrv = self.namesrv();
        let node = &mut self.nodes[n];
        node.restart_at = None;
        node.life = SharedLife::default();
        self.net.host_lit(node.host);
        let disk = node.disk.mount();
        let env = host::env(&self.world, &self.net, node.host, disk, Arc::clone(&node.pace) as _);
        self.world.boot(node.host, env.clone());
        tracing::trace!(target: SPEC, event = "start", node = node.member.node.0);
        let process = ReplicaProcess {
            env: env.clone(),
            store: Arc::clone(&node.store),
            pace: Arc::clone(&node.pace) as _,
            members,
            me: node.member.clone(),
            bootstrap: node.bootstrap,
            namesrv,
            options: (*self.options).clone(),
        };
        env.spawn("process.main", run_replica(process, Arc::clone(&node.life)));
    }

    /// Starts NameServer `n`.
    pub fn start_name_server(&mut self, n: usize) {
        let node = &mut self.name_servers[n];
        node.restart_at = None;
        let env = host::env(&self.world, &self.net, node.host, SimDisk::new().mount(), Arc::new(Instantly));
        self.world.boot(node.host, env.clone());
        env.spawn("process.main", run_name_server(env.clone(), node.addr, Arc::clone(&node.server)));
    }

    /// Kills NameServer `n`.
    pub fn kill_name_server(&mut self, n: usize) {
        let node = &self.name_servers[n];
        let server = node.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.world.kill(node.host);
        drop(server);
        self.net.host_died(node.host, false);
    }

    /// Ends the process of node `n`; with `power`, switches its machine off: `crash` decides what its disk keeps of what was
    /// not synced, and `index_steps` how many un-synced writes of the index it keeps.
    pub fn kill_node(&mut self, n: usize, power: Option<(Crash, usize)>) {
        let node = &mut self.nodes[n];
        // What a process that is killed had still to say is of no interest.
        let running = std::mem::take(&mut *locked(&node.life)).running;
        self.world.kill(node.host);
        drop(running);
        tracing::trace!(target: SPEC, event = "crash", node = node.member.node.0);
        self.net.host_died(node.host, power.is_some());
        match power {
            Some((crash, steps)) => {
                node.disk.crash(crash);
                node.store.crash(steps);
            }
            None => {
                node.disk.crash(Crash::KeepAll);
                // Without a log of its own the store loses with the process what it has not written out.
                node.store.crash(0);
            }
        }
    }

    /// Ends the process of node `n` as [`Self::kill_node`] does, and writes that down. Faults write down their own kills.
    pub fn stop_node(&mut self, n: usize, power: Option<(Crash, usize)>) {
        self.note_exit(n, ExitCause::Asked);
        self.kill_node(n, power);
    }

    fn note_exit(&self, n: usize, cause: ExitCause) {
        let (now, exit) = (self.recorder.now(), Action::Exit { cause });
        let operation = Operation::new("supervisor".to_owned(), now, now, exit);
        self.recorder.push(Operation { node: Some(self.name(n)), ..operation });
    }

    /// The process of node `n` as it shows itself, while it serves.
    #[must_use]
    pub fn running(&self, n: usize) -> Option<Running> {
        locked(&self.nodes[n].life).running.clone()
    }

    /// The node that leads and has a majority, if there is one.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|n| {
            let running = self.running(*n);
            running.is_some_and(|running| {
                let role = *running.replica.role().borrow();
                role.is_leader && role.has_quorum
            })
        })
    }

    /// Addresses of the NameServers.
    #[must_use]
    pub fn namesrv(&self) -> Vec<String> {
        self.name_servers.iter().map(|node| node.addr.to_string()).collect()
    }

    /// A new machine with a client named `name`.
    pub fn worker(
        &mut self,
        name: &str,
        stop: &Arc<std::sync::atomic::AtomicBool>,
        running: &Arc<std::sync::atomic::AtomicUsize>,
    ) -> Worker {
        let host = self.host(name);
        self.net.attach(host);
        self.clients.push(host);
        let env: Env = host::env(&self.world, &self.net, host, SimDisk::new().mount(), Arc::new(Instantly));
        self.world.boot(host, env.clone());
        Worker {
            env,
            name: name.to_owned(),
            options: Arc::clone(&self.options),
            recorder: self.recorder.clone(),
            stop: Arc::clone(stop),
            running: Arc::clone(running),
            namesrv: self.namesrv(),
            replicas: Arc::clone(&self.directory),
        }
    }

    /// Writes down what the NameServers say of the group.
    pub fn sample_routes(&self) {
        for (n, node) in self.name_servers.iter().enumerate() {
            let server = node.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(server) = server else { continue };
            let leader =
                server.read(|table| table.leader(crate::node::GROUP).map(|(addr, version)| (addr.to_owned(), version)));
            let now = self.recorder.now();
            let name_of = |addr: &str| {
                let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
                directory.iter().find(|(_, known)| known == addr).map(|(name, _)| name.clone())
            };
            let action = Action::Route {
                broker: crate::node::GROUP.to_owned(),
                leader: leader.as_ref().and_then(|(addr, _)| name_of(addr)),
                version: leader.and_then(|(_, version)| u64::try_from(version).ok()),
            };
            self.recorder.push(Operation {
                node: Some(format!("ns{}", n + 1)),
                ..Operation::new("observer".to_owned(), now, now, action)
            });
        }
    }

    /// Looks after processes: what ended by itself is written down and started again a second later, as a supervisor does;
    /// what cannot start is started again and again, until it is given up.
    pub fn supervise(&mut self) {
        let now = self.world.now();
        for n in 0..self.nodes.len() {
            if let Some((at, crash, steps)) = self.nodes[n].power_cut {
                if at <= now {
                    self.nodes[n].power_cut = None;
                    self.kill_node(n, Some((crash, steps)));
                }
                continue;
            }
            let exit = locked(&self.nodes[n].life).exit.take();
            if let Some(exit) = exit {
                let cause = if self.nodes[n].may_stop { ExitCause::FailStop } else { ExitCause::Unexpected };
                tracing::info!(node = self.name(n), reason = exit.reason, "supervisor.process_ended");
                if cause == ExitCause::Unexpected {
                    self.recorder.done(
                        "supervisor",
                        self.recorder.now(),
                        Outcome::Ok,
                        Action::Panic { text: format!("{}: {}", self.name(n), exit.reason) },
                    );
                }
                self.note_exit(n, cause);
                self.kill_node(n, None);
                self.nodes[n].failed_starts = if exit.at_start { self.nodes[n].failed_starts + 1 } else { 0 };
                if is_final(&exit.reason) || self.nodes[n].failed_starts >= STARTS_MAX {
                    self.nodes[n].broken = Some(exit.reason);
                } else {
                    self.nodes[n].restart_at = Some(now + 1_000_000_000);
                }
            }
            if self.nodes[n].restart_at.is_some_and(|at| at <= now) {
                self.start_node(n);
            }
        }
        for n in 0..self.name_servers.len() {
            if self.name_servers[n].restart_at.is_some_and(|at| at <= now) {
                self.start_name_server(n);
            }
        }
    }

    /// Begins to replace a replica by a new one on a machine of its own, as an operator would: one that cannot be started any
    /// more if there is one, else any. Says what it does; nothing while another change is under way.
    pub fn begin_change(&mut self, draw: u64) -> Option<String> {
        if self.change.is_some() || self.nodes.len() >= 12 {
            return None;
        }
        let present: Vec<usize> = (0..self.nodes.len()).filter(|n| !self.nodes[*n].retired).collect();
        let broken = present.iter().copied().find(|n| self.nodes[*n].broken.is_some());
        let old = broken.unwrap_or(present[usize::try_from(draw % present.len() as u64).unwrap_or(0)]);
        let slot = self.nodes.len();
        let new = self.add_node(slot, false);
        self.start_node(new);
        self.change = Some(Change { new, old: Some(old), step: Arc::new(Mutex::new(Step::Idle)), learner: false });
        Some(format!("{} replaces {}", self.name(new), self.name(old)))
    }

    /// Whether a change of the membership is under way.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.change.is_some()
    }

    /// Takes the change of the membership a step on: each step is asked of whoever leads, again and again.
    pub fn drive_change(&mut self) {
        let Some(change) = &mut self.change else { return };
        let step = *change.step.lock().unwrap_or_else(PoisonError::into_inner);
        if step == Step::Done {
            *change.step.lock().unwrap_or_else(PoisonError::into_inner) = Step::Idle;
            if !change.learner {
                change.learner = true;
                return;
            }
            let old = change.old;
            self.change = None;
            self.changes += 1;
            if let Some(old) = old {
                tracing::info!(node = self.name(old), "operator.replaced");
                self.retire(old);
            }
            return;
        }
        if step == Step::Asked {
            return;
        }
        let (learner, new, old, step) = (change.learner, change.new, change.old, Arc::clone(&change.step));
        let Some(leader) = self.leader() else { return };
        let Some(running) = self.running(leader) else { return };
        let (id, addr) = (self.nodes[new].member.node, self.nodes[new].member.addr.clone());
        let old_id = old.map(|old| self.nodes[old].member.node);
        let replica = running.replica;
        *step.lock().unwrap_or_else(PoisonError::into_inner) = Step::Asked;
        /// Lets the step be asked again when whoever was asked dies.
        struct Again(Arc<Mutex<Step>>);
        impl Drop for Again {
            fn drop(&mut self) {
                let mut step = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if *step == Step::Asked {
                    *step = Step::Idle;
                }
            }
        }
        let (world, again) = (self.world.clone(), Again(step));
        self.world.spawn(
            self.nodes[leader].host,
            "operator.change",
            Box::pin(async move {
                let outcome = match old_id {
                    _ if !learner => replica.add_learner(id, addr).await,
                    Some(old) if replica.status().members.iter().any(|member| member.node == old && member.voter) => {
                        replica.replace(old, id).await
                    }
                    _ => Ok(()),
                };
                match outcome {
                    Ok(()) => *again.0.lock().unwrap_or_else(PoisonError::into_inner) = Step::Done,
                    Err(error) => {
                        tracing::info!(%error, learner, "operator.change_failed");
                        world.sleep(Duration::from_millis(500)).await;
                    }
                }
            }),
        );
    }

    /// Takes a replica that left the group away for good.
    fn retire(&mut self, n: usize) {
        if self.world.is_alive(self.nodes[n].host) {
            self.stop_node(n, None);
        }
        let name = self.name(n);
        let node = &mut self.nodes[n];
        (node.retired, node.restart_at, node.power_cut) = (true, None, None);
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| *known != name);
    }

    /// What every running replica has applied, and its digest.
    #[must_use]
    pub fn applied(&self) -> BTreeMap<usize, (u64, u64, u32)> {
        let mut all = BTreeMap::new();
        for n in 0..self.nodes.len() {
            if let Some(running) = self.running(n) {
                let view = running.replica.view();
                let index = view.applied().map_or(0, |id| id.index.0 + 1);
                all.insert(n, (index, view.digest(), view.small_state_digest()));
            }
        }
        all
    }
}

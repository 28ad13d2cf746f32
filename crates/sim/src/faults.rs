//! What goes wrong in a run, and when it is right again.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use timbermq_check::history::{Action, FaultKind, Operation};
use timbermq_env::Disk;
use timbermq_simdisk::{Crash, FaultKind as DiskFault, SECTOR_BYTES};
use timbermq_types::NodeId;

use crate::cluster::Cluster;
use crate::node::{DATA_DIR, LOG_DIR};
use crate::options::FaultGroup;
use crate::rng::Rng;
use crate::trace::SPEC;
use crate::world::HostId;

/// Injects faults, and takes them back when their time is over.
pub struct Nemesis {
    rng: Rng,
    groups: Vec<FaultGroup>,
    /// What is to be taken back, and when.
    active: Vec<Active>,
    /// Faults injected so far.
    pub injected: u64,
    /// By group.
    pub by_group: std::collections::BTreeMap<FaultGroup, u64>,
    /// The replicas whose disks may lie or lose something: a minority, so that a good copy of everything is left.
    atlas: Vec<usize>,
}

struct Active {
    until: u64,
    since: u64,
    kind: FaultKind,
    what: String,
    nodes: Vec<String>,
    heal: Heal,
}

enum Heal {
    /// Nothing to take back: the supervisor starts what was killed.
    Nothing,
    Resume(Vec<usize>),
    Links(Vec<(HostId, HostId)>),
    Disk(Vec<usize>),
    Wall(usize),
    Drift(usize),
}

fn nanos(ms: u64) -> u64 {
    ms * 1_000_000
}

impl Nemesis {
    /// A nemesis that uses the faults of the run.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        let mut rng = Rng::new(cluster.options.seed, "nemesis");
        let mut nodes: Vec<usize> = (0..cluster.options.replicas).collect();
        let minority = (cluster.options.replicas - 1) / 2;
        let mut atlas = Vec::new();
        for _ in 0..minority {
            atlas.push(nodes.swap_remove(usize::try_from(rng.below(nodes.len() as u64)).unwrap_or(0)));
        }
        Self {
            atlas,
            rng,
            groups: cluster.options.faults.iter().copied().collect(),
            active: Vec::new(),
            injected: 0,
            by_group: std::collections::BTreeMap::new(),
        }
    }

    /// When the next fault is to come, in nanoseconds from now.
    pub fn pause(&mut self, cluster: &Cluster) -> u64 {
        nanos(self.rng.below(cluster.options.fault_every_ms * 2) + 1)
    }

    /// Injects one more fault.
    pub fn strike(&mut self, cluster: &mut Cluster) {
        if self.groups.is_empty() {
            return;
        }
        let group = *self.rng.pick(&self.groups);
        let Some((kind, what, nodes, ms, heal)) = self.inject(group, cluster) else { return };
        let now = cluster.world.now();
        tracing::info!(group = group.name(), what, ms, "fault.begins");
        cluster.world.note(self.injected);
        self.injected += 1;
        *self.by_group.entry(group).or_default() += 1;
        let nodes = nodes.iter().map(|n| cluster.name(*n)).collect();
        self.active.push(Active { until: now + nanos(ms), since: now, kind, what, nodes, heal });
    }

    /// Takes back what is over.
    pub fn heal_due(&mut self, cluster: &mut Cluster) {
        let now = cluster.world.now();
        let (over, active) = std::mem::take(&mut self.active).into_iter().partition(|fault| fault.until <= now);
        self.active = active;
        let over: Vec<Active> = over;
        for fault in over {
            Self::heal(fault, cluster);
        }
    }

    /// Takes back everything.
    pub fn heal_all(&mut self, cluster: &mut Cluster) {
        for fault in std::mem::take(&mut self.active) {
            Self::heal(fault, cluster);
        }
        cluster.net.heal();
    }

    /// When the next fault is over, if any is active.
    #[must_use]
    pub fn next_heal(&self) -> Option<u64> {
        self.active.iter().map(|fault| fault.until).min()
    }

    fn heal(fault: Active, cluster: &mut Cluster) {
        tracing::info!(what = fault.what, "fault.ends");
        match fault.heal {
            Heal::Nothing => {}
            Heal::Resume(nodes) => nodes.iter().for_each(|n| cluster.world.set_paused(cluster.nodes[*n].host, false)),
            Heal::Links(links) => {
                let usual = cluster.options.delay_us;
                for (from, to) in links {
                    cluster.net.set_link(from, to, |link| {
                        let delay = Duration::from_micros(usual);
                        *link = crate::net::Link { delay, jitter: delay, ..crate::net::Link::default() };
                    });
                }
            }
            Heal::Disk(nodes) => nodes.iter().for_each(|n| {
                cluster.nodes[*n].pace.heal();
                cluster.nodes[*n].disk.limit(None);
            }),
            Heal::Wall(n) => cluster.world.set_wall_right(cluster.nodes[n].host),
            Heal::Drift(n) => cluster.world.set_drift(cluster.nodes[n].host, 0),
        }
        let action = Action::Fault { kind: fault.kind, detail: Some(fault.what), nodes: fault.nodes };
        let now = cluster.recorder.now();
        cluster.recorder.push(Operation::new("nemesis".to_owned(), fault.since / 1000, now, action));
    }

    /// A replica that runs and is in the group, more often the leader than another.
    fn victim(&mut self, cluster: &Cluster) -> Option<usize> {
        if self.rng.chance(500)
            && let Some(leader) = cluster.leader()
        {
            return Some(leader);
        }
        let up = Self::up(cluster);
        (!up.is_empty()).then(|| *self.rng.pick(&up))
    }

    fn up(cluster: &Cluster) -> Vec<usize> {
        (0..cluster.nodes.len())
            .filter(|n| !cluster.nodes[*n].retired && cluster.world.is_alive(cluster.nodes[*n].host))
            .collect()
    }

    fn some_nodes(&mut self, cluster: &Cluster) -> Vec<usize> {
        let up = Self::up(cluster);
        match self.rng.below(6) {
            0 => up,
            1 => {
                let keep = up.len() / 2;
                up.into_iter().skip(keep).collect()
            }
            _ => self.victim(cluster).into_iter().collect(),
        }
    }

    fn crash(&mut self) -> Crash {
        match self.rng.below(4) {
            0 => Crash::LoseAll,
            _ => Crash::Random(self.rng.next_u64()),
        }
    }

    #[allow(clippy::too_many_lines)] // one arm for each group
    fn inject(
        &mut self,
        group: FaultGroup,
        cluster: &mut Cluster,
    ) -> Option<(FaultKind, String, Vec<usize>, u64, Heal)> {
        let now = cluster.world.now();
        match group {
            FaultGroup::Kill => {
                let nodes = self.some_nodes(cluster);
                let down = self.rng.range(100, 6000);
                for n in &nodes {
                    cluster.kill_node(*n, None);
                    cluster.nodes[*n].restart_at = Some(now + nanos(down + self.rng.below(500)));
                }
                Some((FaultKind::Process, "kill".into(), nodes, down, Heal::Nothing))
            }
            FaultGroup::Power => {
                let nodes = self.some_nodes(cluster);
                let down = self.rng.range(200, 6000);
                for n in &nodes {
                    let (crash, steps) = (self.crash(), self.rng.below(4) as usize);
                    if self.rng.chance(500) {
                        // In the middle of what it writes: the disk goes first.
                        cluster.nodes[*n].disk.power_off_after(self.rng.below(8));
                        let at = now + self.rng.below(nanos(20));
                        cluster.nodes[*n].power_cut = Some((at, crash, steps));
                    } else {
                        cluster.kill_node(*n, Some((crash, steps)));
                    }
                    cluster.nodes[*n].restart_at = Some(now + nanos(down + self.rng.below(500)));
                }
                Some((FaultKind::Power, "power cut".into(), nodes, down, Heal::Nothing))
            }
            FaultGroup::Pause => {
                let nodes = self.some_nodes(cluster);
                for n in &nodes {
                    cluster.world.set_paused(cluster.nodes[*n].host, true);
                }
                let ms = self.rng.range(50, 8000);
                Some((FaultKind::Process, "pause".into(), nodes.clone(), ms, Heal::Resume(nodes)))
            }
            FaultGroup::Partition => {
                let (what, cuts) = self.partition(cluster)?;
                for (from, to) in &cuts {
                    cluster.net.set_link(*from, *to, |link| link.cut = true);
                }
                let ms = self.rng.range(200, 10_000);
                Some((FaultKind::Network, what, Vec::new(), ms, Heal::Links(cuts)))
            }
            FaultGroup::OneWay => {
                let n = self.victim(cluster)?;
                let (host, inward) = (cluster.nodes[n].host, self.rng.chance(500));
                let mut cuts = Vec::new();
                for other in cluster.nodes.iter().filter(|other| other.host != host) {
                    if self.rng.chance(700) {
                        cuts.push(if inward { (other.host, host) } else { (host, other.host) });
                    }
                }
                for (from, to) in &cuts {
                    cluster.net.set_link(*from, *to, |link| link.cut = true);
                }
                let ms = self.rng.range(200, 8000);
                let what = if inward { "one-way cut, inward" } else { "one-way cut, outward" };
                Some((FaultKind::Network, what.into(), vec![n], ms, Heal::Links(cuts)))
            }
            FaultGroup::Lossy => {
                let hosts: Vec<HostId> =
                    cluster.nodes.iter().map(|node| node.host).chain(cluster.clients.iter().copied()).collect();
                let one = *self.rng.pick(&hosts);
                let (delay, loss) = (self.rng.range(1, 150), self.rng.below(200));
                let (repeat, reorder) = (self.rng.below(200), self.rng.below(300));
                let mut links = Vec::new();
                for other in hosts.iter().filter(|other| **other != one) {
                    for way in [(one, *other), (*other, one)] {
                        cluster.net.set_link(way.0, way.1, |link| {
                            link.delay = Duration::from_millis(delay);
                            link.jitter = Duration::from_millis(delay);
                            (link.loss_per_mille, link.repeat_per_mille, link.reorder_per_mille) =
                                (loss, repeat, reorder);
                        });
                        links.push(way);
                    }
                }
                let ms = self.rng.range(500, 8000);
                Some((
                    FaultKind::Network,
                    format!("slow and lossy: {delay} ms, {loss} of 1000"),
                    Vec::new(),
                    ms,
                    Heal::Links(links),
                ))
            }
            FaultGroup::Reset => {
                let n = self.victim(cluster)?;
                let host = cluster.nodes[n].host;
                let others: Vec<HostId> =
                    cluster.nodes.iter().map(|node| node.host).chain(cluster.clients.iter().copied()).collect();
                for other in others {
                    if other != host && self.rng.chance(600) {
                        cluster.net.reset_between(host, other);
                    }
                }
                Some((FaultKind::Network, "connections reset".into(), vec![n], 0, Heal::Nothing))
            }
            FaultGroup::SlowDisk => {
                let nodes = self.some_nodes(cluster);
                let stuck = self.rng.chance(300);
                let ms = self.rng.range(300, 8000);
                let us = self.rng.range(5_000, 800_000);
                for n in &nodes {
                    if stuck {
                        cluster.nodes[*n].pace.stick(Duration::from_millis(ms));
                    } else {
                        cluster.nodes[*n].pace.set_usual(us);
                    }
                }
                let what = if stuck { "disk stuck".into() } else { format!("disk slow: {us} us") };
                Some((FaultKind::Disk, what, nodes.clone(), ms, Heal::Disk(nodes)))
            }
            FaultGroup::FullDisk => {
                let nodes = self.some_nodes(cluster);
                for n in &nodes {
                    let disk = &cluster.nodes[*n].disk;
                    let used = disk.space(Path::new(DATA_DIR)).map_or(0, |space| space.total - space.available);
                    disk.limit(Some(used + self.rng.below(8 << 10)));
                    cluster.nodes[*n].may_stop = true;
                }
                let ms = self.rng.range(500, 6000);
                Some((FaultKind::Disk, "disk full".into(), nodes.clone(), ms, Heal::Disk(nodes)))
            }
            FaultGroup::DiskError => {
                let n = self.damageable(cluster)?;
                let kind = *self.rng.pick(&[
                    DiskFault::SyncError,
                    DiskFault::SyncError,
                    DiskFault::WriteError,
                    DiskFault::ReadError,
                    DiskFault::SyncDirError,
                    DiskFault::MisdirectedRead,
                ]);
                let node = &mut cluster.nodes[n];
                (node.may_stop, node.harmed) = (true, true);
                node.disk.arm(kind, self.rng.below(4));
                Some((FaultKind::Disk, kind.name().into(), vec![n], 0, Heal::Nothing))
            }
            FaultGroup::Damage => {
                let n = self.damageable(cluster)?;
                let what = self.damage(cluster, n)?;
                (cluster.nodes[n].may_stop, cluster.nodes[n].harmed) = (true, true);
                Some((FaultKind::Corruption, what, vec![n], 0, Heal::Nothing))
            }
            FaultGroup::DiskLoss => {
                let n = self.damageable(cluster)?;
                if cluster.nodes[n].broken.is_some() {
                    return None;
                }
                cluster.kill_node(n, Some((Crash::LoseAll, 0)));
                cluster.nodes[n].disk.wipe();
                tracing::trace!(target: SPEC, event = "wipe", node = cluster.nodes[n].member.node.0);
                cluster.nodes[n].store = std::sync::Arc::default();
                (cluster.nodes[n].may_stop, cluster.nodes[n].harmed) = (true, true);
                let down = self.rng.range(200, 4000);
                cluster.nodes[n].restart_at = Some(now + nanos(down));
                Some((FaultKind::Corruption, "disk lost".into(), vec![n], down, Heal::Nothing))
            }
            FaultGroup::Membership => {
                let what = cluster.begin_change(self.rng.next_u64())?;
                Some((FaultKind::Other, what, Vec::new(), 0, Heal::Nothing))
            }
            FaultGroup::ClockJump => {
                let n = self.victim(cluster)?;
                let by = *self.rng.pick(&[-3_600_000, -10_000, -200, 200, 10_000, 3_600_000]);
                cluster.world.jump_wall(cluster.nodes[n].host, by);
                let ms = self.rng.range(500, 10_000);
                Some((FaultKind::Clock, format!("wall clock jumps by {by} ms"), vec![n], ms, Heal::Wall(n)))
            }
            FaultGroup::ClockDrift => {
                let n = self.victim(cluster)?;
                let ppm = *self.rng.pick(&[-200_000, -50_000, 50_000, 200_000]);
                cluster.world.set_drift(cluster.nodes[n].host, ppm);
                let ms = self.rng.range(1000, 15_000);
                Some((FaultKind::Clock, format!("clocks drift by {ppm} ppm"), vec![n], ms, Heal::Drift(n)))
            }
            FaultGroup::Transfer => {
                let leader = cluster.leader()?;
                let up: Vec<usize> = Self::up(cluster).into_iter().filter(|n| *n != leader).collect();
                if up.is_empty() {
                    return None;
                }
                let to = *self.rng.pick(&up);
                let (replica, target) = (cluster.running(leader)?.replica, NodeId(cluster.nodes[to].member.node.0));
                cluster.world.spawn(
                    cluster.nodes[leader].host,
                    "nemesis.transfer",
                    Box::pin(async move {
                        let _ = replica.transfer_leader(target).await;
                    }),
                );
                Some((FaultKind::Other, "leadership handed over".into(), vec![leader, to], 0, Heal::Nothing))
            }
            FaultGroup::NameServer => {
                let n = self.rng.below(cluster.name_servers.len() as u64) as usize;
                if !cluster.world.is_alive(cluster.name_servers[n].host) {
                    return None;
                }
                let down = self.rng.range(200, 8000);
                cluster.kill_name_server(n);
                cluster.name_servers[n].restart_at = Some(now + nanos(down));
                Some((FaultKind::Process, format!("NameServer {} killed", n + 1), Vec::new(), down, Heal::Nothing))
            }
            FaultGroup::ClientCut => {
                let client = *self.rng.pick(&cluster.clients);
                let mut cuts = Vec::new();
                for node in &cluster.nodes {
                    if self.rng.chance(600) {
                        cuts.push((client, node.host));
                        cuts.push((node.host, client));
                    }
                }
                for (from, to) in &cuts {
                    cluster.net.set_link(*from, *to, |link| link.cut = true);
                }
                let ms = self.rng.range(200, 8000);
                Some((FaultKind::Network, "a client is cut off".into(), Vec::new(), ms, Heal::Links(cuts)))
            }
        }
    }

    /// A replica whose disk may be harmed, if it runs.
    fn damageable(&mut self, cluster: &Cluster) -> Option<usize> {
        if self.atlas.is_empty() {
            return None;
        }
        let n = *self.rng.pick(&self.atlas);
        let node = &cluster.nodes[n];
        (!node.retired && node.power_cut.is_none() && cluster.world.is_alive(node.host)).then_some(n)
    }

    /// Harms what is stored on `n`, at rest or while it is written.
    fn damage(&mut self, cluster: &mut Cluster, n: usize) -> Option<String> {
        let disk = &cluster.nodes[n].disk;
        let kind = self.rng.below(6);
        if kind < 2 {
            let kind = if kind == 0 { DiskFault::LostWrite } else { DiskFault::MisdirectedWrite };
            disk.arm(kind, self.rng.below(4));
            return Some(kind.name().to_owned());
        }
        let in_log = self.rng.chance(850);
        let (path, offset) = disk.pick(self.rng.next_u64(), |path| path.starts_with(LOG_DIR) == in_log)?;
        let done = match kind {
            2 | 3 => disk.flip(&path, offset, u8::try_from(self.rng.below(8)).unwrap_or(0)),
            4 => disk.break_sector(&path, offset / SECTOR_BYTES),
            _ => disk.zero_tail(&path, 1 + self.rng.below(2000)),
        };
        done.then(|| {
            format!(
                "{} in {}",
                ["", "", "bit rot", "bit rot", "bad sector", "zeroed tail"][kind as usize],
                path.display()
            )
        })
    }

    /// Directions to cut, and what the shape is called.
    fn partition(&mut self, cluster: &Cluster) -> Option<(String, Vec<(HostId, HostId)>)> {
        let hosts: Vec<HostId> = cluster.nodes.iter().filter(|node| !node.retired).map(|node| node.host).collect();
        let n = hosts.len();
        let both = |a: HostId, b: HostId| [(a, b), (b, a)];
        let mut cuts = Vec::new();
        let what = match self.rng.below(4) {
            0 => {
                let one = cluster.nodes[self.victim(cluster)?].host;
                hosts.iter().filter(|other| **other != one).for_each(|other| cuts.extend(both(one, *other)));
                "one replica isolated"
            }
            1 => {
                let mut left = BTreeSet::new();
                hosts.iter().for_each(|host| {
                    if self.rng.chance(500) {
                        left.insert(*host);
                    }
                });
                for a in &left {
                    hosts.iter().filter(|b| !left.contains(b)).for_each(|b| cuts.extend(both(*a, *b)));
                }
                "halves"
            }
            2 => {
                // Everybody sees a majority, but not the same one.
                for (i, a) in hosts.iter().enumerate() {
                    let b = hosts[(i + n / 2) % n];
                    if *a != b {
                        cuts.extend(both(*a, b));
                    }
                }
                "majorities ring"
            }
            _ => {
                let bridge = *self.rng.pick(&hosts);
                let others: Vec<HostId> = hosts.iter().copied().filter(|host| *host != bridge).collect();
                let (left, right) = others.split_at(others.len() / 2);
                for a in left {
                    right.iter().for_each(|b| cuts.extend(both(*a, *b)));
                }
                "bridge"
            }
        };
        (!cuts.is_empty()).then(|| (what.to_owned(), cuts))
    }
}

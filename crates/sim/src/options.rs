//! What a seed expands to. Each seed switches whole groups of faults on or off, so that rare combinations get depth.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::rng::Rng;

/// A group of faults that a seed switches on or off as a whole, and that minimising a failure takes away as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultGroup {
    /// Processes are killed, one, several or all, and started again.
    Kill,
    /// Machines lose power, one, several or all at once.
    Power,
    /// Processes stop where they are, and go on.
    Pause,
    /// Replicas are cut off from each other, in all shapes.
    Partition,
    /// Single directions are cut.
    OneWay,
    /// Links become slow, lose, repeat and reorder.
    Lossy,
    /// Connections are reset.
    Reset,
    /// Disks become slow or stand still.
    SlowDisk,
    /// Disks are full for a while.
    FullDisk,
    /// A sync or a write fails.
    DiskError,
    /// Stored bytes of a minority are damaged.
    Damage,
    /// A machine loses its disk, and is replaced.
    DiskLoss,
    /// Wall clocks jump.
    ClockJump,
    /// Clocks run fast or slow.
    ClockDrift,
    /// Leadership is handed over.
    Transfer,
    /// Replicas are added, removed and replaced.
    Membership,
    /// NameServers are killed and started again.
    NameServer,
    /// Clients are cut off from the brokers.
    ClientCut,
}

impl FaultGroup {
    /// All of them.
    pub const ALL: [FaultGroup; 18] = [
        FaultGroup::Kill,
        FaultGroup::Power,
        FaultGroup::Pause,
        FaultGroup::Partition,
        FaultGroup::OneWay,
        FaultGroup::Lossy,
        FaultGroup::Reset,
        FaultGroup::SlowDisk,
        FaultGroup::FullDisk,
        FaultGroup::DiskError,
        FaultGroup::Damage,
        FaultGroup::DiskLoss,
        FaultGroup::ClockJump,
        FaultGroup::ClockDrift,
        FaultGroup::Transfer,
        FaultGroup::Membership,
        FaultGroup::NameServer,
        FaultGroup::ClientCut,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultGroup::Kill => "kill",
            FaultGroup::Power => "power",
            FaultGroup::Pause => "pause",
            FaultGroup::Partition => "partition",
            FaultGroup::OneWay => "one-way",
            FaultGroup::Lossy => "lossy",
            FaultGroup::Reset => "reset",
            FaultGroup::SlowDisk => "slow-disk",
            FaultGroup::FullDisk => "full-disk",
            FaultGroup::DiskError => "disk-error",
            FaultGroup::Damage => "damage",
            FaultGroup::DiskLoss => "disk-loss",
            FaultGroup::ClockJump => "clock-jump",
            FaultGroup::ClockDrift => "clock-drift",
            FaultGroup::Transfer => "transfer",
            FaultGroup::Membership => "membership",
            FaultGroup::NameServer => "name-server",
            FaultGroup::ClientCut => "client-cut",
        }
    }

    /// The group of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.name() == name)
    }
}

impl fmt::Display for FaultGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// Everything random comes from it.
    pub seed: u64,
    /// Replicas of the broker group, 3 or 5.
    pub replicas: usize,
    /// NameServers.
    pub name_servers: usize,
    /// Faults that may happen.
    pub faults: BTreeSet<FaultGroup>,
    /// How long faults happen, in virtual seconds.
    pub fault_seconds: u64,
    /// Mean time between two faults, in virtual milliseconds.
    pub fault_every_ms: u64,
    /// Producers.
    pub producers: usize,
    /// Mean pause between two operations of a client, in virtual milliseconds.
    pub pause_ms: u64,
    /// Longest message body, in bytes.
    pub body_bytes: u64,
    /// Topics.
    pub topics: usize,
    /// Queues of a topic.
    pub queues: u32,
    /// Size of a segment file, in bytes.
    pub segment_bytes: u64,
    /// Bytes of recent entries in memory.
    pub cache_bytes: usize,
    /// Bytes of log between two marks.
    pub mark_bytes: u64,
    /// Bytes of log that retention leaves; 0: no limit.
    pub retention_bytes: u64,
    /// Age at which messages go, in virtual milliseconds; 0: never.
    pub retention_ms: u64,
    /// Longest time a change of the index stays in memory, in milliseconds.
    pub index_interval_ms: u64,
    /// Bytes of log after which the index is made durable.
    pub index_durable_bytes: u64,
    /// One-way delay of a usual link, in microseconds.
    pub delay_us: u64,
    /// Takes the order of tasks out of the seed's hands.
    pub leak_order: bool,
}

impl Options {
    /// What `seed` expands to.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed, "options");
        let mut faults = BTreeSet::new();
        // A few seeds have every fault, a few none; the others about two in five.
        let per_mille = match rng.below(16) {
            0 => 0,
            1 => 1000,
            2 | 3 => 150,
            _ => 400,
        };
        for group in FaultGroup::ALL {
            if rng.chance(per_mille) {
                faults.insert(group);
            }
        }
        let mut options = Self {
            seed,
            replicas: if rng.chance(250) { 5 } else { 3 },
            name_servers: 1 + usize::from(rng.chance(500)),
            faults,
            fault_seconds: rng.range(15, 35),
            fault_every_ms: *rng.pick(&[400, 800, 1500, 3000]),
            producers: 1 + usize::try_from(rng.below(3)).unwrap_or(0),
            pause_ms: *rng.pick(&[40, 80, 160]),
            body_bytes: *rng.pick(&[40, 200, 200, 2000]),
            topics: 1 + usize::try_from(rng.below(2)).unwrap_or(0),
            queues: 1 + u32::try_from(rng.below(3)).unwrap_or(0),
            segment_bytes: *rng.pick(&[16 << 10, 64 << 10, 256 << 10]),
            cache_bytes: *rng.pick(&[8 << 10, 64 << 10, 1 << 20]),
            mark_bytes: *rng.pick(&[8 << 10, 32 << 10, 128 << 10]),
            retention_bytes: *rng.pick(&[0, 0, 48 << 10, 160 << 10]),
            retention_ms: 0,
            index_interval_ms: *rng.pick(&[50, 200, 1000]),
            index_durable_bytes: *rng.pick(&[0, 8 << 10, 64 << 10]),
            delay_us: *rng.pick(&[50, 200, 1000, 5000]),
            leak_order: false,
        };
        // Ages are those of the leader's clock: with clocks that are wrong nobody could say what was old enough.
        let clocks = [FaultGroup::ClockJump, FaultGroup::ClockDrift];
        let are_right = clocks.iter().all(|group| !options.faults.contains(group));
        if are_right && options.retention_bytes == 0 && seed.is_multiple_of(3) {
            options.retention_ms = 6000;
        }
        options
    }

    /// Whether messages may go while the run goes on.
    #[must_use]
    pub fn retains_less(&self) -> bool {
        self.retention_bytes > 0 || self.retention_ms > 0
    }

    /// Time for one thing that must happen once nothing is broken any more.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

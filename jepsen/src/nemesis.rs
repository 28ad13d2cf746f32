//! Faults. Each is a file of its own and a row of [`ALL`].

mod bit_flip;
mod clock;
mod fsync_error;
mod full_disk;
mod kill;
mod latency;
mod loss;
mod name_server;
mod partition;
mod pause;
mod power;
mod rolling_restart;
mod slow_disk;
mod snapshot;

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use crate::cluster::{Cluster, Settings};

pub(crate) use bit_flip::Flipped;
pub(crate) use clock::RIGHT;

/// One kind of fault.
pub trait Nemesis: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// What it does, in a line.
    fn about(&self) -> &'static str;
    /// What checkers take it for.
    fn kind(&self) -> FaultKind;
    /// How long one fault of it lasts, in milliseconds: from, to.
    fn lasts(&self) -> (u64, u64);
    /// Why it cannot be had here, if so.
    fn missing(&self) -> Option<String> {
        None
    }
    /// Why it cannot hit any system but the product, if so.
    fn only_for_product(&self) -> Option<&'static str> {
        None
    }
    /// Asks for what a cluster must be made with so that it can strike.
    fn fit(&self, _settings: &mut Settings) {}
    /// What the replicas' logs say when it has had the effect that it is for. Without that the run says nothing.
    fn trace(&self) -> Option<&'static str> {
        None
    }
    /// Begins a fault; none when there is nothing that it could hit at the moment. Everything by chance comes from `dice`.
    ///
    /// # Errors
    /// The system refuses: then the run says nothing.
    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>>;
    /// Takes it back. What is in the network alone needs nothing more than the end of its cut.
    ///
    /// # Errors
    /// The system refuses: then the run says nothing.
    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        strike.cut.map_or(Ok(()), |cut| cluster.heal(cut))
    }
}

/// A fault at work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strike {
    /// What exactly, in words.
    pub detail: String,
    /// The replicas that it hits.
    pub targets: Vec<usize>,
    /// Names of the machines that it hits.
    pub names: Vec<String>,
    /// The replica that comes back later than the others.
    pub late: Option<usize>,
    /// What to heal in the network.
    pub cut: Option<u64>,
}

/// All nemeses.
pub const ALL: &[&dyn Nemesis] = &[
    &kill::Kill,
    &kill::KillAll,
    &pause::Pause,
    &partition::Partition,
    &loss::Loss,
    &latency::Latency,
    &latency::Reorder,
    &power::Power,
    &power::PowerAll,
    &full_disk::FullDisk,
    &slow_disk::SlowDisk,
    &fsync_error::FsyncError,
    &bit_flip::BitFlip,
    &name_server::NameServer,
    &rolling_restart::RollingRestart,
    &snapshot::Snapshot,
    &clock::Clock,
];

/// Nemeses that are wanted and not there, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("membership", "members cannot be changed from outside yet"),
    ("transfer", "there is no command that moves the leadership; rolling-restart makes leaders hand it over"),
];

/// The nemesis of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Nemesis> {
    ALL.iter().copied().find(|nemesis| nemesis.name() == name)
}

/// Some of the replicas: mostly the leader alone, sometimes another, sometimes a minority with it.
fn victims(cluster: &Cluster, dice: &mut Dice) -> Vec<usize> {
    let count = cluster.nodes.len();
    let leader = cluster.leader().unwrap_or_else(|| dice.index(count));
    let mut others: Vec<usize> = (0..count).filter(|n| *n != leader).collect();
    dice.shuffle(&mut others);
    match dice.below(10) {
        0..6 => vec![leader],
        6..9 => others.into_iter().take(1).collect(),
        _ => std::iter::once(leader).chain(others).take((count / 2).max(1)).collect(),
    }
}

/// A strike on the network between all replicas.
fn between_all(cluster: &Cluster, detail: String, cut: u64) -> Strike {
    let targets: Vec<usize> = (0..cluster.nodes.len()).collect();
    let names = cluster.names(&targets);
    Strike { detail, targets, names, cut: Some(cut), ..Strike::default() }
}

/// A strike on replicas, if there are any.
fn on(cluster: &Cluster, detail: &str, targets: Vec<usize>) -> Option<Strike> {
    let names = cluster.names(&targets);
    let detail = format!("{detail} {}", names.join(", "));
    (!targets.is_empty()).then_some(Strike { detail, targets, names, ..Strike::default() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_durations_are_ranges() {
        let names: BTreeSet<_> = ALL.iter().map(|nemesis| nemesis.name()).collect();
        assert_eq!(names.len(), ALL.len());
        for nemesis in ALL {
            let (from, to) = nemesis.lasts();
            assert!(0 < from && from < to && to <= 32_000, "{}", nemesis.name());
            assert!(named(nemesis.name()).is_some());
        }
        assert!(LEFT_OUT.iter().all(|(name, _)| !names.contains(name)));
    }
}

//! Machines lose power: what was not synced is gone.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on, victims};
use crate::cluster::Cluster;
use crate::disk;

/// A power cut of the leader, another replica, or a minority with the leader.
pub(super) struct Power;

impl Nemesis for Power {
    fn name(&self) -> &'static str {
        "power"
    }

    fn about(&self) -> &'static str {
        "power cut of the leader, of another replica, or of a minority with the leader: un-synced writes are lost"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Power
    }

    fn lasts(&self) -> (u64, u64) {
        (300, 3_000)
    }

    fn missing(&self) -> Option<String> {
        disk::missing()
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let chosen = victims(cluster, dice);
        let dark = cluster.cut_power(&chosen)?;
        Ok(on(cluster, "power cut of", dark))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        cluster.restore_power(&strike.targets)
    }
}

/// A power cut of every replica at the same moment.
pub(super) struct PowerAll;

impl Nemesis for PowerAll {
    fn name(&self) -> &'static str {
        "power-all"
    }

    fn about(&self) -> &'static str {
        "power cut of every replica at the same moment: un-synced writes are lost"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Power
    }

    fn lasts(&self) -> (u64, u64) {
        (300, 2_000)
    }

    fn missing(&self) -> Option<String> {
        disk::missing()
    }

    fn strike(&self, cluster: &mut Cluster, _dice: &mut Dice) -> Result<Option<Strike>> {
        let all: Vec<usize> = (0..cluster.nodes.len()).collect();
        let dark = cluster.cut_power(&all)?;
        Ok(on(cluster, "power cut of", dark))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        cluster.restore_power(&strike.targets)
    }
}

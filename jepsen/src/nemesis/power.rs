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
        cluster.restore_power(&strike.targets, None)
    }
}

/// A power cut of every replica at the same moment.
pub(super) struct PowerAll;

impl Nemesis for PowerAll {
    fn name(&self) -> &'static str {
        "power-all"
    }

    fn about(&self) -> &'static str {
        "power cut of every replica at the same moment: un-synced writes are lost; sometimes the leader comes back last"
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

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let mut all: Vec<usize> = (0..cluster.nodes.len()).collect();
        // Sometimes the others must do with what they have themselves: the leader comes back last.
        let late = cluster.leader().filter(|_| dice.percent(50));
        if let Some(leader) = late {
            all.retain(|n| *n != leader);
            all.push(leader);
        }
        let dark = cluster.cut_power(&all)?;
        let detail =
            if late.is_some() { "power cut, back later than the others for the last, of" } else { "power cut of" };
        Ok(on(cluster, detail, dark).map(|strike| Strike { late, ..strike }))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        cluster.restore_power(&strike.targets, strike.late)
    }
}

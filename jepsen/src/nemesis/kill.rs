//! Processes die.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on, victims};
use crate::cluster::Cluster;

/// `kill -9` of the leader, another replica, or a minority with the leader.
pub(super) struct Kill;

impl Nemesis for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn about(&self) -> &'static str {
        "kill -9 of the leader, of another replica, or of a minority with the leader"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Process
    }

    fn lasts(&self) -> (u64, u64) {
        (200, 3_000)
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let chosen = victims(cluster, dice);
        let killed = cluster.kill(&chosen)?;
        Ok(on(cluster, "kill -9 of", killed))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        strike.targets.iter().try_for_each(|n| cluster.start_node(*n))
    }
}

/// `kill -9` of every replica at the same moment.
pub(super) struct KillAll;

impl Nemesis for KillAll {
    fn name(&self) -> &'static str {
        "kill-all"
    }

    fn about(&self) -> &'static str {
        "kill -9 of every replica at the same moment"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Process
    }

    fn lasts(&self) -> (u64, u64) {
        (200, 2_000)
    }

    fn strike(&self, cluster: &mut Cluster, _dice: &mut Dice) -> Result<Option<Strike>> {
        let all: Vec<usize> = (0..cluster.nodes.len()).collect();
        let killed = cluster.kill(&all)?;
        Ok(on(cluster, "kill -9 of", killed))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        strike.targets.iter().try_for_each(|n| cluster.start_node(*n))
    }
}

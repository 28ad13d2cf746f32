//! Processes stand still, and go on as if nothing had happened.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on, victims};
use crate::cluster::Cluster;

/// SIGSTOP, then SIGCONT.
pub(super) struct Pause;

impl Nemesis for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn about(&self) -> &'static str {
        "SIGSTOP of the leader, of another replica, or of a minority with the leader, mostly for longer than a lease"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Process
    }

    fn lasts(&self) -> (u64, u64) {
        (100, 5_000)
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let chosen = victims(cluster, dice);
        let paused = cluster.pause(&chosen);
        Ok(on(cluster, "pause of", paused))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        cluster.resume(&strike.targets);
        Ok(())
    }
}

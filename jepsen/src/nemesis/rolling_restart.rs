//! Replicas are restarted one after the other, as for an upgrade.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on};
use crate::cluster::Cluster;

/// An orderly stop of one replica, which is started again.
pub(super) struct RollingRestart;

impl Nemesis for RollingRestart {
    fn name(&self) -> &'static str {
        "rolling-restart"
    }

    fn about(&self) -> &'static str {
        "an orderly stop and start of one replica at a time; a leader hands over before it stops"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Process
    }

    fn lasts(&self) -> (u64, u64) {
        (100, 1_500)
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        // The leader as often as any other.
        let n = dice.index(cluster.nodes.len());
        // One that is down or stands still cannot be asked.
        if !cluster.is_running(n) || cluster.is_paused(n) {
            return Ok(None);
        }
        let is_orderly = cluster.stop(n)?;
        let detail = if is_orderly { "orderly restart of" } else { "restart by force of" };
        Ok(on(cluster, detail, vec![n]))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        strike.targets.iter().try_for_each(|n| cluster.start_node(*n))
    }
}

//! A replica misses so much that it needs a snapshot.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on};
use crate::cluster::{Cluster, Settings};

/// A follower is down while retention takes what it lacks from the others' logs; it comes back under load.
pub(super) struct Snapshot;

impl Nemesis for Snapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    fn about(&self) -> &'static str {
        "a follower is down until the others' logs have not what it lacks; it gets a snapshot, under load"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Process
    }

    fn lasts(&self) -> (u64, u64) {
        // Every replica looks after retention every ten seconds: for a mark, to trim to it, and to free the space.
        (26_000, 32_000)
    }

    fn fit(&self, settings: &mut Settings) {
        // Retention keeps the messages of some seconds.
        settings.settings.extend(["retention.bytes=64KiB".to_owned(), "retention.step_bytes=16KiB".to_owned()]);
    }

    fn trace(&self) -> Option<&'static str> {
        Some("replica.snapshot_installed")
    }

    fn only_for_product(&self) -> Option<&'static str> {
        Some("it makes the retention of TimberMQ purge the logs, and looks for what its log says")
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let leader = cluster.leader();
        let followers: Vec<usize> =
            (0..cluster.nodes.len()).filter(|n| Some(*n) != leader && cluster.is_running(*n)).collect();
        if leader.is_none() || followers.is_empty() {
            return Ok(None);
        }
        let killed = cluster.kill(&[followers[dice.index(followers.len())]])?;
        Ok(on(cluster, "left behind:", killed))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        strike.targets.iter().try_for_each(|n| cluster.start_node(*n))
    }
}

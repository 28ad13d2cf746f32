//! Disks fail for a moment.

use std::time::Duration;

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on, victims};
use crate::cluster::Cluster;
use crate::disk;

/// Every request to a disk fails for a moment: writes, syncs, and reads of what is not in memory. Later requests succeed
/// again, and the file system takes for written what never was; so the process ends and the disk is mounted anew.
pub(super) struct FsyncError;

impl Nemesis for FsyncError {
    fn name(&self) -> &'static str {
        "fsync-error"
    }

    fn about(&self) -> &'static str {
        "for a moment every write and sync on a disk fails, later ones succeed; then what is really on the disk shows"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Disk
    }

    fn lasts(&self) -> (u64, u64) {
        (500, 4_000)
    }

    fn missing(&self) -> Option<String> {
        disk::missing()
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let chosen = victims(cluster, dice);
        let failing = cluster.fail_disks(&chosen, Duration::from_millis(dice.range(20, 300)))?;
        Ok(on(cluster, "failed writes and syncs of", failing))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        cluster.renew_disks(&strike.targets)
    }
}

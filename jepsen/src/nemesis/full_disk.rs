//! Disks are full.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on, victims};
use crate::cluster::Cluster;
use crate::disk;

/// No byte is left on the disks of the leader, another replica, or a minority with the leader.
pub(super) struct FullDisk;

impl Nemesis for FullDisk {
    fn name(&self) -> &'static str {
        "full-disk"
    }

    fn about(&self) -> &'static str {
        "the disk of the leader, of another replica, or of a minority with the leader is full; later there is room again"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Disk
    }

    fn lasts(&self) -> (u64, u64) {
        (2_000, 12_000)
    }

    fn missing(&self) -> Option<String> {
        disk::missing()
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let chosen = victims(cluster, dice);
        let full = cluster.fill_disks(&chosen)?;
        Ok(on(cluster, "full disk of", full))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        cluster.free_disks(&strike.targets)
    }
}

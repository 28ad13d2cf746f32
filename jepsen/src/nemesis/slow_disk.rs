//! Disks are slow.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on, victims};
use crate::cluster::{Cluster, Settings};
use crate::throttle;

/// A disk does few requests a second.
pub(super) struct SlowDisk;

impl Nemesis for SlowDisk {
    fn name(&self) -> &'static str {
        "slow-disk"
    }

    fn about(&self) -> &'static str {
        "the disk of the leader, of another replica, or of a minority with the leader does 2 to 50 writes a second"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Disk
    }

    fn lasts(&self) -> (u64, u64) {
        (2_000, 8_000)
    }

    fn missing(&self) -> Option<String> {
        crate::disk::missing().or_else(throttle::missing)
    }

    fn fit(&self, settings: &mut Settings) {
        settings.has_throttle = true;
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let chosen = victims(cluster, dice);
        let writes = [2, 5, 10, 20, 50][dice.index(5)];
        for n in &chosen {
            cluster.throttle(*n, Some(writes))?;
        }
        Ok(on(cluster, &format!("at most {writes} writes a second on the disk of"), chosen))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        strike.targets.iter().try_for_each(|n| cluster.throttle(*n, None))
    }
}

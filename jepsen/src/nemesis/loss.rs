//! Packets are lost.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;
use timbermq_tests::namespace::firewall_missing;

use super::{Nemesis, Strike, between_all};
use crate::cluster::Cluster;

/// Random loss between all machines.
pub(super) struct Loss;

impl Nemesis for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn about(&self) -> &'static str {
        "5 to 30 of a hundred packets between machines are lost"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Network
    }

    fn lasts(&self) -> (u64, u64) {
        (2_000, 8_000)
    }

    fn missing(&self) -> Option<String> {
        firewall_missing()
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let percent = u32::try_from(dice.range(5, 31)).unwrap_or(5);
        let cut = cluster.lose(percent)?;
        Ok(Some(between_all(cluster, format!("{percent} % of packets lost"), cut)))
    }
}

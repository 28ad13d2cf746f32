//! Packets are late, or arrive in another order.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;
use timbermq_tests::hub::{self, Weather};

use super::{Nemesis, Strike, between_all};
use crate::cluster::{Cluster, Settings};

/// Everything between machines is late.
pub(super) struct Latency;

impl Nemesis for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn about(&self) -> &'static str {
        "packets between machines are 10 to 400 ms late, and up to as much again by chance, but in order"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Network
    }

    fn lasts(&self) -> (u64, u64) {
        (2_000, 8_000)
    }

    fn missing(&self) -> Option<String> {
        hub::missing()
    }

    fn fit(&self, settings: &mut Settings) {
        settings.has_hub = true;
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        // Below an election timeout and above it.
        let delay_ms = [10, 50, 100, 200, 400][dice.index(5)];
        let jitter_ms = dice.range(1, delay_ms + 1);
        let detail = format!("packets {delay_ms} to {} ms late", delay_ms + jitter_ms);
        let cut = cluster.spoil(Weather { delay_ms, jitter_ms, ..Weather::default() })?;
        Ok(Some(between_all(cluster, detail, cut)))
    }
}

/// Packets overtake each other, and some arrive twice.
pub(super) struct Reorder;

impl Nemesis for Reorder {
    fn name(&self) -> &'static str {
        "reorder"
    }

    fn about(&self) -> &'static str {
        "10 to 50 of a hundred packets between machines are overtaken by later ones, 1 to 10 arrive twice"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Network
    }

    fn lasts(&self) -> (u64, u64) {
        (2_000, 8_000)
    }

    fn missing(&self) -> Option<String> {
        hub::missing()
    }

    fn fit(&self, settings: &mut Settings) {
        settings.has_hub = true;
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let (overtaken, repeated) = (dice.range(10, 51), dice.range(1, 11));
        let detail = format!("{overtaken} % of packets overtaken, {repeated} % twice");
        let jitter_ms = dice.range(5, 61);
        let cut = cluster.spoil(Weather { delay_ms: 0, jitter_ms, overtaken, repeated })?;
        Ok(Some(between_all(cluster, detail, cut)))
    }
}

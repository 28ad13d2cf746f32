//! Clocks are wrong.

use std::path::{Path, PathBuf};

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on, victims};
use crate::cluster::{Cluster, Settings};

/// The wall clocks of some replicas jump, or run too fast or too slow; time that only goes forward goes on as it should.
pub(super) struct Clock;

/// Jumps in seconds.
const JUMPS: [f64; 8] = [-3_600.0, -60.0, -10.0, -0.5, 0.5, 10.0, 60.0, 3_600.0];
/// How fast a clock runs that drifts.
const SPEEDS: [f64; 4] = [0.5, 0.8, 1.2, 2.0];

impl Nemesis for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn about(&self) -> &'static str {
        "the wall clock of the leader, of another replica, or of a minority jumps by up to an hour, or drifts"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Clock
    }

    fn lasts(&self) -> (u64, u64) {
        (2_000, 8_000)
    }

    fn missing(&self) -> Option<String> {
        library().is_none().then(|| "libfaketime is missing: install the package libfaketime".to_owned())
    }

    fn fit(&self, settings: &mut Settings) {
        settings.clocks = library();
    }

    fn only_for_product(&self) -> Option<&'static str> {
        Some("how a Java program lives with a faked clock is not known")
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let chosen = victims(cluster, dice);
        let (detail, clock) = if dice.percent(70) {
            let jump = JUMPS[dice.index(JUMPS.len())];
            (format!("clock {jump:+} s of"), format!("{jump:+}"))
        } else {
            let speed = SPEEDS[dice.index(SPEEDS.len())];
            (format!("clock {speed} times as fast of"), format!("+0 x{speed}"))
        };
        chosen.iter().try_for_each(|n| cluster.set_clock(*n, &clock))?;
        Ok(on(cluster, &detail, chosen))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        strike.targets.iter().try_for_each(|n| cluster.set_clock(*n, RIGHT))
    }
}

/// What says that a clock is right.
pub(crate) const RIGHT: &str = "+0";

/// The library that tells a process another time, where Debian puts it.
fn library() -> Option<PathBuf> {
    let machines = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut found = machines.map(|machine| machine.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path: &PathBuf| Path::is_file(path))
}

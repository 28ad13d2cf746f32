//! The same faults for several systems, and what each made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use timbermq_check::{Anomaly, Verdict};

use crate::record::{Finished, RECORD};
use crate::report;
use crate::suite::{self, Scenario};
use crate::system::System;

/// The faults that are compared, each a list of nemeses. They need processes, a network and disks, nothing of any system's own.
pub const FAULTS: [&str; 5] = ["kill", "pause", "partition", "power-all", "kill,pause,partition,power-all"];

/// Under what the systems are compared.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Seconds under load of each run.
    pub seconds: u64,
    /// How many times longer than usual faults and the rests between them last, for all systems.
    pub pace: u64,
    /// Operations a second.
    pub rate: u32,
    /// The seeds of the runs.
    pub seeds: Vec<u64>,
    /// The jars of the systems that have any.
    pub apache: Option<PathBuf>,
}

/// The runs: every fault for every system and seed.
#[must_use]
pub fn plan(systems: &[&'static dyn System], terms: &Terms) -> Vec<Scenario> {
    let mut planned = Vec::new();
    for seed in &terms.seeds {
        for nemeses in FAULTS {
            for system in systems {
                planned.push(Scenario {
                    name: format!("{}-{}-{seed}", system.name(), nemeses.replace(',', "+")),
                    system: system.name(),
                    apache: terms.apache.clone(),
                    pace: Some(terms.pace),
                    workloads: vec!["queue".to_owned()],
                    nemeses: nemeses.split(',').map(str::to_owned).collect(),
                    seconds: terms.seconds,
                    rate: terms.rate,
                    seed: *seed,
                    ..Scenario::default()
                });
            }
        }
    }
    planned
}

/// Makes the runs, one after the other, but for those that a directory has already.
///
/// # Errors
/// One cannot be started.
pub fn run(planned: &[Scenario], binary: &Path, dir: &Path) -> Result<()> {
    for scenario in planned {
        let own = dir.join(&scenario.name);
        if own.join(RECORD).exists() {
            continue;
        }
        let outcome = suite::one(scenario, binary, &own)?;
        eprintln!("{:<52} {:<8} {:>4} s  {}", scenario.name, outcome.verdict, outcome.seconds, outcome.why);
    }
    Ok(())
}

/// What became of the runs in a directory, as one object: `runs`, a row for each, and `settings`, those of each system.
///
/// # Errors
/// The directory cannot be read, or a run in it cannot be understood.
pub fn tabulate(dir: &Path) -> Result<Value> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut dirs: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    dirs.retain(|path| path.join(RECORD).exists());
    dirs.sort();
    let (mut runs, mut settings) = (Vec::new(), BTreeMap::new());
    for path in dirs {
        let finished = Finished::read(&path).with_context(|| path.display().to_string())?;
        let options = &finished.record.options;
        if !options.system().is_product() && !settings.contains_key(&options.system) {
            let of = |machine: &str| std::fs::read_to_string(path.join("conf").join(machine).join("server.conf"));
            settings.insert(options.system.clone(), json!({"replica": of("n1")?, "name_server": of("ns1")?}));
        }
        runs.push(row(&finished));
    }
    Ok(json!({"runs": runs, "settings": settings}))
}

/// A run in a row.
fn row(finished: &Finished) -> Value {
    let (judged, options) = (&finished.judged, &finished.record.options);
    let anomalies: Vec<Value> = judged
        .violated()
        .filter_map(|row| {
            let smallest = smallest(&row.anomalies)?;
            let operations = report::operations(finished, smallest);
            Some(json!({"id": row.id, "promise": row.statement, "words": smallest.words, "operations": operations}))
        })
        .collect();
    json!({
        "system": options.system,
        "version": options.apache.as_ref().map_or(env!("CARGO_PKG_VERSION"), |(_, version)| version),
        "faults": options.nemeses.join(", "),
        "seed": options.seed,
        "seconds": options.seconds,
        "pace": options.pace,
        "rate": options.rate,
        "command": options.command(),
        "verdict": finished.verdict().word(),
        "why": match finished.verdict() { Verdict::Unknown(why) => Some(why), _ => None },
        "broken": finished.record.broken,
        "struck": finished.faults().count(),
        "acked": judged.sends.ok,
        "unknown": judged.sends.unknown,
        "refused": judged.sends.fail,
        "violations": judged.violations(),
        "longest_pause_ms": finished.longest_pause().map(|pause| pause / 1_000),
        "anomalies": anomalies,
    })
}

/// The anomaly that takes the fewest operations to show.
fn smallest(anomalies: &[Anomaly]) -> Option<&Anomaly> {
    anomalies.iter().min_by_key(|anomaly| anomaly.operations.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{nemesis, system};

    #[test]
    fn every_system_gets_the_same_faults_and_seeds_and_all_of_them_fit() {
        let terms = Terms { seconds: 60, pace: 5, rate: 100, seeds: vec![1, 2], apache: None };
        let planned = plan(system::ALL, &terms);
        assert_eq!(planned.len(), system::ALL.len() * FAULTS.len() * 2);
        let names: BTreeSet<&String> = planned.iter().map(|run| &run.name).collect();
        assert_eq!(names.len(), planned.len());
        for name in planned.iter().flat_map(|run| &run.nemeses) {
            assert_eq!(nemesis::named(name).and_then(|nemesis| nemesis.only_for_product()), None, "{name}");
        }
    }

    #[test]
    fn the_smallest_anomaly_is_the_one_with_the_fewest_operations() {
        let anomaly = |operations: &[usize]| Anomaly { operations: operations.to_vec(), words: String::new() };
        let all = [anomaly(&[1, 2, 3]), anomaly(&[4, 5]), anomaly(&[6, 7])];
        assert_eq!(smallest(&all).map(|anomaly| anomaly.operations.clone()), Some(vec![4, 5]));
        assert!(smallest(&[]).is_none());
    }

    #[test]
    fn a_directory_without_runs_gives_an_empty_table() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("not-yet-a-run")).unwrap();
        assert_eq!(tabulate(dir.path()).unwrap(), json!({"runs": [], "settings": {}}));
        assert!(tabulate(&dir.path().join("nowhere")).is_err());
    }
}

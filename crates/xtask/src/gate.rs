//! A short S1 beside the skeleton, compared with what was accepted.
//!
//! Others on the machine slow both down, so both figures are parts of the skeleton's of the same minute. CPU time of a
//! message is the steadier one: between an idle machine and one with 1.7 of 2 cores taken its ratio moved by a third, that of
//! messages a second by a factor of two. So the latter is only asked whether it collapsed. What is too bad is measured again;
//! only what is so twice is a failure, and on a machine that others have most of it is no verdict.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use timbermq_bugs::SLOWDOWN;

use crate::accepted::{Accepted, Asked, Sends};
use crate::product::{self, Check};
use crate::run;
use crate::setup::{self, Ready};
use crate::workspace::without_cargo_variables;

/// What is measured: enough pairs for a median, and small segments, so that those used before are used again soon.
const S1: [&str; 16] = [
    "bench",
    "s1",
    "--json",
    "--windows",
    "64",
    "--pairs",
    "3",
    "--seconds",
    "3",
    "--fill",
    "5",
    "--no-calibration",
    "--set",
    "log.segment_bytes=64MiB",
    "--set",
    "retention.bytes=128MiB",
];
/// Part of the machine that others may use before what is too bad is no verdict.
const OTHERS_MAX: f64 = 0.5;
/// What tells that there was no verdict.
const NO_VERDICT: u8 = 2;
/// How often something must be too bad.
const ATTEMPTS: usize = 2;
/// Measurements whose medians are accepted.
const ACCEPTED: usize = 3;
/// Longest time of one measurement.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Medians of one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Medians {
    /// Messages a second, of the skeleton's.
    fraction: f64,
    /// CPU time of a message, of the skeleton's.
    cpu: f64,
    /// Cores that others used.
    others: f64,
}

impl Medians {
    fn of(report: &Value) -> Result<Self> {
        let row = &report["windows"][0];
        ensure!(row["errors"] == 0, "not every message was stored: {row}");
        let median = |name: &str| row[name].as_f64().with_context(|| format!("S1 told no {name}: {row}"));
        Ok(Self {
            fraction: median("fraction_of_skeleton")?,
            cpu: median("cpu_of_skeleton")?,
            others: median("others_cores")?,
        })
    }

    /// What is worse than accepted.
    fn worse(self, accepted: &Sends) -> Vec<String> {
        let mut worse = Vec::new();
        if let Some(before) = accepted.fraction_of_skeleton
            && self.fraction < before * (1.0 - accepted.tolerance_fraction)
        {
            worse.push(format!("{} of the skeleton's messages a second, accepted were {before}", self.fraction));
        }
        if let Some(before) = accepted.cpu_of_skeleton
            && self.cpu > before * (1.0 + accepted.tolerance_cpu)
        {
            worse.push(format!("{} times the skeleton's CPU time of a message, accepted were {before}", self.cpu));
        }
        worse
    }

    /// What is to be said beside the accepted ones.
    fn verdict(self, accepted: &Sends) -> String {
        let worse = self.worse(accepted);
        let is_better = accepted.cpu_of_skeleton.is_some_and(|cpu| self.cpu < cpu * (1.0 - accepted.tolerance_cpu));
        match (worse.is_empty(), is_better) {
            (false, _) => worse.join("; "),
            (true, true) => "much cheaper than accepted: accept it".to_owned(),
            (true, false) => "as accepted".to_owned(),
        }
    }

    fn told(self) -> String {
        let Self { fraction, cpu, others } = self;
        format!(
            "{fraction} of the skeleton's messages a second, {cpu} times its CPU time of a message; others used {others} cores"
        )
    }

    fn accepted(self, tolerances: &Sends) -> Sends {
        Sends { fraction_of_skeleton: Some(self.fraction), cpu_of_skeleton: Some(self.cpu), ..*tolerances }
    }

    fn to_json(self) -> Value {
        json!({
            "fraction_of_skeleton": self.fraction,
            "cpu_of_skeleton": self.cpu,
            "others_cores": self.others,
        })
    }
}

/// Measures, and compares.
///
/// # Errors
/// Something does not build, or cannot be measured.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let asked = Asked::parse(args, false)?;
    let ready = setup::prepare()?;
    let programs = Programs::build(&ready, asked.plant.is_some())?;
    if asked.accept {
        return accept(&ready, &programs, &asked);
    }
    let mut accepted = Accepted::read(&ready.workspace.root)?.sends;
    let plant = asked.plant.as_ref().map(|rounds| format!("{SLOWDOWN}{rounds}"));
    let mut runs = Vec::new();
    if plant.is_some() {
        // Of a build with assertions nothing was accepted, but what it comes to without the slowdown.
        let control = programs.measure(&ready, None)?;
        println!("as it is: {}", control.told());
        accepted = control.accepted(&accepted);
        runs.push(control);
    }
    ensure!(accepted.cpu_of_skeleton.is_some(), "nothing is accepted yet; cargo xtask bench gate --accept");
    let mut worse = Vec::new();
    for _ in 0..ATTEMPTS {
        let medians = programs.measure(&ready, plant.as_deref())?;
        runs.push(medians);
        worse = medians.worse(&accepted);
        println!("measured: {}; {}", medians.told(), medians.verdict(&accepted));
        if worse.is_empty() {
            break;
        }
    }
    if asked.json {
        println!("{}", report(&accepted, &runs, plant.as_deref(), &worse));
    }
    let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
    if !worse.is_empty() && runs.last().is_some_and(|run| run.others > cores * OTHERS_MAX) {
        println!("no verdict: others used most of the machine");
        return Ok(ExitCode::from(NO_VERDICT));
    }
    Ok(if worse.is_empty() != asked.must_fail { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Accepts the medians of several measurements.
fn accept(ready: &Ready, programs: &Programs, asked: &Asked) -> Result<ExitCode> {
    let runs: Vec<Medians> = (0..ACCEPTED).map(|_| programs.measure(ready, None)).collect::<Result<_>>()?;
    let middle = |figure: fn(&Medians) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[ACCEPTED / 2]
    };
    let medians =
        Medians { fraction: middle(|run| run.fraction), cpu: middle(|run| run.cpu), others: middle(|run| run.others) };
    println!("accepted: {}", medians.told());
    let mut accepted = Accepted::read(&ready.workspace.root)?;
    accepted.sends = medians.accepted(&accepted.sends);
    accepted.write(&ready.workspace.root)?;
    if asked.json {
        println!("{}", report(&accepted.sends, &runs, None, &[]));
    }
    Ok(ExitCode::SUCCESS)
}

fn report(accepted: &Sends, runs: &[Medians], plant: Option<&str>, worse: &[String]) -> Value {
    json!({
        "scenario": "gate",
        "accepted": {
            "fraction_of_skeleton": accepted.fraction_of_skeleton,
            "cpu_of_skeleton": accepted.cpu_of_skeleton,
        },
        "tolerance": {
            "fraction_of_skeleton": accepted.tolerance_fraction,
            "cpu_of_skeleton": accepted.tolerance_cpu,
        },
        "runs": runs.iter().map(|run| run.to_json()).collect::<Vec<_>>(),
        "planted": plant,
        "worse": worse,
    })
}

/// What is run.
struct Programs {
    product: std::path::PathBuf,
    bench: std::path::PathBuf,
    runner: std::path::PathBuf,
}

impl Programs {
    /// The product, if need be one that can have bugs; the bench, and with it the skeleton, is always compiled as what
    /// users run is.
    fn build(ready: &Ready, has_bugs: bool) -> Result<Self> {
        Ok(Self {
            product: product::build_with_bugs_if(ready, has_bugs)?,
            bench: product::build(ready, "timbermq-bench")?,
            runner: product::build_check(ready, Check::Program("timbermq-tests"))?,
        })
    }

    fn measure(&self, ready: &Ready, plant: Option<&str>) -> Result<Medians> {
        let mut command = without_cargo_variables(Command::new(&self.runner));
        command.args(S1).current_dir(&ready.workspace.root);
        command.env("TIMBERMQ_BIN", &self.product).env("TIMBERMQ_BENCH_BIN", &self.bench);
        if let Some(plant) = plant {
            command.args(["--plant", plant]);
        }
        let finished = run::watch(&mut command, LIMIT)?;
        ensure!(finished.status.success(), "S1 failed ({})", finished.status);
        Medians::of(&finished.json.context("S1 told no figures")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED_SENDS: Sends = Sends {
        tolerance_fraction: 0.3,
        tolerance_cpu: 0.2,
        fraction_of_skeleton: Some(0.5),
        cpu_of_skeleton: Some(2.0),
    };

    fn asked(args: &[&str]) -> Result<Asked> {
        Asked::parse(&args.iter().map(OsString::from).collect::<Vec<_>>(), false)
    }

    #[test]
    fn arguments_that_contradict_are_refused() {
        let valid = asked(&["--plant", "20", "--must-fail"]).expect("valid");
        assert_eq!((valid.plant.as_deref(), valid.must_fail), (Some("20"), true));
        for args in [&["--must-fail"][..], &["--plant"], &["--plant", "2", "--accept"], &["--pairs", "3"]] {
            assert!(asked(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn either_figure_may_be_too_bad_and_a_little_is_noise() {
        let worse = |fraction, cpu| Medians { fraction, cpu, others: 0.0 }.worse(&ACCEPTED_SENDS).len();
        assert_eq!([worse(0.5, 2.0), worse(0.36, 2.39), worse(0.9, 0.5)], [0, 0, 0]);
        assert_eq!([worse(0.34, 2.0), worse(0.5, 2.41), worse(0.1, 9.0)], [1, 1, 2]);
        let nothing = Sends { fraction_of_skeleton: None, cpu_of_skeleton: None, ..ACCEPTED_SENDS };
        assert!(Medians { fraction: 0.0, cpu: 9.0, others: 0.0 }.worse(&nothing).is_empty());
        assert!(Medians { fraction: 0.5, cpu: 1.5, others: 0.0 }.verdict(&ACCEPTED_SENDS).contains("accept it"));
    }

    #[test]
    fn a_run_with_errors_has_no_medians() {
        let row = |errors: u64| json!({ "fraction_of_skeleton": 0.4, "cpu_of_skeleton": 2.5, "others_cores": 0.1, "errors": errors });
        let report = |errors: u64| json!({ "windows": [row(errors)] });
        let medians = Medians { fraction: 0.4, cpu: 2.5, others: 0.1 };
        assert_eq!(Medians::of(&report(0)).expect("medians"), medians);
        assert!(Medians::of(&report(1)).is_err());
        assert!(Medians::of(&json!({ "windows": [{ "errors": 0 }] })).is_err());
    }
}

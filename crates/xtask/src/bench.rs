//! The benches: the product measured beside the least that a replicated log could cost.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::packages::{self, Missing};
use crate::product::Check;
use crate::workspace::{Workspace, stdout_of, without_cargo_variables};
use crate::{gate, golang, micro, page, product, run, setup};

/// Scenarios that run a whole cluster.
const SCENARIOS: [&str; 13] = ["s1", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s14", "growth", "peers"];
/// What the bench's own program does alone.
const TOOLS: [&str; 5] = ["load", "consume", "subscribe", "skeleton", "calibrate"];
/// What is slowed down as little as possible: nobody else's steps are killed for it.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(4 * 3600);

/// Runs a scenario or a tool.
///
/// # Errors
/// Something does not build, or cannot be measured.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let Some((what, rest)) = args.split_first() else { bail!("what is to be measured? see cargo xtask bench --help") };
    let what = what.to_string_lossy();
    match what.as_ref() {
        "micro" => return micro::run(rest),
        "gate" => return gate::run(rest),
        "page" => return drawings(rest),
        _ => {}
    }
    if TOOLS.contains(&what.as_ref()) {
        let binary = product::build(&setup::prepare()?, "timbermq-bench")?;
        return crate::status(without_cargo_variables(Command::new(binary)).arg(what.as_ref()).args(rest));
    }
    if !SCENARIOS.contains(&what.as_ref()) {
        bail!(
            "nothing is called {what}; there are {}, micro, gate, page and {}",
            SCENARIOS.join(", "),
            TOOLS.join(", ")
        );
    }
    let plan = Plan::parse(rest);
    let ready = setup::prepare()?;
    if what == "s9" && !plan.passed.iter().any(|arg| arg == "--own-only") {
        packages::ensure(packages::CLIENTS, Missing::Report)?;
    }
    let mut path = None;
    if what == "peers" {
        // Whoever cannot be installed is told in the row of the peer that needs it.
        if let Err(error) = packages::ensure(packages::PEERS, Missing::Install) {
            eprintln!("warning: {error:#}");
        }
        match golang::path_with_go(&ready.workspace.cache) {
            Ok(with_go) => path = Some(with_go),
            Err(error) => eprintln!("warning: {error:#}"),
        }
    }
    // The skeleton is no better compiled than what is held against it, nor worse.
    let bench = product::build(&ready, "timbermq-bench")?;
    let timbermq = product::build(&ready, "timbermq")?;
    let runner = product::build_check(&ready, Check::Program("timbermq-tests"))?;
    let root = &ready.workspace.root;
    let revision = stdout_of(Command::new("git").current_dir(root).args(["rev-parse", "--short", "HEAD"]))?;
    let mut command = without_cargo_variables(Command::new(runner));
    command.args(["bench", what.as_ref(), "--json", "--revision", revision.trim()]).args(&plan.passed);
    command.current_dir(root).env("TIMBERMQ_BIN", timbermq).env("TIMBERMQ_BENCH_BIN", bench);
    command.env("TIMBERMQ_CACHE", &ready.workspace.cache);
    if what == "s12" {
        command.env("TIMBERMQ_INDEX_LOAD_BIN", product::build(&ready, "timbermq-index-load")?);
    }
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let finished = run::watch(&mut command, LIMIT)?;
    if plan.record {
        let mut figures = finished.json.context("the bench told no figures")?;
        figures["command"] = format!("cargo xtask bench {what} {}", plan.told()).trim().into();
        page::record(root, &format!("bench-{}", plan.name(&what, &figures)), &figures)?;
        page::write_performance(root)?;
    }
    Ok(if finished.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the page that has drawings.
fn drawings(args: &[OsString]) -> Result<ExitCode> {
    let out = match args {
        [] => None,
        [flag, out] if flag == "--out" => Some(Path::new(out)),
        _ => bail!("unknown arguments; see cargo xtask bench --help"),
    };
    println!("{}", page::write_drawings(&Workspace::open()?.root, out)?.display());
    Ok(ExitCode::SUCCESS)
}

/// What is asked for: what goes to the runner, and what is this task's own.
struct Plan {
    passed: Vec<OsString>,
    record: bool,
}

impl Plan {
    fn parse(args: &[OsString]) -> Self {
        // The figures always end the output; whoever asks for them gets what everybody gets.
        let passed = args.iter().filter(|arg| *arg != "--record" && *arg != "--json").cloned().collect();
        Self { passed, record: args.iter().any(|arg| arg == "--record") }
    }

    /// The arguments as one would type them.
    fn told(&self) -> String {
        self.passed.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// The name under which figures are kept: S1 has one for each durability, other brokers for each scenario.
    fn name(&self, what: &str, figures: &Value) -> String {
        let kind = if what == "peers" { &figures["scenario"] } else { &figures["durability"] };
        kind.as_str().map_or_else(|| what.to_owned(), |kind| format!("{what}-{kind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_runner_gets_what_is_not_this_tasks_own() {
        let args: Vec<OsString> = ["--pairs", "5", "--record", "--json"].map(OsString::from).into();
        let plan = Plan::parse(&args);
        assert_eq!((plan.told().as_str(), plan.record), ("--pairs 5", true));
        assert_eq!(plan.name("s1", &json!({ "durability": "f" })), "s1-f");
        assert_eq!(plan.name("s9", &json!({})), "s9");
        assert_eq!(plan.name("peers", &json!({ "scenario": "s1", "durability": "f" })), "peers-s1");
    }
}

//! What the parts of the hot path cost in instructions, counted by callgrind and compared with what was accepted.
//!
//! Instructions are what stays the same on a machine that others use. Each operation is run twice, a few times and many
//! times; the difference over the difference is one operation, without start and set-up.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use timbermq_bugs::{SLOWDOWN, VARIABLE};

use crate::accepted::{Accepted, Asked, Micro};
use crate::packages::{self, Missing};
use crate::product::{self, Check};
use crate::setup::{self, Ready};
use crate::workspace::{array, stdout_of, without_cargo_variables};

/// Operations on whose path a planted slowdown is.
const SLOWED: [&str; 4] = ["log-append", "log-append-64k", "group-commit", "apply"];
/// What is measured with a planted slowdown, unless something else is asked for: two that it is in, two that it is not in.
const PLANTED: [&str; 4] = ["log-append", "apply", "record-decode", "crc32"];
/// Of the calls that tell something, this part is made before.
const FEW: u64 = 4;

/// One operation, as the program that does it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Operation {
    name: String,
    unit: String,
    units: u64,
    calls: u64,
}

/// What a count comes to beside the accepted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Within the tolerance.
    Good,
    /// More than accepted.
    More,
    /// So much less that the lesser one should be accepted.
    Less,
    /// There was none yet.
    New,
}

impl Verdict {
    fn of(instructions: f64, accepted: Option<f64>, tolerance: f64) -> Self {
        match accepted {
            None => Self::New,
            Some(accepted) if instructions > accepted * (1.0 + tolerance) => Self::More,
            Some(accepted) if instructions < accepted * (1.0 - tolerance) => Self::Less,
            Some(_) => Self::Good,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::More => "TOO MANY",
            Self::Less => "fewer: accept it",
            Self::New => "new: accept it",
        }
    }
}

struct Row {
    operation: Operation,
    /// Of one unit.
    instructions: f64,
    accepted: Option<f64>,
    verdict: Verdict,
    /// Nanoseconds of one unit by the clock, where they were measured.
    ns: Option<f64>,
}

/// Counts, and compares.
///
/// # Errors
/// Something does not build, or valgrind is missing and may not be installed.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let asked = Asked::parse(args, true)?;
    packages::ensure(packages::COUNTING, Missing::Install)?;
    let ready = setup::prepare()?;
    match &asked.plant {
        None => compare(&ready, &asked),
        Some(rounds) => planted(&ready, &asked, rounds),
    }
}

fn compare(ready: &Ready, asked: &Asked) -> Result<ExitCode> {
    let root = &ready.workspace.root;
    let program = product::build(ready, "timbermq-micro")?;
    let operations = selected(&program, &asked.only)?;
    let tools = tools()?;
    let mut accepted = Accepted::read(root)?;
    let (tolerance, elsewhere) = tolerance(&accepted.micro, &tools);
    for difference in &elsewhere {
        eprintln!("warning: counted with other tools than what was accepted: {difference}; {tolerance} is tolerated");
    }
    let counts = count_all(&program, &operations, None)?;
    let rows = operations.into_iter().zip(counts).map(|(operation, instructions)| {
        let before = accepted.micro.instructions.get(&operation.name).copied();
        let ns = time(&program, &operation.name)?;
        let verdict = Verdict::of(instructions, before, tolerance);
        Ok(Row { operation, instructions, accepted: before, verdict, ns: Some(ns) })
    });
    let rows: Vec<Row> = rows.collect::<Result<_>>()?;
    print(&rows);
    let mut good = rows.iter().all(|row| row.verdict != Verdict::More);
    if asked.accept {
        if asked.only.is_empty() {
            accepted.micro.instructions.clear();
        }
        ensure!(asked.only.is_empty() || elsewhere.is_empty(), "with other tools all is to be accepted, or nothing");
        accepted.micro.instructions.extend(rows.iter().map(|row| (row.operation.name.clone(), row.instructions)));
        accepted.micro.tools = tools.clone();
        accepted.write(root)?;
        good = true;
    }
    if asked.json {
        println!("{}", to_json(&rows, &tools, tolerance));
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts a build that can be slowed down, as it is and slowed down: what it is comes to is what is accepted of it.
fn planted(ready: &Ready, asked: &Asked, rounds: &str) -> Result<ExitCode> {
    let program = product::build_check(ready, Check::Program("timbermq-micro"))?;
    let default = || PLANTED.map(str::to_owned).to_vec();
    let only = if asked.only.is_empty() { default() } else { asked.only.clone() };
    let operations = selected(&program, &only)?;
    let control = count_all(&program, &operations, None)?;
    let again = count_all(&program, &operations, None)?;
    let slowed = count_all(&program, &operations, Some(&format!("{SLOWDOWN}{rounds}")))?;
    let tolerance = Accepted::read(&ready.workspace.root)?.micro.tolerance;
    let mut rows = Vec::new();
    let mut is_told_apart = true;
    for (at, operation) in operations.into_iter().enumerate() {
        let judge = |counts: &[f64]| Verdict::of(counts[at], Some(control[at]), tolerance);
        let should = SLOWED.contains(&operation.name.as_str());
        is_told_apart &= judge(&again) == Verdict::Good && (judge(&slowed) == Verdict::More) == should;
        let (instructions, accepted, verdict) = (slowed[at], Some(control[at]), judge(&slowed));
        rows.push(Row { operation, instructions, accepted, verdict, ns: None });
    }
    print(&rows);
    let is_red = rows.iter().any(|row| row.verdict == Verdict::More);
    println!(
        "planted: {} more rounds; {}",
        rounds,
        if is_told_apart { "seen where it is and nowhere else" } else { "NOT told apart" }
    );
    if asked.json {
        println!("{}", to_json(&rows, &tools()?, tolerance));
    }
    let good = if asked.must_fail { is_red && is_told_apart } else { !is_red };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The operations of these names; all, if there are none.
fn selected(program: &Path, only: &[String]) -> Result<Vec<Operation>> {
    let listed: Value = serde_json::from_str(&stdout_of(without_cargo_variables(Command::new(program)).arg("list"))?)?;
    let operation = |row: &Value| {
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        Some(Operation {
            name: text("name")?,
            unit: text("unit")?,
            units: row["units"].as_u64()?,
            calls: row["calls"].as_u64()?,
        })
    };
    let all: Vec<Operation> = array(&listed).filter_map(operation).collect();
    for name in only {
        let names = || all.iter().map(|operation| operation.name.as_str()).collect::<Vec<_>>().join(", ");
        ensure!(all.iter().any(|operation| operation.name == *name), "nothing is called {name}; there are {}", names());
    }
    Ok(all.into_iter().filter(|operation| only.is_empty() || only.contains(&operation.name)).collect())
}

/// Instructions of one unit of each operation, counted on as many cores as there are.
fn count_all(program: &Path, operations: &[Operation], bug: Option<&str>) -> Result<Vec<f64>> {
    let waiting = Mutex::new(operations.iter().enumerate());
    let next = || waiting.lock().ok()?.next();
    let work = || {
        let mut done = Vec::new();
        while let Some((at, operation)) = next() {
            done.push((at, count(program, operation, bug)));
        }
        done
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut counts: Vec<(usize, Result<f64>)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    counts.sort_by_key(|(at, _)| *at);
    ensure!(counts.len() == operations.len(), "an operation was not counted");
    counts.into_iter().map(|(_, count)| count).collect()
}

fn count(program: &Path, operation: &Operation, bug: Option<&str>) -> Result<f64> {
    let few = (operation.calls / FEW).max(1);
    let [first, second] = [few, few + operation.calls].map(|calls| instructions(program, &operation.name, calls, bug));
    let each = (second? as f64 - first? as f64) / (operation.calls * operation.units) as f64;
    Ok((each * 10.0).round() / 10.0)
}

/// All instructions of a run. Its environment is always the same: it lies on the stack.
fn instructions(program: &Path, name: &str, calls: u64, bug: Option<&str>) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command.args(["run", name, &calls.to_string()]).env_clear();
    command.envs(["PATH", "TMPDIR"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command.envs(bug.map(|bug| (VARIABLE, bug)));
    let output = command.stdin(Stdio::null()).output().context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed under valgrind:\n{}", said.trim_end());
    collected(&said).with_context(|| format!("valgrind did not tell what it counted:\n{said}"))
}

/// The total that callgrind tells at its end.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

fn time(program: &Path, name: &str) -> Result<f64> {
    let told = stdout_of(without_cargo_variables(Command::new(program)).args(["time", name]))?;
    let told: Value = serde_json::from_str(&told).context("a time is JSON")?;
    told["ns"].as_f64().context("a time has nanoseconds")
}

/// What decides about counts beside the code. Under valgrind every processor looks the same, if only it has AVX2.
fn tools() -> Result<BTreeMap<String, String>> {
    let first = |program: &str, args: &[&str]| -> Result<String> {
        let told = stdout_of(Command::new(program).args(args))?;
        Ok(told.lines().next().unwrap_or_default().trim().to_owned())
    };
    let has_avx2 = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| info.contains(" avx2 "));
    let processor = format!("{}{}", env::consts::ARCH, if has_avx2 { ", AVX2" } else { "" });
    Ok(BTreeMap::from([
        ("rustc".to_owned(), first("rustc", &["--version"])?),
        ("cxx".to_owned(), first("g++", &["-dumpfullversion"])?),
        ("valgrind".to_owned(), first("valgrind", &["--version"])?),
        ("libc".to_owned(), first("getconf", &["GNU_LIBC_VERSION"])?),
        ("processor".to_owned(), processor),
    ]))
}

/// What is tolerated, and how the tools differ from those that counted what was accepted.
fn tolerance(accepted: &Micro, tools: &BTreeMap<String, String>) -> (f64, Vec<String>) {
    let differences: Vec<String> = accepted
        .tools
        .iter()
        .filter(|(name, value)| tools.get(*name) != Some(value))
        .map(|(name, value)| format!("{name} was {value}, is {}", tools.get(name).map_or("missing", String::as_str)))
        .collect();
    (if differences.is_empty() { accepted.tolerance } else { accepted.tolerance_elsewhere }, differences)
}

fn print(rows: &[Row]) {
    println!("{:21} {:>12} {:>12} {:>8} {:>10}  of one", "operation", "instructions", "accepted", "change", "ns");
    for row in rows {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        let change = row
            .accepted
            .map_or_else(String::new, |accepted| format!("{:+.1} %", (row.instructions / accepted - 1.0) * 100.0));
        println!(
            "{:21} {:>12.1} {:>12} {change:>8} {:>10}  {}; {}",
            row.operation.name,
            row.instructions,
            number(row.accepted),
            number(row.ns),
            row.operation.unit,
            row.verdict.word()
        );
    }
}

fn to_json(rows: &[Row], tools: &BTreeMap<String, String>, tolerance: f64) -> Value {
    let row = |row: &Row| {
        json!({
            "name": row.operation.name,
            "unit": row.operation.unit,
            "instructions": row.instructions,
            "accepted": row.accepted,
            "ns": row.ns,
            "verdict": row.verdict.word(),
        })
    };
    json!({
        "scenario": "micro",
        "operations": rows.len(),
        "too_many": rows.iter().filter(|row| row.verdict == Verdict::More).count(),
        "tolerance": tolerance,
        "tools": tools,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str]) -> Result<Asked> {
        Asked::parse(&args.iter().map(OsString::from).collect::<Vec<_>>(), true)
    }

    #[test]
    fn arguments_that_contradict_are_refused() {
        let both = asked(&["--only", "crc32", "--only", "apply", "--json"]).expect("valid");
        assert_eq!((both.only.as_slice(), both.json), (&["crc32".to_owned(), "apply".to_owned()][..], true));
        for args in [&["--only"][..], &["--must-fail"], &["--plant"], &["--plant", "3", "--accept"], &["--fast"]] {
            assert!(asked(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn three_in_a_hundred_more_are_too_many_and_fewer_are_to_be_accepted() {
        let verdict = |instructions| Verdict::of(instructions, Some(1000.0), 0.03);
        assert_eq!([1000.0, 1030.0, 970.0].map(verdict), [Verdict::Good; 3]);
        assert_eq!((verdict(1030.5), verdict(969.0)), (Verdict::More, Verdict::Less));
        assert_eq!(Verdict::of(5.0, None, 0.03), Verdict::New);
    }

    #[test]
    fn with_other_tools_more_is_tolerated() {
        let tools = |rustc: &str| BTreeMap::from([("rustc".to_owned(), rustc.to_owned())]);
        let accepted = Micro { tools: tools("1.95"), ..Accepted::default().micro };
        assert_eq!(tolerance(&accepted, &tools("1.95")), (accepted.tolerance, vec![]));
        let (wider, differences) = tolerance(&accepted, &tools("1.96"));
        assert_eq!((wider, differences), (accepted.tolerance_elsewhere, vec!["rustc was 1.95, is 1.96".to_owned()]));
    }

    #[test]
    fn the_total_is_found_in_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 5163121\n==7== \n==7== I   refs:      5,163,121\n";
        assert_eq!(collected(said), Some(5_163_121));
        assert_eq!(collected("==7== Command: x\n"), None);
    }
}

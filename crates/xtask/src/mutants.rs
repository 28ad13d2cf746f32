//! Mutation testing: small changes to the code, each of which some test must notice.
//!
//! `cargo-mutants` makes the changes; here they are drawn by seed, run in a copy of the clone, and held against the list
//! of survivors that are known and explained. A survivor that is not on the list is a missing test.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::lock;
use crate::setup::{self, Ready};
use crate::workspace::{array, cargo, without_cargo_variables};

/// The version of cargo-mutants: another one makes other mutants, and the figures cannot be compared.
const PINNED: &str = "27.1.0";
/// The profile of the workspace in which a mutant costs least.
const PROFILE: &str = "mutants";
/// The profile in which slow tests cost least.
const SLOW_PROFILE: &str = "release";
/// Explained survivors, relative to the root of the clone.
const SURVIVORS: &str = "crates/xtask/mutants-survivors.toml";
/// Where `--record` puts the figures, relative to the root of the clone.
const RECORD: &str = "crates/timbermq/docs/results/mutants.json";
/// Mutants of each package that are run unless the arguments say otherwise.
const SAMPLE: usize = 20;
/// The least share, in percent, of the mutants without an explanation that tests must notice.
const GOAL_PERCENT: u64 = 85;

/// What is mutated: checkers, codecs, log and state machine.
struct Target {
    /// Short name of the package.
    package: &'static str,
    /// Files, as globs; all of the package when empty.
    files: &'static [&'static str],
    /// Which of its tests are built.
    tests: &'static [&'static str],
    /// Tests that take most of the time. Only what the others miss is run again with them.
    slow: &'static [&'static str],
}

const TARGETS: &[Target] = &[
    Target { package: "record", files: &[], tests: &["--lib", "--tests"], slow: &[] },
    Target { package: "remoting", files: &[], tests: &["--lib", "--tests"], slow: &[] },
    Target { package: "machine", files: &[], tests: &["--lib", "--tests"], slow: &[] },
    Target { package: "commitlog", files: &[], tests: &["--lib"], slow: &["tests::crash", "tests::files::"] },
    Target { package: "check", files: &[], tests: &["--lib", "--tests"], slow: &[] },
    // The codecs only, and without the tests that run whole groups: those take long and see no codec.
    Target {
        package: "replica",
        files: &["crates/replica/src/wire.rs", "crates/replica/src/peer/{message,frame,handshake}.rs"],
        tests: &["--lib"],
        slow: &[],
    },
];

/// Not mutated: what tests are made of, and text for people, which promises nothing.
const EXCLUDED_FILES: &[&str] = &[
    "crates/*/src/testing.rs",
    "crates/*/src/tests/**",
    "crates/*/src/**/tests.rs",
    "crates/machine/src/memory.rs",
    // Makes valid histories and plants anomalies into them: another history, or another anomaly, is as good a test.
    "crates/check/src/selftest.rs",
    "crates/check/src/selftest/**",
];
const EXCLUDED_NAMES: &str = r"impl (fmt::)?(Debug|Display) for|::fmt -> ";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    changed: Option<String>,
    /// Mutants of each package; `None` is all.
    sample: Option<usize>,
    seed: u64,
    packages: Vec<String>,
    json: bool,
    record: bool,
}

impl Options {
    fn parse(args: &[OsString]) -> Result<Self> {
        let mut options =
            Self { changed: None, sample: Some(SAMPLE), seed: 1, packages: Vec::new(), json: false, record: false };
        let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--changed" => options.changed = Some(value()?),
                "--sample" => options.sample = Some(value()?.parse().context("--sample needs a number")?),
                "--all" => options.sample = None,
                "--seed" => options.seed = value()?.parse().context("--seed needs a number")?,
                "--package" => {
                    let name = value()?;
                    let known = TARGETS.iter().any(|target| target.package == name);
                    ensure!(known, "{name} is not among the packages that are mutated: {}", package_names());
                    options.packages.push(name);
                }
                "--json" => options.json = true,
                "--record" => options.record = true,
                other => bail!("unknown argument {other}; see cargo xtask mutants --help"),
            }
        }
        Ok(options)
    }

    fn targets(&self) -> impl Iterator<Item = &'static Target> {
        let wanted = |target: &&Target| self.packages.is_empty() || self.packages.iter().any(|p| p == target.package);
        TARGETS.iter().filter(wanted)
    }
}

fn package_names() -> String {
    TARGETS.iter().map(|target| target.package).collect::<Vec<_>>().join(", ")
}

/// Draws mutants and runs them.
///
/// # Errors
/// Fails when cargo-mutants cannot be installed or run, or when tests fail before anything is mutated.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let options = Options::parse(args)?;
    let started = Instant::now();
    let ready = setup::prepare()?;
    let bench = Bench::open(&ready)?;
    let survivors = Survivors::read(&ready.workspace.root.join(SURVIVORS))?;
    let mut ran = BTreeMap::new();
    for target in options.targets() {
        let listed = bench.list(target, options.changed.as_deref())?;
        let drawn = draw(&listed, options.sample.unwrap_or(listed.len()), options.seed);
        println!("{}: {} of {} mutants", target.package, drawn.len(), listed.len());
        let verdicts = bench.try_out(target, &drawn)?;
        ran.insert(target.package, Ran { listed: listed.len(), verdicts });
    }
    let mut total = Tally::default();
    let mut rows = serde_json::Map::new();
    for (package, ran) in &ran {
        let tally = Tally::of(&ran.verdicts, &survivors);
        let mut row = tally.json();
        row["listed"] = json!(ran.listed);
        row["seed"] = json!(options.seed);
        rows.insert((*package).to_owned(), row);
        total += tally;
    }
    println!("\n{}", total.line());
    for survivor in &total.unexplained {
        println!("  not noticed: {survivor}");
    }
    for caught in &total.stale {
        println!("  noticed by now, take it off {SURVIVORS}: {caught}");
    }
    let mut summary = total.json();
    summary["sample"] = options.sample.map_or(json!("all"), |sample| json!(sample));
    summary["seed"] = json!(options.seed);
    summary["changed"] = json!(options.changed);
    summary["goal_percent"] = json!(GOAL_PERCENT);
    summary["seconds"] = json!(started.elapsed().as_secs());
    if options.record {
        record(&ready.workspace.root.join(RECORD), &rows)?;
    }
    summary["packages"] = Value::Object(rows);
    if options.json {
        println!("{summary}");
    }
    let good = total.unexplained.is_empty() && total.stale.is_empty() && total.reaches_goal();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts the rows of the packages that ran in the place of their earlier ones, and sums up all.
fn record(path: &Path, rows: &serde_json::Map<String, Value>) -> Result<()> {
    let earlier = fs::read_to_string(path).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let mut packages = earlier.as_ref().and_then(|file| file["packages"].as_object()).cloned().unwrap_or_default();
    packages.extend(rows.clone());
    let sum = |key: &str| packages.values().filter_map(|row| row[key].as_u64()).sum::<u64>();
    let unexplained: Vec<&Value> = packages.values().flat_map(|row| array(&row["unexplained"])).collect();
    let tally = Tally { caught: sum("caught"), timeout: sum("timeout"), missed: sum("missed"), ..Tally::default() };
    let file = json!({
        "mutants": sum("mutants"),
        "caught": tally.caught,
        "missed": tally.missed,
        "timeout": tally.timeout,
        "unviable": sum("unviable"),
        "caught_percent": tally.caught_permille() as f64 / 10.0,
        "explained": sum("explained"),
        "unexplained": unexplained,
        "goal_percent": GOAL_PERCENT,
        "packages": packages,
    });
    fs::create_dir_all(path.parent().context("a file has a directory")?)?;
    let text = serde_json::to_string_pretty(&file)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A mutant, named without its place in the file so that it keeps its name when lines move.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mutant {
    /// As cargo-mutants calls it: `file:line:column: what`.
    full: String,
    file: String,
    what: String,
    /// The source line it starts in, without blanks around it.
    line: String,
}

/// What the tests made of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Caught,
    Missed,
    Timeout,
    Unviable,
}

struct Ran {
    listed: usize,
    verdicts: Vec<(Mutant, Verdict)>,
}

/// A copy of the clone in which the code is changed, and the program that changes it.
struct Bench {
    tool: PathBuf,
    tree: PathBuf,
    out: PathBuf,
    target_dir: PathBuf,
    root: PathBuf,
    /// Nobody else works in the copy.
    _lock: fs::File,
}

impl Bench {
    fn open(ready: &Ready) -> Result<Self> {
        let dir = ready.workspace.cache.join("mutants");
        let lock = lock::exclusive(&ready.workspace.cache.join("mutants.lock"))?;
        let tool = install(&ready.workspace.cache)?;
        let root = ready.workspace.root.clone();
        let bench = Self {
            tool,
            tree: dir.join("tree"),
            out: dir.join("out"),
            target_dir: dir.join("target"),
            root,
            _lock: lock,
        };
        copy(&bench.root, &bench.tree)?;
        Ok(bench)
    }

    fn command<'a>(&self, target: &Target, files: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = without_cargo_variables(Command::new(&self.tool));
        command.arg("mutants").current_dir(&self.tree).args(["--no-config", "--cap-lints", "true"]);
        command.args(["--package", &format!("timbermq-{}", target.package)]);
        files.into_iter().for_each(|file| _ = command.args(["--file", file]));
        EXCLUDED_FILES.iter().for_each(|file| _ = command.args(["--exclude", file]));
        command.args(["--exclude-re", EXCLUDED_NAMES]);
        command.env("CARGO_TARGET_DIR", &self.target_dir);
        command.env_remove("RUSTFLAGS");
        command.stdin(Stdio::null());
        command
    }

    /// All mutants of a target, or those in lines that differ from `changed`.
    fn list(&self, target: &Target, changed: Option<&str>) -> Result<Vec<Mutant>> {
        let mut command = self.command(target, target.files.iter().copied());
        command.args(["--list", "--json"]);
        if let Some(base) = changed {
            let diff = Command::new("git").args(["diff", base, "--", "crates"]).current_dir(&self.root).output()?;
            ensure!(
                diff.status.success(),
                "git diff {base} failed:\n{}",
                String::from_utf8_lossy(&diff.stderr).trim_end()
            );
            if diff.stdout.is_empty() {
                return Ok(Vec::new());
            }
            let path = self.tree.with_file_name("changed.diff");
            fs::write(&path, diff.stdout)?;
            command.arg("--in-diff").arg(path);
        }
        let output = command.output().context("cannot run cargo-mutants")?;
        ensure!(
            output.status.success(),
            "cargo-mutants --list failed:\n{}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        // It says so in words when a diff touches nothing of the package.
        let text = String::from_utf8_lossy(&output.stdout);
        let listed: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        array(&listed).map(|mutant| self.mutant(mutant)).collect()
    }

    fn mutant(&self, value: &Value) -> Result<Mutant> {
        let full = value["name"].as_str().context("a mutant has a name")?.to_owned();
        let file = value["file"].as_str().context("a mutant has a file")?.to_owned();
        let number = value["span"]["start"]["line"].as_u64().and_then(|line| usize::try_from(line).ok());
        let what = full.splitn(4, ':').nth(3).context("a mutant's name starts with its place")?.trim().to_owned();
        let text = fs::read_to_string(self.root.join(&file)).with_context(|| format!("cannot read {file}"))?;
        let line = number.and_then(|number| text.lines().nth(number - 1)).unwrap_or_default().trim().to_owned();
        Ok(Mutant { full, file, what, line })
    }

    fn try_out(&self, target: &Target, drawn: &[Mutant]) -> Result<Vec<(Mutant, Verdict)>> {
        let mut verdicts = self.pass(target, drawn, PROFILE, target.slow)?;
        let missed: Vec<Mutant> = verdicts
            .iter()
            .filter(|(_, verdict)| *verdict == Verdict::Missed)
            .map(|(mutant, _)| mutant.clone())
            .collect();
        if !target.slow.is_empty() {
            for (mutant, verdict) in self.pass(target, &missed, SLOW_PROFILE, &[])? {
                verdicts.retain(|(known, _)| *known != mutant);
                verdicts.push((mutant, verdict));
            }
        }
        Ok(verdicts)
    }

    /// Runs `drawn` with all tests but `skipped`. The deletions of a field in the same files come along, whatever the
    /// patterns say, and count.
    fn pass(
        &self,
        target: &Target,
        drawn: &[Mutant],
        profile: &str,
        skipped: &[&str],
    ) -> Result<Vec<(Mutant, Verdict)>> {
        if drawn.is_empty() {
            return Ok(Vec::new());
        }
        let out = self.out.join(target.package);
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        fs::create_dir_all(&out)?;
        let files: BTreeSet<&str> = drawn.iter().map(|mutant| mutant.file.as_str()).collect();
        let mut command = self.command(target, files);
        command.args(["--in-place", "--profile", profile, "--output"]).arg(&out);
        // A mutant that makes a test wait for ever is noticed by the clock, which must not take a busy machine for one.
        command.args(["--minimum-test-timeout", "30", "--timeout-multiplier", "8"]);
        drawn.iter().for_each(|mutant| _ = command.args(["--re", &format!("^{}$", escaped(&mutant.full))]));
        command.arg("--").args(target.tests).arg("--");
        skipped.iter().for_each(|test| _ = command.args(["--skip", test]));
        let status = command.status().context("cannot run cargo-mutants")?;
        let path = out.join("mutants.out/outcomes.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cargo-mutants ended with {status} and no result"))?;
        let outcomes: Value = serde_json::from_str(&text).context("cargo-mutants wrote something unreadable")?;
        let mut verdicts = Vec::new();
        for outcome in array(&outcomes["outcomes"]) {
            let verdict = match outcome["summary"].as_str() {
                Some("CaughtMutant") => Verdict::Caught,
                Some("MissedMutant") => Verdict::Missed,
                Some("Timeout") => Verdict::Timeout,
                Some("Unviable") => Verdict::Unviable,
                Some("Success") => continue,
                other => bail!("tests of {} fail before anything is mutated ({other:?})", target.package),
            };
            verdicts.push((self.mutant(&outcome["scenario"]["Mutant"])?, verdict));
        }
        let lacking = drawn.iter().filter(|mutant| !verdicts.iter().any(|(known, _)| known == *mutant)).count();
        ensure!(lacking == 0, "{lacking} of {} mutants have no result", drawn.len());
        Ok(verdicts)
    }
}

/// Returns the pinned cargo-mutants, which is built in the cache when absent.
fn install(cache: &Path) -> Result<PathBuf> {
    let root = cache.join(format!("cargo-mutants-{PINNED}"));
    let tool = root.join("bin/cargo-mutants");
    if !tool.exists() {
        eprintln!("setup: building cargo-mutants {PINNED} in the cache");
        let mut command = cargo();
        command.args(["install", "cargo-mutants", "--locked", "--version", &format!("={PINNED}"), "--root"]).arg(&root);
        // Anywhere but in the clone, whose pinned toolchain and lints are not this program's.
        let status = command.current_dir(cache).status().context("cannot run cargo")?;
        ensure!(status.success(), "cargo install cargo-mutants failed");
    }
    Ok(tool)
}

/// Copies what git knows of, as it is in the clone now, and removes what the copy has beyond that. Files that are the same
/// are left alone, so that cargo does not compile them again.
fn copy(root: &Path, tree: &Path) -> Result<()> {
    let list = |args: &[&str]| -> Result<Vec<String>> {
        let output = Command::new("git").args(args).current_dir(root).output().context("cannot run git")?;
        ensure!(output.status.success(), "git {args:?} failed");
        let text = String::from_utf8(output.stdout).context("names are UTF-8")?;
        Ok(text.split_terminator('\0').map(str::to_owned).collect())
    };
    let names = list(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    for name in &names {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(now) = fs::read(&from) else {
            // Deleted in the clone and not committed.
            let _ = fs::remove_file(&to);
            continue;
        };
        if fs::read(&to).is_ok_and(|there| there == now) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file has a directory")?)?;
        fs::write(&to, now).with_context(|| format!("cannot write {}", to.display()))?;
    }
    let known: BTreeSet<PathBuf> = names.iter().map(PathBuf::from).collect();
    let mut dirs = vec![tree.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if !known.contains(path.strip_prefix(tree)?) {
                fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

/// `count` of `listed`, the same ones for the same seed, in their order.
fn draw(listed: &[Mutant], count: usize, seed: u64) -> Vec<Mutant> {
    let mut ranked: Vec<(u64, usize)> = listed
        .iter()
        .enumerate()
        .map(|(at, mutant)| (rank(seed, &format!("{}{}{at}", mutant.file, mutant.what)), at))
        .collect();
    ranked.sort_unstable();
    ranked.truncate(count);
    let mut chosen: Vec<usize> = ranked.into_iter().map(|(_, at)| at).collect();
    chosen.sort_unstable();
    chosen.into_iter().map(|at| listed[at].clone()).collect()
}

/// FNV-1a over the text, finished so that close texts are far apart.
fn rank(seed: u64, text: &str) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// A pattern that matches `text` alone.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The survivors that are known, each with the reason why no test can or need notice it.
struct Survivors(Vec<Survivor>);

struct Survivor {
    file: String,
    what: String,
    line: String,
}

impl Survivors {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not understood", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let entries = table.get("survivor").and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut survivors = Vec::new();
        for entry in entries {
            let text = |key: &str| {
                let value = entry.get(key).and_then(toml::Value::as_str).map(str::trim).filter(|text| !text.is_empty());
                value.map(str::to_owned).with_context(|| format!("a survivor has no {key}: {entry}"))
            };
            text("reason")?;
            survivors.push(Survivor { file: text("file")?, what: text("mutant")?, line: text("line")? });
        }
        Ok(Self(survivors))
    }

    fn explains(&self, mutant: &Mutant) -> bool {
        let is_it =
            |known: &Survivor| known.file == mutant.file && known.what == mutant.what && known.line == mutant.line;
        self.0.iter().any(is_it)
    }
}

/// What came of some mutants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    mutants: u64,
    caught: u64,
    missed: u64,
    timeout: u64,
    unviable: u64,
    explained: u64,
    unexplained: Vec<String>,
    /// Explained, and yet caught.
    stale: Vec<String>,
}

impl Tally {
    fn of(verdicts: &[(Mutant, Verdict)], survivors: &Survivors) -> Self {
        let mut tally = Self::default();
        for (mutant, verdict) in verdicts {
            let known = survivors.explains(mutant);
            tally.mutants += 1;
            match verdict {
                Verdict::Caught => tally.caught += 1,
                Verdict::Timeout => tally.timeout += 1,
                Verdict::Unviable => tally.unviable += 1,
                Verdict::Missed => tally.missed += 1,
            }
            match (verdict, known) {
                (Verdict::Missed, true) => tally.explained += 1,
                (Verdict::Missed, false) => tally.unexplained.push(format!("{} in `{}`", mutant.full, mutant.line)),
                (Verdict::Caught, true) => tally.stale.push(mutant.full.clone()),
                _ => {}
            }
        }
        tally
    }

    /// Tenths of a percent of the viable mutants that tests noticed; one that made them hang is noticed.
    fn caught_permille(&self) -> u64 {
        let noticed = self.caught + self.timeout;
        (noticed * 1000).checked_div(noticed + self.missed).unwrap_or(1000)
    }

    /// Whether enough were noticed of those that can be.
    fn reaches_goal(&self) -> bool {
        let noticed = self.caught + self.timeout;
        noticed * 100 >= GOAL_PERCENT * (noticed + self.missed - self.explained)
    }

    fn line(&self) -> String {
        format!(
            "{} mutants: {} caught, {} timed out, {} missed ({} explained), {} did not compile; {}.{} % noticed",
            self.mutants,
            self.caught,
            self.timeout,
            self.missed,
            self.explained,
            self.unviable,
            self.caught_permille() / 10,
            self.caught_permille() % 10,
        )
    }

    fn json(&self) -> Value {
        json!({
            "mutants": self.mutants,
            "caught": self.caught,
            "missed": self.missed,
            "timeout": self.timeout,
            "unviable": self.unviable,
            "caught_percent": self.caught_permille() as f64 / 10.0,
            "explained": self.explained,
            "unexplained": self.unexplained,
            "stale": self.stale,
        })
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.mutants += other.mutants;
        self.caught += other.caught;
        self.missed += other.missed;
        self.timeout += other.timeout;
        self.unviable += other.unviable;
        self.explained += other.explained;
        self.unexplained.extend(other.unexplained);
        self.stale.extend(other.stale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(what: &str) -> Mutant {
        Mutant { full: format!("a.rs:1:1: {what}"), file: "a.rs".into(), what: what.into(), line: "a > b".into() }
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_others() {
        let listed: Vec<_> = (0..100).map(|n| mutant(&format!("replace {n}"))).collect();
        let drawn = draw(&listed, 10, 1);
        assert_eq!(drawn.len(), 10);
        assert_eq!(draw(&listed, 10, 1), drawn);
        assert_ne!(draw(&listed, 10, 2), drawn);
        assert_eq!(draw(&listed, 1000, 1), listed, "all there are, in order");
    }

    #[test]
    fn a_survivor_needs_a_reason_and_is_known_by_its_line_wherever_that_is() {
        let entry = "[[survivor]]\nfile = 'a.rs'\nmutant = 'replace > with >='\nline = 'a > b'\n";
        assert!(Survivors::parse(entry).is_err(), "no reason");
        let survivors = Survivors::parse(&format!("{entry}reason = 'equivalent'\n")).expect("complete");
        let mut moved = mutant("replace > with >=");
        moved.full = "a.rs:77:3: replace > with >=".into();
        assert!(survivors.explains(&moved));
        moved.line = "c > d".into();
        assert!(!survivors.explains(&moved));
        assert!(Survivors::parse("").expect("an empty list").0.is_empty());
    }

    #[test]
    fn only_what_is_not_explained_counts_against_the_goal() {
        let survivors = Survivors::parse(
            "[[survivor]]\nfile = 'a.rs'\nmutant = 'known'\nline = 'a > b'\nreason = 'equivalent'\n\
             [[survivor]]\nfile = 'a.rs'\nmutant = 'caught by now'\nline = 'a > b'\nreason = 'was equivalent'\n",
        )
        .expect("complete");
        let verdicts = [
            (mutant("one"), Verdict::Caught),
            (mutant("caught by now"), Verdict::Caught),
            (mutant("known"), Verdict::Missed),
            (mutant("hangs"), Verdict::Timeout),
            (mutant("nonsense"), Verdict::Unviable),
        ];
        let mut tally = Tally::of(&verdicts, &survivors);
        assert_eq!((tally.caught, tally.missed, tally.timeout, tally.unviable, tally.explained), (2, 1, 1, 1, 1));
        assert_eq!(tally.caught_permille(), 750);
        assert!(tally.reaches_goal());
        assert_eq!(tally.stale, ["a.rs:1:1: caught by now"]);
        tally += Tally::of(&[(mutant("new"), Verdict::Missed)], &survivors);
        assert_eq!(tally.unexplained, ["a.rs:1:1: new in `a > b`"]);
        assert!(!tally.reaches_goal(), "3 of 4");
    }

    #[test]
    fn what_is_recorded_is_the_last_of_each_package_and_their_sum() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("results/mutants.json");
        let rows = |package: &str, caught: u64, missed: u64| {
            let tally = Tally { mutants: caught + missed, caught, missed, ..Tally::default() };
            serde_json::Map::from_iter([(package.to_owned(), tally.json())])
        };
        for row in [rows("record", 1, 9), rows("machine", 8, 2), rows("record", 10, 0)] {
            record(&path, &row).expect("the file can be written");
        }
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).expect("written")).expect("JSON");
        assert_eq!(
            (file["mutants"].as_u64(), file["caught"].as_u64(), file["missed"].as_u64()),
            (Some(20), Some(18), Some(2))
        );
        assert_eq!(file["caught_percent"], 90.0);
    }

    #[test]
    fn a_name_with_marks_is_matched_literally() {
        assert_eq!(escaped("a.rs:1: A<'_>::b -> (x)"), r"a\.rs:1: A<'_>::b \-> \(x\)");
    }

    #[test]
    fn reads_arguments() {
        let parse = |args: &[&str]| Options::parse(&args.iter().map(OsString::from).collect::<Vec<_>>());
        let options = parse(&["--sample", "5", "--seed", "9", "--package", "record"]).expect("valid");
        assert_eq!((options.sample, options.seed, options.packages.len()), (Some(5), 9, 1));
        assert_eq!(parse(&["--all"]).expect("valid").sample, None);
        for args in [&["--sample"][..], &["--sample", "x"], &["--package", "nosuch"], &["--fast"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}

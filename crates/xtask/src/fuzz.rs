//! Fuzzing: builds the targets in `fuzz` once with coverage and AddressSanitizer, and runs each for some seconds.
//!
//! The checkout stays as it is: the engine adds what it finds to the cache, and a failing input is written there, too.
//!
//! Without `--seed` a run repeats itself: one seed, the inputs in one order, every allocation at the same address, and a
//! fixed number of executions that `fuzz/executions.toml` names. A machine too slow for them within the time does the first
//! of them. So what CI runs has run before, and only a change of the product or of the corpora makes it another run. With
//! `--seed` it searches.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::lock;
use crate::packages::{self, Missing};
use crate::page;
use crate::workspace::{Workspace, cargo, host_triple, stdout_of};

/// The version of cargo-fuzz that is installed.
const CARGO_FUZZ: &str = "0.13.2";
const SECONDS_DEFAULT: u64 = 20;
/// The seed of a run that repeats itself.
const SEED_DEFAULT: u32 = 1;
/// How many executions such a run has at most, by target.
const EXECUTIONS: &str = "fuzz/executions.toml";
/// Longest input tried, in bytes. Every format shows all it has in less.
const INPUT_BYTES_MAX: usize = 4096;
/// Memory of the whole process; the targets themselves hold each input to a far lower bound.
const RSS_LIMIT_MB: usize = 2048;
/// Longest single case. The slowest takes milliseconds.
const CASE_TIMEOUT_S: u64 = 25;
/// How much longer than asked a target may run: replaying its corpus, and one last case.
const GRACE: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(100);
/// Starts a program with fixed addresses; part of util-linux.
const SETARCH: &str = "setarch";
const STEADY: [&str; 2] = [std::env::consts::ARCH, "--addr-no-randomize"];
/// Lines of a failing target's output that are shown.
const SHOWN_LINES: usize = 40;
/// Most inputs of one target in the checkout.
const COMMITTED_FILES_MAX: usize = 60;
/// How the names of inputs begin that were made, not found.
const SEED_PREFIX: &str = "seed-";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// How long each target runs at most.
    seconds: u64,
    /// Of a search; without one the run repeats itself.
    seed: Option<u32>,
    targets: Vec<String>,
    jobs: usize,
    keep: bool,
    minimise: bool,
    json: bool,
    record: bool,
}

/// One target's run.
#[derive(Debug, Default, PartialEq)]
struct Row {
    target: String,
    executions: u64,
    execs_per_s: u64,
    coverage: u64,
    features: u64,
    corpus: usize,
    /// Where the failing input is.
    crash: Option<PathBuf>,
    failed: bool,
}

/// Directories and tools of a run.
struct Ground {
    root: PathBuf,
    /// Everything that is written.
    cache: PathBuf,
    target_dir: PathBuf,
    cargo_fuzz: PathBuf,
    host: String,
    /// Whether programs can be started with all addresses the same each time: what is compared with an address gives the
    /// engine ideas. Where a container forbids it, runs differ a little.
    steady: bool,
}

/// Runs the task.
///
/// # Errors
/// Fails when an argument is unknown or a target does not build. Where fuzzing is impossible it says why and succeeds.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let workspace = Workspace::open()?;
    let all = targets(&workspace.root)?;
    let options = parse(args, &all)?;
    let ground = match prepare(&workspace)? {
        Ok(ground) => ground,
        Err(reason) => {
            println!("fuzz: skipped: {reason}");
            if options.json {
                println!("{}", json!({ "targets": 0, "executions": 0, "crashes": 0, "rows": [], "skipped": reason }));
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    let started = Instant::now();
    build(&ground, &options.targets)?;
    let built = started.elapsed();
    println!("built in {:.0} s", built.as_secs_f64());
    println!("{:16} {:>12} {:>8} {:>9} {:>7}", "target", "executions", "per s", "coverage", "corpus");
    let limits = match options.seed {
        Some(_) => toml::Table::new(),
        None => executions(&workspace.root)?,
    };
    let rows = run_all(&ground, &options, &limits)?;
    let failed = rows.iter().filter(|row| row.failed).count();
    let executions: u64 = rows.iter().map(|row| row.executions).sum();
    println!("{} targets, {executions} executions, {failed} crashes", rows.len());
    if options.minimise {
        for row in rows.iter().filter(|row| !row.failed) {
            minimise(&ground, &row.target)?;
        }
    }
    let summary = summary(&rows, built, started.elapsed());
    if options.record {
        page::record(&workspace.root, "fuzz", &summary)?;
    }
    if options.json {
        println!("{summary}");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(args: &[OsString], all: &[String]) -> Result<Options> {
    let jobs = thread::available_parallelism().map_or(1, |cores| cores.get().min(8));
    let mut options = Options {
        seconds: SECONDS_DEFAULT,
        seed: None,
        targets: Vec::new(),
        jobs,
        keep: false,
        minimise: false,
        json: false,
        record: false,
    };
    let mut args = args.iter().map(|arg| arg.to_string_lossy());
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_ref() {
            "--seconds" => options.seconds = value()?.parse().context("--seconds needs a number")?,
            "--seed" => options.seed = Some(value()?.parse().context("--seed needs a number")?),
            "--jobs" => options.jobs = value()?.parse().context("--jobs needs a number")?,
            "--target" => {
                let name = value()?.into_owned();
                ensure!(all.contains(&name), "no target is called {name}; the targets are: {}", all.join(", "));
                options.targets.push(name);
            }
            "--keep" => options.keep = true,
            "--minimise" => options.minimise = true,
            "--json" => options.json = true,
            "--record" => options.record = true,
            other => bail!("unknown argument {other}; see cargo xtask fuzz --help"),
        }
    }
    ensure!(options.jobs > 0, "--jobs needs at least 1");
    if options.targets.is_empty() {
        options.targets = all.to_vec();
    }
    Ok(options)
}

/// Names of the targets: their binaries' sources.
fn targets(root: &Path) -> Result<Vec<String>> {
    let dir = root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// How many executions of each target make a run that repeats itself.
fn executions(root: &Path) -> Result<toml::Table> {
    let path = root.join(EXECUTIONS);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is no TOML", path.display()))
}

/// Makes everything ready to build; the reason when this machine cannot fuzz.
fn prepare(workspace: &Workspace) -> Result<Result<Ground, String>> {
    let host = host_triple()?;
    let sysroot = stdout_of(Command::new("rustc").args(["--print", "sysroot"]))?;
    let runtimes = Path::new(sysroot.trim()).join("lib/rustlib").join(&host).join("lib");
    let has_asan = fs::read_dir(&runtimes).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().contains("rt.asan")
    });
    if !has_asan {
        return Ok(Err(format!("the toolchain has no AddressSanitizer for {host}")));
    }
    if let Err(error) = packages::ensure(packages::BUILD, Missing::Install) {
        return Ok(Err(format!("{error:#}")));
    }
    let tool = workspace.cache.join(format!("cargo-fuzz-{CARGO_FUZZ}"));
    let cargo_fuzz = tool.join("bin/cargo-fuzz");
    if !cargo_fuzz.is_file() {
        let _lock = lock::exclusive(&workspace.cache.join("cargo-fuzz.lock"))?;
        if !cargo_fuzz.is_file()
            && let Err(error) = install(&tool)
        {
            return Ok(Err(format!("{error:#}")));
        }
    }
    let ground = Ground {
        root: workspace.root.clone(),
        cache: workspace.cache.join("fuzz"),
        // Not below the user's own target directory: the flags differ, and so does everything built with them.
        target_dir: workspace.cache.join("fuzz/target"),
        cargo_fuzz,
        host,
        steady: Command::new(SETARCH).args(STEADY).arg("true").output().is_ok_and(|output| output.status.success()),
    };
    Ok(match fetch(cargo(), &ground.root, MANIFEST)? {
        Ok(()) => Ok(ground),
        Err(reason) => {
            // No reason to skip: the product's dependencies changed, and the targets' lock file did not.
            ensure!(!is_stale(&reason), "{}", stale_lock(MANIFEST));
            Err(format!("the dependencies of the targets cannot be fetched: {reason}"))
        }
    })
}

/// The fuzz targets, from the project's root.
const MANIFEST: &str = "fuzz/Cargo.toml";

/// Fetches what the lock file beside a manifest holds, with this `cargo`; the inner error says why that cannot be, in cargo's
/// words.
pub fn fetch(mut cargo: Command, root: &Path, manifest: &str) -> Result<std::result::Result<(), String>> {
    let fetched = cargo
        .args(["fetch", "--quiet", "--locked", "--manifest-path"])
        .arg(root.join(manifest))
        .output()
        .context("cannot run cargo")?;
    if fetched.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(String::from_utf8_lossy(&fetched.stderr).trim().to_owned()))
}

/// What is to be done about the lock file beside a manifest that lacks a dependency.
pub fn stale_lock(manifest: &str) -> String {
    format!(
        "{} is out of date; renew it with: cargo update --workspace --manifest-path {manifest}",
        manifest.replace(".toml", ".lock")
    )
}

/// Whether cargo would have had to change a lock file, from what it said.
pub fn is_stale(reason: &str) -> bool {
    reason.contains("--locked was passed")
}

fn install(tool: &Path) -> Result<()> {
    eprintln!("fuzz: installing cargo-fuzz {CARGO_FUZZ} in the cache");
    let mut command = cargo();
    command.args(["install", "cargo-fuzz", "--quiet", "--locked", "--version", CARGO_FUZZ, "--root"]).arg(tool);
    command.env("CARGO_TARGET_DIR", tool.join("build"));
    // The clone's toolchain file and lock have no say about a tool.
    let status = command.current_dir(tool.parent().unwrap_or(tool)).status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo-fuzz {CARGO_FUZZ} cannot be installed ({status})");
    // What is left of the build is many times the program.
    let _ = fs::remove_dir_all(tool.join("build"));
    Ok(())
}

fn build(ground: &Ground, targets: &[String]) -> Result<()> {
    let mut command = cargo_fuzz(ground, "build");
    // One target is built alone; otherwise all are, which is one call.
    if let [target] = targets {
        command.arg(target);
    }
    let status = command.status().context("cannot run cargo-fuzz")?;
    ensure!(status.success(), "the fuzz targets do not build");
    Ok(())
}

fn cargo_fuzz(ground: &Ground, verb: &str) -> Command {
    let mut command = crate::workspace::without_cargo_variables(Command::new(&ground.cargo_fuzz));
    command.arg(verb).arg("--fuzz-dir").arg(ground.root.join("fuzz"));
    command.args(["--features", "libfuzzer", "--target-dir"]).arg(&ground.target_dir);
    // Coverage and sanitizers are unstable flags of the compiler; the code built with them never leaves the cache.
    command.env("RUSTC_BOOTSTRAP", "1").current_dir(&ground.root);
    command
}

/// Runs the targets, as many at a time as there are jobs, and prints a line for each as it ends.
fn run_all(ground: &Ground, options: &Options, limits: &toml::Table) -> Result<Vec<Row>> {
    let queue: Mutex<VecDeque<&String>> = Mutex::new(options.targets.iter().collect());
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..options.jobs.min(options.targets.len()) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(target) = next else { return };
                    let row =
                        run_one(ground, target, options, limits.get(target.as_str()).and_then(toml::Value::as_integer));
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect::<Result<Vec<_>>>()?;
    rows.sort_by(|a: &Row, b: &Row| a.target.cmp(&b.target));
    Ok(rows)
}

fn run_one(ground: &Ground, target: &str, options: &Options, executions: Option<i64>) -> Result<Row> {
    let corpus = ground.cache.join("corpus").join(target);
    let crashes = ground.cache.join("crashes").join(target);
    if !options.keep {
        // Absent before the first run.
        let _ = fs::remove_dir_all(&corpus);
    }
    for dir in [&corpus, &crashes] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    // By size and name, in one list: the engine reads directories in the order in which the file system happens to keep them.
    let mut inputs = Vec::new();
    for from in ["corpus", "regressions"] {
        inputs.extend(sorted_by_size(&ground.root.join("fuzz").join(from).join(target))?);
    }
    let list = ground.cache.join(format!("{target}.inputs"));
    fs::write(&list, joined(&inputs)?).with_context(|| format!("cannot write {}", list.display()))?;
    let log = ground.cache.join(format!("{target}.log"));
    let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut command = engine(ground, target);
    command.arg(format!("-max_total_time={}", options.seconds));
    command.arg(format!("-seed={}", options.seed.unwrap_or(SEED_DEFAULT)));
    if let Some(executions) = executions {
        command.arg(format!("-runs={executions}"));
    }
    // What it wrote itself must not come back at some moment of the clock's.
    command.arg("-reload=0");
    command.arg(format!("-timeout={CASE_TIMEOUT_S}")).arg("-print_final_stats=1");
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(&crashes);
    prefix.push("/");
    command.arg(prefix);
    let dictionary = ground.root.join("fuzz/dictionaries").join(format!("{target}.dict"));
    if dictionary.is_file() {
        let mut arg = OsString::from("-dict=");
        arg.push(dictionary);
        command.arg(arg);
    }
    let mut seeds = OsString::from("-seed_inputs=@");
    seeds.push(&list);
    command.arg(seeds).arg(&corpus).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    let started = Instant::now();
    let success = wait(&mut command, Duration::from_secs(options.seconds) + GRACE)
        .with_context(|| format!("{target}, see {}", log.display()))?;
    let elapsed = started.elapsed();
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let row = Row {
        target: target.to_owned(),
        corpus: inputs.len() + count_files(&corpus),
        failed: !success,
        ..read_log(&text, elapsed)
    };
    let Row { executions, execs_per_s, coverage, corpus, .. } = row;
    println!("{target:16} {executions:>12} {execs_per_s:>8} {coverage:>9} {corpus:>7}");
    if !success {
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let tail = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        let input = row.crash.as_ref().map_or_else(|| log.display().to_string(), |path| path.display().to_string());
        println!("{target}: FAILED\n  {}\n{target}: failing input: {input}", tail.join("\n  "));
    }
    Ok(row)
}

/// A target's binary with what holds for every use of it.
fn engine(ground: &Ground, target: &str) -> Command {
    let binary = ground.target_dir.join(&ground.host).join("release").join(target);
    let mut command = match ground.steady {
        true => Command::new(SETARCH),
        false => Command::new(&binary),
    };
    if ground.steady {
        command.args(STEADY).arg(&binary);
    }
    command.arg(format!("-max_len={INPUT_BYTES_MAX}")).arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"));
    // As cargo-fuzz itself runs them: codegen units define the same symbols more than once.
    command.env("ASAN_OPTIONS", "detect_odr_violation=0").current_dir(&ground.cache);
    command
}

/// Waits for a command and says whether it succeeded.
fn wait(command: &mut Command, limit: Duration) -> Result<bool> {
    let mut child = command.spawn().context("cannot run the target")?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the target")? {
            return Ok(status.success());
        }
        if Instant::now() >= deadline {
            // It may have ended this moment; then there is nothing to kill.
            let _ = child.kill();
            child.wait().context("cannot wait for the target")?;
            bail!("killed: not finished within {} s", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// What the engine's output says.
fn read_log(text: &str, elapsed: Duration) -> Row {
    let mut row = Row::default();
    for line in text.lines() {
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            row.crash = Some(PathBuf::from(path.trim()));
        }
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            row.executions = count.trim().parse().unwrap_or(row.executions);
        }
        let Some((number, status)) = line.strip_prefix('#').and_then(|line| line.split_once('\t')) else { continue };
        // Progress: the last line counts when there are no statistics because the target failed.
        row.executions = number.trim().parse().unwrap_or(row.executions);
        let mut words = status.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "cov:" => row.coverage = words.next().and_then(|n| n.parse().ok()).unwrap_or(row.coverage),
                "ft:" => row.features = words.next().and_then(|n| n.parse().ok()).unwrap_or(row.features),
                _ => {}
            }
        }
    }
    row.execs_per_s = (row.executions as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    row
}

fn summary(rows: &[Row], built: Duration, elapsed: Duration) -> Value {
    let row = |row: &Row| {
        json!({
            "target": row.target,
            "executions": row.executions,
            "execs_per_s": row.execs_per_s,
            "coverage": row.coverage,
            "features": row.features,
            "corpus": row.corpus,
            "crash": row.crash.as_ref().map(|path| path.display().to_string()),
            "failed": row.failed,
        })
    };
    json!({
        "targets": rows.len(),
        "executions": rows.iter().map(|row| row.executions).sum::<u64>(),
        "crashes": rows.iter().filter(|row| row.failed).count(),
        "build_seconds": built.as_secs(),
        "seconds": elapsed.as_secs(),
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
        "skipped": null,
    })
}

/// A list as the engine takes it.
fn joined(files: &[PathBuf]) -> Result<String> {
    let mut list = String::new();
    for file in files {
        let name = file.to_str().filter(|name| !name.contains(','));
        let name = name.with_context(|| format!("{} cannot stand in a list parted by commas", file.display()))?;
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(name);
    }
    Ok(list)
}

/// Replaces what a target's committed corpus has beside its seeds by inputs of the cache that reach more than the seeds do.
fn minimise(ground: &Ground, target: &str) -> Result<()> {
    let found = ground.cache.join("corpus").join(target);
    let fewest = ground.cache.join("minimised").join(target);
    let committed = ground.root.join("fuzz/corpus").join(target);
    // Absent before the first time.
    let _ = fs::remove_dir_all(&fewest);
    fs::create_dir_all(&fewest).with_context(|| format!("cannot create {}", fewest.display()))?;
    copy_files(&committed, &found)?;
    let mut seeds = 0;
    for file in sorted_by_size(&committed)? {
        let name = file.file_name().unwrap_or_default();
        if name.to_string_lossy().starts_with(SEED_PREFIX) {
            fs::copy(&file, fewest.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
            seeds += 1;
        } else {
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    let mut command = engine(ground, target);
    command.arg("-merge=1").arg(&fewest).arg(&found);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    ensure!(wait(&mut command, GRACE * 4)?, "the inputs of {target} cannot be merged");
    let mut more = sorted_by_size(&fewest)?;
    more.retain(|file| !committed.join(file.file_name().unwrap_or_default()).exists());
    // Short inputs say most for their size and long ones reach deepest, so some of each.
    let room = COMMITTED_FILES_MAX.saturating_sub(seeds);
    let step = more.len().div_ceil(room.max(1)).max(1);
    let chosen: Vec<_> = more.iter().step_by(step).take(room).collect();
    for file in &chosen {
        fs::copy(file, committed.join(file.file_name().unwrap_or_default()))?;
    }
    println!("{target}: {seeds} seeds and {} of {} inputs that reach more", chosen.len(), more.len());
    Ok(())
}

fn sorted_by_size(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    // A target that never failed has no regressions.
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry?;
        files.push((entry.metadata()?.len(), entry.path()));
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name() {
            fs::copy(&path, to.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

fn count_files(dir: &Path) -> usize {
    fs::read_dir(dir).into_iter().flatten().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Options> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        parse(&args, &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn reads_its_arguments() {
        let options = parsed(&[]).expect("no argument is needed");
        assert_eq!((options.seconds, options.seed, options.json), (20, None, false));
        assert_eq!(options.targets, ["a", "b"]);
        let args = ["--seconds", "3", "--seed", "7", "--target", "b", "--json", "--jobs", "1"];
        let options = parsed(&args).expect("they are valid");
        assert_eq!((options.seconds, options.seed, options.jobs, options.json), (3, Some(7), 1, true));
        assert_eq!(options.targets, ["b"]);
        for bad in [&["--target", "c"][..], &["--seconds"], &["--seconds", "x"], &["--jobs", "0"], &["--fast"]] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_what_the_engine_says() {
        let text = "#24\tINITED cov: 300 ft: 900 corp: 24/9Kb exec/s: 0 rss: 50Mb\n\
                    #4096\tpulse  cov: 310 ft: 950 corp: 30/9Kb lim: 4096 exec/s: 2048 rss: 60Mb\n";
        let row = read_log(text, Duration::from_secs(2));
        assert_eq!((row.executions, row.execs_per_s, row.coverage, row.features), (4096, 2048, 310, 950));
        let done = format!("{text}Done 5000 runs in 2 second(s)\nstat::number_of_executed_units: 5000\n");
        assert_eq!(read_log(&done, Duration::from_secs(2)).executions, 5000);
        let crash = format!("{text}artifact_prefix='/c/'; Test unit written to /c/crash-1\nBase64: AA==\n");
        assert_eq!(read_log(&crash, Duration::from_secs(2)).crash.as_deref(), Some(Path::new("/c/crash-1")));
    }

    #[test]
    fn a_stale_lock_file_is_no_reason_to_skip() {
        let newer = "error: cannot update the lock file fuzz/Cargo.lock because --locked was passed to prevent this";
        let older = "error: the lock file fuzz/Cargo.lock needs to be updated but --locked was passed to prevent this";
        assert!(is_stale(newer) && is_stale(older));
        assert!(!is_stale("error: failed to get `arbitrary` as a dependency: network failure"));
    }

    #[test]
    fn sums_up_in_one_object() {
        let rows = [
            Row { target: "a".into(), executions: 5, ..Row::default() },
            Row { target: "b".into(), executions: 7, failed: true, crash: Some("/c/1".into()), ..Row::default() },
        ];
        let value = summary(&rows, Duration::from_secs(2), Duration::from_secs(9));
        assert_eq!((&value["targets"], &value["executions"], &value["crashes"]), (&json!(2), &json!(12), &json!(1)));
        assert_eq!((&value["rows"][1]["crash"], &value["rows"][0]["crash"]), (&json!("/c/1"), &Value::Null));
    }

    #[test]
    fn a_target_that_never_ends_is_ended() {
        let error = wait(Command::new("sleep").arg("60"), Duration::from_millis(10)).expect_err("the limit strikes");
        assert!(error.to_string().contains("not finished within"), "{error}");
    }

    #[test]
    fn every_target_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let names = targets(&root).expect("the targets are there");
        assert!(names.len() >= 10 && names.contains(&"log_recovery".to_owned()), "{names:?}");
        let limits = executions(&root).expect("they are there");
        assert!(limits.values().all(|limit| limit.as_integer().is_some_and(|limit| limit > 0)), "{limits:?}");
        assert_eq!(limits.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>(), "each has a limit");
    }

    #[test]
    fn a_list_of_inputs_is_parted_by_commas() {
        assert_eq!(joined(&["/a".into(), "/b".into()]).expect("plain names"), "/a,/b");
        assert!(joined(&["/a,b".into()]).is_err());
    }
}

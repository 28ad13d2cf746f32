//! Many seeds: one process for each, a few at a time. A process of its own keeps a seed from inheriting anything, and makes a
//! panic, an abort or a hang of one seed a result like any other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// First seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Processes at a time.
    pub jobs: usize,
    /// No seed is begun after this.
    pub limit: Option<Duration>,
    /// CPU time one seed may take.
    pub seed_limit: Duration,
    /// Stop at the first seed that fails.
    pub first_failure: bool,
    /// Arguments for each process, after its seed.
    pub arguments: Vec<OsString>,
    /// Environment for each process.
    pub environment: Vec<(String, String)>,
}

impl Plan {
    /// One seed, as it is.
    #[must_use]
    pub fn one(seed: u64) -> Self {
        Self {
            from: seed,
            seeds: 1,
            jobs: 1,
            limit: None,
            seed_limit: Duration::from_secs(20),
            first_failure: false,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// How one seed ended.
#[derive(Clone, Debug)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// What it printed, when it came to its end.
    pub summary: Option<Value>,
    /// What is wrong; empty when nothing is.
    pub failures: Vec<String>,
    /// CPU seconds of its process.
    pub cpu_s: f64,
}

/// How all seeds ended.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Seeds that ran.
    pub seeds: u64,
    /// Those that failed.
    pub failed: Vec<SeedResult>,
    /// Virtual seconds of all.
    pub simulated_s: f64,
    /// CPU seconds of all processes.
    pub cpu_s: f64,
    /// Faults injected by the nemesis.
    pub faults: u64,
    /// What the network did to segments.
    pub network_faults: u64,
    /// Faults by group.
    pub by_group: BTreeMap<String, u64>,
    /// Operations of clients.
    pub operations: u64,
    /// Acknowledged sends.
    pub acked: u64,
    /// Operations that each invariant's checker looked at.
    pub examined: BTreeMap<String, u64>,
    /// Other counts that the runs report.
    pub counts: BTreeMap<String, u64>,
}

struct Running {
    seed: u64,
    child: Child,
    started: Instant,
    stdout: std::thread::JoinHandle<String>,
    stderr: std::thread::JoinHandle<String>,
}

/// Real time one seed may take, on a machine however busy.
const WALL_MAX: Duration = Duration::from_secs(600);
/// Longest end of a process's output that is kept.
const KEPT_BYTES: usize = 64 << 10;

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..n]);
            if kept.len() > KEPT_BYTES * 2 {
                kept.drain(..kept.len() - KEPT_BYTES);
            }
        }
        String::from_utf8_lossy(&kept).into_owned()
    })
}

fn start(plan: &Plan, seed: u64) -> std::io::Result<Running> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("seed").arg(seed.to_string()).args(&plan.arguments);
    command.envs(plan.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let piped = || std::io::Error::other("the process has no pipes");
    let stdout = collect(child.stdout.take().ok_or_else(piped)?);
    let stderr = collect(child.stderr.take().ok_or_else(piped)?);
    Ok(Running { seed, child, started: Instant::now(), stdout, stderr })
}

/// User and system seconds that a process without reaped children has used, from `/proc`.
fn cpu_of(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    #[allow(clippy::cast_precision_loss)] // ticks of a short process
    Some(ticks as f64 / 100.0)
}

fn finish(running: Running, status: Option<std::process::ExitStatus>, limit: Duration) -> SeedResult {
    let wall = running.started.elapsed().as_secs_f64();
    let stdout = running.stdout.join().unwrap_or_default();
    let stderr = running.stderr.join().unwrap_or_default();
    let summary: Option<Value> = stdout.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    let mut failures: Vec<String> = summary
        .as_ref()
        .and_then(|summary| summary["failures"].as_array())
        .map(|list| list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    match status {
        None => failures.push(format!("it did not end within {} s of CPU time", limit.as_secs())),
        Some(status) if !status.success() && failures.is_empty() => {
            let panic = stderr.lines().skip_while(|line| !line.contains("panicked")).take(2).collect::<Vec<_>>();
            failures.push(format!("the process ended with {status}: {}", panic.join(" ")));
        }
        Some(_) if summary.is_none() => failures.push("the process printed no summary".to_owned()),
        Some(_) => {}
    }
    let cpu_s = summary.as_ref().and_then(|summary| summary["cpu_s"].as_f64()).unwrap_or(wall);
    SeedResult { seed: running.seed, summary, failures, cpu_s }
}

/// Runs the plan; `seen` is called with each result as it comes.
///
/// # Errors
/// A process cannot be started.
pub fn run(plan: &Plan, mut seen: impl FnMut(&SeedResult)) -> std::io::Result<Totals> {
    let begun = Instant::now();
    let mut totals = Totals::default();
    let mut next = plan.from;
    let mut running: Vec<Running> = Vec::new();
    let mut stopping = false;
    loop {
        let over = plan.limit.is_some_and(|limit| begun.elapsed() >= limit);
        while !stopping && !over && running.len() < plan.jobs && next < plan.from + plan.seeds {
            running.push(start(plan, next)?);
            next += 1;
        }
        if running.is_empty() {
            break;
        }
        let mut still = Vec::new();
        for mut one in running {
            let status = one.child.try_wait()?;
            let used = cpu_of(one.child.id()).unwrap_or(0.0);
            if status.is_none() && used < plan.seed_limit.as_secs_f64() && one.started.elapsed() < WALL_MAX {
                still.push(one);
                continue;
            }
            if status.is_none() {
                one.child.kill()?;
                one.child.wait()?;
            }
            let result = finish(one, status, plan.seed_limit);
            totals.add(&result);
            stopping |= plan.first_failure && !result.failures.is_empty();
            seen(&result);
        }
        running = still;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(totals)
}

impl Totals {
    fn add(&mut self, result: &SeedResult) {
        self.seeds += 1;
        self.cpu_s += result.cpu_s;
        if let Some(summary) = &result.summary {
            self.simulated_s += summary["simulated_s"].as_f64().unwrap_or(0.0);
            self.faults += summary["faults"].as_u64().unwrap_or(0);
            self.network_faults += summary["network_faults"].as_u64().unwrap_or(0);
            self.operations += summary["operations"].as_u64().unwrap_or(0);
            self.acked += summary["acked"].as_u64().unwrap_or(0);
            for (field, sums) in [
                ("faults_by_group", &mut self.by_group),
                ("examined", &mut self.examined),
                ("counts", &mut self.counts),
            ] {
                for (name, count) in summary[field].as_object().into_iter().flatten() {
                    *sums.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
                }
            }
        }
        if !result.failures.is_empty() {
            self.failed.push(result.clone());
        }
    }

    /// As one object.
    #[must_use]
    pub fn json(&self) -> Value {
        let failed: Vec<Value> =
            self.failed.iter().map(|result| json!({"seed": result.seed, "failures": result.failures})).collect();
        json!({
            "seeds": self.seeds,
            "failed": self.failed.len(),
            "simulated_s": self.simulated_s.round(),
            "cpu_s": self.cpu_s.round(),
            "simulated_s_per_cpu_s": (self.simulated_s / self.cpu_s.max(0.001)).round(),
            "faults": self.faults,
            "network_faults": self.network_faults,
            "faults_by_group": self.by_group,
            "operations": self.operations,
            "acked": self.acked,
            "examined": self.examined,
            "counts": self.counts,
            "failures": failed,
        })
    }
}

/// User and system seconds of this process so far.
#[must_use]
pub fn own_cpu_s() -> f64 {
    cpu_of(std::process::id()).unwrap_or(0.0)
}

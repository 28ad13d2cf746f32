//! What a message costs as work grows: larger bodies, more connections, more replicas, more queues, more consumer groups, more
//! stored messages. S1's load, all values in turn, and again.

mod groups;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use timbermq_bench::report::{Spread, rounded};

use self::groups::{COMMITS_PER_S, Committing};
use super::backlog::ensure_room;
use super::product::{Beginning, FILL, Product};
use super::{Common, Pace, SETTLE, SLACK, Scene, TOPIC, WARMUP, errors, largest_rss, load, paced, spread};
use crate::admin::Admin;

/// Messages in flight, unless there are more connections.
const WINDOW: usize = 1024;
/// Bytes of bodies in flight: of large ones fewer than [`WINDOW`] are.
const IN_FLIGHT_BYTES: usize = 16 << 20;
/// What does not grow.
const SIZE: usize = 1024;
/// The same of replicas.
const REPLICAS: usize = 3;
/// Bytes of a body where stored messages grow.
const STORED_SIZE: usize = 100;
/// Bytes of log that such a message takes, about.
const STORED_BYTES: u64 = 300;
/// Such messages that a run stores in a second, as far as room for them is asked for.
const STORED_PER_S: u64 = 200_000;
/// Shortest and longest load between two looks at how many are stored. The first is the shortest.
const STEP: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);
/// Bytes of a segment.
const SEGMENT_BYTES: u64 = 256 << 20;
/// File descriptors beside connections, of the client and of a replica: files, peers, what the runtime needs.
const FILES: usize = 512;
/// A figure grows too fast if it does as a power of what grows that is larger than this, whichever runs are compared.
const EXPONENT_MAX: f64 = 1.1;

/// Arguments of `bench growth`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// How often each is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Seconds measured in a run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Bytes of a body.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1 << 10, 16 << 10, 256 << 10, 1 << 20])]
    sizes: Vec<usize>,
    /// Connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1_000, 5_000])]
    connections: Vec<usize>,
    /// Replicas.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 5])]
    replicas: Vec<usize>,
    /// Queues of the topic that the load goes to.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 50_000])]
    queues: Vec<usize>,
    /// Consumer groups that store offsets meanwhile.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    groups: Vec<usize>,
    /// Messages of 100 bytes that are stored before.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000, 10_000_000])]
    stored: Vec<usize>,
    /// These alone.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<What>,
    /// Seconds of load before the first run, so that files have been used before.
    #[arg(long, default_value_t = FILL.as_secs())]
    fill: u64,
    #[command(flatten)]
    common: Common,
}

/// What grows, and how far it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    what: What,
    value: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    #[value(name = "sizes")]
    Size,
    Connections,
    Replicas,
    Queues,
    Groups,
    Stored,
}

impl What {
    const ALL: [Self; 6] = [Self::Size, Self::Connections, Self::Replicas, Self::Queues, Self::Groups, Self::Stored];

    fn name(self) -> &'static str {
        match self {
            Self::Size => "message_size",
            Self::Connections => "connections",
            Self::Replicas => "replicas",
            Self::Queues => "queues",
            Self::Groups => "consumer_groups",
            Self::Stored => "stored_messages",
        }
    }

    /// Whether what was there for one value is still there for the next: those rise, on clusters of their own.
    fn stays(self) -> bool {
        matches!(self, Self::Queues | Self::Groups | Self::Stored)
    }
}

impl Point {
    fn size(self) -> usize {
        match self.what {
            What::Size => self.value,
            What::Stored => STORED_SIZE,
            _ => SIZE,
        }
    }

    fn connections(self) -> usize {
        if self.what == What::Connections { self.value } else { 1 }
    }

    fn replicas(self) -> usize {
        if self.what == What::Replicas { self.value } else { REPLICAS }
    }

    /// Messages in flight: each connection has one at least.
    fn window(self) -> usize {
        (IN_FLIGHT_BYTES / self.size().max(1)).clamp(1, WINDOW).max(self.connections())
    }

    /// Why it cannot be measured with so many file descriptors.
    fn impossible(self, files_max: usize) -> Option<String> {
        let need = self.connections() + FILES;
        (need > files_max).then(|| format!("it needs {need} file descriptors, and a process may have {files_max}"))
    }
}

/// A run at one point.
struct Run {
    point: Point,
    figures: Value,
}

/// What is measured where.
struct Ground<'a> {
    binary: &'a Path,
    args: &'a Args,
    scene: &'a Scene<'a>,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    let scene = Scene::begin(binary, &args.common)?;
    let files_max = files_max()?;
    let mut skipped = Vec::new();
    let mut points = points(args);
    points.retain(|point| match point.impossible(files_max) {
        Some(why) => {
            eprintln!("{} {} is left out: {why}", point.value, point.what.name());
            skipped.push(json!({ "what": point.what.name(), "value": point.value, "why": why }));
            false
        }
        None => true,
    });
    let stored: Vec<usize> =
        points.iter().filter(|point| point.what == What::Stored).map(|point| point.value).collect();
    if let Some(bytes) = log_bytes(&stored, WARMUP + Duration::from_secs(args.seconds.into())) {
        ensure_room(&scene.dir, REPLICAS, bytes, SEGMENT_BYTES, "--stored")?;
    }
    let ground = Ground { binary, args, scene: &scene };
    let mut runs = Vec::new();
    let mut settings = Vec::new();
    let (staying, passing): (Vec<Point>, Vec<Point>) = points.iter().partition(|point| point.what.stays());
    let mut clusters: Vec<usize> = passing.iter().map(|point| point.replicas()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    for replicas in clusters {
        let points: Vec<Point> = passing.iter().copied().filter(|point| point.replicas() == replicas).collect();
        ground.on_one_cluster(&points, 1..=args.runs, &mut runs, &mut settings)?;
    }
    for what in What::ALL {
        let mut points: Vec<Point> = staying.iter().copied().filter(|point| point.what == what).collect();
        points.sort_by_key(|point| point.value);
        // The load stores messages, too: many more than the fewest that are asked for.
        let together = if what == What::Stored { 1 } else { points.len().max(1) };
        for number in 1..=args.runs {
            for points in points.chunks(together) {
                ground.on_one_cluster(points, number..=number, &mut runs, &mut settings)?;
            }
        }
    }
    let rows: Vec<Value> = points.iter().map(|point| row(*point, &runs)).collect();
    let superlinear: Vec<String> = What::ALL.into_iter().flat_map(|what| superlinear(what, &rows)).collect();
    for row in &rows {
        println!("{}", told(row));
    }
    for told in &superlinear {
        println!("more than proportional: {told}");
    }
    let is_clean = rows.iter().all(|row| row["errors"] == 0);
    scene.end(json!({
        "scenario": "growth",
        "runs_each": args.runs,
        "seconds": args.seconds,
        "warmup_seconds": WARMUP.as_secs(),
        "fill_seconds": args.fill,
        "in_flight_bytes_max": IN_FLIGHT_BYTES,
        "commits_per_s_each": COMMITS_PER_S,
        "files_max": files_max,
        "settings": settings,
        "growth": rows,
        "superlinear": superlinear,
        "skipped": skipped,
        "runs": runs.iter().map(Run::to_json).collect::<Vec<_>>(),
    }));
    Ok(is_clean)
}

impl Ground<'_> {
    /// Measures the points in turn, and that so often, on a cluster that is gone afterwards.
    fn on_one_cluster(
        &self,
        points: &[Point],
        numbers: std::ops::RangeInclusive<u32>,
        runs: &mut Vec<Run>,
        settings: &mut Vec<String>,
    ) -> Result<()> {
        let Self { binary, args, scene } = self;
        let Some(first) = points.first() else { return Ok(()) };
        let usual = Beginning::new("quorum-fsync", &args.common.set, SIZE);
        let (fill, replicas) = (Duration::from_secs(args.fill), first.replicas());
        let beginning = Beginning { fill, replicas, keeps_all: first.what == What::Stored, ..usual };
        let cluster = scene.dir.join(format!("cluster-{replicas}"));
        let mut product = if beginning.keeps_all {
            Product::empty(binary, cluster.clone(), &beginning)?
        } else {
            Product::start(binary, &args.bench, cluster.clone(), &beginning)?
        };
        if settings.is_empty() {
            settings.clone_from(&product.settings);
        }
        for number in numbers {
            for &point in points {
                let (what, value) = (point.what.name(), point.value);
                eprintln!("run {number} of {}, {replicas} replicas: {what} {value}", args.runs);
                let figures = self.measured(&mut product, point).with_context(|| format!("{what} {value}"))?;
                runs.push(Run { point, figures });
                std::thread::sleep(SETTLE);
            }
        }
        product.stop()?;
        // The next one has as much room.
        std::fs::remove_dir_all(&cluster).with_context(|| format!("cannot remove {}", cluster.display()))
    }

    fn measured(&self, product: &mut Product, point: Point) -> Result<Value> {
        let Self { args, scene, .. } = self;
        let admin = Admin::new(&product.namesrv())?;
        let (mut topic, mut committing, mut before) = (TOPIC.to_owned(), None, None);
        match point.what {
            What::Queues => {
                topic = format!("{TOPIC}-{}-queues", point.value);
                admin.create_topic(&topic, u32::try_from(point.value)?)?;
            }
            What::Groups => {
                topic = format!("{TOPIC}-groups");
                admin.create_topic(&topic, groups::QUEUES)?;
                committing = Some(Committing::start(&admin, &topic, point.value)?);
            }
            What::Stored => before = Some(self.store(product, &admin, point.value as u64)?),
            What::Size | What::Connections | What::Replicas => {}
        }
        let pace = Pace {
            window: point.window(),
            connections: point.connections(),
            size: point.size(),
            warmup: WARMUP,
            time: Duration::from_secs(args.seconds.into()),
        };
        let mut load = product.load(&args.bench, &topic, &scene.dir)?;
        let mut figures = paced(load.args(["--system", &scene.version]), &pace, SLACK)?;
        if let Some(committing) = committing {
            let commits = committing.stop()?;
            figures["commitsPerSecond"] = rounded(commits.per_s, 10.0);
            figures["commitErrors"] = commits.failed.into();
        }
        if let Some(before) = before {
            figures["storedBefore"] = before.into();
        }
        Ok(figures)
    }

    /// Sends until so many messages are stored. How many are.
    fn store(&self, product: &Product, admin: &Admin, messages: u64) -> Result<u64> {
        let stored = || admin.bounds(TOPIC, 0).map(|(_, max)| max);
        let (mut there, mut step) = (stored()?, *STEP.start());
        while there < messages {
            eprintln!("storing: {there} of {messages} messages");
            let pace = Pace { window: WINDOW, connections: 1, size: STORED_SIZE, warmup: Duration::ZERO, time: step };
            paced(load(&self.args.bench, &product.namesrv(), TOPIC, &[]).arg("--quiet"), &pace, SLACK)?;
            let now = stored()?;
            ensure!(now > there, "nothing is stored");
            step = next_step(now - there, step, messages.saturating_sub(now));
            there = now;
        }
        let (min, max) = admin.bounds(TOPIC, 0)?;
        ensure!(min == 0, "{min} messages were removed");
        Ok(max)
    }
}

fn points(args: &Args) -> Vec<Point> {
    let of = |what| {
        let values = match what {
            What::Size => &args.sizes,
            What::Connections => &args.connections,
            What::Replicas => &args.replicas,
            What::Queues => &args.queues,
            What::Groups => &args.groups,
            What::Stored => &args.stored,
        };
        values.iter().map(move |&value| Point { what, value })
    };
    let is_asked = |what: &What| args.only.is_empty() || args.only.contains(what);
    What::ALL.into_iter().filter(is_asked).flat_map(of).collect()
}

/// Log of a replica when the longest of these is over: so many stored messages, and a run so long.
fn log_bytes(stored: &[usize], run: Duration) -> Option<u64> {
    let most = *stored.iter().max()? as u64;
    Some((most + run.as_secs() * STORED_PER_S) * STORED_BYTES)
}

/// How long to send so that `left` more are stored, after `came` were in `step`.
#[allow(clippy::cast_precision_loss)] // an estimate
fn next_step(came: u64, step: Duration, left: u64) -> Duration {
    let seconds = step.as_secs_f64() * left as f64 / (came as f64).max(1.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(*STEP.end()).clamp(*STEP.start(), *STEP.end())
}

/// File descriptors that a process started from here may have.
fn files_max() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").context("reading the limits of this process")?;
    soft_limit_of_files(&limits).context("the limit of open files is not told")
}

fn soft_limit_of_files(limits: &str) -> Option<usize> {
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(usize::MAX) } else { soft.parse().ok() }
}

impl Run {
    fn to_json(&self) -> Value {
        json!({ "what": self.point.what.name(), "value": self.point.value, "product": self.figures })
    }
}

/// The figures of one point: medians over its runs, with the smallest and the largest.
fn row(point: Point, runs: &[Run]) -> Value {
    let runs: Vec<&Value> = runs.iter().filter(|run| run.point == point).map(|run| &run.figures).collect();
    let spread = |figure: &dyn Fn(&Value) -> Option<f64>| Spread::of(runs.iter().filter_map(|run| figure(run)));
    let mut row = Map::new();
    row.insert("what".into(), point.what.name().into());
    row.insert("value".into(), point.value.into());
    row.insert("window".into(), point.window().into());
    row.insert("connections".into(), point.connections().into());
    row.insert("message_size".into(), point.size().into());
    row.insert("replicas".into(), point.replicas().into());
    row.insert("runs".into(), runs.len().into());
    type Figure<'a> = (&'static str, f64, &'a dyn Fn(&Value) -> Option<f64>);
    let figures: [Figure; 7] = [
        ("msgs_per_s", 1.0, &|run| run["publishRate"].as_f64()),
        ("cpu_us_per_msg", 100.0, &|run| run["cpuMicrosPerMessage"]["total"].as_f64()),
        ("servers_cpu_us_per_msg", 100.0, &|run| run["cpuMicrosPerMessage"]["servers"].as_f64()),
        ("rss_mb", 1.0, &largest_rss),
        ("client_rss_mb", 1.0, &|run| run["rssMB"]["client"].as_f64()),
        ("p99_us", 1.0, &|run| Some(run["publishLatency99pct"].as_f64()? * 1e3)),
        ("others_cores", 100.0, &|run| run["othersCores"].as_f64()),
    ];
    for (name, parts, figure) in figures {
        Spread::put(spread(figure), name, parts, &mut row);
    }
    for (name, figure) in [("commits_per_s", "commitsPerSecond"), ("stored_before", "storedBefore")] {
        if runs.iter().any(|run| run[figure].is_number()) {
            Spread::put(spread(&|run| run[figure].as_f64()), name, 1.0, &mut row);
        }
    }
    let failed = runs.iter().map(|run| errors(run) + run["commitErrors"].as_u64().unwrap_or(0));
    row.insert("errors".into(), failed.sum::<u64>().into());
    Value::Object(row)
}

/// Where CPU a message or memory grows more than in proportion to what grows, even between the most favourable runs.
fn superlinear(what: What, rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<&Value> = rows.iter().filter(|row| row["what"] == what.name()).collect();
    rows.sort_by_key(|row| row["value"].as_u64());
    let mut told = Vec::new();
    for pair in rows.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        for (name, words) in [("cpu_us_per_msg", "CPU a message"), ("rss_mb", "memory")] {
            let figures = || {
                let grown = after["value"].as_f64()? / before["value"].as_f64()?;
                let least = after[format!("{name}_min")].as_f64()? / before[format!("{name}_max")].as_f64()?;
                Some((grown, least, after[name].as_f64()? / before[name].as_f64()?))
            };
            let Some((grown, least, median)) = figures() else { continue };
            if grown > 1.0 && least.ln() / grown.ln() > EXPONENT_MAX {
                told.push(format!(
                    "{words} grew {median:.1} times ({least:.1} at least) from {} to {} {}, which is {grown:.1} times",
                    before["value"],
                    after["value"],
                    what.name().replace('_', " "),
                ));
            }
        }
    }
    told
}

fn told(row: &Value) -> String {
    format!(
        "{:>15} {:>8}, {} in flight: {} µs CPU a message, {} msg/s, {} MB, {} errors",
        row["what"].as_str().unwrap_or("?"),
        row["value"],
        row["window"],
        spread(row, "cpu_us_per_msg"),
        spread(row, "msgs_per_s"),
        spread(row, "rss_mb"),
        row["errors"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(point: Point, rate: f64, cpu: f64, rss: f64) -> Run {
        let figures = json!({
            "publishRate": rate,
            "cpuMicrosPerMessage": { "servers": cpu - 1.0, "client": 1.0, "total": cpu },
            "publishLatency99pct": 4.0,
            "rssMB": { "servers": [1.0, rss, 2.0], "client": 9_999.0 },
            "errors": { "NO_ANSWER": 1 },
            "warmupErrors": 1,
        });
        Run { point, figures }
    }

    #[test]
    fn few_large_messages_are_in_flight_and_each_connection_has_one() {
        let of = |what, value| Point { what, value }.window();
        assert_eq!((of(What::Size, 100), of(What::Size, 16 << 10), of(What::Size, 1 << 20)), (1024, 1024, 16));
        assert_eq!(
            (of(What::Size, 1 << 30), of(What::Connections, 10), of(What::Connections, 5_000)),
            (1, 1024, 5_000)
        );
    }

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn asked(args: &[&str]) -> Vec<Point> {
        points(&<Cli as clap::Parser>::parse_from([&["growth"], args].concat()).args)
    }

    #[test]
    fn all_is_measured_or_what_is_named_alone() {
        assert_eq!(asked(&[]).len(), 5 + 5 + 2 + 3 + 3 + 3);
        let some = asked(&["--only", "queues,stored", "--queues", "1,50", "--stored", "7"]);
        let expected = [(What::Queues, 1), (What::Queues, 50), (What::Stored, 7)];
        assert_eq!(some, expected.map(|(what, value)| Point { what, value }));
        assert_eq!(some.iter().map(|point| point.size()).collect::<Vec<_>>(), [1024, 1024, 100]);
        assert!(some.iter().all(|point| point.window() == 1024 && point.replicas() == 3 && point.connections() == 1));
    }

    #[test]
    fn room_is_for_what_runs_store_too() {
        assert_eq!(log_bytes(&[10, 1_000_000], Duration::from_secs(5)), Some(2_000_000 * STORED_BYTES));
        assert_eq!(log_bytes(&[], Duration::from_secs(5)), None);
        let second = Duration::from_secs(1);
        assert_eq!((next_step(100, second, 300), next_step(100, second, 1)), (3 * second, *STEP.start()));
        assert_eq!(next_step(1, second, 1 << 40), *STEP.end());
    }

    #[test]
    fn commits_and_what_was_stored_before_are_told_where_there_are_some() {
        let point = Point { what: What::Groups, value: 10 };
        let mut with = run(point, 1.0, 1.0, 1.0);
        (with.figures["commitsPerSecond"], with.figures["commitErrors"]) = (json!(99.0), json!(3));
        let row = row(point, &[with]);
        assert_eq!(
            (&row["commits_per_s"], &row["errors"], &row["stored_before"]),
            (&json!(99.0), &json!(5), &Value::Null)
        );
    }

    #[test]
    fn what_the_limit_of_files_forbids_is_left_out_with_the_reason() {
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096     files\n";
        assert_eq!(soft_limit_of_files(limits), Some(1024));
        assert_eq!(soft_limit_of_files("Max open files   unlimited  unlimited files"), Some(usize::MAX));
        let point = Point { what: What::Connections, value: 1_000 };
        assert!(point.impossible(1024).unwrap().contains("1512 file descriptors"));
        assert_eq!(point.impossible(4096), None);
    }

    #[test]
    fn a_row_is_the_median_of_its_runs_and_memory_that_of_the_largest() {
        let [small, large] = [100, 1024].map(|value| Point { what: What::Size, value });
        let runs = [run(small, 9.0, 9.0, 9.0), run(large, 100.0, 10.0, 300.0), run(large, 300.0, 12.0, 500.0)];
        let row = row(large, &runs);
        assert_eq!((&row["msgs_per_s"], &row["msgs_per_s_max"]), (&json!(200.0), &json!(300.0)));
        assert_eq!((&row["cpu_us_per_msg"], &row["rss_mb"], &row["errors"]), (&json!(11.0), &json!(400.0), &json!(4)));
        assert!(told(&row).contains("11 (10–12) µs CPU a message"), "{}", told(&row));
    }

    #[test]
    fn growth_that_is_more_than_proportional_in_every_run_is_told() {
        let points = [1, 10, 100].map(|value| Point { what: What::Connections, value });
        let runs = [
            run(points[0], 1.0, 10.0, 10.0),
            run(points[1], 1.0, 100.0, 10.0),
            // Of the second step one run is no worse than proportional.
            run(points[2], 1.0, 1_000.0, 300.0),
            run(points[2], 1.0, 9_000.0, 300.0),
        ];
        let rows: Vec<Value> = points.iter().map(|point| row(*point, &runs)).collect();
        let told = superlinear(What::Connections, &rows);
        assert_eq!(told, ["memory grew 30.0 times (30.0 at least) from 10 to 100 connections, which is 10.0 times"]);
        assert!(superlinear(What::Size, &rows).is_empty());
    }
}

//! What a message costs as work grows: larger bodies, more connections, more replicas. S1's load, all values in turn, and again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::product::{Beginning, FILL, Product};
use super::{Common, Pace, SETTLE, SLACK, Scene, TOPIC, WARMUP, errors, largest_rss, paced, spread};

/// Messages in flight, unless there are more connections.
const WINDOW: usize = 1024;
/// Bytes of bodies in flight: of large ones fewer than [`WINDOW`] are.
const IN_FLIGHT_BYTES: usize = 16 << 20;
/// What does not grow.
const SIZE: usize = 1024;
/// The same of replicas.
const REPLICAS: usize = 3;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Size,
    Connections,
    Replicas,
}

impl What {
    const ALL: [Self; 3] = [Self::Size, Self::Connections, Self::Replicas];

    fn name(self) -> &'static str {
        match self {
            Self::Size => "message_size",
            Self::Connections => "connections",
            Self::Replicas => "replicas",
        }
    }
}

impl Point {
    fn size(self) -> usize {
        if self.what == What::Size { self.value } else { SIZE }
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
    let mut runs = Vec::new();
    let mut settings = Vec::new();
    let mut groups: Vec<usize> = points.iter().map(|point| point.replicas()).collect();
    groups.sort_unstable();
    groups.dedup();
    for replicas in groups {
        let points: Vec<Point> = points.iter().copied().filter(|point| point.replicas() == replicas).collect();
        let usual = Beginning::new("quorum-fsync", &args.common.set, SIZE);
        let beginning = Beginning { fill: Duration::from_secs(args.fill), replicas, ..usual };
        let cluster = scene.dir.join(format!("cluster-{replicas}"));
        let mut product = Product::start(binary, &args.bench, cluster.clone(), &beginning)?;
        settings.clone_from(&product.settings);
        for number in 1..=args.runs {
            for &point in &points {
                let (what, value) = (point.what.name(), point.value);
                eprintln!("run {number} of {}, {replicas} replicas: {what} {value}", args.runs);
                let pace = Pace {
                    window: point.window(),
                    connections: point.connections(),
                    size: point.size(),
                    warmup: WARMUP,
                    time: Duration::from_secs(args.seconds.into()),
                };
                let mut load = product.load(&args.bench, TOPIC, &scene.dir)?;
                let figures = paced(load.args(["--system", &scene.version]), &pace, SLACK)
                    .with_context(|| format!("{what} {value}"))?;
                runs.push(Run { point, figures });
                std::thread::sleep(SETTLE);
            }
        }
        product.stop()?;
        // The next one has as much room.
        std::fs::remove_dir_all(&cluster).with_context(|| format!("cannot remove {}", cluster.display()))?;
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
        "files_max": files_max,
        "settings": settings,
        "growth": rows,
        "superlinear": superlinear,
        "skipped": skipped,
        "runs": runs.iter().map(Run::to_json).collect::<Vec<_>>(),
    }));
    Ok(is_clean)
}

fn points(args: &Args) -> Vec<Point> {
    let of = |what| {
        let values = match what {
            What::Size => &args.sizes,
            What::Connections => &args.connections,
            What::Replicas => &args.replicas,
        };
        values.iter().map(move |&value| Point { what, value })
    };
    What::ALL.into_iter().flat_map(of).collect()
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
    row.insert("errors".into(), runs.iter().map(|run| errors(run)).sum::<u64>().into());
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
        "{:>12} {:>7}, {} in flight: {} µs CPU a message, {} msg/s, {} MB, {} errors",
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

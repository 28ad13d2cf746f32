//! S14, soak: durable sends at half of what the group can do, for long: whether latency, memory and room on the disk stay as they
//! are while segments are used again and retention removes what is old.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::{Spread, rounded};

use super::product::{Beginning, FILL, Product};
use super::{Common, Pace, Rated, SETTLE, SLACK, Scene, TOPIC, WARMUP, errors, is_kept, paced, rated, spread};

/// Messages in flight while the maximum is looked for.
const WINDOW: usize = 1024;
/// How long it is looked for.
const PROBE: Duration = Duration::from_secs(10);
/// The part of it that is sent.
const PART: f64 = 0.5;
/// Sends that are not measured, before each slice: a new program has connected.
const SLICE_WARMUP: Duration = Duration::from_secs(1);
/// The first and the last of so many parts are compared.
const PARTS: usize = 6;
/// Bytes of a block in what the kernel says of a file.
const BLOCK_BYTES: u64 = 512;

/// Arguments of `bench s14`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Minutes in all.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=180))]
    minutes: u32,
    /// Seconds measured in a slice; there is one after the other.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    slice: u32,
    /// Messages a second, by a schedule; half of what a closed loop comes to unless given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Seconds of load before, so that files have been used before.
    #[arg(long, default_value_t = FILL.as_secs())]
    fill: u64,
    #[command(flatten)]
    common: Common,
}

/// What was seen of one slice.
struct Slice {
    /// When its load was started, since the first one was.
    began: Duration,
    run: Value,
    /// Bytes that data and logs of all replicas took on the disk at its end.
    disk_bytes: u64,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    let slices = args.minutes * 60 / args.slice;
    ensure!(slices >= 2, "{} min have no two slices of {} s to compare", args.minutes, args.slice);
    let scene = Scene::begin(binary, &args.common)?;
    let usual = Beginning::new("quorum-fsync", &args.common.set, args.size);
    let beginning = Beginning { fill: Duration::from_secs(args.fill), ..usual };
    let dir = scene.dir.join("cluster");
    let mut product = Product::start(binary, &args.bench, dir.clone(), &beginning)?;
    let settings = product.settings.clone();
    let (maximum, rate) = match args.rate {
        Some(rate) => (None, rate),
        None => {
            let maximum = maximum(args, &mut product, &scene)?;
            (Some(maximum), half(maximum))
        }
    };
    let (began, mut seen) = (Instant::now(), Vec::new());
    for number in 1..=slices {
        eprintln!("slice {number} of {slices}, {rate}/s");
        let mut load = product.load(&args.bench, TOPIC, &scene.dir)?;
        load.args(["--system", &scene.version, "--quiet"]);
        let time = Duration::from_secs(args.slice.into());
        let pace = Rated { rate, connections: 1, size: args.size, warmup: SLICE_WARMUP, time };
        let began = began.elapsed();
        let run = rated(&mut load, &pace, SLACK)?;
        let disk_bytes = bytes_below(&dir).with_context(|| format!("looking at {}", dir.display()))?;
        seen.push(Slice { began, run, disk_bytes });
    }
    product.stop()?;
    let soak = soak(rate, &seen);
    println!("{}", told(&soak));
    let is_clean = soak["errors"] == 0;
    scene.end(json!({
        "scenario": "s14",
        "workload": format!("soak-1-topic-1-partition-{}b-f", args.size),
        "minutes": args.minutes,
        "seconds": args.slice,
        "warmup_seconds": SLICE_WARMUP.as_secs(),
        "fill_seconds": args.fill,
        "maximum_msgs_per_s": maximum,
        "rate": rate,
        "message_size": args.size,
        "settings": settings,
        "soak": soak,
        "slices": seen.iter().map(Slice::to_json).collect::<Vec<_>>(),
        "runs": seen.iter().map(|slice| &slice.run).collect::<Vec<_>>(),
    }));
    Ok(is_clean)
}

/// Messages a second of a closed loop.
fn maximum(args: &Args, product: &mut Product, scene: &Scene) -> Result<f64> {
    eprintln!("looking for the maximum");
    let pace = Pace { window: WINDOW, connections: 1, size: args.size, warmup: WARMUP, time: PROBE };
    let figures = paced(product.load(&args.bench, TOPIC, &scene.dir)?.arg("--quiet"), &pace, SLACK)?;
    std::thread::sleep(SETTLE);
    figures["publishRate"].as_f64().context("the load tells no rate")
}

/// What is sent of a maximum, in messages a second.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // messages a second
fn half(maximum: f64) -> u64 {
    ((maximum * PART) as u64).max(1)
}

/// Bytes on the disk of all files in a directory and below it. What is removed meanwhile takes none.
fn bytes_below(dir: &Path) -> io::Result<u64> {
    let unless_gone = |error: io::Error| if error.kind() == ErrorKind::NotFound { Ok(0) } else { Err(error) };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return unless_gone(error),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path())?,
            Ok(found) => found.blocks() * BLOCK_BYTES,
            Err(error) => unless_gone(error)?,
        };
    }
    Ok(bytes)
}

impl Slice {
    /// Resident memory of all replicas, in MB.
    fn rss_mb(&self) -> Option<f64> {
        self.run["rssMB"]["servers"].as_array()?.iter().map(Value::as_f64).sum()
    }

    #[allow(clippy::cast_precision_loss)] // shown rounded
    fn disk_mb(&self) -> f64 {
        self.disk_bytes as f64 / 1e6
    }

    fn errors(&self) -> u64 {
        errors(&self.run) + self.run["unsent"].as_u64().unwrap_or(0)
    }

    fn to_json(&self) -> Value {
        let mut slice = figures(&[self]);
        slice.insert("began_s".into(), rounded(self.began.as_secs_f64(), 10.0));
        slice.insert("replicas_rss_mb".into(), self.run["rssMB"]["servers"].clone());
        slice.insert("errors".into(), self.errors().into());
        // One value has no ends.
        slice.retain(|name, _| !name.ends_with("_min") && !name.ends_with("_max"));
        Value::Object(slice)
    }
}

/// Medians over these slices, with the smallest and the largest.
fn figures(slices: &[&Slice]) -> Map<String, Value> {
    type Figure = (&'static str, f64, fn(&Slice) -> Option<f64>);
    let figures: [Figure; 9] = [
        ("msgs_per_s", 1.0, |slice| slice.run["publishRate"].as_f64()),
        ("p50_us", 1.0, |slice| Some(slice.run["publishLatency50pct"].as_f64()? * 1e3)),
        ("p99_us", 1.0, |slice| Some(slice.run["publishLatency99pct"].as_f64()? * 1e3)),
        ("p999_us", 1.0, |slice| Some(slice.run["publishLatency999pct"].as_f64()? * 1e3)),
        ("slowest_us", 1.0, |slice| Some(slice.run["publishLatencyMax"].as_f64()? * 1e3)),
        ("cpu_us_per_msg", 100.0, |slice| slice.run["cpuMicrosPerMessage"]["total"].as_f64()),
        ("rss_mb", 10.0, Slice::rss_mb),
        ("disk_mb", 1.0, |slice| Some(slice.disk_mb())),
        ("others_cores", 100.0, |slice| slice.run["othersCores"].as_f64()),
    ];
    let mut row = Map::new();
    for (name, parts, figure) in figures {
        Spread::put(Spread::of(slices.iter().filter_map(|slice| figure(slice))), name, parts, &mut row);
    }
    row
}

/// How the end of all slices is beside their beginning.
fn soak(rate: u64, slices: &[Slice]) -> Value {
    let all: Vec<&Slice> = slices.iter().collect();
    let part = (all.len() / PARTS).max(1);
    let (first, last) = (figures(&all[..part]), figures(&all[all.len() - part..]));
    let ratio = |name: &str| Some(last[name].as_f64()? / first[name].as_f64().filter(|first| *first > 0.0)?);
    let mut soak = Map::new();
    for name in ["p50", "p99", "p999", "cpu", "rss", "disk"] {
        let figure = match name {
            "cpu" => "cpu_us_per_msg".to_owned(),
            "rss" | "disk" => format!("{name}_mb"),
            _ => format!("{name}_us"),
        };
        soak.insert(format!("{name}_ratio"), ratio(&figure).map_or(Value::Null, |ratio| rounded(ratio, 1000.0)));
    }
    soak.insert("slices".into(), all.len().into());
    soak.insert("slices_compared".into(), part.into());
    soak.insert("not_kept".into(), all.iter().filter(|slice| !is_kept(&slice.run, rate)).count().into());
    soak.insert("errors".into(), all.iter().map(|slice| slice.errors()).sum::<u64>().into());
    soak.insert("first".into(), Value::Object(first));
    soak.insert("all".into(), Value::Object(figures(&all)));
    soak.insert("last".into(), Value::Object(last));
    Value::Object(soak)
}

fn told(soak: &Value) -> String {
    let mut lines = String::new();
    for (name, part) in [("first", &soak["first"]), ("all", &soak["all"]), ("last", &soak["last"])] {
        lines += &format!(
            "{name:>5}: {} msg/s; p50 {} µs, p99 {} µs, p99.9 {} µs; {} µs CPU a message; {} MB of memory, {} MB on the disk\n",
            spread(part, "msgs_per_s"),
            spread(part, "p50_us"),
            spread(part, "p99_us"),
            spread(part, "p999_us"),
            spread(part, "cpu_us_per_msg"),
            spread(part, "rss_mb"),
            spread(part, "disk_mb"),
        );
    }
    let ratio = |name: &str| super::number(soak, &format!("{name}_ratio"));
    lines
        + &format!(
            "the last {} of {} slices beside the first: p99.9 {} times, memory {} times, disk {} times; {} errors; the rate was not kept \
             in {} slices",
            soak["slices_compared"],
            soak["slices"],
            ratio("p999"),
            ratio("rss"),
            ratio("disk"),
            soak["errors"],
            soak["not_kept"],
        )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn slice(p999_ms: f64, rss: [f64; 3], disk_bytes: u64) -> Slice {
        let run = json!({
            "publishRate": 100.0,
            "publishLatency50pct": 0.5,
            "publishLatency99pct": 1.5,
            "publishLatency999pct": p999_ms,
            "publishLatencyMax": 9.0,
            "cpuMicrosPerMessage": { "total": 20.0 },
            "rssMB": { "servers": rss, "client": 9_999.0 },
            "errors": {},
            "warmupErrors": 0,
            "unsent": 0,
        });
        Slice { began: Duration::from_millis(1_250), run, disk_bytes }
    }

    #[test]
    fn the_last_sixth_is_held_against_the_first() {
        let mut slices: Vec<Slice> = (0..13).map(|_| slice(99.0, [500.0; 3], 9_000_000)).collect();
        // Two of thirteen at each end.
        for (at, p999_ms, rss, disk) in
            [(0, 2.0, 100.0, 4), (1, 4.0, 100.0, 4), (11, 6.0, 150.0, 5), (12, 6.0, 150.0, 5)]
        {
            slices[at] = slice(p999_ms, [rss; 3], disk * 1_000_000);
        }
        let soak = soak(100, &slices);
        assert_eq!((&soak["slices"], &soak["slices_compared"]), (&json!(13), &json!(2)));
        assert_eq!(
            (&soak["p999_ratio"], &soak["rss_ratio"], &soak["disk_ratio"]),
            (&json!(2.0), &json!(1.5), &json!(1.25))
        );
        assert_eq!((&soak["p50_ratio"], &soak["cpu_ratio"]), (&json!(1.0), &json!(1.0)));
        assert_eq!((&soak["first"]["p999_us"], &soak["first"]["p999_us_max"]), (&json!(3_000.0), &json!(4_000.0)));
        assert_eq!((&soak["last"]["rss_mb"], &soak["all"]["p999_us"]), (&json!(450.0), &json!(99_000.0)));
        assert_eq!((&soak["errors"], &soak["not_kept"]), (&json!(0), &json!(0)));
        assert!(
            told(&soak).contains("the last 2 of 13 slices beside the first: p99.9 2 times, memory 1.5 times"),
            "{}",
            told(&soak)
        );
    }

    #[test]
    fn no_error_is_hidden_and_a_replica_that_is_gone_has_no_memory() {
        let mut late = slice(1.0, [1.0; 3], 0);
        late.run["publishRate"] = 90.0.into();
        late.run["unsent"] = 5.into();
        late.run["errors"] = json!({ "NO_ANSWER": 2 });
        late.run["rssMB"]["servers"][1] = Value::Null;
        let told = late.to_json();
        assert_eq!((&told["errors"], &told["rss_mb"], &told["began_s"]), (&json!(7), &Value::Null, &json!(1.3)));
        assert_eq!((&told["replicas_rss_mb"], told.get("p50_us_min")), (&json!([1.0, null, 1.0]), None));
        let soak = soak(100, &[slice(1.0, [1.0; 3], 0), late]);
        assert_eq!((&soak["errors"], &soak["not_kept"], &soak["slices_compared"]), (&json!(7), &json!(1), &json!(1)));
        assert_eq!((&soak["rss_ratio"], &soak["disk_ratio"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn files_count_with_what_they_take_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::File::create(dir.path().join("below/hole")).unwrap().set_len(1 << 30).unwrap();
        let hole = bytes_below(dir.path()).unwrap();
        assert!(hole < 1 << 20, "{hole} for nothing that was written");
        let mut file = fs::File::create(dir.path().join("below/full")).unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        assert!(bytes_below(dir.path()).unwrap() >= 1 << 20);
        assert_eq!(bytes_below(&dir.path().join("gone")).unwrap(), 0);
    }

    #[test]
    fn half_of_the_maximum_is_sent() {
        assert_eq!((half(20_001.9), half(0.1)), (10_000, 1));
    }
}

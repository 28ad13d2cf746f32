//! S12: what the index of one replica costs, by queues and as stored messages grow: CPU and bytes a message, and look-ups.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::{Common, SETTLE, Scene, measured, spread};

/// What a run may take for each message, and beyond that: some hundred times what it takes.
const PER_MESSAGE: Duration = Duration::from_micros(100);
const SLACK: Duration = Duration::from_secs(300);

/// Arguments of `bench s12`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The program that drives the index.
    #[arg(long, env = "TIMBERMQ_INDEX_LOAD_BIN", default_value = "timbermq-index-load")]
    index_load: PathBuf,
    /// Queues.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 50_000])]
    queues: Vec<u32>,
    /// Stored messages at which it is measured, in rising order.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    stored: Vec<u64>,
    /// How often each number of queues is measured, from an empty index each time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Messages in a second of the log: so many gather between two writes.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Look-ups of each kind.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    gets: u32,
    /// Draws the queues of messages, and which of them are looked up.
    #[arg(long, default_value_t = 12)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    ensure!(args.stored.is_sorted_by(|a, b| a < b), "the numbers of stored messages must rise");
    ensure!(args.common.set.is_empty(), "there are no replicas here that could have settings");
    let most = args.stored.last().copied().context("there is nothing to store")?;
    let limit = SLACK + PER_MESSAGE.saturating_mul(u32::try_from(most).unwrap_or(u32::MAX));
    let scene = Scene::begin(binary, &args.common)?;
    let dir = scene.dir.join("index");
    let mut runs = Vec::new();
    for number in 1..=args.runs {
        for &queues in &args.queues {
            eprintln!("run {number} of {}: {queues} queues, up to {most} messages", args.runs);
            if dir.exists() {
                fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
            }
            let mut command = Command::new(&args.index_load);
            command.arg(&dir).args([queues.to_string(), args.rate.to_string(), args.seed.to_string()]);
            command.arg(args.gets.to_string()).args(args.stored.iter().map(u64::to_string));
            runs.push(measured(&mut command, limit).with_context(|| format!("{queues} queues"))?);
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
            std::thread::sleep(SETTLE);
        }
    }
    let mut rows = Vec::new();
    for &queues in &args.queues {
        rows.extend(args.stored.iter().map(|&stored| row(queues, stored, &runs)));
    }
    for row in &rows {
        println!("{}", told(row));
    }
    let rested = rows.iter().all(|row| row["not_rested"] == 0);
    scene.end(json!({
        "scenario": "s12",
        "runs_each": args.runs,
        "rate": args.rate,
        "gets": args.gets,
        "seed": args.seed,
        "message_size": runs[0]["message_size"],
        "messages_per_entry": runs[0]["messages_per_entry"],
        "index": rows,
        "runs": runs,
    }));
    Ok(rested)
}

/// The figures of one number of queues and of stored messages: medians over the runs, with the smallest and the largest.
fn row(queues: u32, stored: u64, runs: &[Value]) -> Value {
    let runs = || runs.iter().filter(|run| run["queues"] == queues);
    let step = |run: &Value| run["steps"].as_array()?.iter().find(|step| step["stored"] == stored).cloned();
    let steps: Vec<Value> = runs().filter_map(step).collect();
    let spread = |figure: &dyn Fn(&Value) -> Option<f64>| Spread::of(steps.iter().filter_map(figure));
    let mut row = Map::new();
    row.insert("queues".into(), queues.into());
    row.insert("stored".into(), stored.into());
    row.insert("messages".into(), steps.first().map_or(Value::Null, |step| step["messages"].clone()));
    row.insert("runs".into(), steps.len().into());
    for name in ["cpu", "apply", "write", "background"].map(|who| format!("{who}_us_per_msg")) {
        Spread::put(spread(&|step| step[&name].as_f64()), &name, 1000.0, &mut row);
    }
    // Beside the first messages of the same run.
    let growth =
        |run: &Value| Some(step(run)?["cpu_us_per_msg"].as_f64()? / run["steps"][0]["cpu_us_per_msg"].as_f64()?);
    Spread::put(Spread::of(runs().filter_map(growth)), "growth", 1000.0, &mut row);
    for name in ["disk_bytes_per_msg", "written_bytes_per_msg", "rss_mb"] {
        Spread::put(spread(&|step| step[name].as_f64()), name, 10.0, &mut row);
    }
    for name in ["offset_us", "pull_us", "time_us", "key_us", "key_all_us"] {
        Spread::put(spread(&|step| step["get"][name].as_f64()), name, 100.0, &mut row);
    }
    row.insert("not_rested".into(), steps.iter().filter(|step| step["rested"] != true).count().into());
    Value::Object(row)
}

fn told(row: &Value) -> String {
    format!(
        "{:>6} queues, {:>9} messages: {} µs CPU each, {} times the first ones, {} bytes on the disk; by offset {} µs, 32 rows {}, \
         by time {}, by key and second {}, by key alone {}",
        row["queues"],
        row["stored"],
        spread(row, "cpu_us_per_msg"),
        row["growth"],
        row["disk_bytes_per_msg"],
        spread(row, "offset_us"),
        row["pull_us"],
        row["time_us"],
        row["key_us"],
        row["key_all_us"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_a_run_and_only_its_own_queues_count() {
        let step = |stored: u64, cpu: f64| json!({ "stored": stored, "messages": 50, "cpu_us_per_msg": cpu, "get": { "offset_us": cpu * 2.0 }, "rested": stored < 100 });
        let run = |queues: u32, first: f64, second: f64| json!({ "queues": queues, "steps": [step(50, first), step(100, second)] });
        // The machine was slower at the second run of the same.
        let runs = [run(1, 1.0, 1.2), run(1_000, 9.0, 9.0), run(1, 2.0, 2.4), run(1, 1.0, 1.5)];
        let first = row(1, 50, &runs);
        assert_eq!((&first["growth"], &first["not_rested"]), (&json!(1.0), &json!(0)));
        let second = row(1, 100, &runs);
        assert_eq!((&second["growth"], &second["growth_min"]), (&json!(1.2), &json!(1.2)));
        assert_eq!((&second["growth_max"], &second["runs"]), (&json!(1.5), &json!(3)));
        assert_eq!((&second["cpu_us_per_msg"], &second["offset_us"]), (&json!(1.5), &json!(3.0)));
        assert_eq!((&second["messages"], &second["not_rested"]), (&json!(50), &json!(3)));
        assert!(told(&second).contains("1.5 (1.2–2.4) µs CPU each, 1.2 times the first ones"), "{}", told(&second));
    }
}

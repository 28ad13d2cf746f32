//! The page on performance: only what recorded runs measured, with how, where and beside what.

mod fan_out;
mod html;
mod indexed;
mod markup;
mod peers;
mod plots;
mod soak;

use std::fmt::Write as _;

use serde_json::Value;

use crate::page::number;
use crate::workspace::array;
pub(crate) use html::page as render_html;

/// The page's text. `{{name}}` stands for a part that recorded figures fill.
const TEXT: &str = include_str!("performance.md");
/// What stands where nothing was recorded.
const MISSING: &str = "Not recorded yet.\n";
/// What stands in a table where nothing was measured.
const NOTHING: &str = "–";

/// The page, of figures that `results` finds by the name of their file.
pub(crate) fn render(results: &dyn Fn(&str) -> Value) -> String {
    let mut page = String::new();
    let mut rest = TEXT;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = after.split_once("}}") else { break };
        page.push_str(&part(name, results));
        rest = after;
    }
    page.push_str(rest);
    page
}

fn part(name: &str, results: &dyn Fn(&str) -> Value) -> String {
    let figures = results(&format!("bench-{name}"));
    if figures.is_null() {
        return MISSING.to_owned();
    }
    let mut text = match name {
        "s4" => batches(&figures),
        "s5" => rated(&figures),
        "s6" => many_topics(&figures),
        "s7" => catching_up(&figures),
        "s8" => fan_out::table(&figures),
        "s9" => takeovers(&figures),
        "s10" => recovery(&figures),
        "s11" => idle(&figures),
        "s12" => indexed::table(&figures),
        "s14" => soak::table(&figures),
        "growth" => growth(&figures),
        "peers-s1" | "peers-s2" => peers::sends(&figures),
        "peers-s5" => peers::latency(&figures),
        "peers-s7" => peers::catching_up(&figures),
        "peers-stock" => peers::by_stock_producer(&figures),
        _ => sends(&figures),
    };
    text.push_str(&circumstances(&figures));
    text
}

fn sends(figures: &Value) -> String {
    let mut text = "| in flight | messages a second | of the skeleton | CPU a message, µs | p99, ms | skeleton: messages a second | \
                    CPU a message, µs | p99, ms |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in array(&figures["windows"]) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row["window"],
            spread(row, "msgs_per_s", 1.0, 0),
            spread(row, "fraction_of_skeleton", 1.0, 2),
            spread(row, "cpu_us_per_msg", 1.0, 1),
            spread(row, "p99_us", 1e3, 1),
            spread(row, "skeleton_msgs_per_s", 1.0, 0),
            spread(row, "skeleton_cpu_us_per_msg", 1.0, 1),
            spread(row, "skeleton_p99_us", 1e3, 1),
        );
    }
    let _ = writeln!(
        text,
        "\n{}; {} bytes a body, {}. {} errors.",
        medians_of(figures, &pairs(figures)),
        figures["message_size"],
        counted(&figures["connections"], "connection"),
        errors(&figures["windows"]),
    );
    text
}

fn batches(figures: &Value) -> String {
    let mut text = "| messages | bytes each | batches in flight | messages a second | MB/s | of the skeleton | CPU a message, µs | \
                    p99 of a batch, ms | bytes written a byte | skeleton: MB/s | CPU a message, µs | p99, ms |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in array(&figures["batches"]) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | **{}** | {} | {} | {} | {} | {} | {} |",
            row["messages"],
            row["message_size"],
            row["window"],
            spread(row, "msgs_per_s", 1.0, 0),
            spread(row, "mb_per_s", 1.0, 0),
            spread(row, "fraction_of_skeleton", 1.0, 2),
            spread(row, "cpu_us_per_msg", 1.0, 2),
            spread(row, "p99_us", 1e3, 1),
            spread(row, "bytes_written_per_byte", 1.0, 1),
            spread(row, "skeleton_mb_per_s", 1.0, 0),
            spread(row, "skeleton_cpu_us_per_msg", 1.0, 2),
            spread(row, "skeleton_p99_us", 1e3, 1),
        );
    }
    let _ = writeln!(
        text,
        "\n{}; {}. {} errors.",
        medians_of(figures, &pairs(figures)),
        counted(&figures["connections"], "connection"),
        errors(&figures["batches"]),
    );
    text
}

fn rated(figures: &Value) -> String {
    let mut text = "| messages a second | p50, ms | p99, ms | p99.9, ms | max, ms | sent late by, ms (p99) | CPU a message, µs | \
                    skeleton: p50, ms | p99, ms | CPU a message, µs | p50 beside the skeleton's | p99 beside the skeleton's |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut late = String::new();
    for row in array(&figures["rates"]) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | **{}** | **{}** |",
            number(&row["rate"]),
            spread(row, "p50_us", 1e3, 2),
            spread(row, "p99_us", 1e3, 2),
            spread(row, "p999_us", 1e3, 1),
            spread(row, "max_us", 1e3, 1),
            spread(row, "delay_p99_us", 1e3, 2),
            spread(row, "cpu_us_per_msg", 1.0, 1),
            spread(row, "skeleton_p50_us", 1e3, 2),
            spread(row, "skeleton_p99_us", 1e3, 2),
            spread(row, "skeleton_cpu_us_per_msg", 1.0, 1),
            spread(row, "p50_ratio", 1.0, 2),
            spread(row, "p99_ratio", 1.0, 2),
        );
        if row["pairs_kept"] != row["pairs"] {
            let _ = writeln!(
                late,
                "\n{} a second were not kept in {} of {} runs, by the skeleton in {}: those pairs have no ratio.",
                number(&row["rate"]),
                row["not_kept"],
                row["pairs"],
                row["skeleton_not_kept"]
            );
        }
    }
    let _ = writeln!(
        text,
        "\n{}; {} queues, {} bytes a body, {}. {} errors.",
        medians_of(figures, &pairs(figures)),
        figures["queues"],
        figures["message_size"],
        counted(&figures["connections"], "connection"),
        errors(&figures["rates"]),
    );
    text.push_str(&late);
    text
}

fn takeovers(figures: &Value) -> String {
    let mut text =
        "| fault | client | median, ms | min, ms | max, ms | samples |\n|---|---|---|---|---|---|\n".to_owned();
    for (fault, name) in [("killed (`kill -9`)", "kill_ms"), ("stopped (SIGSTOP)", "pause_ms"), ("cut off", "cut_ms")] {
        for (kind, row) in figures[name].as_object().into_iter().flatten() {
            let client = if kind == "own" { "our own" } else { "stock Java" };
            let cell = |field: &str| if row[field].is_null() { NOTHING.to_owned() } else { number(&row[field]) };
            let _ = writeln!(
                text,
                "| {fault} | {client} | {} | {} | {} | {} |",
                cell("median"),
                cell("min"),
                cell("max"),
                cell("samples")
            );
        }
    }
    let mut group = String::new();
    for (fault, name) in [("killed", "kill"), ("stopped", "pause"), ("cut off", "cut")] {
        let seen = &figures["takeover"][name];
        let [elected, told] = ["elected_ms", "told_ms"].map(|moment| &seen[moment]);
        if let (Some(_), Some(_)) = (elected["median"].as_u64(), told["median"].as_u64()) {
            let times = |row: &Value| format!("{} ({}–{})", row["median"], row["min"], row["max"]);
            let _ = writeln!(group, "| {fault} | {} | {} |", times(elected), times(told));
        }
    }
    if !group.is_empty() {
        let _ = write!(
            text,
            "\nWhat happened in the group meanwhile, seen every 10 ms:\n\n\
             | leader | another one leads after, ms | the NameServer says so after, ms |\n|---|---|---|\n{group}"
        );
    }
    if let Some(why) = figures["cut_why"].as_str() {
        let _ = writeln!(text, "\nA leader that is cut off was not measured: {why}.");
    }
    let _ = writeln!(
        text,
        "\n{} sends acknowledged, {} of them lost, {} failed.",
        number(&figures["acknowledged"]),
        number(&figures["lost"]),
        number(&figures["failed_sends"])
    );
    text
}

fn catching_up(figures: &Value) -> String {
    let mut text = "| messages a pull | read beside the producer, MB/s | messages a second | read alone, MB/s | from followers, % | \
                    CPU a message, µs: replicas | reader | the producer's p99, ms | undisturbed, ms | ratio |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in array(&figures["batches"]) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | **{}** |",
            row["batch"],
            spread(row, "read_mb_per_s", 1.0, 0),
            spread(row, "read_msgs_per_s", 1.0, 0),
            spread(row, "alone_mb_per_s", 1.0, 0),
            spread(row, "follower_part", 0.01, 0),
            spread(row, "servers_cpu_us_per_msg", 1.0, 1),
            spread(row, "client_cpu_us_per_msg", 1.0, 1),
            spread(row, "p99_us", 1e3, 1),
            spread(row, "undisturbed_p99_us", 1e3, 1),
            spread(row, "p99_ratio", 1.0, 2),
        );
    }
    let readers = match &figures["consumers"] {
        one if *one == 1 => "1 reading process".to_owned(),
        many => format!("{many} reading processes"),
    };
    let _ = writeln!(
        text,
        "\nMedians of {}, smallest and largest in parentheses; {} GB of log each, {}; {}; {} sends a second of {} bytes, measured \
         for {} s undisturbed. {} errors.",
        counted(&figures["rounds"], "round"),
        log_gb(figures),
        cache(figures),
        readers,
        number(&figures["rate"]),
        figures["message_size"],
        figures["seconds"],
        errors(&figures["batches"]),
    );
    text
}

/// GB of log that each replica has.
fn log_gb(figures: &Value) -> String {
    figures["log_bytes"].as_f64().map_or_else(|| NOTHING.to_owned(), |bytes| format!("{:.1}", bytes / 1e9))
}

/// Whether files were read from the disk.
fn cache(figures: &Value) -> &'static str {
    if figures["page_cache_dropped"] == true { "page cache dropped" } else { "page cache **not** dropped" }
}

fn recovery(figures: &Value) -> String {
    let mut text =
        "| index | until it serves, ms | until a send, ms | until the oldest message, ms | until all is applied, s | \
                    GB of log a second | starts |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (index, name) in [("kept", "restart"), ("deleted", "rebuild")] {
        let row = &figures[name];
        if row["samples"].as_u64().is_some_and(|samples| samples > 0) {
            let _ = writeln!(
                text,
                "| {index} | {} | {} | {} | {} | {} | {} |",
                spread(row, "serving_ms", 1.0, 0),
                spread(row, "send_ms", 1.0, 0),
                spread(row, "pull_ms", 1.0, 0),
                spread(row, "whole_ms", 1e3, 2),
                spread(row, "gb_per_s", 1.0, 2),
                row["samples"],
            );
        }
    }
    let _ = writeln!(
        text,
        "\n{}, {} GB of log each with {} messages of {} bytes in {} queues; {}. Medians, smallest and largest in parentheses. \
         {} messages missing.",
        counted(&figures["replicas"], "replica"),
        log_gb(figures),
        number(&figures["messages"]),
        figures["message_size"],
        figures["queues"],
        cache(figures),
        number(&figures["missing"]),
    );
    text
}

fn growth(figures: &Value) -> String {
    let mut text =
        "| what grows | to | in flight | CPU a message, µs | messages a second | MB of bodies a second | p99, ms | \
                    memory of the largest replica, MB |\n|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in array(&figures["growth"]) {
        let what = row["what"].as_str().unwrap_or("?");
        let bytes = row["msgs_per_s"].as_f64().zip(row["message_size"].as_f64()).map(|(rate, size)| rate * size / 1e6);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            what.replace('_', " "),
            grown(what, &row["value"]),
            row["window"],
            spread(row, "cpu_us_per_msg", 1.0, 1),
            spread(row, "msgs_per_s", 1.0, 0),
            bytes.map_or_else(|| NOTHING.to_owned(), |bytes| format!("{bytes:.1}")),
            spread(row, "p99_us", 1e3, 1),
            spread(row, "rss_mb", 1.0, 0),
        );
    }
    let _ = writeln!(
        text,
        "\n{}. {} errors.",
        medians_of(figures, &counted(&figures["runs_each"], "run")),
        errors(&figures["growth"]),
    );
    let superlinear: Vec<String> =
        array(&figures["superlinear"]).filter_map(Value::as_str).map(|told| format!("* {told}\n")).collect();
    if superlinear.is_empty() {
        text.push_str("\nNothing grew more than in proportion to what grew.\n");
    } else {
        let _ = write!(text, "\nMore than in proportion to what grew:\n\n{}", superlinear.concat());
    }
    for row in array(&figures["skipped"]) {
        let (what, why) = (row["what"].as_str().unwrap_or("?"), row["why"].as_str().unwrap_or("?"));
        let what = what.replace('_', " ");
        let _ = writeln!(text, "\nNot measured: {} {what}; {why}.", number(&row["value"]));
    }
    text
}

fn many_topics(figures: &Value) -> String {
    let mut text =
        "| topics | made in, s | messages a second | beside one topic | kept | CPU a message of the replicas, µs | \
                    beside one topic | memory of the largest replica, MB | beside one topic |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in array(&figures["topics"]) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | **{}** | {} | {} | {} | {} |",
            number(&row["topics"]),
            row["make_s"],
            spread(row, "msgs_per_s", 1.0, 0),
            spread(row, "one_msgs_per_s", 1.0, 0),
            spread(row, "kept", 1.0, 2),
            spread(row, "servers_cpu_us_per_msg", 1.0, 1),
            spread(row, "one_servers_cpu_us_per_msg", 1.0, 1),
            spread(row, "rss_mb", 1.0, 0),
            spread(row, "one_rss_mb", 1.0, 0),
        );
    }
    let _ = writeln!(
        text,
        "\n{}; {} in flight over {}; {} bytes a body. {} errors.",
        medians_of(figures, &pairs(figures)),
        figures["window"],
        counted(&figures["connections"], "connection"),
        figures["message_size"],
        errors(&figures["topics"]),
    );
    text
}

fn idle(figures: &Value) -> String {
    let mut text = "| queues | process | memory, MB | its part of shared pages only, MB | CPU, % of a core | thread switches a second | \
                    pages dirtied, kB a minute |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in array(&figures["idle"]) {
        for (who, name) in [("leader", "leader"), ("follower", "larger follower"), ("namesrv", "NameServer")] {
            let cell = |field: &str| number(&row[who][field]);
            let _ = writeln!(
                text,
                "| {} | {name} | {} | {} | {} | {} | {} |",
                number(&row["queues"]),
                cell("rss_mb"),
                cell("pss_mb"),
                cell("cpu_percent"),
                cell("switches_per_s"),
                cell("dirtied_kb_per_min"),
            );
        }
    }
    let _ = writeln!(
        text,
        "\nOver {} s after {} s of rest; {} queues a topic, a message in each.",
        figures["seconds"], figures["rest_seconds"], figures["queues_per_topic"],
    );
    text
}

/// How it was measured, where, and what else went on.
fn circumstances(figures: &Value) -> String {
    let mut text = String::new();
    let machine = &figures["machine"];
    let _ = writeln!(
        text,
        "\n`{}`, {} (revision {}), {}, {}, {} GiB, Linux {}. Load average before {}, after {}{}.",
        figures["command"].as_str().unwrap_or("?"),
        figures["versions"]["timbermq"].as_str().unwrap_or("?"),
        figures["versions"]["revision"].as_str().unwrap_or("?"),
        machine["cpu"].as_str().unwrap_or("?"),
        counted(&machine["cores"], "core"),
        machine["memoryGiB"],
        machine["kernel"].as_str().unwrap_or("?"),
        figures["load"]["before"][0],
        figures["load"]["after"][0],
        others(figures),
    );
    let changed: Vec<&str> = array(&figures["calibration"]["changed"]).filter_map(Value::as_str).collect();
    if !changed.is_empty() {
        let _ = writeln!(
            text,
            "\nThe machine was not the same at the beginning and at the end ({}): even the ratios are rough.",
            changed.join("; ")
        );
    }
    text
}

/// What others used of the machine, over all windows.
fn others(figures: &Value) -> String {
    let of_peers = array(&figures["peers"]).flat_map(|peer| array(&peer["windows"]));
    let names = ["windows", "rates", "topics", "batches", "fan_out", "idle", "slices", "growth"];
    let own = names.into_iter().flat_map(|name| array(&figures[name]));
    let rows: Vec<&Value> = own.chain(of_peers).collect();
    let medians = || rows.iter().filter_map(|row| row["others_cores"].as_f64());
    match (medians().reduce(f64::min), medians().reduce(f64::max)) {
        (Some(min), Some(max)) => format!("; others used {min:.1} to {max:.1} cores meanwhile"),
        _ => String::new(),
    }
}

/// Median, with smallest and largest in parentheses, each divided by `unit`.
fn spread(row: &Value, name: &str, unit: f64, decimals: usize) -> String {
    let one = |name: &str| {
        row[name].as_f64().map_or_else(
            || NOTHING.to_owned(),
            |value| match decimals {
                0 => number(&(value / unit).round().into()),
                _ => format!("{:.decimals$}", value / unit),
            },
        )
    };
    let (median, min, max) = (one(name), one(&format!("{name}_min")), one(&format!("{name}_max")));
    if min == max { median } else { format!("{median} ({min}–{max})") }
}

/// What has grown, as one says it: sizes in the largest unit that has no fraction.
fn grown(what: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(bytes) if what == "message_size" => match bytes {
            b if b >= 1 << 20 && b.is_multiple_of(1 << 20) => format!("{} MiB", b >> 20),
            b if b >= 1 << 10 && b.is_multiple_of(1 << 10) => format!("{} KiB", b >> 10),
            b => format!("{b} B"),
        },
        _ => number(value),
    }
}

/// `1 core`, `2 cores`.
/// What the figures are medians of.
fn medians_of(figures: &Value, runs: &str) -> String {
    let (seconds, warmup) = (&figures["seconds"], &figures["warmup_seconds"]);
    format!("Median of {runs} of {seconds} s each after {warmup} s of warm-up, smallest and largest in parentheses")
}

fn pairs(figures: &Value) -> String {
    format!("{} pairs", figures["pairs"])
}

/// Errors of all rows.
fn errors(rows: &Value) -> u64 {
    array(rows).filter_map(|row| row["errors"].as_u64()).sum()
}

fn counted(count: &Value, one: &str) -> String {
    if *count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(super) fn results(file: &str) -> Value {
        match file {
            "bench-s1-f" => json!({
                "command": "cargo xtask bench s1", "pairs": 5, "seconds": 10, "warmup_seconds": 2, "message_size": 1024, "connections": 1,
                "windows": [{
                    "window": 64, "errors": 3, "others_cores": 0.25,
                    "msgs_per_s": 12345.0, "msgs_per_s_min": 12000.0, "msgs_per_s_max": 13000.0,
                    "fraction_of_skeleton": 0.4, "fraction_of_skeleton_min": 0.4, "fraction_of_skeleton_max": 0.4,
                    "p99_us": 2500.0, "p99_us_min": 2000.0, "p99_us_max": 3000.0,
                }],
                "machine": { "cpu": "C", "cores": 2, "memoryGiB": 24, "kernel": "6" },
                "load": { "before": [1.5], "after": [2.5] },
                "versions": { "timbermq": "timbermq 0.1.0", "revision": "abc" },
                "calibration": { "changed": ["echo 1/s, then 2/s"] },
            }),
            "bench-s9" => json!({
                "kill_ms": { "own": { "median": 210.0, "min": 150.0, "max": 900.0, "samples": 40 } },
                "pause_ms": { "stock_java": { "median": null, "min": null, "max": null, "samples": 0 } },
                "cut_ms": null, "cut_why": "no namespaces", "acknowledged": 5, "lost": 0, "failed_sends": 1,
                "takeover": { "kill": {
                    "elected_ms": { "median": 60, "min": 50, "max": 70, "samples": 20 },
                    "told_ms": { "median": 61, "min": 51, "max": 71, "samples": 20 },
                } },
            }),
            "bench-s5" => json!({
                "pairs": 5, "seconds": 10, "warmup_seconds": 2, "queues": 16, "connections": 1, "message_size": 1024,
                "rates": [{
                    "rate": 20_000, "pairs": 5, "pairs_kept": 4, "not_kept": 1, "skeleton_not_kept": 0, "errors": 0,
                    "p50_us": 1_500.0, "p50_us_min": 1_400.0, "p50_us_max": 1_600.0, "p99_us": 7_000.0,
                    "p99_ratio": 2.5, "p99_ratio_min": 2.0, "p99_ratio_max": 3.0,
                }],
            }),
            "bench-peers-s5" => json!({
                "scenario": "s5", "rate": 5_000, "pairs": 5, "seconds": 5, "warmup_seconds": 2, "message_size": 1024, "connections": 1,
                "peers": [
                    { "name": "other", "version": "1.2", "pairs": 5, "reason": null, "windows": [{
                        "pairs": 5, "pairs_kept": 3, "timbermq_not_kept": 0, "not_kept": 2,
                        "timbermq_p99_us": 4_000.0, "timbermq_p99_us_min": 4_000.0, "timbermq_p99_us_max": 4_000.0,
                        "p99_us": 9_000.0, "p99_ratio": 0.444, "p99_ratio_min": 0.4, "p99_ratio_max": 0.5,
                        "servers_cpu_us_per_msg": 90.4, "client_cpu_us_per_msg": 9.0,
                    }] },
                    { "name": "absent", "pairs": 0, "windows": [{ "pairs": 0 }], "reason": "no java\nmore" },
                ],
            }),
            "bench-peers-s1" => json!({
                "scenario": "s1", "durability": "f", "pairs": 5, "seconds": 5, "warmup_seconds": 2, "message_size": 1024, "connections": 1,
                "peers": [
                    {
                        "name": "other", "version": "1.2", "durability": "p", "equal_durability": false, "pairs": 5, "reason": null,
                        "settings": ["fast=true"],
                        "windows": [{
                            "window": 1024, "pairs": 5, "ratio_median": 3.456, "ratio_min": 3.0, "ratio_max": 14.05, "errors": 7,
                            "skeleton_errors": 2, "skeleton_ratio_median": 7.512, "skeleton_ratio_min": 7.0, "skeleton_ratio_max": 15.04,
                            "timbermq_errors": 0, "timbermq_msgs_per_s": 30000.0, "timbermq_msgs_per_s_min": 30000.0,
                            "timbermq_msgs_per_s_max": 30000.0, "servers_cpu_us_per_msg": 50.4, "client_cpu_us_per_msg": 9.0,
                            "rss_mb": 300.0, "timbermq_rss_mb": 200.0, "others_cores": 0.5,
                        }],
                    },
                    { "name": "absent", "pairs": 0, "windows": [{ "window": 1024, "pairs": 0 }], "reason": "no java\nmore" },
                ],
            }),
            "bench-peers-stock" => json!({
                "scenario": "stock", "durability": "f", "pairs": 3, "message_size": 1024, "stock_producer": "5.5.0",
                "peers": [
                    {
                        "name": "other", "version": "1.2", "durability": "f", "equal_durability": true, "pairs": 3,
                        "windows": [{
                            "threads": 64, "pairs": 3, "ratio_median": 2.5, "ratio_min": 2.0, "ratio_max": 3.0, "errors": 1,
                            "timbermq_errors": 0, "timbermq_msgs_per_s": 5000.0, "msgs_per_s": 2000.0,
                            "timbermq_mean_us": 1_250.0, "mean_us": 3_500.0, "servers_cpu_us_per_msg": 300.0, "client_cpu_us_per_msg": 90.0,
                        }],
                    },
                    { "name": "absent", "pairs": 0, "windows": [{ "pairs": 0 }], "reason": "no java" },
                ],
            }),
            "bench-growth" => json!({
                "runs_each": 3, "seconds": 3, "warmup_seconds": 2, "superlinear": ["memory <grew>"],
                "skipped": [{ "what": "connections", "value": 50_000, "why": "too many" }],
                "growth": [
                    { "what": "message_size", "value": 262_144, "message_size": 262_144, "window": 64, "errors": 1,
                      "msgs_per_s": 1_000.0, "cpu_us_per_msg": 300.0, "cpu_us_per_msg_min": 290.0, "cpu_us_per_msg_max": 310.0 },
                    { "what": "stored_messages", "value": 100_000, "message_size": 100, "window": 1024, "errors": 0, "msgs_per_s": 1.0,
                      "cpu_us_per_msg": 10.0, "stored_before": 131_072.0 },
                    { "what": "stored_messages", "value": 10_000_000, "message_size": 100, "window": 1024, "errors": 0,
                      "msgs_per_s": 1.0, "cpu_us_per_msg": 11.0 },
                    { "what": "replicas", "value": 5, "message_size": 1024, "window": 1024, "errors": 0, "rss_mb": 200.0,
                      "rss_mb_min": 200.0, "rss_mb_max": 200.0 },
                ],
            }),
            "bench-s4" => json!({
                "pairs": 5, "seconds": 10, "warmup_seconds": 2, "in_flight": 1024, "connections": 1,
                "batches": [{
                    "messages": 16, "message_size": 128, "window": 64, "errors": 3, "msgs_per_s": 400_000.0, "mb_per_s": 51.2,
                    "fraction_of_skeleton": 0.4, "fraction_of_skeleton_min": 0.3, "fraction_of_skeleton_max": 0.5,
                    "cpu_us_per_msg": 2.25, "p99_us": 5_500.0, "skeleton_mb_per_s": 128.0,
                }],
            }),
            "bench-s6" => json!({
                "pairs": 3, "seconds": 8, "warmup_seconds": 5, "window": 256, "connections": 4, "message_size": 1024,
                "topics": [{
                    "topics": 50_000, "make_s": 12.5, "errors": 2, "msgs_per_s": 40_000.0, "one_msgs_per_s": 50_000.0,
                    "kept": 0.8, "kept_min": 0.7, "kept_max": 0.9, "rss_mb": 210.4,
                }],
            }),
            "bench-s7" => json!({
                "rounds": 3, "seconds": 10, "rate": 2_000, "consumers": 2, "message_size": 1024, "log_bytes": 3_010_000_000_u64,
                "page_cache_dropped": true,
                "batches": [{
                    "batch": 32, "errors": 4, "read_mb_per_s": 301.4, "read_msgs_per_s": 250_000.0, "alone_mb_per_s": 400.0,
                    "follower_part": 0.667, "servers_cpu_us_per_msg": 2.25, "p99_us": 3_000.0, "undisturbed_p99_us": 2_000.0,
                    "p99_ratio": 1.5, "p99_ratio_min": 1.2, "p99_ratio_max": 1.8,
                }],
            }),
            "bench-s8" => json!({
                "rounds": 3, "seconds": 10, "warmup_seconds": 4, "rate": 5_000, "queues": 4, "batch": 32, "message_size": 1024,
                "fan_out": [{
                    "subscriptions": 100, "rounds": 3, "not_kept": 1, "errors": 6, "p50_us": 1_500.0, "p99_us": 7_250.0,
                    "p99_us_min": 6_000.0, "p99_us_max": 9_000.0, "msgs_per_s": 500_000.0, "mb_per_s": 560.4, "delivered": 0.9987,
                    "servers_cpu_us_per_msg": 1.25, "client_cpu_us_per_msg": 0.75,
                }],
            }),
            "bench-peers-s7" => {
                let window = json!({
                    "pairs": 3, "ratio_median": 2.5, "ratio_min": 2.0, "ratio_max": 3.0, "errors": 7, "timbermq_errors": 1,
                    "beside_ratio_median": 1.5, "beside_ratio_min": 1.25, "beside_ratio_max": 14.05, "alone_mb_per_s": 160.0,
                    "timbermq_alone_mb_per_s": 400.4, "timbermq_alone_mb_per_s_min": 390.0, "timbermq_alone_mb_per_s_max": 410.0,
                    "read_mb_per_s": 150.0, "servers_cpu_us_per_msg": 8.25, "client_cpu_us_per_msg": 0.35,
                    "timbermq_p99_us": 4_000.0, "timbermq_undisturbed_p99_us": 2_000.0, "timbermq_p99_ratio": 2.0,
                    "p99_us": 90_000.0, "undisturbed_p99_us": 30_000.0, "p99_ratio": 3.0, "p99_ratio_min": 2.5,
                    "p99_ratio_max": 3.5, "disk_part": 1.04, "timbermq_not_kept": 0, "not_kept": 1,
                });
                json!({
                    "scenario": "s7", "rate": 2_000, "durability": "f", "pairs": 3, "seconds": 5, "message_size": 1024, "queues": 16,
                    "batch": 32, "backlog_messages": 976_563, "page_cache_dropped": true,
                    "peers": [
                        {
                            "name": "other", "version": "1.2", "durability": "p", "equal_durability": false, "pairs": 3, "reason": null,
                            "settings": ["fast=true"], "reader_settings": ["much=true"],
                            "windows": [window],
                        },
                        { "name": "absent", "pairs": 0, "windows": [{ "pairs": 0 }], "reader_settings": null, "reason": "no java\nmore" },
                    ],
                })
            }
            "bench-s10" => json!({
                "replicas": 1, "rounds": 5, "rebuilds": 1, "log_bytes": 10_040_000_000_u64, "messages": 8_123_456, "message_size": 1024,
                "queues": 8, "page_cache_dropped": false, "missing": 0,
                "restart": {
                    "samples": 5, "serving_ms": 812.0, "serving_ms_min": 700.0, "serving_ms_max": 1_900.0, "send_ms": 812.0, "pull_ms": 400.0,
                    "whole_ms": 650.0,
                },
                "rebuild": {
                    "samples": 1, "serving_ms": 20_080.0, "whole_ms": 20_080.0, "gb_per_s": 0.5, "gb_per_s_min": 0.5, "gb_per_s_max": 0.5,
                },
            }),
            "bench-s11" => json!({
                "seconds": 60, "rest_seconds": 20, "queues_per_topic": 10,
                "idle": [{
                    "queues": 10_000, "others_cores": 0.5,
                    "leader": { "rss_mb": 68.2, "pss_mb": 53.0, "cpu_percent": 0.85, "switches_per_s": 90.0, "dirtied_kb_per_min": 0.0 },
                    "follower": { "rss_mb": 66.5 }, "namesrv": { "rss_mb": 20.1 },
                }],
            }),
            "bench-s14" => json!({
                "minutes": 30, "seconds": 60, "rate": 10_000, "maximum_msgs_per_s": 20_001.5, "message_size": 1024,
                "soak": {
                    "slices": 30, "slices_compared": 5, "not_kept": 2, "errors": 7, "p99_ratio": 0.98, "p999_ratio": 1.25,
                    "rss_ratio": 1.01, "disk_ratio": 1.0,
                    "first": { "p999_us": 8_000.0, "p999_us_min": 7_000.0, "p999_us_max": 9_000.0 },
                    "all": { "msgs_per_s": 10_000.0, "p50_us": 1_500.0, "rss_mb": 450.4 },
                    "last": { "p999_us": 10_000.0, "disk_mb": 2_500.0 },
                },
                "slices": [
                    { "began_s": 0.0, "p999_us": 8_000.0, "rss_mb": 440.0, "disk_mb": 2_500.0 },
                    { "began_s": 61.5, "p999_us": 10_000.0, "rss_mb": 450.0, "disk_mb": 2_500.0 },
                ],
            }),
            "bench-s12" => json!({
                "runs_each": 3, "rate": 50_000, "gets": 10_000, "message_size": 1024, "messages_per_entry": 64,
                "index": [
                    { "queues": 1_000, "stored": 1_000_000, "messages": 1_000_000, "cpu_us_per_msg": 0.678, "growth": 1.0 },
                    {
                        "queues": 1_000, "stored": 10_000_000, "messages": 9_000_000, "cpu_us_per_msg": 0.806,
                        "cpu_us_per_msg_min": 0.79, "cpu_us_per_msg_max": 0.85, "apply_us_per_msg": 0.5, "write_us_per_msg": 0.07,
                        "background_us_per_msg": 0.236, "growth": 1.189, "growth_min": 1.1, "growth_max": 1.25,
                        "disk_bytes_per_msg": 56.7, "written_bytes_per_msg": 321.4, "rss_mb": 136.8, "offset_us": 7.14, "pull_us": 8.7,
                        "time_us": 25.6, "key_us": 13.0, "key_all_us": 199.4, "not_rested": 1,
                    },
                ],
            }),
            _ => Value::Null,
        }
    }

    #[test]
    fn the_page_tells_what_was_recorded_and_what_was_not() {
        let page = render(&results);
        assert!(page.contains("| 64 | 12 345 (12 000–13 000) | 0.40 |"), "{page}");
        assert!(page.contains("| 2.5 (2.0–3.0) |"), "milliseconds");
        assert!(page.contains("3 errors.") && page.contains("1 connection.") && page.contains("revision abc"));
        assert!(page.contains("others used 0.2 to 0.2 cores") || page.contains("others used 0.3 to 0.3 cores"));
        assert!(page.contains("echo 1/s, then 2/s"), "a machine that changed is told");
        assert!(page.contains("| killed (`kill -9`) | our own | 210 | 150 | 900 | 40 |"));
        assert!(page.contains("| stopped (SIGSTOP) | stock Java | – | – | – | 0 |"));
        assert!(page.contains("no namespaces"));
        assert!(page.contains("| killed | 60 (50–70) | 61 (51–71) |") && !page.contains("| cut off |"), "{page}");
        assert!(page.contains("| 20 000 | 1.50 (1.40–1.60) | 7.00 | – |"), "{page}");
        assert!(page.contains("| **–** | **2.50 (2.00–3.00)** |"), "{page}");
        assert!(page.contains("20 000 a second were not kept in 1 of 5 runs, by the skeleton in 0"));
        assert!(page.contains("| 4.00 | 9.00 | **0.44 (0.40–0.50)** | – + – | 90 + 9 |"), "{page}");
        assert!(page.contains("5000 messages a second. Median of 5 pairs"), "{page}");
        assert!(
            page.contains(
                "| other | 1.2 | *f* | 64 | 5000 | 2000 | **2.50** (2.00–3.00) | 1.25 | 3.50 | – + – | 300 + 90 |"
            ),
            "{page}"
        );
        assert!(page.contains("The producer's version is 5.5.0. Median of 3 pairs"), "{page}");
        assert!(
            page.contains("in 0 of 5 runs, the peer in 2") && page.contains("* absent was not measured: no java.\n")
        );
        assert!(
            page.contains(
                "| other | 1.2 | *p* (not equal) | 1024 | 30 000 | – | **3.46** (3.00–14.1) | 7.51 (7.00–15.0) |"
            ),
            "{page}"
        );
        assert!(
            page.contains("| – + – | 50 + 9 | 200 | 300 |")
                && page.contains("0 errors of TimberMQ, 7 of the others. 2 of the skeleton.")
        );
        assert!(page.contains("* other: `fast=true`\n") && page.contains("* absent was not measured: no java.\n"));
        assert!(
            page.contains("| 50 000 | 12.5 | 40 000 | 50 000 | **0.80 (0.70–0.90)** | – | – | 210 | – |"),
            "{page}"
        );
        assert!(
            page.contains("| 32 | 301 | 250 000 | 400 | 67 | 2.2 | – | 3.0 | 2.0 | **1.50 (1.20–1.80)** |"),
            "{page}"
        );
        assert!(
            page.contains("2 reading processes; 2000 sends a second")
                && page.contains("3.0 GB of log each, page cache dropped")
        );
        assert!(
            page.contains(
                "| other | 1.2 | 400 (390–410) | 160 | **2.50** (2.00–3.00) | – | 150 | **1.50** (1.25–14.1) |"
            ),
            "{page}"
        );
        assert!(page.contains("| – + – | 8.2 + 0.3 |") || page.contains("| – + – | 8.2 + 0.4 |"), "{page}");
        assert!(
            page.contains("| other | *p* (not equal) | 4.0 | 90.0 | 2.0 | 30.0 | **2.00** | 3.00 (2.50–3.50) |"),
            "{page}"
        );
        assert!(page.contains("976 563 messages of 1024 bytes in 16 queues, page cache dropped; 32 a pull"), "{page}");
        assert!(
            page.contains("1 errors of TimberMQ, 7 of the others") && page.contains("* other: `much=true`\n"),
            "{page}"
        );
        assert!(page.contains("a byte that was read: TimberMQ –, other 1.04."), "{page}");
        assert!(page.contains("even undisturbed in 0 of 3 rounds, the peer's in 1; those"), "{page}");
        assert!(
            page.contains("| 100 | 1.50 | **7.25 (6.00–9.00)** | – | – | 500 000 | 560 | 99.87 | 1.25 | 0.75 | – |"),
            "{page}"
        );
        assert!(
            page.contains("5000 sends a second of 1024 bytes to 4 queues, 32 messages a pull. 6 errors."),
            "{page}"
        );
        assert!(
            page.contains("Beside 100 subscriptions the producer did not keep the rate in 1 of 3 rounds."),
            "{page}"
        );
        assert!(page.contains("| kept | 812 (700–1900) | 812 | 400 | 0.65 | – | 5 |"), "{page}");
        assert!(page.contains("| 20.08 | 0.50 | 1 |") && page.contains("page cache **not** dropped"), "{page}");
        assert!(page.contains("1 replica, 10.0 GB of log each with 8 123 456 messages of 1024 bytes"), "{page}");
        assert!(
            page.contains("| 10 000 | leader | 68.2 | 53 | 0.85 | 90 | 0 |")
                && page.contains("| larger follower | 66.5 |")
        );
        assert!(page.contains("4 connections; 1024 bytes a body. 2 errors."), "{page}");
        assert!(
            page.contains("| 16 | 128 | 64 | 400 000 | 51 | **0.40 (0.30–0.50)** | 2.25 | 5.5 | – | 128 | – | – |"),
            "{page}"
        );
        assert!(
            page.contains(
                "| 1000 | 10 000 000 | **0.81 (0.79–0.85)** | 0.50 + 0.07 + 0.24 | 1.19 (1.10–1.25) | 57 | 321 | 137 |"
            ),
            "{page}"
        );
        assert!(page.contains("| 1000 | 10 000 000 | **7.1** | 8.7 | 25.6 | 13.0 | 199 |"), "{page}");
        assert!(page.contains("Compaction had not ended in 1 of these."), "{page}");
        assert!(page.contains("| first 5 | – | – | – | 8.0 (7.0–9.0) |"), "{page}");
        assert!(page.contains("| all 30 | 10 000 | 1.50 | – | – | – | – | 450 | – |"), "{page}");
        assert!(page.contains("| last beside first | | – | 0.98 | **1.25** | | – | **1.01** | **1.00** |"), "{page}");
        assert!(page.contains("for 30 minutes, where a closed loop of 1024 came to 20 002."), "{page}");
        assert!(page.contains("not kept in 2 slices. 7 errors."), "{page}");
        assert!(page.contains("| message size | 256 KiB | 64 | 300.0 (290.0–310.0) |"), "{page}");
        assert!(page.contains("| stored messages | 10 000 000 | 1024 | 11.0 |"), "{page}");
        assert!(page.contains("| 262.1 |") && page.contains("| replicas | 5 | 1024 | – | – |"), "{page}");
        assert!(page.contains("* memory <grew>\n") && page.contains("Not measured: 50 000 connections; too many."));
        assert!(page.contains(MISSING), "nothing was recorded of s1-p");
        assert!(!page.contains("{{") && !page.contains("}}"));
    }
}

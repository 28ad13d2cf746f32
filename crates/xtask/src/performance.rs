//! The page on performance: only what recorded runs measured, with how, where and beside what.

use std::fmt::Write as _;

use serde_json::Value;

use crate::page::number;
use crate::workspace::array;

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
        "s9" => takeovers(&figures),
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
    let errors: u64 = array(&figures["windows"]).filter_map(|row| row["errors"].as_u64()).sum();
    let _ = writeln!(
        text,
        "\nMedian of {} pairs of {} s each after {} s of warm-up, smallest and largest in parentheses; {} bytes a body, {}. {errors} errors.",
        figures["pairs"],
        figures["seconds"],
        figures["warmup_seconds"],
        figures["message_size"],
        counted(&figures["connections"], "connection"),
    );
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
    let medians = || array(&figures["windows"]).filter_map(|row| row["others_cores"].as_f64());
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

/// `1 core`, `2 cores`.
fn counted(count: &Value, one: &str) -> String {
    if *count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn results(file: &str) -> Value {
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
        assert!(page.contains(MISSING), "nothing was recorded of s1-p");
        assert!(!page.contains("{{") && !page.contains("}}"));
    }
}

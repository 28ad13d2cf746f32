//! The pages on verification and performance: texts whose every figure comes from a recorded run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::performance;
use crate::sim::LEDGER;
use crate::workspace::{Workspace, array};

/// Where figures are kept, one file of JSON for each task that makes them.
pub(crate) const RESULTS: &str = "crates/timbermq/docs/results";
/// The page on performance.
const PERFORMANCE: &str = "crates/timbermq/docs/performance.md";
/// The same with drawings.
const PERFORMANCE_HTML: &str = "crates/timbermq/docs/performance.html";
/// The other pages and their texts. `{{file/pointer}}` stands for a figure, `{{table:name}}` for a table.
const PAGES: [(&str, &str); 2] = [
    ("crates/timbermq/docs/verification.md", include_str!("verification.md")),
    ("jepsen/docs/apache-rocketmq.md", include_str!("apache-rocketmq.md")),
];
/// What stands where nothing was recorded.
const MISSING: &str = "(not recorded)";

/// Keeps the figures of `name`.
///
/// # Errors
/// The file cannot be written.
pub fn record(root: &Path, name: &str, figures: &Value) -> Result<()> {
    let dir = root.join(RESULTS);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(figures).context("figures are JSON")?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the pages, or says whether they are right.
///
/// # Errors
/// An argument is unknown, or a file cannot be read or written.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let root = Workspace::open()?.root;
    let is_check = match args {
        [] => false,
        [check] if check == "--check" => true,
        _ => bail!("unknown arguments; see cargo xtask page --help"),
    };
    let mut code = ExitCode::SUCCESS;
    let results = |file: &str| read(&root, file);
    let texts = PAGES.iter().map(|(page, text)| (*page, render(text, &results)));
    for (page, fresh) in texts.chain(performance_pages(&root)) {
        if !is_check {
            write(&root, page, &fresh)?;
        } else if fs::read_to_string(root.join(page)).unwrap_or_default() != fresh {
            eprintln!("error: {page} is not what the recorded figures make it; run cargo xtask page");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Writes the pages on performance.
///
/// # Errors
/// A file cannot be written.
pub fn write_performance(root: &Path) -> Result<()> {
    performance_pages(root).iter().try_for_each(|(page, fresh)| write(root, page, fresh))
}

/// Writes the page on performance that has drawings, to `out` if that is asked for. Where it is.
///
/// # Errors
/// The file cannot be written.
pub fn write_drawings(root: &Path, out: Option<&Path>) -> Result<PathBuf> {
    let path = out.map_or_else(|| root.join(PERFORMANCE_HTML), Path::to_owned);
    let page = performance::render_html(&|file| read(root, file));
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The pages on performance: the text, and the same with drawings.
fn performance_pages(root: &Path) -> [(&'static str, String); 2] {
    let results = |file: &str| read(root, file);
    [(PERFORMANCE, performance::render(&results)), (PERFORMANCE_HTML, performance::render_html(&results))]
}

fn write(root: &Path, path: &str, page: &str) -> Result<()> {
    let path = root.join(path);
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn read(root: &Path, file: &str) -> Value {
    if file == "ledger" {
        return ledger_sum(&fs::read_to_string(root.join(LEDGER)).unwrap_or_default());
    }
    let text = fs::read_to_string(root.join(RESULTS).join(format!("{file}.json"))).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// All recorded simulations together; `Null` when there is none.
fn ledger_sum(text: &str) -> Value {
    let runs: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if runs.is_empty() {
        return Value::Null;
    }
    let sum = |field: &str| runs.iter().filter_map(|run| run[field].as_f64()).sum::<f64>();
    json!({
        "runs": runs.len(),
        "seeds": sum("seeds"),
        "failed": sum("failed"),
        "simulated_h": (sum("simulated_s") / 3600.0).round(),
        "faults": sum("faults"),
        "acked": sum("acked"),
    })
}

fn render(text: &str, results: &dyn Fn(&str) -> Value) -> String {
    let mut page = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = after.split_once("}}") else { break };
        match name.strip_prefix("table:") {
            Some("seeded-bugs") => page.push_str(&bugs(&results("seeded-bugs"))),
            Some("models") => page.push_str(&models(&results("models"))),
            Some("invariants") => page.push_str(&invariants(&results("sim"))),
            Some("faults") => page.push_str(&counts(&results("sim")["faults_by_group"])),
            Some("compared") => page.push_str(&compared(&results("apache-rocketmq"))),
            Some("systems") => page.push_str(&systems(&results("apache-rocketmq"))),
            Some("commands") => page.push_str(&commands(&results("apache-rocketmq"))),
            Some("anomalies") => page.push_str(&anomalies(&results("apache-rocketmq"))),
            Some("settings") => page.push_str(&settings(&results("apache-rocketmq"))),
            Some("fuzz") => page.push_str(&fuzz(&results("fuzz"))),
            Some(_) => page.push_str(MISSING),
            None => page.push_str(&figure(results, name)),
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn figure(results: &dyn Fn(&str) -> Value, name: &str) -> String {
    let (file, pointer) = name.split_once('/').unwrap_or((name, ""));
    let value = results(file);
    value.pointer(&format!("/{pointer}")).map_or_else(|| MISSING.to_owned(), number)
}

/// A number as people read it; of a list, how long it is.
pub(crate) fn number(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0) => {
            let digits = number.as_f64().map_or_else(String::new, |n| format!("{n:.0}"));
            let mut text = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at) % 3 == 0 && digits.len() > 4 {
                    text.push(' ');
                }
                text.push(digit);
            }
            text
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => items.len().to_string(),
        other => other.to_string(),
    }
}

fn bugs(results: &Value) -> String {
    let mut table = "| # | bug | seen by |\n|---|---|---|\n".to_owned();
    for bug in array(&results["bugs"]) {
        let layers: Vec<String> = array(&bug["caught"])
            .map(|catch| {
                let seconds = catch["cpu_s"].as_f64().map_or_else(String::new, |s| format!(" ({s:.1} s)"));
                format!("{}{seconds}", catch["layer"].as_str().unwrap_or("?"))
            })
            .collect();
        let seen = if layers.is_empty() { "nothing".to_owned() } else { layers.join(", ") };
        let _ = writeln!(table, "| {} | `{}` | {seen} |", bug["number"], bug["name"].as_str().unwrap_or("?"));
    }
    table
}

fn models(results: &Value) -> String {
    let rows = array(&results["specs_rows"]).chain(array(&results["seeded_spec_bugs"])).chain(array(&results["rows"]));
    let mut table = "| specification | distinct states, both engines | deep |\n|---|---|---|\n".to_owned();
    for row in rows {
        let name = row["spec"].as_str().or(row["name"].as_str()).unwrap_or("?");
        let shared =
            ["shared", "stateright", "distinct"].iter().find_map(|key| row.get(*key).filter(|v| v.is_number()));
        let deep = ["deep", "deep_distinct"].iter().find_map(|key| row.get(*key).filter(|v| v.is_number()));
        let show = |value: Option<&Value>| value.map_or_else(|| "–".to_owned(), number);
        let _ = writeln!(table, "| `{name}` | {} | {} |", show(shared), show(deep));
    }
    table
}

fn invariants(results: &Value) -> String {
    let mut rows: Vec<(u64, String)> = results["examined"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(id, count)| Some((id.strip_prefix('I')?.parse().ok()?, number(count))))
        .collect();
    rows.sort();
    let mut table = "| invariant | examined |\n|---|---|\n".to_owned();
    for (id, count) in rows {
        let _ = writeln!(table, "| I{id} | {count} |");
    }
    table
}

fn counts(results: &Value) -> String {
    let mut table = "| faults | times |\n|---|---|\n".to_owned();
    for (name, count) in results.as_object().into_iter().flatten() {
        let _ = writeln!(table, "| {name} | {} |", number(count));
    }
    table
}

fn fuzz(results: &Value) -> String {
    let mut table = "| target | executions |\n|---|---|\n".to_owned();
    let rows = ["rows", "target_rows", "by_target", "per_target"].iter().flat_map(|key| array(&results[*key]));
    for row in rows {
        let name = row["target"].as_str().or(row["name"].as_str()).unwrap_or("?");
        let _ = writeln!(table, "| `{name}` | {} |", number(&row["executions"]));
    }
    table
}

/// What each system made of each fault, a row for each run.
fn compared(results: &Value) -> String {
    let mut table = "| system | faults | seed | struck | acknowledged | unknown | lost | other promises broken | longest pause in writes | verdict |\n\
                     |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in array(&results["runs"]) {
        let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
        let broken = row["violations"].as_object().into_iter().flatten();
        // The loss of all power is a special case of I1, which counts its messages already.
        let others: Vec<String> = broken
            .filter(|(id, _)| !["I1", "I28"].contains(&id.as_str()))
            .map(|(id, n)| format!("{id}: {n}"))
            .collect();
        let pause = row["longest_pause_ms"].as_f64().map_or_else(|| "–".to_owned(), |ms| format!("{:.1} s", ms / 1e3));
        // What was not read back may be there or not, and a pause that did not end has no length.
        let lost = match (row["violations"]["I1"].as_u64().unwrap_or(0), row["broken"].is_null()) {
            (0, false) => "not known".to_owned(),
            (lost, _) => lost.to_string(),
        };
        let pause = if row["violations"]["I30"].is_null() { pause } else { "did not end in time".to_owned() };
        let note = row["broken"].as_str().map_or_else(String::new, |why| format!(" ({why})"));
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {} | {} | {} | {pause} | {}{note} |",
            text("system"),
            text("faults"),
            row["seed"],
            row["struck"],
            number(&row["acked"]),
            number(&row["unknown"]),
            lost,
            if others.is_empty() { "–".to_owned() } else { others.join(", ") },
            text("verdict"),
        );
    }
    table
}

/// The systems that were compared, and their versions.
fn systems(results: &Value) -> String {
    let of = |row: &Value, field: &str| row[field].as_str().unwrap_or("?").to_owned();
    let rows: BTreeSet<(String, String)> =
        array(&results["runs"]).map(|row| (of(row, "system"), of(row, "version"))).collect();
    rows.into_iter().fold(String::new(), |table, (system, version)| table + &format!("| `{system}` | {version} |\n"))
        + "\n"
}

/// What repeats the runs.
fn commands(results: &Value) -> String {
    let mut text = "```console\n".to_owned();
    for row in array(&results["runs"]) {
        let _ = writeln!(text, "# {}", row["command"].as_str().unwrap_or("?"));
    }
    text + "```\n"
}

/// The smallest anomaly of each kind for each system, with its operations.
fn anomalies(results: &Value) -> String {
    let mut found: Vec<(String, &Value, &Value)> = Vec::new();
    for row in array(&results["runs"]) {
        for anomaly in array(&row["anomalies"]) {
            let kind =
                format!("`{}`, {}", row["system"].as_str().unwrap_or("?"), anomaly["id"].as_str().unwrap_or("?"));
            let size = |anomaly: &Value| array(&anomaly["operations"]).count();
            match found.iter_mut().find(|(other, ..)| *other == kind) {
                None => found.push((kind, row, anomaly)),
                Some(known) if size(anomaly) < size(known.2) => (known.1, known.2) = (row, anomaly),
                Some(_) => {}
            }
        }
    }
    let mut text = String::new();
    for (kind, row, anomaly) in found {
        let _ = writeln!(
            text,
            "* {kind}, “{}”, under {}, seed {}: {}\n",
            anomaly["promise"].as_str().unwrap_or("?"),
            row["faults"].as_str().unwrap_or("?"),
            row["seed"],
            anomaly["words"].as_str().unwrap_or("?")
        );
        text.push_str("  ```json\n");
        for operation in array(&anomaly["operations"]) {
            let _ = writeln!(text, "  {}", operation.as_str().unwrap_or("?"));
        }
        text.push_str("  ```\n");
    }
    if text.is_empty() { "None was found.\n".to_owned() } else { text }
}

/// The settings of the first replica and the first NameServer of each system.
fn settings(results: &Value) -> String {
    let mut text = String::new();
    for (system, files) in results["settings"].as_object().into_iter().flatten() {
        let of = |kind: &str| files[kind].as_str().unwrap_or("?").trim_end().to_owned();
        let _ = writeln!(text, "`{system}`, its first replica:\n\n```properties\n{}\n```\n", of("replica"));
        let _ = writeln!(text, "and its first NameServer:\n\n```properties\n{}\n```\n", of("name_server"));
    }
    if text.is_empty() { format!("{MISSING}\n") } else { text.trim_end().to_owned() + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_the_results_or_are_said_to_be_missing() {
        let results = |file: &str| {
            if file == "sim" { json!({"seeds": 1_234_567, "a": {"b": "c"}, "list": ["x", "y"]}) } else { Value::Null }
        };
        assert_eq!(figure(&results, "sim/seeds"), "1 234 567");
        assert_eq!(figure(&results, "sim/a/b"), "c");
        assert_eq!(figure(&results, "sim/list"), "2");
        assert_eq!(figure(&results, "nosuch/seeds"), MISSING);
    }

    #[test]
    fn recorded_simulations_add_up() {
        let text = r#"{"seeds":10,"failed":0,"simulated_s":3000.0,"faults":5,"acked":100,"revision":"a"}
{"seeds":20,"failed":1,"simulated_s":4200.0,"faults":6,"acked":50,"revision":"b"}"#;
        let sum = json!({"runs": 2, "seeds": 30.0, "failed": 1.0, "simulated_h": 2.0, "faults": 11.0, "acked": 150.0});
        assert_eq!(ledger_sum(text), sum);
        assert_eq!(ledger_sum(""), Value::Null);
    }

    #[test]
    fn every_mark_of_the_text_is_replaced() {
        for (name, text) in PAGES {
            let page = render(text, &|_| Value::Null);
            assert!(!page.contains("{{") && !page.contains("}}"), "{name}");
        }
    }

    #[test]
    fn a_comparison_counts_what_was_lost_apart_and_shows_the_smallest_anomaly_of_each_kind() {
        let anomaly = |words: &str, operations: &[&str]| json!({"id": "I1", "promise": "p", "words": words, "operations": operations});
        let run = |seed: u64, anomaly: Value| {
            json!({"system": "s", "faults": "kill", "seed": seed, "struck": 3, "acked": 12_345, "unknown": 6,
                   "violations": {"I1": 7, "I28": 7, "I2": 1}, "longest_pause_ms": 1500, "verdict": "invalid",
                   "broken": null, "anomalies": [anomaly]})
        };
        let results = json!({"runs": [run(1, anomaly("large", &["a", "b"])), run(2, anomaly("small", &["c"]))]});
        assert!(compared(&results).contains("| `s` | kill | 1 | 3 | 12 345 | 6 | 7 | I2: 1 | 1.5 s | invalid |"));
        let unread = json!({"runs": [{"violations": {"I30": 4}, "broken": "nobody leads", "longest_pause_ms": 40}]});
        assert!(compared(&unread).contains("| not known | I30: 4 | did not end in time |"));
        let text = anomalies(&results);
        assert!(text.contains("seed 2: small") && !text.contains("large"), "{text}");
        assert!(anomalies(&Value::Null).starts_with("None"));
        assert_eq!(settings(&Value::Null), format!("{MISSING}\n"));
    }
}

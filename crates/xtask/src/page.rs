//! The pages on verification and performance: texts whose every figure comes from a recorded run.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::performance;
use crate::sim::LEDGER;
use crate::workspace::{Workspace, array};

/// Where figures are kept, one file of JSON for each task that makes them.
const RESULTS: &str = "crates/timbermq/docs/results";
/// The page on verification.
const PAGE: &str = "crates/timbermq/docs/verification.md";
/// The page on performance.
const PERFORMANCE: &str = "crates/timbermq/docs/performance.md";
/// The text of the page on verification. `{{file/pointer}}` stands for a figure, `{{table:name}}` for a table.
const TEXT: &str = include_str!("verification.md");
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
    let results = |file: &str| read(&root, file);
    let pages = [(PAGE, render(&results)), (PERFORMANCE, performance::render(&results))];
    match args {
        [] => {
            for (path, page) in pages {
                write(&root, path, &page)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        [check] if check == "--check" => {
            let mut code = ExitCode::SUCCESS;
            for (path, page) in pages {
                if fs::read_to_string(root.join(path)).unwrap_or_default() != page {
                    eprintln!("error: {path} is not what the recorded figures make it; run cargo xtask page");
                    code = ExitCode::FAILURE;
                }
            }
            Ok(code)
        }
        _ => bail!("unknown arguments; see cargo xtask page --help"),
    }
}

/// Writes the page on performance.
///
/// # Errors
/// The file cannot be written.
pub fn write_performance(root: &Path) -> Result<()> {
    write(root, PERFORMANCE, &performance::render(&|file| read(root, file)))
}

fn write(root: &Path, path: &str, page: &str) -> Result<()> {
    let path = root.join(path);
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

fn render(results: &dyn Fn(&str) -> Value) -> String {
    let mut page = String::new();
    let mut rest = TEXT;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = after.split_once("}}") else { break };
        match name.strip_prefix("table:") {
            Some("seeded-bugs") => page.push_str(&bugs(&results("seeded-bugs"))),
            Some("models") => page.push_str(&models(&results("models"))),
            Some("invariants") => page.push_str(&invariants(&results("sim"))),
            Some("faults") => page.push_str(&counts(&results("sim")["faults_by_group"])),
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
        let page = render(&|_| Value::Null);
        assert!(!page.contains("{{") && !page.contains("}}"));
    }
}

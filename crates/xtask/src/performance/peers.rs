//! Other brokers beside TimberMQ, in tables.

use std::fmt::Write as _;

use serde_json::Value;

use super::{NOTHING, cache, counted, medians_of, pairs, spread};
use crate::page::number;
use crate::workspace::array;

pub(super) fn sends(figures: &Value) -> String {
    let mut text =
        "| peer | version | its durability | in flight | messages a second: TimberMQ | peer | TimberMQ ÷ peer | \
                    skeleton ÷ peer | CPU a message, µs, servers + client: TimberMQ | peer | \
                    memory of all nodes, MB: TimberMQ | peer |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    let absent = rates(figures, "window", &mut text, |row| {
        let memory = |name: &str| number(&row[name]);
        format!(
            "{} | {} | {} | {} | {}",
            of_skeleton(row),
            cpu(row, "timbermq_"),
            cpu(row, ""),
            memory("timbermq_rss_mb"),
            memory("rss_mb")
        )
    });
    let (errors, of_peers) = errors_of_both(figures);
    let of_skeleton = match count_of(figures, "skeleton_errors") {
        0 => String::new(),
        errors => format!(" {errors} of the skeleton."),
    };
    let _ = writeln!(
        text,
        "\n{}; {} bytes a body, {}; TimberMQ's durability is *{}*. {errors} errors of TimberMQ, {of_peers} of the others.{of_skeleton}",
        medians_of(figures, &pairs(figures)),
        figures["message_size"],
        counted(&figures["connections"], "connection"),
        figures["durability"].as_str().unwrap_or("?"),
    );
    let settings = settings_of_peers(figures, "settings", Some("its defaults"));
    for (title, list) in [("Settings beside addresses, directories and memory:", settings), ("Not measured:", absent)] {
        if !list.is_empty() {
            let _ = write!(text, "\n{title}\n\n{list}");
        }
    }
    text
}

/// Adds a row for each peer and number of messages in flight or of threads, which stands under `key`: who it is, the rates and
/// their ratio, then the `rest`. Returns lines on the peers that have no figures, or fewer than were asked for.
fn rates(figures: &Value, key: &str, text: &mut String, rest: impl Fn(&Value) -> String) -> String {
    for peer in array(&figures["peers"]) {
        let told = |name: &str| peer[name].as_str().unwrap_or("?");
        let equal = if peer["equal_durability"] == true { "" } else { " (not equal)" };
        for row in array(&peer["windows"]).filter(|row| row["pairs"] != 0) {
            let _ = writeln!(
                text,
                "| {} | {} | *{}*{equal} | {} | {} | {} | {} | {} |",
                told("name"),
                told("version"),
                told("durability"),
                row[key],
                spread(row, "timbermq_msgs_per_s", 1.0, 0),
                spread(row, "msgs_per_s", 1.0, 0),
                ratio(row, "ratio"),
                rest(row),
            );
        }
    }
    array(&figures["peers"]).map(incomplete).collect()
}

pub(super) fn by_stock_producer(figures: &Value) -> String {
    let mut text =
        "| peer | version | its durability | threads | messages a second: TimberMQ | peer | TimberMQ ÷ peer | mean time of a send, ms: \
                    TimberMQ | peer | CPU a message, µs, servers + producer: TimberMQ | peer |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    let absent = rates(figures, "threads", &mut text, |row| {
        let mean = |name: &str| spread(row, name, 1e3, 2);
        format!("{} | {} | {} | {}", mean("timbermq_mean_us"), mean("mean_us"), cpu(row, "timbermq_"), cpu(row, ""))
    });
    let (errors, of_peers) = errors_of_both(figures);
    let _ = writeln!(
        text,
        "\nThe producer's version is {}. Median of {}, smallest and largest in parentheses; {} bytes a body. {errors} errors of TimberMQ, \
         {of_peers} of the others.",
        figures["stock_producer"].as_str().unwrap_or("?"),
        pairs(figures),
        figures["message_size"],
    );
    if !absent.is_empty() {
        let _ = write!(text, "\n{absent}");
    }
    text
}

pub(super) fn latency(figures: &Value) -> String {
    let mut text = "| peer | version | p50, ms: TimberMQ | peer | p99, ms: TimberMQ | peer | p99, TimberMQ ÷ peer | \
                    CPU a message, µs, servers + client: TimberMQ | peer |\n|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut notes = String::new();
    for peer in array(&figures["peers"]) {
        let name = peer["name"].as_str().unwrap_or("?");
        for row in array(&peer["windows"]).filter(|row| row["pairs"] != 0) {
            let [ours, theirs] = ["timbermq_", ""].map(|whose| cpu(row, whose));
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | **{}** | {ours} | {theirs} |",
                peer["version"].as_str().unwrap_or("?"),
                spread(row, "timbermq_p50_us", 1e3, 2),
                spread(row, "p50_us", 1e3, 2),
                spread(row, "timbermq_p99_us", 1e3, 2),
                spread(row, "p99_us", 1e3, 2),
                spread(row, "p99_ratio", 1.0, 2),
            );
            if row["pairs_kept"] != row["pairs"] {
                let (ours, theirs, pairs) = (&row["timbermq_not_kept"], &row["not_kept"], &row["pairs"]);
                let _ = writeln!(
                    notes,
                    "* {name}: TimberMQ did not keep the rate in {ours} of {pairs} runs, the peer in {theirs}; those pairs have no ratio."
                );
            }
        }
        notes.push_str(&incomplete(peer));
    }
    let _ = writeln!(
        text,
        "\n{} messages a second. {}; {} bytes a body, {}.",
        number(&figures["rate"]),
        medians_of(figures, &pairs(figures)),
        figures["message_size"],
        counted(&figures["connections"], "connection"),
    );
    if !notes.is_empty() {
        let _ = write!(text, "\n{notes}");
    }
    text
}

pub(super) fn catching_up(figures: &Value) -> String {
    let mut text = "| peer | version | read alone, MB/s: TimberMQ | peer | TimberMQ ÷ peer | read beside the producer, MB/s: TimberMQ | \
                    peer | TimberMQ ÷ peer | CPU a message, µs, servers + reader: TimberMQ | peer |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut producers =
        "| peer | its durability | the producer's p99, ms: TimberMQ | peer | undisturbed, ms: TimberMQ | peer | \
                         ratio: TimberMQ | peer |\n|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    let mut notes = String::new();
    for peer in array(&figures["peers"]) {
        let name = peer["name"].as_str().unwrap_or("?");
        let equal = if peer["equal_durability"] == true { "" } else { " (not equal)" };
        for row in array(&peer["windows"]).filter(|row| row["pairs"] != 0) {
            let [ours, theirs] = ["timbermq_", ""].map(|whose| {
                let one = |who: &str| spread(row, &format!("{whose}{who}_cpu_us_per_msg"), 1.0, 1);
                format!("{} + {}", one("servers"), one("client"))
            });
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} | {} | {ours} | {theirs} |",
                peer["version"].as_str().unwrap_or("?"),
                spread(row, "timbermq_alone_mb_per_s", 1.0, 0),
                spread(row, "alone_mb_per_s", 1.0, 0),
                ratio(row, "ratio"),
                spread(row, "timbermq_read_mb_per_s", 1.0, 0),
                spread(row, "read_mb_per_s", 1.0, 0),
                ratio(row, "beside_ratio"),
            );
            let _ = writeln!(
                producers,
                "| {name} | *{}*{equal} | {} | {} | {} | {} | **{}** | {} |",
                peer["durability"].as_str().unwrap_or("?"),
                spread(row, "timbermq_p99_us", 1e3, 1),
                spread(row, "p99_us", 1e3, 1),
                spread(row, "timbermq_undisturbed_p99_us", 1e3, 1),
                spread(row, "undisturbed_p99_us", 1e3, 1),
                spread(row, "timbermq_p99_ratio", 1.0, 2),
                spread(row, "p99_ratio", 1.0, 2),
            );
            if row["not_kept"] != 0 || row["timbermq_not_kept"] != 0 {
                let (ours, theirs, pairs) = (&row["timbermq_not_kept"], &row["not_kept"], &row["pairs"]);
                let _ = writeln!(
                    notes,
                    "* {name}: TimberMQ's producer did not keep the rate even undisturbed in {ours} of {pairs} rounds, the peer's in \
                     {theirs}; those have no ratio of latencies."
                );
            }
            let [ours, theirs] = ["timbermq_", ""].map(|whose| spread(row, &format!("{whose}disk_part"), 1.0, 2));
            let _ = writeln!(
                notes,
                "* {name}: bytes from the disk for a byte that was read: TimberMQ {ours}, {name} {theirs}."
            );
        }
        notes.push_str(&incomplete(peer));
    }
    let (errors, of_peers) = errors_of_both(figures);
    let _ = writeln!(
        text,
        "\n{producers}\nMedian of {}, smallest and largest in parentheses; {} messages of {} bytes in {} queues, {}; {} a pull of our \
         own reader; {} sends a second, measured for {} s undisturbed; TimberMQ's durability is *{}*. {errors} errors of TimberMQ, \
         {of_peers} of the others.",
        pairs(figures),
        number(&figures["backlog_messages"]),
        figures["message_size"],
        figures["queues"],
        cache(figures),
        figures["batch"],
        number(&figures["rate"]),
        figures["seconds"],
        figures["durability"].as_str().unwrap_or("?"),
    );
    let _ = write!(text, "\n{notes}");
    let kinds =
        [("Settings", "settings", Some("its defaults")), ("Settings of the official reader", "reader_settings", None)];
    for (title, name, none) in kinds {
        let settings = settings_of_peers(figures, name, none);
        if !settings.is_empty() {
            let _ = write!(text, "\n{title} beside addresses, directories and memory:\n\n{settings}");
        }
    }
    text
}

/// A line on why a peer has no figures, or fewer than were asked for; nothing if it has all.
fn incomplete(peer: &Value) -> String {
    let Some(reason) = peer["reason"].as_str() else { return String::new() };
    let name = peer["name"].as_str().unwrap_or("?");
    let what = if peer["pairs"] == 0 { "was not measured" } else { "ended early" };
    format!("* {name} {what}: {}.\n", reason.lines().next().unwrap_or_default())
}

/// What was not stored or not read, of TimberMQ and of its peers.
fn errors_of_both(figures: &Value) -> (u64, u64) {
    (count_of(figures, "timbermq_errors"), count_of(figures, "errors"))
}

/// The sum of a count over all rows of all peers.
fn count_of(figures: &Value, name: &str) -> u64 {
    array(&figures["peers"]).flat_map(|peer| array(&peer["windows"])).filter_map(|row| row[name].as_u64()).sum()
}

/// A line for each peer that was measured and has such settings, or if there is a word for having none.
fn settings_of_peers(figures: &Value, name: &str, none: Option<&str>) -> String {
    let mut lines = String::new();
    for peer in array(&figures["peers"]).filter(|peer| peer["pairs"] != 0) {
        let told: Vec<String> =
            array(&peer[name]).filter_map(Value::as_str).map(|setting| format!("`{setting}`")).collect();
        let told = if told.is_empty() { none.map(str::to_owned) } else { Some(told.join(", ")) };
        let Some(told) = told else { continue };
        let _ = writeln!(lines, "* {}: {told}", peer["name"].as_str().unwrap_or("?"));
    }
    lines
}

/// CPU a message of the servers and of the client, of TimberMQ's runs or of the peer's.
fn cpu(row: &Value, whose: &str) -> String {
    let one = |who: &str| row[format!("{whose}{who}_cpu_us_per_msg")].as_f64();
    let show = |us: Option<f64>| us.map_or_else(|| NOTHING.to_owned(), |us| format!("{us:.0}"));
    format!("{} + {}", show(one("servers")), show(one("client")))
}

/// What TimberMQ's ratio would be if it cost no more than the skeleton, where that took part.
fn of_skeleton(row: &Value) -> String {
    if row["skeleton_ratio_median"].is_null() {
        NOTHING.to_owned()
    } else {
        ratio(row, "skeleton_ratio").replace("**", "")
    }
}

/// TimberMQ's messages a second divided by the peer's, of the same pair.
fn ratio(row: &Value, name: &str) -> String {
    let one = |part: &str| {
        row[format!("{name}_{part}")].as_f64().map_or_else(
            || NOTHING.to_owned(),
            |ratio| format!("{ratio:.decimals$}", decimals = if ratio < 10.0 { 2 } else { 1 }),
        )
    };
    format!("**{}** ({}–{})", one("median"), one("min"), one("max"))
}

//! S12 on the page: what the index costs.

use std::fmt::Write as _;

use serde_json::Value;

use super::plots::{Bars, Range};
use super::{NOTHING, counted, spread};
use crate::page::number;
use crate::workspace::array;

pub(super) fn table(figures: &Value) -> String {
    let mut text = "| queues | stored messages | CPU a message, µs | applying + writing + RocksDB's threads | beside the first messages | \
                    bytes a message on the disk | written | memory, MB |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in array(&figures["index"]) {
        let part = |name: &str| row[name].as_f64().map_or_else(|| NOTHING.to_owned(), |us| format!("{us:.2}"));
        let parts = ["apply_us_per_msg", "write_us_per_msg", "background_us_per_msg"].map(part);
        let _ = writeln!(
            text,
            "| {} | {} | **{}** | {} | {} | {} | {} | {} |",
            number(&row["queues"]),
            number(&row["stored"]),
            spread(row, "cpu_us_per_msg", 1.0, 2),
            parts.join(" + "),
            spread(row, "growth", 1.0, 2),
            spread(row, "disk_bytes_per_msg", 1.0, 0),
            spread(row, "written_bytes_per_msg", 1.0, 0),
            spread(row, "rss_mb", 1.0, 0),
        );
    }
    text.push_str(
        "\nLook-ups, µs of CPU each:\n\n| queues | stored messages | by offset | 32 rows from an offset | by time | by unique key, \
         its second known | by unique key alone |\n|---|---|---|---|---|---|---|\n",
    );
    for row in array(&figures["index"]) {
        let _ = writeln!(
            text,
            "| {} | {} | **{}** | {} | {} | {} | {} |",
            number(&row["queues"]),
            number(&row["stored"]),
            spread(row, "offset_us", 1.0, 1),
            spread(row, "pull_us", 1.0, 1),
            spread(row, "time_us", 1.0, 1),
            spread(row, "key_us", 1.0, 1),
            spread(row, "key_all_us", 1.0, 0),
        );
    }
    let _ = writeln!(
        text,
        "\nMedian of {}, smallest and largest in parentheses; {} messages in a second of the log, {} an entry, {} bytes a body; {} \
         look-ups of each kind, of those by key alone a hundredth.",
        counted(&figures["runs_each"], "run"),
        number(&figures["rate"]),
        figures["messages_per_entry"],
        figures["message_size"],
        number(&figures["gets"]),
    );
    let not_rested: u64 = array(&figures["index"]).filter_map(|row| row["not_rested"].as_u64()).sum();
    if not_rested > 0 {
        let _ = writeln!(text, "\nCompaction had not ended in {not_rested} of these.");
    }
    text
}

pub(super) fn drawing(figures: &Value) -> String {
    let rows = || array(&figures["index"]);
    let mut stored: Vec<u64> = rows().filter_map(|row| row["stored"].as_u64()).collect();
    stored.sort_unstable();
    stored.dedup();
    let mut queues: Vec<&Value> = Vec::new();
    for row in rows() {
        if !queues.contains(&&row["queues"]) {
            queues.push(&row["queues"]);
        }
    }
    let bars = |title: &str, axis, name: &str| Bars {
        title: title.to_owned(),
        axis,
        series: stored.iter().map(|&stored| format!("after {}", number(&stored.into()))).collect(),
        groups: queues
            .iter()
            .map(|&queues| {
                let of = |stored| rows().find(|row| row["queues"] == *queues && row["stored"] == stored);
                let bars = stored.iter().map(|&stored| of(stored).and_then(|row| Range::of(row, name, 1.0)));
                (counted(queues, "queue"), bars.enumerate().collect())
            })
            .collect(),
        ..Bars::default()
    };
    let plots = [
        bars("CPU of the index, a message", "µs, one replica", "cpu_us_per_msg"),
        bars("The index on the disk", "bytes a message", "disk_bytes_per_msg"),
        bars("A message is looked up by offset", "µs of CPU", "offset_us"),
        bars("By unique key, its second known", "µs of CPU", "key_us"),
    ];
    plots.iter().map(Bars::draw).collect()
}

//! S14 on the page: half of what the group can do, for long.

use std::fmt::Write as _;

use serde_json::Value;

use super::plots::{Lines, Range};
use super::spread;
use crate::page::number;
use crate::workspace::array;

pub(super) fn table(figures: &Value) -> String {
    let soak = &figures["soak"];
    let mut text = "| slices | messages a second | p50, ms | p99, ms | p99.9, ms | slowest, ms | CPU a message, µs | memory, MB | \
                    on the disk, MB |\n|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let part = &soak["slices_compared"];
    let parts = [
        (format!("first {part}"), "first"),
        (format!("all {}", soak["slices"]), "all"),
        (format!("last {part}"), "last"),
    ];
    for (called, name) in parts {
        let row = &soak[name];
        let _ = writeln!(
            text,
            "| {called} | {} | {} | {} | {} | {} | {} | {} | {} |",
            spread(row, "msgs_per_s", 1.0, 0),
            spread(row, "p50_us", 1e3, 2),
            spread(row, "p99_us", 1e3, 2),
            spread(row, "p999_us", 1e3, 1),
            spread(row, "slowest_us", 1e3, 1),
            spread(row, "cpu_us_per_msg", 1.0, 1),
            spread(row, "rss_mb", 1.0, 0),
            spread(row, "disk_mb", 1.0, 0),
        );
    }
    let ratio = |name: &str| spread(soak, &format!("{name}_ratio"), 1.0, 2);
    let _ = writeln!(
        text,
        "| last beside first | | {} | {} | **{}** | | {} | **{}** | **{}** |",
        ratio("p50"),
        ratio("p99"),
        ratio("p999"),
        ratio("cpu"),
        ratio("rss"),
        ratio("disk"),
    );
    let maximum = figures["maximum_msgs_per_s"].as_f64().map_or_else(String::new, |maximum| {
        format!(", where a closed loop of 1024 came to {}", number(&maximum.round().into()))
    });
    let _ = writeln!(
        text,
        "\nMedians of slices of {} s, smallest and largest in parentheses; {} sends a second of {} bytes for {} \
         minutes{maximum}. The rate was not kept in {} slices. {} errors.",
        figures["seconds"],
        number(&figures["rate"]),
        figures["message_size"],
        figures["minutes"],
        soak["not_kept"],
        soak["errors"],
    );
    text
}

pub(super) fn drawing(figures: &Value) -> String {
    let measured = [
        ("Latency, 99.9th percentile", "ms", "p999_us", 1e3),
        ("Memory of all replicas", "MB", "rss_mb", 1.0),
        ("Room on the disk", "MB", "disk_mb", 1.0),
    ];
    let course = |(title, up, name, unit): (&str, _, &str, _)| {
        let points = array(&figures["slices"]).filter_map(|slice| {
            let minutes = slice["began_s"].as_f64()? / 60.0;
            Some((minutes, format!("{minutes:.0}"), Range::of(slice, name, unit)?))
        });
        Lines { title: format!("{title}, over time"), across: "minutes", up, points: points.collect(), is_course: true }
    };
    measured.map(|figure| course(figure).draw()).concat()
}

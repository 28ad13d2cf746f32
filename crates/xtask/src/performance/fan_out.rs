//! S8 on the page: every message to many.

use std::fmt::Write as _;

use serde_json::Value;

use super::html::OURS;
use super::plots::{Bars, Range};
use super::{counted, errors, medians_of, spread};
use crate::page::number;
use crate::workspace::array;

pub(super) fn table(figures: &Value) -> String {
    let mut text =
        "| subscriptions | from due to decoded: p50, ms | p99, ms | p99.9, ms | max, ms | messages a second | MB/s | \
                    delivered in time, % | CPU a message, µs: replicas | reader | the producer's p99, ms |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in array(&figures["fan_out"]) {
        let _ = writeln!(
            text,
            "| {} | {} | **{}** | {} | {} | {} | {} | {} | {} | {} | {} |",
            row["subscriptions"],
            spread(row, "p50_us", 1e3, 2),
            spread(row, "p99_us", 1e3, 2),
            spread(row, "p999_us", 1e3, 1),
            spread(row, "max_us", 1e3, 1),
            spread(row, "msgs_per_s", 1.0, 0),
            spread(row, "mb_per_s", 1.0, 0),
            spread(row, "delivered", 0.01, 2),
            spread(row, "servers_cpu_us_per_msg", 1.0, 2),
            spread(row, "client_cpu_us_per_msg", 1.0, 2),
            spread(row, "publish_p99_us", 1e3, 2),
        );
    }
    let _ = writeln!(
        text,
        "\n{}; {} sends a second of {} bytes to {} queues, {} messages a pull. {} errors.",
        medians_of(figures, &counted(&figures["rounds"], "round")),
        number(&figures["rate"]),
        figures["message_size"],
        figures["queues"],
        figures["batch"],
        errors(&figures["fan_out"]),
    );
    for row in array(&figures["fan_out"]).filter(|row| row["not_kept"].as_u64().is_some_and(|late| late > 0)) {
        let (subscriptions, late, rounds) = (&row["subscriptions"], &row["not_kept"], &row["rounds"]);
        let _ = writeln!(
            text,
            "\nBeside {subscriptions} subscriptions the producer did not keep the rate in {late} of {rounds} rounds."
        );
    }
    text
}

pub(super) fn drawing(figures: &Value) -> String {
    let bars = |title: &str, axis, series: &[&str], names: &[&str], unit: f64| Bars {
        title: title.to_owned(),
        axis,
        series: series.iter().map(|name| (*name).to_owned()).collect(),
        groups: array(&figures["fan_out"])
            .map(|row| {
                let bars = names.iter().map(|name| Range::of(row, name, unit));
                (counted(&row["subscriptions"], "subscription"), bars.enumerate().collect())
            })
            .collect(),
        ..Bars::default()
    };
    let latencies = (["median", "99th percentile"], ["p50_us", "p99_us"]);
    let costs = (["replicas", "reader"], ["servers_cpu_us_per_msg", "client_cpu_us_per_msg"]);
    let plots = [
        bars("From due to decoded", "ms", &latencies.0, &latencies.1, 1e3),
        bars("CPU a message delivered", "µs", &costs.0, &costs.1, 1.0),
        bars("Messages delivered a second", "messages a second", &[OURS], &["msgs_per_s"], 1.0),
    ];
    plots.iter().map(Bars::draw).collect()
}

//! What came of the pairs with one peer.

use serde_json::{Map, Value, json};
use timbermq_bench::report::{Spread, rounded};

use super::{Durability, Flow, Peer};
use crate::bench::{errors, is_kept, number, spread};

/// One run of the product, one of the peer right after it, and one of the skeleton after both where there is one.
pub(super) struct Pair {
    pub(super) flow: Flow,
    pub(super) product: Value,
    pub(super) peer: Value,
    pub(super) skeleton: Option<Value>,
}

/// All pairs with one peer.
pub(super) struct Outcome {
    pub(super) peer: &'static Peer,
    /// Nothing if it could not be installed.
    pub(super) version: Option<String>,
    pub(super) pairs: Vec<Pair>,
    /// Why there are no pairs, or fewer than were asked for.
    pub(super) reason: Option<String>,
}

impl Outcome {
    /// Every run, for whoever wants to see more than medians.
    pub(super) fn runs(&self) -> Vec<Value> {
        let told = |pair: &Pair| {
            let mut run = json!({ "name": self.peer.name, "product": pair.product, "peer": pair.peer });
            if let Some(skeleton) = &pair.skeleton {
                run["skeleton"] = skeleton.clone();
            }
            match pair.flow {
                Flow::Window(window) => run["window"] = window.into(),
                Flow::Rate(rate) => run["rate"] = rate.into(),
                Flow::Threads(threads) => run["threads"] = threads.into(),
            }
            run
        };
        self.pairs.iter().map(told).collect()
    }
}

/// The row of a peer. Its own ratios are those of the largest window, of the rate or of the most threads; the others are
/// inside.
pub(super) fn row(outcome: &Outcome, ours: Durability, flows: &[Flow]) -> Value {
    let Outcome { peer, version, pairs, reason } = outcome;
    let rows: Vec<Value> = flows.iter().map(|flow| of_flow(*flow, pairs)).collect();
    let largest =
        rows.iter().max_by_key(|row| (row["window"].as_u64(), row["threads"].as_u64())).unwrap_or(&Value::Null);
    let mut told = identity(peer, version.as_deref(), ours, largest);
    told["reason"] = reason.clone().into();
    for name in ["window", "rate", "threads", "p99_ratio_median", "p99_ratio_min", "p99_ratio_max"] {
        if !largest[name].is_null() {
            told[name] = largest[name].clone();
        }
    }
    told["windows"] = rows.into();
    told
}

/// Who the peer is, what it promises beside what TimberMQ does, and the pairs and ratio of `figures`.
pub(super) fn identity(peer: &Peer, version: Option<&str>, ours: Durability, figures: &Value) -> Value {
    json!({
        "name": peer.name,
        "version": version,
        "durability": peer.durability.letter(),
        "timbermq_durability": ours.letter(),
        "equal_durability": peer.durability == ours,
        "settings": peer.settings,
        "pairs": figures["pairs"],
        "ratio_median": figures["ratio_median"],
        "ratio_min": figures["ratio_min"],
        "ratio_max": figures["ratio_max"],
    })
}

/// The figures of one window or rate: medians over its pairs, with the smallest and the largest. At a fixed rate what
/// counts is latency: the ratio of a pair in which both kept the rate.
fn of_flow(flow: Flow, pairs: &[Pair]) -> Value {
    let pairs: Vec<&Pair> = pairs.iter().filter(|pair| pair.flow == flow).collect();
    let mut row = Map::new();
    row.insert("pairs".into(), pairs.len().into());
    let rate = |run: &Value| run["publishRate"].as_f64();
    let ratio = Spread::of(pairs.iter().filter_map(|pair| Some(rate(&pair.product)? / rate(&pair.peer)?)));
    put_ratio(ratio, "ratio", &mut row);
    let skeleton = |pair: &Pair| rate(pair.skeleton.as_ref()?);
    if pairs.iter().any(|pair| pair.skeleton.is_some()) {
        // What the ratio would be if the product cost no more than the skeleton.
        let most = Spread::of(pairs.iter().filter_map(|pair| Some(skeleton(pair)? / rate(&pair.peer)?)));
        put_ratio(most, "skeleton_ratio", &mut row);
        Spread::put(Spread::of(pairs.iter().filter_map(|pair| skeleton(pair))), "skeleton_msgs_per_s", 1.0, &mut row);
        let runs = || pairs.iter().filter_map(|pair| pair.skeleton.as_ref());
        row.insert("skeleton_pairs".into(), runs().count().into());
        row.insert("skeleton_errors".into(), runs().map(errors).sum::<u64>().into());
    }
    match flow {
        Flow::Window(window) => {
            row.insert("window".into(), window.into());
        }
        Flow::Threads(threads) => {
            row.insert("threads".into(), threads.into());
        }
        Flow::Rate(rate) => {
            let (ours, theirs) = (|pair: &Pair| is_kept(&pair.product, rate), |pair: &Pair| is_kept(&pair.peer, rate));
            let kept: Vec<&&Pair> = pairs.iter().filter(|pair| ours(pair) && theirs(pair)).collect();
            row.insert("rate".into(), rate.into());
            row.insert("pairs_kept".into(), kept.len().into());
            row.insert("timbermq_not_kept".into(), pairs.iter().filter(|pair| !ours(pair)).count().into());
            row.insert("not_kept".into(), pairs.iter().filter(|pair| !theirs(pair)).count().into());
            let p99 = |run: &Value| run["publishLatency99pct"].as_f64();
            let ratio = kept.iter().filter_map(|pair| Some(p99(&pair.product)? / p99(&pair.peer)?));
            let ratio = Spread::of(ratio);
            put_ratio(ratio, "p99_ratio", &mut row);
            Spread::put(ratio, "p99_ratio", 1000.0, &mut row);
        }
    }
    type Figure = (&'static str, f64, fn(&Value) -> Option<f64>);
    let figures: [Figure; 9] = [
        ("msgs_per_s", 1.0, |run| run["publishRate"].as_f64()),
        ("servers_cpu_us_per_msg", 100.0, |run| run["cpuMicrosPerMessage"]["servers"].as_f64()),
        ("client_cpu_us_per_msg", 100.0, |run| run["cpuMicrosPerMessage"]["client"].as_f64()),
        ("rss_mb", 1.0, rss_mb),
        ("mean_us", 1.0, |run| Some(run["publishLatencyAvg"].as_f64()? * 1e3)),
        ("p50_us", 1.0, |run| Some(run["publishLatency50pct"].as_f64()? * 1e3)),
        ("p99_us", 1.0, |run| Some(run["publishLatency99pct"].as_f64()? * 1e3)),
        ("bytes_written_per_byte", 100.0, |run| run["bytesWrittenPerByte"].as_f64()),
        ("others_cores", 100.0, |run| run["othersCores"].as_f64()),
    ];
    for (name, parts, figure) in figures {
        Spread::put(Spread::of(pairs.iter().filter_map(|pair| figure(&pair.peer))), name, parts, &mut row);
        let ours = Spread::of(pairs.iter().filter_map(|pair| figure(&pair.product)));
        Spread::put(ours, &format!("timbermq_{name}"), parts, &mut row);
    }
    row.insert("errors".into(), pairs.iter().map(|pair| errors(&pair.peer)).sum::<u64>().into());
    row.insert("timbermq_errors".into(), pairs.iter().map(|pair| errors(&pair.product)).sum::<u64>().into());
    Value::Object(row)
}

pub(super) fn put_ratio(ratio: Option<Spread>, name: &str, row: &mut Map<String, Value>) {
    let [median, min, max] = match ratio {
        Some(Spread { median, min, max }) => [median, min, max].map(|ratio| rounded(ratio, 1000.0)),
        None => [Value::Null, Value::Null, Value::Null],
    };
    for (part, value) in [("median", median), ("min", min), ("max", max)] {
        row.insert(format!("{name}_{part}"), value);
    }
}

/// Resident memory of all nodes together.
fn rss_mb(run: &Value) -> Option<f64> {
    run["rssMB"]["servers"].as_array()?.iter().map(Value::as_f64).sum()
}

/// Who a row is about, and what is promised, in words.
pub(super) fn title(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or("?");
    let mut title = format!("{} {} ({})", text("name"), text("version"), text("durability"));
    if row["equal_durability"] == false {
        title += &format!(", beside TimberMQ's {}: not equal", text("timbermq_durability"));
    }
    title
}

/// A row in words.
pub(super) fn told(row: &Value) -> String {
    let mut lines = vec![title(row)];
    for window in row["windows"].as_array().into_iter().flatten().filter(|window| window["pairs"] != 0) {
        if window["rate"].is_u64() {
            lines.push(at_rate(window));
            continue;
        }
        let (number_of, what) = match window["threads"].as_u64() {
            Some(_) => ("threads", "threads"),
            None => ("window", "in flight"),
        };
        let most = match window["skeleton_ratio_median"].as_f64() {
            Some(most) => format!(", the skeleton {most}"),
            None => String::new(),
        };
        lines.push(format!(
            "{:>5} {what}: TimberMQ {} / {} msg/s = {} ({}–{}){most}; CPU µs a message, servers + client: {} + {} / {} + {}; {} errors",
            window[number_of],
            number(window, "timbermq_msgs_per_s"),
            number(window, "msgs_per_s"),
            number(window, "ratio_median"),
            number(window, "ratio_min"),
            number(window, "ratio_max"),
            number(window, "timbermq_servers_cpu_us_per_msg"),
            number(window, "timbermq_client_cpu_us_per_msg"),
            number(window, "servers_cpu_us_per_msg"),
            number(window, "client_cpu_us_per_msg"),
            window["errors"]
        ));
    }
    if let Some(reason) = row["reason"].as_str() {
        lines.push(format!("  not measured: {reason}"));
    }
    lines.join("\n")
}

/// A row of a fixed rate in words.
fn at_rate(row: &Value) -> String {
    format!(
        "{:>6}/s: TimberMQ p99 {} µs / {} µs = {}; rate not kept by TimberMQ in {}, by the peer in {} of {} runs; {} errors",
        row["rate"],
        spread(row, "timbermq_p99_us"),
        spread(row, "p99_us"),
        spread(row, "p99_ratio"),
        row["timbermq_not_kept"],
        row["not_kept"],
        row["pairs"],
        row["errors"]
    )
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    static PEER: Peer = Peer {
        name: "other",
        durability: Durability::Memory,
        settings: &["fast=true"],
        reader: None,
        install: |_| bail!("not there"),
        start: |_, _| bail!("not there"),
    };

    fn run(rate: f64, errors: u64) -> Value {
        json!({
            "publishRate": rate,
            "cpuMicrosPerMessage": { "servers": 10.0, "client": 2.0, "total": 12.0 },
            "publishLatency99pct": 4.0,
            "rssMB": { "servers": [10.0, 20.0, 30.0], "client": 5.0 },
            "errors": { "NOT_CONFIRMED": errors },
            "warmupErrors": 1,
        })
    }

    fn pair(window: usize, product: f64, peer: f64) -> Pair {
        Pair { flow: Flow::Window(window), product: run(product, 0), peer: run(peer, 2), skeleton: None }
    }

    #[test]
    fn a_ratio_is_that_of_its_pair_and_the_largest_window_is_the_peers() {
        let pairs =
            vec![pair(1, 50.0, 100.0), pair(1024, 300.0, 100.0), pair(1024, 20.0, 10.0), pair(1024, 500.0, 100.0)];
        let outcome = Outcome { peer: &PEER, version: Some("1.2".into()), pairs, reason: None };
        let row = row(&outcome, Durability::Memory, &[Flow::Window(1), Flow::Window(1024)]);
        assert_eq!((&row["name"], &row["version"], &row["pairs"]), (&json!("other"), &json!("1.2"), &json!(3)));
        assert_eq!(
            (&row["ratio_median"], &row["ratio_min"], &row["ratio_max"]),
            (&json!(3.0), &json!(2.0), &json!(5.0))
        );
        let [small, large] = [&row["windows"][0], &row["windows"][1]];
        assert_eq!((&small["ratio_median"], &small["pairs"]), (&json!(0.5), &json!(1)));
        assert_eq!((&large["msgs_per_s"], &large["timbermq_msgs_per_s"]), (&json!(100.0), &json!(300.0)));
        assert_eq!((&large["rss_mb"], &large["p99_us"]), (&json!(60.0), &json!(4_000.0)));
        assert_eq!((&large["errors"], &large["timbermq_errors"]), (&json!(9), &json!(3)));
        assert_eq!((&row["equal_durability"], &row["durability"]), (&json!(true), &json!("p")));
        assert!(told(&row).contains("TimberMQ 300 / 100 msg/s = 3 (2–5)"), "{}", told(&row));
        assert_eq!(outcome.runs().len(), 4);
    }

    #[test]
    fn what_the_skeleton_did_is_beside_the_peer_of_its_own_pair() {
        let with = |pair: Pair, rate: f64| Pair { skeleton: Some(run(rate, 0)), ..pair };
        let pairs = vec![
            with(pair(64, 300.0, 100.0), 600.0),
            with(pair(64, 30.0, 10.0), 80.0),
            with(pair(64, 400.0, 100.0), 700.0),
        ];
        let outcome = Outcome { peer: &PEER, version: None, pairs, reason: None };
        let row = row(&outcome, Durability::Synced, &[Flow::Window(64)]);
        let window = &row["windows"][0];
        assert_eq!(
            ["skeleton_ratio_median", "skeleton_ratio_min", "skeleton_ratio_max"].map(|name| &window[name]),
            [&json!(7.0), &json!(6.0), &json!(8.0)]
        );
        assert_eq!((&window["skeleton_msgs_per_s"], &window["skeleton_pairs"]), (&json!(600.0), &json!(3)));
        assert_eq!((&window["skeleton_errors"], &window["timbermq_errors"]), (&json!(3), &json!(3)));
        assert!(told(&row).contains("= 3 (3–4), the skeleton 7;"), "{}", told(&row));
        assert_eq!(outcome.runs()[1]["skeleton"]["publishRate"], 80.0);
    }

    #[test]
    fn at_a_fixed_rate_the_ratio_is_that_of_latencies_where_both_kept_it() {
        let pair = |product: (f64, f64), peer: (f64, f64)| {
            let run = |(rate, p99): (f64, f64)| {
                let mut run = run(rate, 0);
                run["publishLatency99pct"] = p99.into();
                run
            };
            Pair { flow: Flow::Rate(5_000), product: run(product), peer: run(peer), skeleton: None }
        };
        let pairs = vec![
            pair((5_000.0, 2.0), (5_000.0, 8.0)),
            pair((4_990.0, 3.0), (4_950.0, 6.0)),
            pair((5_000.0, 2.0), (3_000.0, 900.0)),
        ];
        let outcome = Outcome { peer: &PEER, version: None, pairs, reason: None };
        let row = row(&outcome, Durability::Synced, &[Flow::Rate(5_000)]);
        assert_eq!((&row["rate"], &row["pairs"], row.get("window")), (&json!(5_000), &json!(3), None));
        assert_eq!(
            (&row["p99_ratio_median"], &row["p99_ratio_min"], &row["p99_ratio_max"]),
            (&json!(0.375), &json!(0.25), &json!(0.5))
        );
        let rate = &row["windows"][0];
        assert_eq!(
            (&rate["pairs_kept"], &rate["timbermq_not_kept"], &rate["not_kept"]),
            (&json!(2), &json!(0), &json!(1))
        );
        assert_eq!((&rate["p99_us_max"], &rate["timbermq_p99_us"]), (&json!(900_000.0), &json!(2_000.0)));
        assert!(told(&row).contains("TimberMQ p99 2000 (2000–3000) µs"), "{}", told(&row));
        assert_eq!(outcome.runs()[0]["rate"], 5_000);
    }

    #[test]
    fn who_cannot_run_has_a_row_with_the_reason_and_no_ratio() {
        let outcome = Outcome { peer: &PEER, version: None, pairs: Vec::new(), reason: Some("no java".into()) };
        let row = row(&outcome, Durability::Synced, &[Flow::Window(64)]);
        assert_eq!((&row["pairs"], &row["ratio_median"], &row["reason"]), (&json!(0), &Value::Null, &json!("no java")));
        assert!(told(&row).contains("no java") && told(&row).contains("not equal"), "{}", told(&row));
    }
}

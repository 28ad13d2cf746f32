//! What came of the pairs of readings with one peer.

use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::super::row::{identity, put_ratio, title};
use super::super::{Durability, Peer};
use super::Round;
use crate::bench::{errors, is_kept, number, spread};

/// A round of the product and one of the peer right after it.
pub(super) struct Pair {
    pub(super) product: Round,
    pub(super) peer: Round,
}

/// All pairs with one peer.
pub(super) struct Outcome {
    pub(super) peer: &'static Peer,
    /// Nothing if it could not be installed.
    pub(super) version: Option<String>,
    /// Messages a second while the backlog was made.
    pub(super) fill_rate: Option<f64>,
    pub(super) pairs: Vec<Pair>,
    /// Why there are no pairs, or fewer than were asked for.
    pub(super) reason: Option<String>,
}

impl Outcome {
    /// Every round, for whoever wants to see more than medians.
    pub(super) fn runs(&self) -> Vec<Value> {
        let told = |pair: &Pair| json!({ "name": self.peer.name, "product": pair.product.to_json(), "peer": pair.peer.to_json() });
        self.pairs.iter().map(told).collect()
    }
}

impl Round {
    fn to_json(&self) -> Value {
        json!({
            "undisturbed": self.undisturbed,
            "alone": self.alone,
            "reading": self.reading,
            "disturbed": self.disturbed,
        })
    }

    /// Everything that was not stored, or not read.
    fn errors(&self) -> u64 {
        let producers = [&self.undisturbed, &self.disturbed].map(|run| errors(run) + count(run, "unsent"));
        let readers = [&self.alone, &self.reading].map(|run| errors(run) + count(run, "skipped"));
        producers.iter().chain(&readers).sum()
    }

    /// The producer's p99 beside the reader, divided by the undisturbed one; nothing where the undisturbed one fell behind,
    /// whose latency is its queue's.
    fn p99_ratio(&self, rate: u64) -> Option<f64> {
        is_kept(&self.undisturbed, rate).then_some(())?;
        Some(p99_us(&self.disturbed)? / p99_us(&self.undisturbed)?)
    }

    /// The part of the producer's time in which the backlog was read.
    fn covered(&self) -> Option<f64> {
        Some((self.reading["seconds"].as_f64()? / self.disturbed["testDurationSeconds"].as_f64()?).min(1.0))
    }
}

fn count(run: &Value, name: &str) -> u64 {
    run[name].as_u64().unwrap_or(0)
}

fn p99_us(run: &Value) -> Option<f64> {
    Some(run["publishLatency99pct"].as_f64()? * 1e3)
}

/// A figure of a reading by its time.
fn a_second(run: &Value, name: &str) -> Option<f64> {
    let seconds = run["seconds"].as_f64().filter(|seconds| *seconds > 0.0)?;
    Some(run[name].as_f64()? / seconds)
}

/// CPU of a message read, in µs.
fn cpu_us(run: &Value, who: &str) -> Option<f64> {
    Some(run["cpuMicros"][who].as_f64()? / run["messages"].as_f64().filter(|messages| *messages > 0.0)?)
}

/// The row of a peer. Its ratio is that of the reading alone.
pub(super) fn row(outcome: &Outcome, rate: u64) -> Value {
    let Outcome { peer, version, fill_rate, pairs, reason } = outcome;
    let figures = figures(pairs, rate);
    let mut told = identity(peer, version.as_deref(), Durability::Synced, &figures);
    told["reader_settings"] = json!(peer.reader);
    told["fill_msgs_per_s"] = fill_rate.map(f64::round).into();
    told["windows"] = json!([figures]);
    told["reason"] = reason.clone().into();
    told
}

/// Medians over the pairs, with the smallest and the largest; ratios are those of a pair, of bytes of bodies a second.
#[allow(clippy::cast_precision_loss)] // messages a second
fn figures(pairs: &[Pair], rate: u64) -> Value {
    let mut row = Map::new();
    row.insert("rate".into(), rate.into());
    row.insert("pairs".into(), pairs.len().into());
    let ratio = |figure: fn(&Round) -> Option<f64>| {
        Spread::of(pairs.iter().filter_map(|pair| Some(figure(&pair.product)? / figure(&pair.peer)?)))
    };
    put_ratio(ratio(|round| a_second(&round.alone, "bodyBytes")), "ratio", &mut row);
    put_ratio(ratio(|round| a_second(&round.reading, "bodyBytes")), "beside_ratio", &mut row);
    let kept = |round: &Round| Some(round.disturbed["publishRate"].as_f64()? / rate as f64);
    type Figure<'a> = (&'static str, f64, &'a dyn Fn(&Round) -> Option<f64>);
    let figures: [Figure; 14] = [
        ("alone_mb_per_s", 10.0, &|round| Some(a_second(&round.alone, "bodyBytes")? / 1e6)),
        ("alone_msgs_per_s", 1.0, &|round| a_second(&round.alone, "messages")),
        ("read_mb_per_s", 10.0, &|round| Some(a_second(&round.reading, "bodyBytes")? / 1e6)),
        ("read_msgs_per_s", 1.0, &|round| a_second(&round.reading, "messages")),
        ("servers_cpu_us_per_msg", 100.0, &|round| cpu_us(&round.alone, "servers")),
        ("client_cpu_us_per_msg", 100.0, &|round| cpu_us(&round.alone, "client")),
        // Of what is read, headers and all; more than 1 of what the disk gives beside that, such as read-ahead.
        ("disk_part", 100.0, &|round| Some(round.alone["diskBytesRead"].as_f64()? / round.alone["bytes"].as_f64()?)),
        ("messages", 1.0, &|round| round.alone["messages"].as_f64()),
        ("undisturbed_p99_us", 1.0, &|round| p99_us(&round.undisturbed)),
        ("p99_us", 1.0, &|round| p99_us(&round.disturbed)),
        ("p99_ratio", 1000.0, &|round| round.p99_ratio(rate)),
        ("kept", 1000.0, &kept),
        ("covered", 1000.0, &Round::covered),
        ("others_cores", 100.0, &|round| round.undisturbed["othersCores"].as_f64()),
    ];
    for (name, parts, figure) in figures {
        Spread::put(Spread::of(pairs.iter().filter_map(|pair| figure(&pair.peer))), name, parts, &mut row);
        let ours = Spread::of(pairs.iter().filter_map(|pair| figure(&pair.product)));
        Spread::put(ours, &format!("timbermq_{name}"), parts, &mut row);
    }
    let not_kept =
        |side: fn(&Pair) -> &Round| pairs.iter().filter(|pair| !is_kept(&side(pair).undisturbed, rate)).count();
    row.insert("not_kept".into(), not_kept(|pair| &pair.peer).into());
    row.insert("timbermq_not_kept".into(), not_kept(|pair| &pair.product).into());
    row.insert("page_cache_dropped".into(), pairs.iter().all(|pair| pair.peer.is_cold).into());
    row.insert("timbermq_page_cache_dropped".into(), pairs.iter().all(|pair| pair.product.is_cold).into());
    row.insert("errors".into(), pairs.iter().map(|pair| pair.peer.errors()).sum::<u64>().into());
    row.insert("timbermq_errors".into(), pairs.iter().map(|pair| pair.product.errors()).sum::<u64>().into());
    Value::Object(row)
}

/// A row in words.
pub(super) fn told(row: &Value) -> String {
    let mut lines = vec![title(row)];
    let figures = &row["windows"][0];
    if figures["pairs"] != 0 {
        let ratio = |name: &str| {
            let [median, min, max] = ["median", "min", "max"].map(|part| number(figures, &format!("{name}_{part}")));
            format!("{median} ({min}–{max})")
        };
        let beside =
            |name: &str| format!("{} / {}", spread(figures, &format!("timbermq_{name}")), spread(figures, name));
        lines.push(format!("  read alone: TimberMQ {} MB/s = {}", beside("alone_mb_per_s"), ratio("ratio")));
        lines.push(format!("  beside the producer: {} MB/s = {}", beside("read_mb_per_s"), ratio("beside_ratio")));
        lines.push(format!(
            "  CPU µs a message: servers {}, reader {}",
            beside("servers_cpu_us_per_msg"),
            beside("client_cpu_us_per_msg")
        ));
        lines.push(format!(
            "  the producer's p99: {} µs, undisturbed {} µs, ratio {}; {} and {} errors",
            beside("p99_us"),
            beside("undisturbed_p99_us"),
            beside("p99_ratio"),
            figures["timbermq_errors"],
            figures["errors"]
        ));
        lines.push(format!("  of what was read from the disk: {}", beside("disk_part")));
    }
    if let Some(reason) = row["reason"].as_str() {
        lines.push(format!("  not measured: {reason}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    static PEER: Peer = Peer {
        name: "other",
        durability: Durability::Memory,
        settings: &["fast=true"],
        reader: Some(&["much=true"]),
        install: |_| bail!("not there"),
        start: |_, _| bail!("not there"),
    };

    /// A round in which the reader took so many seconds alone, and twice as many beside the producer.
    fn round(seconds: f64, undisturbed_ms: f64, disturbed_ms: f64) -> Round {
        let reader = |seconds: f64| {
            json!({
                "seconds": seconds, "messages": 1_000_000, "bytes": 1_200_000_000, "bodyBytes": 1_000_000_000, "diskBytesRead": 600_000_000,
                "cpuMicros": { "servers": 3_000_000.0, "client": 500_000.0 }, "errors": {}, "skipped": 0,
            })
        };
        let producer = |p99: f64, seconds: f64, rate: f64| {
            json!({
                "publishLatency99pct": p99, "testDurationSeconds": seconds, "publishRate": rate, "errors": {}, "warmupErrors": 0,
            })
        };
        Round {
            undisturbed: producer(undisturbed_ms, 5.0, 2_000.0),
            alone: reader(seconds),
            reading: reader(2.0 * seconds),
            disturbed: producer(disturbed_ms, 4.0 * seconds, 1_900.0),
            is_cold: true,
        }
    }

    fn outcome(pairs: Vec<Pair>, reason: Option<&str>) -> Outcome {
        let reason = reason.map(str::to_owned);
        Outcome { peer: &PEER, version: Some("1.2".into()), fill_rate: Some(20_000.4), pairs, reason }
    }

    #[test]
    fn a_ratio_is_that_of_its_pair() {
        // The machine was slower in the second pair, for both.
        let pairs = vec![
            Pair { product: round(2.0, 1.0, 2.0), peer: round(4.0, 2.0, 10.0) },
            Pair { product: round(20.0, 10.0, 15.0), peer: round(60.0, 10.0, 40.0) },
            Pair { product: round(2.0, 1.0, 1.0), peer: round(10.0, 2.0, 12.0) },
        ];
        let outcome = outcome(pairs, None);
        let row = row(&outcome, 2_000);
        assert_eq!(
            (&row["name"], &row["pairs"], &row["fill_msgs_per_s"]),
            (&json!("other"), &json!(3), &json!(20_000.0))
        );
        assert_eq!(
            (&row["ratio_median"], &row["ratio_min"], &row["ratio_max"]),
            (&json!(3.0), &json!(2.0), &json!(5.0))
        );
        let figures = &row["windows"][0];
        assert_eq!((&figures["alone_mb_per_s"], &figures["timbermq_alone_mb_per_s"]), (&json!(100.0), &json!(500.0)));
        assert_eq!((&figures["read_msgs_per_s"], &figures["beside_ratio_median"]), (&json!(50_000.0), &json!(3.0)));
        assert_eq!((&figures["servers_cpu_us_per_msg"], &figures["client_cpu_us_per_msg"]), (&json!(3.0), &json!(0.5)));
        assert_eq!((&figures["p99_ratio"], &figures["timbermq_p99_ratio"]), (&json!(5.0), &json!(1.5)));
        assert_eq!(
            (&figures["disk_part"], &figures["kept"], &figures["covered"]),
            (&json!(0.5), &json!(0.95), &json!(0.5))
        );
        assert_eq!((&figures["errors"], &figures["page_cache_dropped"]), (&json!(0), &json!(true)));
        assert_eq!((&row["equal_durability"], &row["reader_settings"]), (&json!(false), &json!(["much=true"])));
        let told = told(&row);
        assert!(told.contains("TimberMQ 500 (50–500) / 100 (16.7–250) MB/s = 3 (2–5)"), "{told}");
        assert_eq!(outcome.runs().len(), 3);
    }

    #[test]
    fn whatever_was_not_read_or_not_stored_is_an_error_of_its_side() {
        let (mut ours, mut theirs) = (round(1.0, 1.0, 1.0), round(1.0, 1.0, 1.0));
        ours.disturbed["unsent"] = 2.into();
        theirs.alone["skipped"] = 3.into();
        theirs.reading["errors"] = json!({ "SYSTEM_BUSY(2)": 4 });
        theirs.undisturbed["warmupErrors"] = 5.into();
        theirs.is_cold = false;
        let row = row(&outcome(vec![Pair { product: ours, peer: theirs }], None), 2_000);
        let figures = &row["windows"][0];
        assert_eq!((&figures["timbermq_errors"], &figures["errors"]), (&json!(2), &json!(12)));
        assert_eq!(
            (&figures["timbermq_page_cache_dropped"], &figures["page_cache_dropped"]),
            (&json!(true), &json!(false))
        );
    }

    #[test]
    fn who_falls_behind_undisturbed_has_no_ratio_of_latencies() {
        let (ours, mut theirs) = (round(1.0, 1.0, 2.0), round(1.0, 900.0, 950.0));
        theirs.undisturbed["publishRate"] = 1_500.0.into();
        let row = row(&outcome(vec![Pair { product: ours, peer: theirs }], None), 2_000);
        let figures = &row["windows"][0];
        assert_eq!((&figures["p99_ratio"], &figures["timbermq_p99_ratio"]), (&Value::Null, &json!(2.0)));
        assert_eq!((&figures["not_kept"], &figures["timbermq_not_kept"]), (&json!(1), &json!(0)));
        assert_eq!((&figures["ratio_median"], &figures["p99_us"]), (&json!(1.0), &json!(950_000.0)));
    }

    #[test]
    fn who_cannot_run_has_a_row_with_the_reason_and_no_ratio() {
        let row = row(&outcome(Vec::new(), Some("no java")), 2_000);
        assert_eq!((&row["pairs"], &row["ratio_median"], &row["reason"]), (&json!(0), &Value::Null, &json!("no java")));
        assert!(told(&row).contains("not measured: no java") && told(&row).contains("not equal"), "{}", told(&row));
    }
}

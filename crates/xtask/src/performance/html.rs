//! The page on performance once more, as one file of HTML with drawings that needs nothing but itself. Text and tables are those
//! of the page in Markdown; drawings are added here, a function for each kind of figures.

use std::fmt::Write as _;

use serde_json::Value;

use super::markup::{blocks, escaped, inline};
use super::plots::{Bars, Group, Lines, Range, short};
use super::{TEXT, fan_out, grown, indexed, part, soak};
use crate::page::number;
use crate::workspace::array;

/// The style of every report, and what this one has beside it.
const CSS: [&str; 2] = [include_str!("../../../../jepsen/src/report/page.css"), include_str!("page.css")];
/// Who is shown first everywhere.
pub(super) const OURS: &str = "TimberMQ";

/// The page, of figures that `results` finds by the name of their file.
pub(crate) fn page(results: &dyn Fn(&str) -> Value) -> String {
    let mut out = String::with_capacity(128 << 10);
    out.push_str(
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>\
         <meta name='color-scheme' content='light dark'><title>TimberMQ: how fast is it?</title>",
    );
    let _ = write!(out, "<style>{}{}</style><main>", CSS[0], CSS[1]);
    let drawn = |name: &str| drawn(name, results);
    for (number, chunk) in TEXT.split("\n## ").enumerate() {
        let (title, body) = chunk.split_once('\n').unwrap_or((chunk, ""));
        let body = blocks(body, &drawn);
        if number == 0 {
            let title = inline(title.trim_start_matches("# "));
            let _ = write!(out, "<header><h1>{title}</h1>{body}</header>{}", tiles(results));
        } else {
            let _ = write!(out, "<section><h2>{}</h2>{body}</section>", inline(title));
        }
    }
    out.push_str("</main></html>\n");
    out
}

/// What was recorded under a name: drawings, the table, how it was measured.
fn drawn(name: &str, results: &dyn Fn(&str) -> Value) -> String {
    let figures = results(&format!("bench-{name}"));
    let plots = match name {
        "s1-f" | "s1-p" => sends(&figures),
        "s4" => batches(&figures),
        "s5" => rated(&figures),
        "s6" => many_topics(&figures),
        "s7" => catching_up(&figures),
        "s8" => fan_out::drawing(&figures),
        "s9" => takeovers(&figures),
        "s10" => recovery(&figures),
        "s11" => idle(&figures),
        "s12" => indexed::drawing(&figures),
        "peers-s1" | "peers-s2" => beside_peers(&figures, "window", "in flight"),
        "peers-stock" => beside_peers(&figures, "threads", "threads"),
        "peers-s5" => latency_beside_peers(&figures),
        "peers-s7" => catching_up_beside_peers(&figures),
        "s14" => soak::drawing(&figures),
        "growth" => growth(&figures),
        _ => String::new(),
    };
    let plots = if plots.is_empty() { plots } else { format!("<div class='plots'>{plots}</div>") };
    let table = blocks(&part(name, results), &|_| String::new());
    format!("<div id='bench-{}'>{plots}{table}{}</div>", escaped(name), details(&figures))
}

/// The figures that most look for first.
fn tiles(results: &dyn Fn(&str) -> Value) -> String {
    let mut tiles = String::new();
    let mut tile = |value: Option<f64>, unit: &str, what: &str| {
        if let Some(value) = value {
            let _ = write!(tiles, "<div><b>{} {unit}</b>{}</div>", short(value), escaped(what));
        }
    };
    let durable = results("bench-s1-f");
    if let Some(row) = array(&durable["windows"]).last() {
        let window = &row["window"];
        tile(row["msgs_per_s"].as_f64(), "/s", &format!("durable sends, {window} in flight"));
        tile(row["fraction_of_skeleton"].as_f64().map(|part| part * 100.0), "%", "of the skeleton in the same minute");
        tile(row["cpu_us_per_msg"].as_f64(), "µs", "CPU a message, all replicas and the client");
    }
    let takeovers = results("bench-s9");
    tile(takeovers["kill_ms"]["own"]["median"].as_f64(), "ms", "until sends succeed after the leader was killed");
    tile(takeovers["lost"].as_f64(), "lost", &format!("of {} acknowledged sends", number(&takeovers["acknowledged"])));
    if tiles.is_empty() { tiles } else { format!("<div class='tiles'>{tiles}</div>") }
}

/// Bars of the product and of the skeleton for each of `rows`, which are called what `name_of` says.
fn beside_skeleton(
    rows: &Value,
    name_of: &dyn Fn(&Value) -> String,
    (title, axis, name, unit): (&str, &'static str, &str, f64),
) -> Bars {
    Bars {
        title: title.to_owned(),
        axis,
        series: vec![OURS.to_owned(), "skeleton".to_owned()],
        groups: array(rows)
            .map(|row| {
                let bars = [name.to_owned(), format!("skeleton_{name}")].map(|name| Range::of(row, &name, unit));
                (name_of(row), bars.into_iter().enumerate().collect())
            })
            .collect(),
        ..Bars::default()
    }
}

fn sends(figures: &Value) -> String {
    let plots = [
        ("Messages a second", "messages a second", "msgs_per_s", 1.0),
        ("CPU a message", "µs, replicas and client", "cpu_us_per_msg", 1.0),
        ("Latency, 99th percentile", "ms", "p99_us", 1e3),
    ];
    let name = |row: &Value| format!("{} in flight", row["window"]);
    plots.map(|plot| beside_skeleton(&figures["windows"], &name, plot).draw()).concat()
}

fn batches(figures: &Value) -> String {
    let plots = [
        ("Bytes a second", "MB/s", "mb_per_s", 1.0),
        ("CPU a message", "µs, replicas and client", "cpu_us_per_msg", 1.0),
        ("Latency of a batch, 99th percentile", "ms", "p99_us", 1e3),
    ];
    let name = |row: &Value| format!("{} × {} B", row["messages"], row["message_size"]);
    plots.map(|plot| beside_skeleton(&figures["batches"], &name, plot).draw()).concat()
}

fn rated(figures: &Value) -> String {
    let plots = [
        ("Latency, median", "ms", "p50_us", 1e3),
        ("Latency, 99th percentile", "ms", "p99_us", 1e3),
        ("CPU a message", "µs, replicas and client", "cpu_us_per_msg", 1.0),
    ];
    let name = |row: &Value| format!("{}/s", number(&row["rate"]));
    plots.map(|plot| beside_skeleton(&figures["rates"], &name, plot).draw()).concat()
}

fn many_topics(figures: &Value) -> String {
    let beside = |title: &str, axis, name: &str| Bars {
        title: title.to_owned(),
        axis,
        series: vec!["many topics".to_owned(), "one topic".to_owned()],
        groups: array(&figures["topics"])
            .map(|row| {
                let bars = [name.to_owned(), format!("one_{name}")].map(|name| Range::of(row, &name, 1.0));
                (format!("{} topics", number(&row["topics"])), bars.into_iter().enumerate().collect())
            })
            .collect(),
        ..Bars::default()
    };
    let plots = [
        beside("Messages a second", "messages a second", "msgs_per_s"),
        beside("CPU a message of the replicas", "µs", "servers_cpu_us_per_msg"),
        beside("Memory of the largest replica", "MB", "rss_mb"),
    ];
    plots.iter().map(Bars::draw).collect()
}

fn idle(figures: &Value) -> String {
    let of_each = |title: &str, axis, name: &str| Bars {
        title: title.to_owned(),
        axis,
        series: ["leader", "larger follower", "NameServer"].map(str::to_owned).into(),
        groups: array(&figures["idle"])
            .map(|row| {
                let bars = ["leader", "follower", "namesrv"].map(|who| Range::of(&row[who], name, 1.0));
                (format!("{} queues", number(&row["queues"])), bars.into_iter().enumerate().collect())
            })
            .collect(),
        ..Bars::default()
    };
    let plots = [
        of_each("Memory", "MB", "rss_mb"),
        of_each("CPU", "% of a core", "cpu_percent"),
        of_each("Pages dirtied", "kB a minute", "dirtied_kb_per_min"),
    ];
    plots.iter().map(Bars::draw).collect()
}

fn catching_up(figures: &Value) -> String {
    let bars = |title: &str, axis, series: [&str; 2], names: [&str; 2], unit: f64| Bars {
        title: title.to_owned(),
        axis,
        series: series.map(str::to_owned).into(),
        groups: array(&figures["batches"])
            .map(|row| {
                let bars = names.map(|name| Range::of(row, name, unit));
                (format!("{} messages a pull", row["batch"]), bars.into_iter().enumerate().collect())
            })
            .collect(),
        ..Bars::default()
    };
    let plots = [
        bars("The backlog is read", "MB/s", ["beside the producer", "alone"], ["read_mb_per_s", "alone_mb_per_s"], 1.0),
        bars("The producer's p99", "ms", ["while it is read", "undisturbed"], ["p99_us", "undisturbed_p99_us"], 1e3),
    ];
    plots.iter().map(Bars::draw).collect()
}

fn recovery(figures: &Value) -> String {
    let bars = |title: &str, axis, name: &str, kinds: &[(&str, &str)]| Bars {
        title: title.to_owned(),
        axis,
        series: vec![OURS.to_owned()],
        groups: kinds
            .iter()
            .map(|(kind, row)| ((*kind).to_owned(), vec![(0, Range::of(&figures[*row], name, 1.0))]))
            .collect(),
        ..Bars::default()
    };
    let kept = [("index kept", "restart")];
    let deleted = [("index deleted", "rebuild")];
    let plots = [
        bars("From the start to the first send and pull", "ms", "serving_ms", &kept),
        bars("The index is made anew", "GB of log a second", "gb_per_s", &deleted),
    ];
    plots
        .iter()
        .filter(|bars| bars.groups.iter().any(|(_, bars)| bars.iter().any(|bar| bar.1.is_some())))
        .map(Bars::draw)
        .collect()
}

fn takeovers(figures: &Value) -> String {
    let faults = [("killed", "kill_ms"), ("stopped", "pause_ms"), ("cut off", "cut_ms")];
    let mut bars = Bars {
        title: "From the fault to the next send that succeeds".to_owned(),
        axis: "ms",
        series: vec!["our own client".to_owned(), "stock Java client".to_owned()],
        ..Bars::default()
    };
    for (fault, name) in faults {
        let kinds = ["own", "stock_java"].map(|kind| &figures[name][kind]);
        if kinds.iter().all(|row| row["median"].is_null()) {
            continue;
        }
        let range = |row: &Value| {
            let [median, min, max] = ["median", "min", "max"].map(|field| row[field].as_f64());
            Some(Range { median: median?, min: min?, max: max? })
        };
        bars.groups.push((format!("leader {fault}"), (0..).zip(kinds.map(range)).collect()));
        for row in kinds {
            bars.samples.push(array(&row["all"]).filter_map(Value::as_f64).collect());
        }
    }
    bars.draw()
}

/// For each number of messages in flight or of threads, which stands under `key`.
fn beside_peers(figures: &Value, key: &str, unit: &str) -> String {
    let mut windows: Vec<u64> = Vec::new();
    for row in array(&figures["peers"]).flat_map(|peer| array(&peer["windows"])) {
        windows.extend(row[key].as_u64().filter(|window| !windows.contains(window)));
    }
    // Of the peers that were measured with this many.
    let of = |window: u64, bars: &dyn Fn(&Value) -> Vec<Option<Range>>| {
        of_peers(figures, &|row| row[key] == window && row["pairs"] != 0, bars)
    };
    let mut plots: Vec<Bars> = windows
        .iter()
        .map(|window| Bars {
            title: format!("{OURS} ÷ the other, {window} {unit}"),
            axis: "ratio of messages a second; dashed: even",
            series: vec![OURS.to_owned()],
            groups: of(*window, &|row| vec![ratio(row, "ratio")]),
            even: Some(1.0),
            ..Bars::default()
        })
        .collect();
    if let Some(largest) = windows.iter().max() {
        let shown = [
            ("Messages a second", "messages a second", "msgs_per_s"),
            ("CPU a message of the servers", "µs", "servers_cpu_us_per_msg"),
            ("Memory of all nodes", "MB", "rss_mb"),
        ];
        plots.extend(shown.map(|(title, axis, name)| Bars {
            title: format!("{title}, {largest} {unit}"),
            axis,
            series: pair(),
            groups: of(*largest, &|row| both(row, name, 1.0)),
            ..Bars::default()
        }));
    }
    plots.iter().map(Bars::draw).collect()
}

/// At one rate: only of the peers that kept it.
fn latency_beside_peers(figures: &Value) -> String {
    let is_kept = |row: &Value| row["pairs_kept"].as_u64().is_some_and(|kept| kept > 0);
    let of = |bars: &dyn Fn(&Value) -> Vec<Option<Range>>| of_peers(figures, &is_kept, bars);
    let rate = number(&figures["rate"]);
    let mut plots = vec![Bars {
        title: format!("99th percentile: {OURS} ÷ the other, {rate}/s"),
        axis: "ratio of latencies; dashed: even",
        series: vec![OURS.to_owned()],
        groups: of(&|row| vec![Range::of(row, "p99_ratio", 1.0)]),
        even: Some(1.0),
        ..Bars::default()
    }];
    let shown = [
        ("Latency, median", "ms", "p50_us", 1e3),
        ("Latency, 99th percentile", "ms", "p99_us", 1e3),
        ("CPU a message of the servers", "µs", "servers_cpu_us_per_msg", 1.0),
    ];
    plots.extend(shown.map(|(title, axis, name, unit)| Bars {
        title: format!("{title}, {rate}/s"),
        axis,
        series: pair(),
        groups: of(&|row| both(row, name, unit)),
        ..Bars::default()
    }));
    plots.iter().map(Bars::draw).collect()
}

/// How fast the backlog is read, alone and beside the producer, and what becomes of the producer.
fn catching_up_beside_peers(figures: &Value) -> String {
    let of = |bars: &dyn Fn(&Value) -> Vec<Option<Range>>| of_peers(figures, &|row| row["pairs"] != 0, bars);
    let mut plots = vec![Bars {
        title: format!("Catching up: {OURS} ÷ the other"),
        axis: "ratio of MB/s; dashed: even",
        series: ["alone", "beside the producer"].map(str::to_owned).into(),
        groups: of(&|row| vec![ratio(row, "ratio"), ratio(row, "beside_ratio")]),
        even: Some(1.0),
        ..Bars::default()
    }];
    let shown = [
        ("The backlog is read alone", "MB/s", "alone_mb_per_s", 1.0),
        ("The backlog is read beside the producer", "MB/s", "read_mb_per_s", 1.0),
        ("CPU a message read, of the servers", "µs", "servers_cpu_us_per_msg", 1.0),
        ("The producer's p99 meanwhile", "ms", "p99_us", 1e3),
        ("The same beside the undisturbed one", "times", "p99_ratio", 1.0),
    ];
    plots.extend(shown.map(|(title, axis, name, unit)| Bars {
        title: title.to_owned(),
        axis,
        series: pair(),
        groups: of(&|row| both(row, name, unit)),
        ..Bars::default()
    }));
    plots.iter().map(Bars::draw).collect()
}

/// The peers that have such a row, with what is drawn of it.
fn of_peers(
    figures: &Value,
    wanted: &dyn Fn(&Value) -> bool,
    bars: &dyn Fn(&Value) -> Vec<Option<Range>>,
) -> Vec<Group> {
    array(&figures["peers"])
        .filter_map(|peer| {
            let row = array(&peer["windows"]).find(|row| wanted(row))?;
            Some((peer_label(peer), bars(row).into_iter().enumerate().collect()))
        })
        .collect()
}

/// A peer's name, and that its acknowledgement promises less, where it does.
fn peer_label(peer: &Value) -> String {
    let name = peer["name"].as_str().unwrap_or("?");
    let promise = if peer["equal_durability"] == true { "" } else { ", promises less" };
    format!("{name}{promise}")
}

/// The series of drawings that show TimberMQ and a peer.
fn pair() -> Vec<String> {
    vec![OURS.to_owned(), "the other".to_owned()]
}

/// A figure of TimberMQ and the peer's, of a row that holds both.
fn both(row: &Value, name: &str, unit: f64) -> Vec<Option<Range>> {
    vec![Range::of(row, &format!("timbermq_{name}"), unit), Range::of(row, name, unit)]
}

/// A ratio of messages a second in the pairs of runs.
fn ratio(row: &Value, name: &str) -> Option<Range> {
    let [median, min, max] = ["median", "min", "max"].map(|part| row[format!("{name}_{part}")].as_f64());
    median.zip(min).zip(max).map(|((median, min), max)| Range { median, min, max })
}

fn growth(figures: &Value) -> String {
    let kinds = [
        ("message_size", "larger messages", "bytes of a body"),
        ("connections", "more connections", "connections"),
        ("replicas", "more replicas", "replicas"),
        ("queues", "more queues", "queues"),
        ("consumer_groups", "more consumer groups", "groups that store offsets"),
        ("stored_messages", "more stored messages", "messages before the run"),
    ];
    let measured = [
        ("CPU a message", "µs, replicas and client", "cpu_us_per_msg"),
        ("Messages a second", "messages a second", "msgs_per_s"),
        ("Memory of the largest replica", "MB", "rss_mb"),
    ];
    let mut out = String::new();
    for (what, growing, across) in kinds {
        for (title, up, name) in measured {
            let rows = array(&figures["growth"]).filter(|row| row["what"] == what);
            let points = rows.filter_map(|row| {
                let value = &row["value"];
                let name = Range::of(row, name, 1.0)?;
                Some((value.as_f64()?, grown(what, value), name))
            });
            let lines =
                Lines { title: format!("{title}, {growing}"), across, up, points: points.collect(), is_course: false };
            out.push_str(&lines.draw());
        }
    }
    out
}

/// What is told only to whoever asks: settings, load, and what the machine could do before and after.
fn details(figures: &Value) -> String {
    let mut out = String::new();
    let settings: Vec<String> = array(&figures["settings"])
        .filter_map(Value::as_str)
        .map(|setting| format!("<code>{}</code>", escaped(setting)))
        .collect();
    if !settings.is_empty() {
        let _ = write!(out, "<p>Settings of the replicas: {}.</p>", settings.join(", "));
    }
    let load = |when: &str| array(&figures["load"][when]).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if figures["load"].is_object() {
        let (before, after) = (load("before"), load("after"));
        let _ = write!(out, "<p>Load averages over 1, 5 and 15 minutes: before {before}, after {after}.</p>");
    }
    let [first, last] = ["first", "last"].map(|when| &figures["calibration"][when]);
    if first.is_object() {
        let mut table =
            "| what the machine could do | before, a second | after, a second |\n|---|---|---|\n".to_owned();
        let mut row = |name: String, first: &Value, last: &Value| {
            let told = |probe: &Value| probe["per_s"].as_f64().map_or_else(|| "–".to_owned(), short);
            let _ = writeln!(table, "| {name} | {} | {} |", told(first), told(last));
        };
        row("messages there and back over loopback".to_owned(), &first["echo"], &last["echo"]);
        for (first, last) in array(&first["sync"]).zip(array(&last["sync"])) {
            let layout = first["layout"].as_str().unwrap_or("?");
            row(format!("syncs of {} bytes, {layout}, {} at a time", first["bytes"], first["writers"]), first, last);
        }
        out.push_str(&blocks(&table, &|_| String::new()));
    }
    if out.is_empty() { out } else { format!("<details><summary>Settings and machine</summary>{out}</details>") }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::super::tests::results;
    use super::*;
    use crate::page::RESULTS;

    fn hostile(file: &str) -> Value {
        let mut figures = results(file);
        match file {
            "bench-s9" => {
                figures["cut_why"] = "<script>x</script>".into();
                figures["kill_ms"]["own"]["all"] = json!([150.0, 210.0, 900.0]);
            }
            "bench-s1-f" => {
                figures["settings"] = json!(["a=<b>"]);
                figures["versions"]["timbermq"] = "<img src=x>".into();
            }
            "bench-peers-s1" => figures["peers"][0]["name"] = "'<other>'".into(),
            _ => {}
        }
        figures
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_escapes_what_it_is_told() {
        let page = page(&hostile);
        for outside in ["http://", "https://", "src=x>", "href=", "@import", "url(", "<script", "<img", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("&lt;script&gt;x&lt;/script&gt;") && page.contains("<code>a=&lt;b&gt;</code>"));
        assert!(page.contains("&#39;&lt;other&gt;&#39;, promises less"));
        for drawing in [
            ">one topic<",
            ">larger follower<",
            ">after 10 000 000<",
            ">index deleted<",
            ">Room on the disk, over time<",
            ">beside the producer<",
            ">100 subscriptions<",
            ">CPU a message, larger messages<",
            ">CPU a message, more stored messages<",
            ">99th percentile: TimberMQ ÷ the other, 5000/s<",
            ">Catching up: TimberMQ ÷ the other<",
        ] {
            assert!(page.contains(drawing), "{drawing}");
        }
        for tag in ["header", "section", "figure", "svg", "g", "table", "details", "div", "p", "ul", "li"] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "every value has a place");
        assert_eq!(page.matches("dot' cx").count(), 3, "each takeover is a point");
    }

    #[test]
    fn every_recorded_file_is_shown() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(RESULTS);
        let read = |file: &str| {
            let text = fs::read_to_string(dir.join(format!("{file}.json"))).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or(Value::Null)
        };
        let page = page(&read);
        let mut shown = 0;
        for entry in fs::read_dir(&dir).expect("there are results") {
            let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".json").filter(|name| name.starts_with("bench-")) else { continue };
            let (_, after) = page.split_once(&format!("<div id='{name}'>")).unwrap_or_else(|| panic!("no {name}"));
            let part = after.split("<div id='").next().unwrap_or_default();
            assert!(part.contains("<table>") && part.contains("<svg") && part.contains("revision"), "{name}");
            shown += 1;
        }
        assert!(shown >= 2, "{shown}");
    }

    #[test]
    fn what_was_not_recorded_is_said_to_be_missing() {
        let page = page(&|_| Value::Null);
        assert!(page.contains("<p>Not recorded yet.</p>") && !page.contains("<svg") && !page.contains("{{"));
    }
}

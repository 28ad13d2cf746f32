//! A run on one page, which needs nothing but itself.

mod charts;
mod gaps;
mod svg;
mod timeline;

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;
use timbermq_check::history::{Action, Micros, NEVER};
use timbermq_check::{Anomaly, Row, Verdict};

use crate::record::{Finished, Options};
pub use svg::escaped;
use svg::{Time, duration, grouped, seconds};

/// Name of the page in the directory of its run.
pub const FILE: &str = "report.html";
/// Most operations shown of one anomaly.
const OPERATIONS_MAX: usize = 8;
/// Most characters shown of one operation.
const OPERATION_CHARS: usize = 420;

impl Finished {
    /// Writes the page.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_report(&self) -> Result<()> {
        let path = self.record.options.dir.join(FILE);
        std::fs::write(&path, page(self)).with_context(|| path.display().to_string())
    }

    /// The longest time between two acknowledged sends that overlaps a fault.
    #[must_use]
    pub fn longest_pause(&self) -> Option<Micros> {
        let acknowledged = gaps::acknowledged(&self.history);
        self.faults().filter_map(|fault| gaps::of(fault, &acknowledged).longest).max()
    }
}

/// The page.
#[must_use]
pub fn page(finished: &Finished) -> String {
    let options = &finished.record.options;
    let title =
        format!("{}{} under {}", named(options), options.workloads.join(", "), faults_in_words(&options.nemeses));
    let time = span(finished);
    let mut out = String::with_capacity(256 << 10);
    let _ = write!(
        out,
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>\
         <title>{}: {}</title><style>{CSS}</style><main>",
        finished.verdict().word(),
        escaped(&title)
    );
    head(&mut out, finished, &title);
    // Of a cluster that somebody else started, nobody was asked.
    if !finished.record.samples.is_empty() {
        let drawn = format!("{}{}", timeline::draw(finished, time), timeline::legend());
        section(&mut out, "Who led, and what went wrong", &drawn);
    }
    let legend = "<p class='legend'><span><i class='shaded'></i>a fault is at work</span>\
                  <span><i class='bad'></i>failed, or nobody knows</span></p>";
    let throughput = charts::throughput(finished, time);
    section(&mut out, "Operations a second", &format!("{throughput}{}", charts::legend(&finished.history)));
    section(
        &mut out,
        "Latency",
        &format!("{}{legend}{}", charts::latency(finished, time), charts::table(&finished.history)),
    );
    anomalies(&mut out, finished);
    promises(&mut out, &finished.judged.invariants);
    if !finished.record.ledger.is_empty() {
        ledger(&mut out, finished);
    }
    again(&mut out, finished);
    out.push_str("</main></html>\n");
    out
}

/// Which system it was, where it was not the product.
fn named(options: &Options) -> String {
    options.apache.as_ref().map_or_else(String::new, |(_, version)| format!("{} {version}: ", options.system))
}

fn faults_in_words(nemeses: &[String]) -> String {
    if nemeses.is_empty() { "no faults".to_owned() } else { nemeses.join(", ") }
}

/// What the drawings show: from the beginning of the load to the last fault and the last proof of service.
fn span(finished: &Finished) -> Time {
    let (from, to) = finished.record.load;
    let ends = finished.history.operations().iter().filter(|operation| {
        matches!(operation.action, Action::Service { .. } | Action::Fault { .. }) && operation.returned != NEVER
    });
    let last = ends.map(|operation| operation.returned).max().unwrap_or(to);
    Time { from, to: to.max(last).max(from + 1_000_000) }
}

fn section(out: &mut String, title: &str, body: &str) {
    let _ = write!(out, "<section><h2>{title}</h2>{body}</section>");
}

fn head(out: &mut String, finished: &Finished, title: &str) {
    let verdict = finished.verdict();
    let sentence = match &verdict {
        Verdict::Valid => "Everything that was promised was kept.".to_owned(),
        Verdict::Invalid => {
            let broken: Vec<String> = finished
                .judged
                .violated()
                .map(|row| format!("“{}” ({}, {} times)", row.statement, row.id, grouped(row.violations)))
                .collect();
            format!("Broken: {}.", broken.join("; "))
        }
        Verdict::Unknown(why) => format!("Nobody can say: {why}."),
    };
    let options = &finished.record.options;
    let story = if options.nemeses.is_empty() {
        "Clients worked with real processes; afterwards every message was read back and every promise was checked against \
         what the clients had seen."
    } else {
        "Clients worked with real processes while these faults were injected. Then everything was made whole, every message \
         was read back from every replica, and every promise was checked against what the clients had seen."
    };
    let bug = options.bug.as_ref().map(|bug| format!(" The replicas had the seeded bug {bug}.")).unwrap_or_default();
    let _ = write!(
        out,
        "<header class='{word}'><p class='verdict'>{word}</p><h1>{}</h1><p><b>{}</b>{}</p>\
         <p class='set'>{story}</p></header>",
        escaped(title),
        escaped(&sentence),
        escaped(&bug),
        word = verdict.word(),
    );
    let judged = &finished.judged;
    let longest = finished.longest_pause();
    let tiles = [
        (grouped(judged.operations), "operations seen"),
        (grouped(judged.sends.ok), "sends acknowledged"),
        (grouped(judged.outcomes.unknown), "of unknown outcome"),
        (grouped(finished.faults().count() as u64), "faults"),
        (grouped(finished.power_cuts() as u64), "of them power cuts"),
        (longest.map_or_else(|| "–".to_owned(), duration), "longest pause in writes"),
    ];
    out.push_str("<div class='tiles'>");
    for (number, name) in tiles {
        let _ = write!(out, "<div><b>{number}</b>{name}</div>");
    }
    let _ = write!(
        out,
        "</div><p class='set'>{} replicas · {} s · {} operations a second and workload · seed {}</p>",
        options.nodes, options.seconds, options.rate, options.seed
    );
}

fn anomalies(out: &mut String, finished: &Finished) {
    let violated: Vec<&Row> = finished.judged.violated().collect();
    if violated.is_empty() {
        return;
    }
    out.push_str("<section><h2>Anomalies</h2>");
    for row in violated {
        for (at, anomaly) in row.anomalies.iter().enumerate() {
            let _ = write!(
                out,
                "<details class='anomaly'{}><summary><b>{}</b> {}</summary><ol>",
                if at == 0 { " open" } else { "" },
                row.id,
                escaped(&anomaly.words)
            );
            for (index, operation) in anomaly.operations.iter().zip(operations(finished, anomaly)) {
                let _ = write!(out, "<li value='{index}'><code>{}</code>", escaped(&operation));
            }
            if anomaly.operations.len() > OPERATIONS_MAX {
                let _ = write!(out, "<li>and {} more", anomaly.operations.len() - OPERATIONS_MAX);
            }
            out.push_str("</ol></details>");
        }
        let more = row.violations.saturating_sub(row.anomalies.len() as u64);
        if more > 0 {
            let _ = write!(out, "<p class='set'>and {} more of {}</p>", grouped(more), row.id);
        }
    }
    out.push_str("</section>");
}

/// The operations that show an anomaly, as JSON, without what it is not about.
#[must_use]
pub fn operations(finished: &Finished, anomaly: &Anomaly) -> Vec<String> {
    let first = anomaly.operations.iter().take(OPERATIONS_MAX);
    let text = |index: &usize| {
        let operation = finished.history.named(*index);
        let (shown, more) = shown(&serde_json::to_value(&operation).unwrap_or_default(), &anomaly.words);
        shown + &more
    };
    first.map(text).collect()
}

/// An operation as JSON, of whose messages only those are left that the words are about; and what was left out.
fn shown(operation: &Value, words: &str) -> (String, String) {
    let mut operation = operation.clone();
    let mut left_out = 0;
    let fields = operation["op"].as_object_mut().and_then(|action| action.values_mut().next());
    if let Some(messages) = fields.and_then(|fields| fields.get_mut("messages")).and_then(Value::as_array_mut) {
        let all = messages.len();
        let words: Vec<&str> = words.split(|letter: char| letter.is_whitespace() || ";,".contains(letter)).collect();
        messages.retain(|found| {
            let id = &found["message"];
            let name = format!("{}-{}", id["producer"].as_str().unwrap_or_default(), id["seq"]);
            words.contains(&name.as_str()) || words.contains(&found["offset"].to_string().as_str())
        });
        left_out = all - messages.len();
    }
    let text = operation.to_string();
    let shown: String = text.chars().take(OPERATION_CHARS).collect();
    let is_cut = shown.len() < text.len();
    let more = match (is_cut, left_out) {
        (false, 0) => String::new(),
        (true, 0) => " …".to_owned(),
        (_, left_out) => format!(" … and {left_out} other messages"),
    };
    (shown, more)
}

fn promises(out: &mut String, rows: &[Row]) {
    out.push_str(
        "<section><h2>Promises</h2><table><thead><tr><th><th>promise<th>verdict<th class='n'>examined\
         <th class='n'>broken</tr></thead><tbody>",
    );
    let (looked, idle): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.examined > 0 || row.required);
    for row in looked {
        let why = row.why.as_ref().map(|why| format!("<br><small>{}</small>", escaped(why))).unwrap_or_default();
        let _ = write!(
            out,
            "<tr class='{word}'><td>{}<td>{}{why}<td><span class='mark'>{word}</span><td class='n'>{}<td class='n'>{}</tr>",
            row.id,
            escaped(row.statement),
            grouped(row.examined),
            grouped(row.violations),
            word = row.verdict.word(),
        );
    }
    let names: Vec<String> = idle.iter().map(|row| row.id.to_string()).collect();
    let _ =
        write!(out, "</tbody></table><p class='set'>Not exercised by this run: {}.</p></section>", names.join(", "));
}

fn ledger(out: &mut String, finished: &Finished) {
    let acknowledged = gaps::acknowledged(&finished.history);
    out.push_str(
        "<section><h2>Faults</h2><table><thead><tr><th class='n'>at<th>fault<th class='n'>lasted\
         <th class='n'>longest pause in writes<th class='n'>next write after</tr></thead><tbody>",
    );
    for fault in finished.faults() {
        let gap = gaps::of(fault, &acknowledged);
        let shown = |time: Option<Micros>| time.map_or_else(|| "–".to_owned(), duration);
        let _ = write!(
            out,
            "<tr><td class='n'>{:.2} s<td>{}<td class='n'>{}<td class='n'>{}<td class='n'>{}</tr>",
            seconds(fault.from),
            escaped(fault.detail.as_deref().unwrap_or_default()),
            duration(fault.to.saturating_sub(fault.from)),
            shown(gap.longest),
            shown(gap.next)
        );
    }
    let idle = finished.record.ledger.len() - finished.faults().count();
    let note = if idle == 0 { String::new() } else { format!("<p class='set'>{idle} had nothing to hit.</p>") };
    let _ = write!(out, "</tbody></table>{note}</section>");
}

fn again(out: &mut String, finished: &Finished) {
    let command = finished.record.options.command();
    let _ = write!(
        out,
        "<section><h2>Again</h2><p>The same seed gives the same schedule, victims and loads; what happens in between is up \
         to the machine.</p><pre>{}</pre><p>Beside this page: <code>history.jsonl</code> and <code>history.edn</code> with \
         every operation, <code>run.json</code>, and the processes' output in <code>logs/</code>. This page from them \
         again:</p><pre>timbermq-jepsen report DIRECTORY</pre></section>",
        escaped(&command)
    );
}

const CSS: &str = include_str!("report/page.css");

#[cfg(test)]
mod tests {
    use timbermq_check::history::{History, MessageId, Operation};

    use super::*;
    use crate::record::{Ledger, Record, Sample};

    fn finished(end: u64) -> Finished {
        let options = Options {
            system: "timbermq".into(),
            pace: 1,
            apache: None,
            workloads: vec!["queue".into()],
            nemeses: vec!["kill".into()],
            nodes: 3,
            seconds: 10,
            rate: 100,
            clients: 4,
            seed: 1,
            binary: "timbermq".into(),
            bug: None,
            settings: Vec::new(),
            attached: None,
            dir: "/nowhere".into(),
        };
        let sample =
            |at, role: Option<&str>, term| Sample { at, node: "n1".into(), role: role.map(str::to_owned), term };
        let samples =
            vec![sample(0, Some("leader"), 1), sample(4_000_000, None, 0), sample(5_000_000, Some("follower"), 2)];
        let fault =
            Ledger { nemesis: "kill".into(), detail: Some("kill -9 of <n1>".into()), from: 4_000_000, to: 5_000_000 };
        let record = Record { options, samples, ledger: vec![fault], load: (0, 10_000_000), broken: None };
        let mut history = History::new();
        for seq in 0..end {
            let message = MessageId { producer: "p", seq, attempt: 0 };
            let at = seq * 100_000;
            history.push_named(Operation::new("p", at, at + 800, Action::send("t", Some(0), message, Some(seq))));
        }
        Finished::judge(record, history)
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_escapes_what_it_is_told() {
        let page = page(&finished(50));
        for outside in ["http://", "https://", "src=", "@import", "url(http"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("kill -9 of &lt;n1&gt;") && !page.contains("<n1>"));
        assert!(page.contains("term 1"));
        assert!(page.contains("--seed 1"));
        for tag in ["section", "table", "svg", "main", "header"] {
            let (opened, closed) =
                (page.matches(&format!("<{tag}")).count(), page.matches(&format!("</{tag}>")).count());
            assert_eq!(opened, closed, "{tag}");
        }
    }

    #[test]
    fn of_many_messages_those_are_shown_that_it_is_about() {
        let found =
            |offset: u64| serde_json::json!({"offset": offset, "message": {"producer": "p", "seq": offset + 100}});
        let messages: Vec<Value> = (0..50).map(found).collect();
        let operation = serde_json::json!({"process": "observer", "op": {"drain": {"messages": messages}}});
        let (text, more) = shown(&operation, "p-107 was acknowledged at t/0 offset 12; in the end it is gone");
        assert!(
            text.contains("\"seq\":107") && text.contains("\"offset\":12") && !text.contains("\"seq\":108"),
            "{text}"
        );
        assert_eq!(more, " … and 48 other messages");
    }

    #[test]
    fn an_empty_run_has_a_page_too() {
        assert!(page(&finished(0)).contains("Nobody can say"));
    }
}

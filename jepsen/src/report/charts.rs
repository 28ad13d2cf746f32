//! Throughput and latency by kind of operation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use timbermq_check::history::{Action, History, Micros, NEVER, Outcome};

use super::svg::{LEFT, Log, RIGHT, Time, WIDTH, duration, grouped, open};
use crate::record::{Finished, Ledger};

/// Kinds of operations, their colours, in the order of legends.
pub const KINDS: [(&str, &str); 6] = [
    ("send", "#2563eb"),
    ("pull", "#0d9488"),
    ("bounds", "#9333ea"),
    ("offsets", "#d97706"),
    ("locks", "#be185d"),
    ("settings", "#4d7c0f"),
];

/// The kind of what a client asked; none of what it did not ask.
#[must_use]
pub fn kind(action: &Action) -> Option<usize> {
    match action {
        Action::Send { .. } | Action::SendBack { .. } => Some(0),
        Action::Pull { .. } => Some(1),
        Action::Bound { .. } | Action::SearchTime { .. } | Action::QueryId { .. } | Action::QueryKey { .. } => Some(2),
        Action::StoreOffset { .. } | Action::QueryOffset { .. } => Some(3),
        Action::Lock { .. } | Action::Unlock { .. } => Some(4),
        Action::PutConfig { .. } | Action::GetConfig { .. } => Some(5),
        _ => None,
    }
}

/// The fault windows as shades from `top` to `bottom`.
fn shades<'a>(faults: impl Iterator<Item = &'a Ledger>, time: Time, top: f64, bottom: f64) -> String {
    let mut out = String::new();
    for fault in faults {
        let (from, to) = (time.x(fault.from), time.x(fault.to));
        let _ = write!(
            out,
            "<rect class='shade' x='{from:.1}' y='{top:.1}' width='{:.1}' height='{:.1}'/>",
            (to - from).max(1.0),
            bottom - top
        );
    }
    out
}

/// Operations that succeeded a second, a line per kind.
#[must_use]
pub fn throughput(finished: &Finished, time: Time) -> String {
    const BUCKET: Micros = 500_000;
    let (top, bottom) = (12.0, 190.0);
    let buckets = usize::try_from(time.to.saturating_sub(time.from) / BUCKET + 1).unwrap_or(1);
    let mut counts = vec![vec![0u64; buckets]; KINDS.len()];
    let mut bad = vec![0u64; buckets];
    for operation in finished.history.operations() {
        let Some(kind) = kind(&operation.action) else { continue };
        if operation.returned == NEVER || operation.returned < time.from || operation.returned > time.to {
            continue;
        }
        let bucket = usize::try_from((operation.returned - time.from) / BUCKET).unwrap_or(0);
        match operation.outcome {
            Outcome::Ok => counts[kind][bucket] += 1,
            Outcome::Fail | Outcome::Unknown => bad[bucket] += 1,
        }
    }
    let per_second = 1_000_000 / BUCKET;
    let most = counts.iter().flatten().chain(&bad).copied().max().unwrap_or(0).max(1) * per_second;
    let ceiling = nice(most);
    #[allow(clippy::cast_precision_loss)] // counts of a second
    let y = |count: u64| bottom - (count * per_second) as f64 / ceiling as f64 * (bottom - top);
    let mut out = open(bottom + 26.0, "operations a second over time");
    out.push_str(&shades(finished.faults(), time, top, bottom));
    out.push_str(&time.axis(top, bottom));
    for part in [0, 1, 2] {
        let value = ceiling * part / 2;
        #[allow(clippy::cast_precision_loss)] // counts of a second
        let at = bottom - value as f64 / ceiling as f64 * (bottom - top);
        let _ = write!(
            out,
            "<line class='grid' x1='{LEFT}' x2='{:.0}' y1='{at:.1}' y2='{at:.1}'/>\
             <text class='tick' x='{:.0}' y='{:.1}' text-anchor='end'>{}/s</text>",
            WIDTH - RIGHT,
            LEFT - 10.0,
            at + 4.0,
            grouped(value)
        );
    }
    let line = |counts: &[u64]| {
        let mut points = String::new();
        for (bucket, count) in counts.iter().enumerate() {
            let at = time.from + bucket as Micros * BUCKET + BUCKET / 2;
            let _ = write!(points, "{:.1},{:.1} ", time.x(at), y(*count));
        }
        points
    };
    for (kind, (name, colour)) in KINDS.iter().enumerate() {
        if counts[kind].iter().any(|count| *count > 0) {
            let _ = write!(
                out,
                "<polyline fill='none' stroke='{colour}' stroke-width='1.8' points='{}'><title>{name}</title></polyline>",
                line(&counts[kind])
            );
        }
    }
    if bad.iter().any(|count| *count > 0) {
        let _ = write!(
            out,
            "<polyline fill='none' class='bad' stroke-width='1.4' points='{}'><title>failed or unknown</title></polyline>",
            line(&bad)
        );
    }
    out.push_str("</svg>");
    out
}

/// The next number that is easily read.
fn nice(most: u64) -> u64 {
    let mut ten = 1;
    while ten * 10 < most {
        ten *= 10;
    }
    [1, 2, 4, 6, 8, 10].into_iter().map(|n| n * ten).find(|nice| *nice >= most).unwrap_or(most)
}

/// How long operations took, on a logarithmic scale: what succeeded as dots of the kind's colour, the rest as crosses. Where
/// many would lie on each other there is one.
#[must_use]
pub fn latency(finished: &Finished, time: Time) -> String {
    let scale = Log { min: 50.0, max: 10_000_000.0, bottom: 300.0, top: 12.0 };
    let mut out = open(326.0, "latency over time, logarithmic");
    out.push_str(&shades(finished.faults(), time, scale.top, scale.bottom));
    out.push_str(&time.axis(scale.top, scale.bottom));
    for (value, name) in
        [(100.0, "100 µs"), (1e3, "1 ms"), (1e4, "10 ms"), (1e5, "100 ms"), (1e6, "1 s"), (1e7, "10 s")]
    {
        let y = scale.y(value);
        let _ = write!(
            out,
            "<line class='grid' x1='{LEFT}' x2='{:.0}' y1='{y:.1}' y2='{y:.1}'/>\
             <text class='tick' x='{:.0}' y='{:.1}' text-anchor='end'>{name}</text>",
            WIDTH - RIGHT,
            LEFT - 10.0,
            y + 4.0
        );
    }
    for (at, colour) in dots(&finished.history, time, scale) {
        match colour {
            Some(kind) => {
                let _ = write!(out, "<circle cx='{}' cy='{}' r='1.6' fill='{}'/>", at.0, at.1, KINDS[kind].1);
            }
            None => {
                let (x, y) = at;
                let _ = write!(out, "<path class='bad' d='M{} {}l5 5m0-5l-5 5'/>", x - 2, y - 2);
            }
        }
    }
    out.push_str("</svg>");
    out
}

/// A place of a drawing, and which kind is there; none for what did not succeed.
type Dot = ((i64, i64), Option<usize>);

fn dots(history: &History, time: Time, scale: Log) -> BTreeSet<Dot> {
    let mut dots = BTreeSet::new();
    for operation in history.operations() {
        let Some(kind) = kind(&operation.action) else { continue };
        if operation.invoke < time.from || operation.invoke > time.to || operation.returned == NEVER {
            continue;
        }
        #[allow(clippy::cast_precision_loss)] // for a drawing
        let y = scale.y((operation.returned - operation.invoke) as f64);
        // Two units wide, two high.
        #[allow(clippy::cast_possible_truncation)] // a place of the drawing
        let place = ((time.x(operation.invoke) / 2.0) as i64 * 2, (y / 2.0) as i64 * 2);
        dots.insert((place, (operation.outcome == Outcome::Ok).then_some(kind)));
    }
    dots
}

/// What the colours mean: the kinds that a history has.
#[must_use]
pub fn legend(history: &History) -> String {
    let there: BTreeSet<usize> = history.operations().iter().filter_map(|operation| kind(&operation.action)).collect();
    let mut out = String::from("<p class='legend'>");
    for kind in there {
        let (name, colour) = KINDS[kind];
        let _ = write!(out, "<span><i style='background:{colour}'></i>{name}</span>");
    }
    out.push_str("<span><i class='bad'></i>failed, or nobody knows</span><span><i class='shaded'></i>a fault is at work</span></p>");
    out
}

/// The kinds of a history and their figures: name, colour, ok, failed, unknown, and latencies of what succeeded at p50, p99
/// and most.
#[must_use]
pub fn table(history: &History) -> String {
    let mut kinds: BTreeMap<usize, (Vec<Micros>, u64, u64)> = BTreeMap::new();
    for operation in history.operations() {
        let Some(kind) = kind(&operation.action) else { continue };
        let (latencies, fail, unknown) = kinds.entry(kind).or_default();
        match operation.outcome {
            Outcome::Ok => latencies.push(operation.returned.saturating_sub(operation.invoke)),
            Outcome::Fail => *fail += 1,
            Outcome::Unknown => *unknown += 1,
        }
    }
    let mut out = String::from(
        "<table><thead><tr><th>operation<th class='n'>ok<th class='n'>failed<th class='n'>unknown<th class='n'>p50\
         <th class='n'>p99<th class='n'>slowest</tr></thead><tbody>",
    );
    for (kind, (mut latencies, fail, unknown)) in kinds {
        latencies.sort_unstable();
        let at = |part: usize| {
            let index = (latencies.len() * part / 100).min(latencies.len().saturating_sub(1));
            latencies.get(index).map_or_else(|| "–".to_owned(), |latency| duration(*latency))
        };
        let (name, colour) = KINDS[kind];
        let _ = write!(
            out,
            "<tr><td><i class='key' style='background:{colour}'></i>{name}<td class='n'>{}<td class='n'>{}<td class='n'>{}\
             <td class='n'>{}<td class='n'>{}<td class='n'>{}</tr>",
            grouped(latencies.len() as u64),
            grouped(fail),
            grouped(unknown),
            at(50),
            at(99),
            at(100)
        );
    }
    out.push_str("</tbody></table>");
    out
}

#[cfg(test)]
mod tests {
    use timbermq_check::history::{MessageId, Operation};

    use super::*;

    #[test]
    fn many_dots_at_one_place_are_one() {
        let mut history = History::new();
        for seq in 0..1_000 {
            let message = MessageId { producer: "p", seq, attempt: 0 };
            history.push_named(Operation::new("p", 500, 900, Action::send("t", Some(0), message, Some(seq))));
        }
        let (time, scale) = (Time { from: 0, to: 1_000_000 }, Log { min: 1.0, max: 1e6, bottom: 100.0, top: 0.0 });
        assert_eq!(dots(&history, time, scale).len(), 1);
        assert!(table(&history).contains("1\u{202f}000"));
    }

    #[test]
    fn ceilings_are_easily_read() {
        assert_eq!([1, 3, 11, 61, 99, 250].map(nice), [1, 4, 20, 80, 100, 400]);
    }
}

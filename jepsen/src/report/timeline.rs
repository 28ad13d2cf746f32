//! Who led when, and what happened to whom.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use timbermq_check::history::Micros;

use super::svg::{LEFT, RIGHT, Time, WIDTH, duration, escaped, open, seconds};
use crate::record::{Finished, Sample};

const ROW: f64 = 26.0;
/// Colours of terms, in turn.
const TERMS: [&str; 6] = ["#2563eb", "#0d9488", "#9333ea", "#c2410c", "#4d7c0f", "#be185d"];

/// Colour of a term.
fn of_term(term: u64) -> &'static str {
    TERMS[usize::try_from(term).unwrap_or(0) % TERMS.len()]
}

/// The drawing.
#[must_use]
pub fn draw(finished: &Finished, time: Time) -> String {
    let mut nodes: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in &finished.record.samples {
        nodes.entry(&sample.node).or_default().push(sample);
    }
    let mut kinds: Vec<&str> = Vec::new();
    for fault in finished.faults() {
        if !kinds.contains(&fault.nemesis.as_str()) {
            kinds.push(&fault.nemesis);
        }
    }
    #[allow(clippy::cast_precision_loss)] // a few rows
    let (head, body) = (nodes.len() as f64 * ROW, kinds.len() as f64 * ROW);
    let bottom = 8.0 + head + 12.0 + body;
    let mut out = open(bottom + 24.0, "roles of the replicas and faults over time");
    out.push_str(
        "<defs><pattern id='hatch' width='6' height='6' patternUnits='userSpaceOnUse' patternTransform='rotate(45)'>\
         <rect width='6' height='6' class='gone'/><line x1='0' y1='0' x2='0' y2='6' class='hatching'/></pattern></defs>",
    );
    out.push_str(&time.axis(4.0, bottom));
    let mut y = 8.0;
    for (node, samples) in &nodes {
        let _ = write!(
            out,
            "<text class='name' x='{:.0}' y='{:.1}' text-anchor='end'>{}</text>",
            LEFT - 10.0,
            y + 17.0,
            escaped(node)
        );
        for (at, sample) in samples.iter().enumerate() {
            let end = samples.get(at + 1).map_or(time.to, |next| next.at);
            band(&mut out, time, y, sample, end);
        }
        y += ROW;
    }
    y += 12.0;
    for kind in kinds {
        let _ = write!(
            out,
            "<text class='name' x='{:.0}' y='{:.1}' text-anchor='end'>{}</text>\
             <line class='lane' x1='{LEFT}' x2='{:.0}' y1='{mid:.1}' y2='{mid:.1}'/>",
            LEFT - 10.0,
            y + 17.0,
            escaped(kind),
            WIDTH - RIGHT,
            mid = y + ROW / 2.0
        );
        for fault in finished.faults().filter(|fault| fault.nemesis == kind) {
            let (from, to) = (time.x(fault.from), time.x(fault.to));
            let _ = write!(
                out,
                "<rect class='fault' x='{from:.1}' y='{:.1}' width='{:.1}' height='{:.0}' rx='3'><title>{} · {:.2} s, for {}</title></rect>",
                y + 4.0,
                (to - from).max(3.0),
                ROW - 8.0,
                escaped(fault.detail.as_deref().unwrap_or_default()),
                seconds(fault.from),
                duration(fault.to.saturating_sub(fault.from))
            );
        }
        y += ROW;
    }
    out.push_str("</svg>");
    out
}

/// One stretch of a replica.
fn band(out: &mut String, time: Time, y: f64, sample: &Sample, end: Micros) {
    if end < time.from || sample.at > time.to {
        return;
    }
    let (from, to) = (time.x(sample.at), time.x(end));
    let role = sample.role.as_deref();
    let leads = role.is_some_and(|role| role.starts_with("leader"));
    let fill = match role {
        Some("leader") => format!("fill='{}'", of_term(sample.term)),
        Some("leader-without-quorum") => {
            format!("fill='{0}' fill-opacity='.25' stroke='{0}' stroke-dasharray='3 2'", of_term(sample.term))
        }
        Some("follower") => "class='follower'".to_owned(),
        Some(_) => "class='electing'".to_owned(),
        None => "fill='url(#hatch)'".to_owned(),
    };
    let said = role.unwrap_or("no answer");
    let title = format!(
        "{} · {said}{} · from {:.2} s for {}",
        sample.node,
        if sample.term > 0 { format!(", term {}", sample.term) } else { String::new() },
        seconds(sample.at),
        duration(end.saturating_sub(sample.at))
    );
    let _ = write!(
        out,
        "<rect {fill} x='{from:.1}' y='{:.1}' width='{:.1}' height='{:.0}'><title>{}</title></rect>",
        y + 3.0,
        (to - from).max(0.6),
        ROW - 6.0,
        escaped(&title)
    );
    if leads && to - from > 46.0 {
        let class = if role == Some("leader") { "term" } else { "tick" };
        let _ = write!(
            out,
            "<text class='{class}' x='{:.1}' y='{:.1}' text-anchor='middle'>{}</text>",
            f64::midpoint(from, to),
            y + 17.0,
            if sample.term > 0 { format!("term {}", sample.term) } else { "leader".to_owned() }
        );
    }
}

/// What the colours mean.
#[must_use]
pub fn legend() -> String {
    format!(
        "<p class='legend'><span><i style='background:{}'></i>leader, a colour a term</span>\
         <span><i class='follower'></i>follower</span><span><i class='electing'></i>electing</span>\
         <span><i class='hatched'></i>no answer</span><span><i class='fault'></i>fault</span></p>",
        of_term(0)
    )
}

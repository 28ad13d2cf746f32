//! Queues without holes, store times without steps back, batches in one piece.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, Queue};
use crate::history::{Action, Batch, MessageId, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const HOLES: Invariant = Invariant {
    id: Id::new(3),
    jepsen: "",
    statement: "every offset from a queue's minimum to its maximum holds a message",
    restates: None,
    judge: Judge::By(holes),
};

pub(crate) const STORE_TIMES: Invariant = Invariant {
    id: Id::new(33),
    jepsen: "",
    statement: "store times do not run backwards along a queue",
    restates: None,
    judge: Judge::By(store_times),
};

pub(crate) const BATCH: Invariant = Invariant {
    id: Id::new(34),
    jepsen: "",
    statement: "a batch is stored in one piece or not at all",
    restates: None,
    judge: Judge::By(batches),
};

fn holes(evidence: &Evidence<'_>, findings: &mut Findings) {
    for queue in &evidence.queues {
        for drain in &queue.drains {
            findings.examined(usize::try_from(drain.max.saturating_sub(drain.min)).unwrap_or(usize::MAX));
            let node = || evidence.node(drain.node);
            if drain.min > drain.max {
                findings.violation(&[drain.op], || {
                    let name = evidence.place(queue.topic, queue.queue, drain.min);
                    format!("{}: {name} is its first, {} its last", node(), drain.max)
                });
                continue;
            }
            if !drain.is_complete() {
                findings.unknown(|| {
                    format!("the drain of {}/{} on {} is incomplete", evidence.text(queue.topic), queue.queue, node())
                });
            }
            let mut expected = drain.min;
            let report = |findings: &mut Findings, from: u64, to: u64, op: u32| {
                findings.violation(&[op], || {
                    let place = evidence.place(queue.topic, queue.queue, from);
                    format!("{} holds nothing from {place} up to {to}, bounds {}..{}", node(), drain.min, drain.max)
                });
            };
            let mut offsets: Vec<(u64, u32)> = drain.messages().map(|(found, op)| (found.offset, op)).collect();
            if !offsets.is_sorted() {
                offsets.sort_unstable();
            }
            for (offset, op) in offsets {
                if offset < drain.min || offset >= drain.max {
                    findings.violation(&[op], || {
                        let place = evidence.place(queue.topic, queue.queue, offset);
                        format!("{} holds {place} outside its bounds {}..{}", node(), drain.min, drain.max)
                    });
                } else if offset > expected {
                    report(findings, expected, offset, op);
                }
                expected = expected.max(offset.saturating_add(1));
            }
            if expected < drain.max && drain.is_complete() {
                report(findings, expected, drain.max, drain.op);
            }
        }
    }
}

fn store_times(evidence: &Evidence<'_>, findings: &mut Findings) {
    for queue in &evidence.queues {
        for drain in &queue.drains {
            let mut latest: Option<(u64, u64, u32)> = None;
            for (found, op) in drain.messages() {
                let Some(time) = found.store_ms else { continue };
                findings.examined(1);
                if let Some((before, offset, earlier)) = latest
                    && found.offset > offset
                    && time.saturating_add(evidence.options.store_skew_ms) < before
                {
                    findings.violation(&[earlier, op], || {
                        let place = evidence.place(queue.topic, queue.queue, found.offset);
                        let node = evidence.node(drain.node);
                        format!("{node}: {place} was stored at {time} ms, offset {offset} before it at {before} ms")
                    });
                }
                if latest.is_none_or(|(before, ..)| time >= before) {
                    latest = Some((time, found.offset, op));
                }
            }
        }
    }
}

/// A part of a batch: its message, its operation, its place in the batch, the offset acknowledged.
type Part = (MessageId, u32, Batch, Option<u64>);

fn batches(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut batches: BTreeMap<u64, Vec<Part>> = BTreeMap::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.sends) {
        if let Action::Send { message, batch: Some(batch), offset, .. } = &operation.action
            && operation.outcome != Outcome::Fail
        {
            batches.entry(batch.id).or_default().push((*message, op, *batch, *offset));
        }
    }
    for (id, mut parts) in batches {
        parts.sort_by_key(|part| part.2.part);
        findings.examined(1);
        acknowledged_in_a_row(evidence, findings, id, &parts);
        stored_in_a_row(evidence, findings, id, &parts);
    }
}

fn acknowledged_in_a_row(evidence: &Evidence<'_>, findings: &mut Findings, id: u64, parts: &[Part]) {
    for pair in parts.windows(2) {
        let (first, second) = (&pair[0], &pair[1]);
        if let (Some(one), Some(other)) = (first.3, second.3)
            && other.checked_sub(one) != Some(u64::from(second.2.part - first.2.part))
        {
            findings.violation(&[first.1, second.1], || {
                let (first, second) = (evidence.message(first.0), evidence.message(second.0));
                format!("batch {id}: {first} was acknowledged at {one}, {second} at {other}")
            });
            return;
        }
    }
}

/// Wherever one part stands, the others must stand around it.
fn stored_in_a_row(evidence: &Evidence<'_>, findings: &mut Findings, id: u64, parts: &[Part]) {
    for (message, op, batch, _) in parts {
        for (queue, offset) in evidence.copies(*message) {
            if queue.last_min().is_none_or(|min| offset < min) {
                continue;
            }
            let stray = parts.iter().find(|other| !stands_beside(queue, offset, *batch, other));
            if let Some(other) = stray {
                let shown = queue.at(offset).map_or(*op, |standing| standing.op);
                findings.violation(&[*op, other.1, shown], || {
                    format!(
                        "batch {id}: {} stands at {}, {} not {} places after it",
                        evidence.message(*message),
                        evidence.place(queue.topic, queue.queue, offset),
                        evidence.message(other.0),
                        i64::from(other.2.part) - i64::from(batch.part)
                    )
                });
                return;
            }
        }
    }
}

fn stands_beside(queue: &Queue<'_>, offset: u64, batch: Batch, other: &Part) -> bool {
    let Some(wanted) = offset.checked_add(u64::from(other.2.part)).and_then(|at| at.checked_sub(u64::from(batch.part)))
    else {
        return false;
    };
    // What retention took cannot be seen any more.
    queue.last_min().is_none_or(|min| wanted < min) || queue.at(wanted).is_some_and(|found| found.id == other.0)
}

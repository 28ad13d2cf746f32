//! What must be in the log, is.

use std::collections::BTreeSet;

use crate::evidence::{Ack, Drained, Evidence, Queue, at};
use crate::history::{Action, FaultKind, Found, Micros, NEVER, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const LOST: Invariant = Invariant {
    id: Id::new(1),
    jepsen: "lost-write",
    statement: "an acknowledged message is never lost",
    restates: None,
    judge: Judge::By(lost),
};

pub(crate) const DISAPPEARED: Invariant = Invariant {
    id: Id::new(9),
    jepsen: "dirty read",
    statement: "a message that was read from the leader stays where it was",
    restates: None,
    judge: Judge::By(disappeared),
};

pub(crate) const FOLLOWER: Invariant = Invariant {
    id: Id::new(25),
    jepsen: "dirty read",
    statement: "a follower serves a prefix of the leader's queue and nothing that is not committed",
    restates: None,
    judge: Judge::By(follower),
};

pub(crate) const POWER_CUT: Invariant = Invariant {
    id: Id::new(28),
    jepsen: "lost-write",
    statement: "no acknowledged message is lost when all replicas lose power at once",
    restates: Some(Id::new(1)),
    judge: Judge::By(power_cut),
};

pub(crate) const CORRUPTION: Invariant = Invariant {
    id: Id::new(29),
    jepsen: "corruption, lost-write",
    statement: "damaged bytes are never served and never silently dropped",
    restates: Some(Id::new(1)),
    judge: Judge::By(corruption),
};

fn lost(evidence: &Evidence<'_>, findings: &mut Findings) {
    losses(evidence, findings, 0..NEVER, "");
}

/// Judges the acknowledgements of a span of time against the last drain of every replica.
fn losses(evidence: &Evidence<'_>, findings: &mut Findings, span: std::ops::Range<Micros>, when: &str) {
    for queue in &evidence.queues {
        let drains = queue.last_drains();
        for ack in queue.acks.iter().filter(|ack| span.contains(&ack.returned)) {
            findings.examined(1);
            if drains.iter().all(|drain| drain.returned < ack.invoke) && !drains.is_empty() {
                findings.unknown(|| {
                    let place = evidence.place(queue.topic, queue.queue, ack.offset);
                    format!("{place} was acknowledged only after the last drain")
                });
            }
            for drain in drains.iter().filter(|drain| drain.returned >= ack.invoke) {
                let missing = ack.offset >= drain.min && drain.at(ack.offset).is_none();
                if missing || is_replaced(evidence, queue, drain, ack) {
                    report_loss(evidence, findings, queue, drain, ack, when);
                    break;
                }
            }
        }
        judge_completeness(evidence, findings, queue);
    }
}

fn judge_completeness(evidence: &Evidence<'_>, findings: &mut Findings, queue: &Queue<'_>) {
    let name = || format!("{}/{}", evidence.text(queue.topic), queue.queue);
    if !queue.acks.is_empty() && queue.drains.is_empty() {
        findings.unknown(|| format!("{} was not drained", name()));
    }
    for drain in queue.last_drains().iter().filter(|drain| !drain.is_complete()) {
        findings.unknown(|| format!("the drain of {} on {} is incomplete", name(), evidence.node(drain.node)));
    }
}

/// Another message stands in its place, and it is nowhere else either. If it is elsewhere, places are inconsistent.
fn is_replaced(evidence: &Evidence<'_>, queue: &Queue<'_>, drain: &Drained<'_>, ack: &Ack) -> bool {
    let Action::Send { message, .. } = &evidence.op(ack.op).action else { return false };
    match drain.at(ack.offset) {
        Some((found, _)) => {
            found.message != *message
                && evidence.copies(*message).all(|(other, offset)| {
                    std::ptr::eq(other, queue) && offset == ack.offset
                        || other
                            .last_drains()
                            .iter()
                            .all(|drain| drain.at(offset).is_none_or(|(found, _)| found.message != *message))
                })
        }
        None => false,
    }
}

fn report_loss(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    queue: &Queue<'_>,
    drain: &Drained<'_>,
    ack: &Ack,
    when: &str,
) {
    let Action::Send { message, .. } = &evidence.op(ack.op).action else { return };
    findings.violation(&[ack.op, drain.op], || {
        let there = match drain.at(ack.offset) {
            Some((found, _)) => format!("holds {} instead", evidence.message(found.message)),
            None if ack.offset >= drain.max => format!("ends at {}", drain.max),
            None => "holds nothing there".to_owned(),
        };
        format!(
            "{} was acknowledged at {} at {}{when}; in the end {} {there}",
            evidence.message(*message),
            evidence.place(queue.topic, queue.queue, ack.offset),
            at(ack.returned),
            evidence.node(drain.node)
        )
    });
}

fn disappeared(evidence: &Evidence<'_>, findings: &mut Findings) {
    reads_stay(evidence, findings, false);
}

/// Judges what pulls handed out, those of followers or all others.
fn reads_stay(evidence: &Evidence<'_>, findings: &mut Findings, of_followers: bool) {
    for queue in &evidence.queues {
        let drains = queue.last_drains();
        for (op, operation) in evidence.ops(&queue.pulls) {
            let Action::Pull { messages, .. } = &operation.action else { continue };
            if operation.outcome != Outcome::Ok || operation.broker_id.is_some_and(|id| id > 0) != of_followers {
                continue;
            }
            findings.examined(messages.len());
            if drains.is_empty() && !messages.is_empty() {
                let name = format!("{}/{}", evidence.text(queue.topic), queue.queue);
                findings.unknown(|| format!("{name} was not drained"));
            }
            for found in messages {
                let gone = |drain: &&Drained<'_>| found.offset >= drain.min && drain.at(found.offset).is_none();
                if let Some(drain) = drains.iter().find(gone) {
                    findings.violation(&[op, drain.op], || {
                        format!(
                            "{} was read at {} on {} at {}; in the end {} holds nothing there, its queue ends at {}",
                            evidence.message(found.message),
                            evidence.place(queue.topic, queue.queue, found.offset),
                            evidence.node(operation.node),
                            at(operation.returned),
                            evidence.node(drain.node),
                            drain.max
                        )
                    });
                }
            }
        }
    }
}

fn follower(evidence: &Evidence<'_>, findings: &mut Findings) {
    reads_stay(evidence, findings, true);
    // A maximum that a follower showed is committed: the leader must not show a lower one afterwards.
    for queue in &evidence.queues {
        let mut shown = Vec::new();
        for (op, operation) in evidence.ops(&queue.pulls).chain(evidence.ops(&queue.bounds)) {
            if operation.broker_id.is_some_and(|id| id > 0)
                && let Some(max) = max_shown(&operation.action, operation.outcome)
            {
                findings.examined(1);
                shown.push((operation.returned, max, op));
                if let Some(drain) = queue.last_drains().iter().find(|drain| drain.max < max) {
                    findings.violation(&[op, drain.op], || {
                        let follower = evidence.node(operation.node);
                        let name = evidence.place(queue.topic, queue.queue, max);
                        format!("{follower} showed {name} as the end; in the end it is {}", drain.max)
                    });
                }
            }
        }
        let shown = crate::evidence::Floor::new(shown);
        for (op, operation) in evidence.ops(&queue.bounds) {
            if let Action::Bound { end: crate::history::End::Max, offset, .. } = &operation.action
                && operation.outcome == Outcome::Ok
                && operation.broker_id.is_none_or(|id| id == 0)
                && let Some((max, earlier)) = shown.before(operation.invoke).filter(|(max, _)| max > offset)
            {
                findings.violation(&[earlier, op], || {
                    format!(
                        "a follower showed {max} as the end of {}/{} before the leader was asked, which said {offset}",
                        evidence.text(queue.topic),
                        queue.queue
                    )
                });
            }
        }
    }
}

fn max_shown(action: &Action, outcome: Outcome) -> Option<u64> {
    match action {
        _ if outcome != Outcome::Ok => None,
        Action::Pull { bounds: Some((_, max)), .. } => Some(*max),
        Action::Bound { end: crate::history::End::Max, offset, .. } => Some(*offset),
        _ => None,
    }
}

/// The moments at which all replicas were without power.
fn blackouts(evidence: &Evidence<'_>) -> Vec<Micros> {
    let all: BTreeSet<Name> = evidence.replicas.iter().copied().collect();
    let mut cuts: Vec<(Micros, Micros, &[Name])> = Vec::new();
    for (_, operation) in evidence.ops(&evidence.by_kind.faults) {
        if let Action::Fault { kind: FaultKind::Power, nodes, .. } = &operation.action {
            cuts.push((operation.invoke, operation.returned, nodes));
        }
    }
    let dark = |moment: Micros| {
        let at_once = cuts.iter().filter(|cut| cut.0 <= moment && moment <= cut.1);
        at_once.flat_map(|cut| cut.2.iter().copied()).collect::<BTreeSet<Name>>()
    };
    cuts.iter().map(|cut| cut.0).filter(|moment| !all.is_empty() && dark(*moment).is_superset(&all)).collect()
}

fn power_cut(evidence: &Evidence<'_>, findings: &mut Findings) {
    if let Some(last) = blackouts(evidence).into_iter().max() {
        losses(evidence, findings, 0..last, ", before all replicas lost power");
    }
}

fn corruption(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut first = None;
    for (op, operation) in evidence.ops(&evidence.by_kind.faults) {
        if let Action::Fault { kind: FaultKind::Corruption, .. } = &operation.action {
            first = first.min(Some((operation.invoke, op))).or(Some((operation.invoke, op)));
        }
    }
    let Some((since, fault)) = first else { return };
    let served = |op: u32, found: &Found, findings: &mut Findings| {
        if !found.intact {
            findings.violation(&[fault, op], || {
                format!(
                    "after stored bytes had been damaged at {}, {} was served damaged at {}",
                    at(since),
                    evidence.message(found.message),
                    at(evidence.op(op).returned)
                )
            });
        }
    };
    for queue in &evidence.queues {
        for (op, operation) in evidence.ops(&queue.pulls).filter(|(_, operation)| operation.returned >= since) {
            if let (Action::Pull { messages, .. }, Outcome::Ok) = (&operation.action, operation.outcome) {
                messages.iter().for_each(|found| served(op, found, findings));
            }
        }
        for drain in queue.drains.iter().filter(|drain| drain.returned >= since) {
            drain.messages().for_each(|(found, op)| served(op, found, findings));
        }
    }
    losses(evidence, findings, 0..NEVER, ", and stored bytes were damaged");
}

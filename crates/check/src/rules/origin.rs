//! What is read was sent, and is as it was sent.

use crate::evidence::{Evidence, Kind, at};
use crate::history::{Action, Found, Name, Operation, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const PHANTOM: Invariant = Invariant {
    id: Id::new(6),
    jepsen: "aborted read (G1a), corruption",
    statement: "every message read was sent, was not refused, and is as it was sent",
    restates: None,
    judge: Judge::By(phantom),
};

fn phantom(evidence: &Evidence<'_>, findings: &mut Findings) {
    for queue in &evidence.queues {
        let mut judge = |op: u32, found: &Found| {
            examine(evidence, findings, (queue.topic, queue.queue, queue.kind), op, found);
        };
        for (op, operation) in evidence.ops(&queue.pulls) {
            if let (Action::Pull { messages, .. }, Outcome::Ok) = (&operation.action, operation.outcome) {
                messages.iter().for_each(|found| judge(op, found));
            }
        }
        for drain in &queue.drains {
            drain.messages().for_each(|(found, op)| judge(op, found));
        }
    }
    for (op, operation) in evidence.ops(&evidence.by_kind.deliveries) {
        if let Action::Deliver { topic, queue, found, .. } = &operation.action {
            let kind = evidence.queue(*topic, *queue).map_or(Kind::Plain, |queue| queue.kind);
            let kind = if evidence.text(*topic).starts_with('%') { Kind::Retry } else { kind };
            examine(evidence, findings, (*topic, *queue, kind), op, found);
        }
    }
}

fn examine(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    (topic, queue, kind): (Name, u32, Kind),
    op: u32,
    found: &Found,
) {
    findings.examined(1);
    let read = evidence.op(op);
    let mut operations = vec![op];
    let wrong = match wrong_with(evidence, read, (topic, queue, kind), found, &mut operations) {
        Some(wrong) => wrong,
        None => return,
    };
    findings.violation(&operations, || {
        format!(
            "{} was read at {} at {}, but {wrong}",
            evidence.message(found.message),
            evidence.place(topic, queue, found.offset),
            at(read.returned)
        )
    });
}

fn wrong_with(
    evidence: &Evidence<'_>,
    read: &Operation,
    (topic, queue, kind): (Name, u32, Kind),
    found: &Found,
    operations: &mut Vec<u32>,
) -> Option<&'static str> {
    let sends = evidence.sends(found.message);
    if sends.is_empty() {
        return Some("nobody sent it");
    }
    let mut wrong = None;
    for sent in sends {
        match mismatch(evidence.op(sent.op), read, (topic, queue, kind), found) {
            None if found.intact => return None,
            None => {
                operations.push(sent.op);
                return Some("its content is not what its sender made");
            }
            Some(what) => {
                // A send that was not refused explains more than one that was.
                if wrong.is_none_or(|(before, _)| before == REFUSED) {
                    wrong = Some((what, sent.op));
                }
            }
        }
    }
    wrong.map(|(what, sent)| {
        operations.push(sent);
        what
    })
}

const REFUSED: &str = "its sender was told that it was not stored";

/// Why this send cannot have made this message.
fn mismatch(
    send: &Operation,
    read: &Operation,
    (topic, queue, kind): (Name, u32, Kind),
    found: &Found,
) -> Option<&'static str> {
    let Action::Send { topic: sent_to, queue: asked, tag, key, resends, .. } = &send.action else { return None };
    if send.outcome == Outcome::Fail {
        return Some(REFUSED);
    }
    if send.invoke > read.returned {
        return Some("it was only sent later");
    }
    if kind == Kind::Plain && *sent_to != topic {
        return Some("it was sent to another topic");
    }
    // Who sends again by itself may do so to another queue than the one that was acknowledged in the end.
    if kind == Kind::Plain && *resends == 0 && asked.is_some_and(|asked| asked != queue) {
        return Some("it was sent to another queue");
    }
    if tag.is_some() && found.tag.is_some() && *tag != found.tag {
        return Some("its sender gave it another tag");
    }
    if key.is_some() && found.key.is_some() && *key != found.key {
        return Some("its sender gave it another key");
    }
    None
}

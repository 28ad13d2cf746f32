//! Appends take effect in the order in which they were made.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, at};
use crate::history::{Action, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const APPEND: Invariant = Invariant {
    id: Id::new(4),
    jepsen: "nonmonotonic-send (real time)",
    statement: "a send that returned before another to the same queue was made has the lower offset",
    restates: None,
    judge: Judge::By(appends),
};

pub(crate) const PRODUCER: Invariant = Invariant {
    id: Id::new(5),
    jepsen: "nonmonotonic-send",
    statement: "messages that a producer sends in order to one queue stand there in that order",
    restates: None,
    judge: Judge::By(producers),
};

fn appends(evidence: &Evidence<'_>, findings: &mut Findings) {
    for queue in &evidence.queues {
        for ack in &queue.acks {
            findings.examined(1);
            let Some((end, earlier)) = queue.acked.before(ack.invoke).filter(|(end, _)| *end > ack.offset) else {
                continue;
            };
            findings.violation(&[earlier, ack.op], || {
                format!(
                    "a send to {}/{} returned at {} with offset {}; one made at {} got {}",
                    evidence.text(queue.topic),
                    queue.queue,
                    at(evidence.op(earlier).returned),
                    end - 1,
                    at(ack.invoke),
                    ack.offset
                )
            });
        }
    }
}

/// Acknowledged sends of one producer that rely on their order: number, offset, operation; by queue.
type Lanes = BTreeMap<(Name, u32, Name, Name), Vec<(u64, u64, u32)>>;

fn producers(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut lanes: Lanes = BTreeMap::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.sends) {
        if let Action::Send { topic, queue: Some(queue), message, offset: Some(offset), ordered: true, .. } =
            &operation.action
            && operation.outcome == Outcome::Ok
        {
            let lane = (*topic, *queue, message.producer, operation.process);
            lanes.entry(lane).or_default().push((message.seq, *offset, op));
        }
    }
    for ((topic, queue, producer, _), mut sends) in lanes {
        sends.sort_unstable();
        findings.examined(sends.len());
        let mut highest: Option<(u64, u64, u32)> = None;
        for (seq, offset, op) in sends {
            if let Some((before, number, earlier)) = highest.filter(|(before, ..)| *before > offset)
                && number < seq
                && evidence.op(earlier).invoke <= evidence.op(op).invoke
            {
                let name = evidence.text(producer);
                findings.violation(&[earlier, op], || {
                    let queue = evidence.place(topic, queue, offset);
                    format!("{name} sent {number} before {seq}, but {seq} is at {queue} and {number} at {before}")
                });
            }
            highest = highest.max(Some((offset, seq, op)));
        }
    }
}

//! A place names one message, and a message has as many places as it was sent.

use crate::evidence::Evidence;
use crate::history::{Action, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const INCONSISTENT_OFFSETS: Invariant = Invariant {
    id: Id::new(2),
    jepsen: "inconsistent-offsets",
    statement: "topic, queue and offset name one message, for ever and on every node",
    restates: None,
    judge: Judge::By(inconsistent),
};

pub(crate) const DUPLICATE: Invariant = Invariant {
    id: Id::new(7),
    jepsen: "duplicate",
    statement: "a message stands at most as often as it was sent",
    restates: None,
    judge: Judge::By(duplicate),
};

fn inconsistent(evidence: &Evidence<'_>, findings: &mut Findings) {
    for queue in &evidence.queues {
        findings.examined(queue.standing.len());
        for conflict in &queue.conflicts {
            let ((first, one), (second, other)) = (conflict.first, conflict.second);
            findings.violation(&[one, other], || {
                format!(
                    "{} is {} for one and {} for another",
                    evidence.place(queue.topic, queue.queue, conflict.offset),
                    evidence.message(first),
                    evidence.message(second)
                )
            });
        }
    }
}

fn duplicate(evidence: &Evidence<'_>, findings: &mut Findings) {
    for copies in evidence.all_copies() {
        findings.examined(1);
        let id = copies[0].0;
        if copies.len() < 2 {
            continue;
        }
        let mut allowed = 0u64;
        let mut operations = Vec::new();
        for sent in evidence.sends(id) {
            let operation = evidence.op(sent.op);
            if let (Action::Send { resends, .. }, Outcome::Ok | Outcome::Unknown) =
                (&operation.action, operation.outcome)
            {
                allowed += 1 + u64::from(*resends);
                operations.push(sent.op);
            }
        }
        // Of a message that nobody sent, see the rule about origin.
        if allowed == 0 || copies.len() as u64 <= allowed {
            continue;
        }
        let shown = copies.iter().take(usize::try_from(allowed + 1).unwrap_or(usize::MAX));
        let mut places = Vec::new();
        for (_, queue, offset) in shown {
            let queue = &evidence.queues[*queue as usize];
            places.push(evidence.place(queue.topic, queue.queue, *offset));
            operations.extend(queue.at(*offset).map(|standing| standing.op));
        }
        findings.violation(&operations, || {
            format!("{} was sent {allowed} times at most and stands at {}", evidence.message(id), places.join(", "))
        });
    }
}

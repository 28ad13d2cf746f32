//! The group serves again after faults, and nothing falls over.

use std::collections::BTreeSet;

use crate::evidence::{Evidence, Kind, at};
use crate::history::{Action, ExitCause, FaultKind, Micros, NEVER, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const LIVENESS: Invariant = Invariant {
    id: Id::new(30),
    jepsen: "",
    statement: "soon after the last fault every queue can be written and read, and no request stays without an answer",
    restates: None,
    judge: Judge::By(liveness),
};

pub(crate) const CRASH: Invariant = Invariant {
    id: Id::new(31),
    jepsen: "",
    statement: "no process panics or ends by itself, except after a failed write or sync, and resources stay bounded",
    restates: None,
    judge: Judge::By(crash),
};

fn liveness(evidence: &Evidence<'_>, findings: &mut Findings) {
    let healed = evidence
        .ops(&evidence.by_kind.faults)
        .filter(|(_, operation)| operation.returned != NEVER)
        .map(|(op, operation)| (operation.returned, op))
        .max();
    let mut served: BTreeSet<(Name, u32)> = BTreeSet::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.services) {
        let Action::Service { topic, queue } = &operation.action else { continue };
        findings.examined(1);
        let since = healed.map_or(operation.invoke, |(healed, _)| healed);
        if operation.returned >= since {
            served.insert((*topic, *queue));
        }
        let name = || format!("{}/{queue}", evidence.text(*topic));
        let mut operations = vec![op];
        operations.extend(healed.map(|(_, fault)| fault));
        if operation.outcome != Outcome::Ok {
            findings.violation(&operations, || {
                format!("{} could not be written and read after the last fault had ended at {}", name(), at(since))
            });
        } else if operation.returned.saturating_sub(since) > evidence.options.recover_within {
            findings.violation(&operations, || {
                let limit = at(evidence.options.recover_within);
                format!("{} served only at {}, more than {limit} after the last fault", name(), at(operation.returned))
            });
        }
    }
    if !evidence.by_kind.services.is_empty() {
        for queue in evidence.queues.iter().filter(|queue| queue.kind == Kind::Plain && !queue.acks.is_empty()) {
            if !served.contains(&(queue.topic, queue.queue)) {
                let name = || format!("{}/{}", evidence.text(queue.topic), queue.queue);
                findings.unknown(|| format!("{} was not tried after the last fault", name()));
            }
        }
    }
    if let Some(limit) = evidence.options.answer_within {
        answers(evidence, findings, limit);
    }
}

/// Every request returned in time.
fn answers(evidence: &Evidence<'_>, findings: &mut Findings, limit: Micros) {
    for (index, operation) in evidence.history.operations().iter().enumerate() {
        let is_request = matches!(
            operation.action,
            Action::Send { .. }
                | Action::Pull { .. }
                | Action::Bound { .. }
                | Action::SearchTime { .. }
                | Action::QueryId { .. }
                | Action::QueryKey { .. }
                | Action::StoreOffset { .. }
                | Action::QueryOffset { .. }
                | Action::Lock { .. }
                | Action::Unlock { .. }
                | Action::SendBack { .. }
                | Action::PutConfig { .. }
                | Action::GetConfig { .. }
        );
        if !is_request {
            continue;
        }
        findings.examined(1);
        if operation.returned.min(evidence.end).saturating_sub(operation.invoke) > limit {
            let op = u32::try_from(index).unwrap_or(u32::MAX);
            findings.violation(&[op], || {
                let process = evidence.text(operation.process);
                format!("a request of {process} made at {} had no answer within {}", at(operation.invoke), at(limit))
            });
        }
    }
}

fn crash(evidence: &Evidence<'_>, findings: &mut Findings) {
    let kinds = &evidence.by_kind;
    findings.examined(kinds.exits.len() + kinds.panics.len() + kinds.resources.len());
    for (op, operation) in evidence.ops(&kinds.panics) {
        let Action::Panic { text } = &operation.action else { continue };
        findings.violation(&[op], || {
            format!("{} panicked at {}: {}", evidence.node(operation.node), at(operation.invoke), evidence.text(*text))
        });
    }
    for (op, operation) in evidence.ops(&kinds.exits) {
        let Action::Exit { cause } = &operation.action else { continue };
        match cause {
            ExitCause::Asked => {}
            ExitCause::Unexpected => findings.violation(&[op], || {
                format!("{} ended by itself at {}", evidence.node(operation.node), at(operation.invoke))
            }),
            ExitCause::FailStop if has_failed_disk(evidence, operation.node, operation.invoke) => {}
            ExitCause::FailStop => findings.violation(&[op], || {
                let node = evidence.node(operation.node);
                format!(
                    "{node} stopped at {} over a failed write or sync, but nothing had failed",
                    at(operation.invoke)
                )
            }),
        }
    }
    for (op, operation) in evidence.ops(&kinds.resources) {
        let Action::Resources { memory, descriptors } = &operation.action else { continue };
        let limits = [
            ("bytes of memory", *memory, evidence.options.memory_max),
            ("descriptors", *descriptors, evidence.options.descriptors_max),
        ];
        for (what, used, limit) in limits {
            if let Some(limit) = limit.filter(|limit| used > *limit) {
                findings.violation(&[op], || {
                    let node = evidence.node(operation.node);
                    format!("{node} used {used} {what} at {}, more than {limit}", at(operation.invoke))
                });
            }
        }
    }
}

/// Whether a fault that may make writes fail began on this node before.
fn has_failed_disk(evidence: &Evidence<'_>, node: Option<Name>, before: Micros) -> bool {
    evidence.ops(&evidence.by_kind.faults).any(|(_, operation)| match &operation.action {
        Action::Fault { kind: FaultKind::Disk | FaultKind::Power | FaultKind::Corruption, nodes, .. } => {
            operation.invoke <= before && node.is_none_or(|node| nodes.contains(&node))
        }
        _ => false,
    })
}

//! Replicas are equal, however they came to what they hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Drained, Evidence, Queue};
use crate::history::{Action, Name, Origin, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const IDENTICAL: Invariant = Invariant {
    id: Id::new(26),
    jepsen: "",
    statement: "replicas hold the same log and the same state at the same entry",
    restates: None,
    judge: Judge::By(identical),
};

pub(crate) const SNAPSHOT: Invariant = Invariant {
    id: Id::new(27),
    jepsen: "",
    statement: "a snapshot and the entries after it, or a replay of the log, give the state that a live replica has",
    restates: None,
    judge: Judge::By(snapshot),
};

#[derive(Clone, Copy, Debug)]
struct Told {
    op: u32,
    node: Option<Name>,
    applied: u64,
    log_from: u64,
    log: Name,
    state: Name,
    origin: Origin,
}

fn digests(evidence: &Evidence<'_>) -> Vec<Told> {
    let all = evidence.ops(&evidence.by_kind.digests).filter(|(_, operation)| operation.outcome == Outcome::Ok);
    all.filter_map(|(op, operation)| match &operation.action {
        Action::Digest { applied, log_from, log, state, origin } => Some(Told {
            op,
            node: operation.node,
            applied: *applied,
            log_from: *log_from,
            log: *log,
            state: *state,
            origin: *origin,
        }),
        _ => None,
    })
    .collect()
}

fn differ(evidence: &Evidence<'_>, findings: &mut Findings, one: &Told, other: &Told) {
    let same_log = one.log == other.log || one.log_from != other.log_from;
    if one.state != other.state || !same_log {
        let what = if same_log { "states" } else { "logs" };
        findings.violation(&[one.op, other.op], || {
            let nodes = (evidence.node(one.node), evidence.node(other.node));
            format!("at entry {} the {what} of {} and {} differ ({:?})", one.applied, nodes.0, nodes.1, other.origin)
        });
    }
}

fn identical(evidence: &Evidence<'_>, findings: &mut Findings) {
    let digests = digests(evidence);
    let mut live: BTreeMap<u64, Vec<&Told>> = BTreeMap::new();
    for told in digests.iter().filter(|told| told.origin == Origin::Live) {
        live.entry(told.applied).or_default().push(told);
    }
    for same in live.values() {
        for (index, told) in same.iter().enumerate().skip(1) {
            findings.examined(1);
            let alike = same[..index].iter().find(|other| other.log_from == told.log_from);
            differ(evidence, findings, alike.unwrap_or(&same[0]), told);
        }
    }
    for queue in &evidence.queues {
        for pass in queue.drains.chunk_by(|a, b| a.pass == b.pass) {
            for drain in &pass[1..] {
                compare(evidence, findings, queue, &pass[0], drain);
            }
        }
    }
    let told = digests.iter().filter_map(|told| told.node);
    let drained = evidence.queues.iter().flat_map(|queue| queue.last_drains().iter().filter_map(|drain| drain.node));
    let known: BTreeSet<Name> = told.chain(drained).collect();
    for replica in evidence.replicas.iter().filter(|replica| !known.contains(replica)) {
        findings.unknown(|| format!("node {} gave neither a digest nor a drain", evidence.text(*replica)));
    }
}

/// Two drains of one pass. Other messages at a place are for the rule about places.
fn compare(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    queue: &Queue<'_>,
    one: &Drained<'_>,
    other: &Drained<'_>,
) {
    findings.examined(1);
    let nodes = || format!("{} and {}", evidence.node(one.node), evidence.node(other.node));
    let name = || format!("{}/{}", evidence.text(queue.topic), queue.queue);
    if (one.min, one.max) != (other.min, other.max) {
        findings.violation(&[one.op, other.op], || {
            format!("{}: {} hold {}..{} and {}..{}", name(), nodes(), one.min, one.max, other.min, other.max)
        });
    }
    for (found, op) in other.messages() {
        let Some((same, first)) = one.at(found.offset).filter(|(same, _)| same.message == found.message) else {
            continue;
        };
        if (same.store_ms, same.tag, same.key, same.reconsume)
            != (found.store_ms, found.tag, found.key, found.reconsume)
        {
            findings.violation(&[first, op], || {
                format!("{}: {} hold different properties or store times at offset {}", name(), nodes(), found.offset)
            });
        }
    }
}

fn snapshot(evidence: &Evidence<'_>, findings: &mut Findings) {
    let digests = digests(evidence);
    let mut live: BTreeMap<u64, &Told> = BTreeMap::new();
    for told in digests.iter().filter(|told| told.origin == Origin::Live) {
        live.entry(told.applied).or_insert(told);
    }
    for told in digests.iter().filter(|told| told.origin != Origin::Live) {
        if let Some(other) = live.get(&told.applied) {
            findings.examined(1);
            differ(evidence, findings, other, told);
        }
    }
}

//! One leader a term, and no way back to an older term.

use std::collections::{BTreeMap, HashMap};

use crate::evidence::{Evidence, Floor, at};
use crate::history::{Action, Micros, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const SPLIT_BRAIN: Invariant = Invariant {
    id: Id::new(24),
    jepsen: "split brain",
    statement: "one node leads in a term, and once a newer term has acknowledged or registered no older one does",
    restates: None,
    judge: Judge::By(split_brain),
};

fn split_brain(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut leaders: BTreeMap<u64, (Name, u32)> = BTreeMap::new();
    acknowledgements(evidence, findings, &mut leaders);
    registrations(evidence, findings, &mut leaders);
}

/// Notes that a node led in a term; a second one is a violation.
fn lead(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    leaders: &mut BTreeMap<u64, (Name, u32)>,
    (term, node, op): (u64, Name, u32),
) {
    let (known, since) = *leaders.entry(term).or_insert((node, op));
    if known != node {
        findings.violation(&[since, op], || {
            format!("node {} and node {} both led in term {term}", evidence.text(known), evidence.text(node))
        });
    }
}

fn acknowledgements(evidence: &Evidence<'_>, findings: &mut Findings, leaders: &mut BTreeMap<u64, (Name, u32)>) {
    let mut acks: Vec<(Micros, u64, u32)> = Vec::new();
    let mut judged: Vec<u32> = Vec::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.sends) {
        let Some(term) = operation.term.filter(|_| operation.outcome == Outcome::Ok) else { continue };
        acks.push((operation.returned, term, op));
        judged.push(op);
        // A follower that forwards answers as the leader's voice, so only an answer that names its BrokerId tells who led.
        if let (Some(node), Some(0)) = (operation.node, operation.broker_id) {
            lead(evidence, findings, leaders, (term, node, op));
        }
    }
    findings.examined(judged.len());
    let highest = Floor::new(acks);
    for op in judged {
        let operation = evidence.op(op);
        let term = operation.term.unwrap_or(0);
        if let Some((newer, before)) = highest.before(operation.invoke).filter(|(newer, _)| *newer > term) {
            findings.violation(&[before, op], || {
                format!(
                    "a send made at {} was acknowledged in term {term}; term {newer} had acknowledged one by {}",
                    at(operation.invoke),
                    at(evidence.op(before).returned)
                )
            });
        }
    }
}

fn registrations(evidence: &Evidence<'_>, findings: &mut Findings, leaders: &mut BTreeMap<u64, (Name, u32)>) {
    let restarts = evidence.restarts();
    let mut routes: Vec<u32> = evidence.by_kind.routes.clone();
    routes.sort_by_key(|op| (evidence.op(*op).returned, *op));
    // Per NameServer and broker group: the highest version seen, when, and by which operation.
    let mut seen: HashMap<(Option<Name>, Name), (u64, Micros, u32)> = HashMap::new();
    for op in routes {
        let operation = evidence.op(op);
        let (broker, leader, version) = match &operation.action {
            _ if operation.outcome != Outcome::Ok => continue,
            Action::Route { broker, leader: Some(leader), version: Some(version) } => (broker, leader, version),
            Action::Route { broker, leader: None, .. } => {
                // One that names nobody has forgotten.
                seen.remove(&(operation.node, *broker));
                continue;
            }
            _ => continue,
        };
        findings.examined(1);
        lead(evidence, findings, leaders, (*version, *leader, op));
        let key = (operation.node, *broker);
        if let Some((known, since, before)) = seen.get(&key).copied() {
            // A NameServer that was restarted has forgotten everything.
            let forgot = operation.node.and_then(|node| restarts.get(&node)).is_some_and(|times| {
                times.get(times.partition_point(|time| *time < since)).is_some_and(|time| *time <= operation.returned)
            });
            if known > *version && since < operation.invoke && !forgot {
                findings.violation(&[before, op], || {
                    format!(
                        "NameServer {} named the leader of term {known} at {} and that of term {version} at {}",
                        evidence.node(operation.node),
                        at(since),
                        at(operation.returned)
                    )
                });
                continue;
            }
            if known >= *version && !forgot {
                continue;
            }
        }
        seen.insert(key, (*version, operation.returned, op));
    }
}

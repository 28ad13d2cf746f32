//! Pulls: nothing is passed over, and filters are exact.

use std::collections::HashMap;

use crate::evidence::{Evidence, Queue, Standing, at};
use crate::history::{Action, Micros, Name, Operation, Outcome, PullStatus};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const SKIP: Invariant = Invariant {
    id: Id::new(8),
    jepsen: "poll-skip, nonmonotonic-poll",
    statement: "a pull from an offset returns that one and the following ones, and the next pull goes on there",
    restates: None,
    judge: Judge::By(skip),
};

pub(crate) const FILTER: Invariant = Invariant {
    id: Id::new(19),
    jepsen: "",
    statement: "a filter returns neither more nor less than what matches",
    restates: None,
    judge: Judge::By(filter),
};

fn skip(evidence: &Evidence<'_>, findings: &mut Findings) {
    for queue in &evidence.queues {
        for (op, operation) in evidence.ops(&queue.pulls).filter(|(_, operation)| operation.outcome == Outcome::Ok) {
            findings.examined(1);
            if let Some(wrong) = misread(queue, operation) {
                let Action::Pull { from, .. } = &operation.action else { continue };
                let mut operations = vec![op];
                operations.extend(wrong.1);
                findings.violation(&operations, || {
                    let place = evidence.place(queue.topic, queue.queue, *from);
                    format!("a pull from {place} on {} {}", evidence.node(operation.node), wrong.0)
                });
            }
        }
    }
    sessions(evidence, findings);
}

/// What is wrong with one answer, and the operation that shows it, if another does.
fn misread(queue: &Queue<'_>, operation: &Operation) -> Option<(String, Option<u32>)> {
    let Action::Pull { from, tags, status, messages, next, .. } = &operation.action else { return None };
    if *status == PullStatus::Moved {
        let acked = queue.acked.before(operation.invoke);
        return match (queue.last_min(), acked) {
            (Some(min), Some((end, ack))) if *from >= min && *from < end => {
                let words =
                    format!("was sent on to {next}, but the queue had reached {end} and never began after {min}");
                Some((words, Some(ack)))
            }
            _ => None,
        };
    }
    let mut expected = *from;
    for found in messages {
        let is_next = if tags.is_empty() { found.offset == expected } else { found.offset >= expected };
        if !is_next {
            return Some((format!("returned offset {} where {expected} was due", found.offset), None));
        }
        expected = found.offset.saturating_add(1);
    }
    let may_go_on = if tags.is_empty() { *next == expected } else { *next >= expected };
    if !may_go_on {
        return Some((format!("ends before {expected} and is to go on at {next}"), None));
    }
    None
}

/// Process, group, topic and queue.
type Lane = (Name, Name, Name, u32);

/// Where each reader is to go on, since when it knows, and by which operation.
type Positions = HashMap<Lane, (u64, Micros, u32)>;

/// A process that pulls for a group goes on where the last answer said.
fn sessions(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut at_next = Positions::new();
    let mut moves: Vec<u32> = evidence.by_kind.pulls.clone();
    let kinds = &evidence.by_kind;
    for other in [&kinds.bounds, &kinds.searches, &kinds.offset_queries, &kinds.stores, &kinds.members] {
        moves.extend_from_slice(other);
    }
    moves.sort_unstable_by_key(|op| (evidence.op(*op).invoke, *op));
    // Which queues each process reads, so that what moves a process finds its lanes without a search of all.
    let mut lanes_of: HashMap<Name, Vec<Lane>> = HashMap::new();
    for op in moves {
        let operation = evidence.op(op);
        let process = operation.process;
        match &operation.action {
            Action::Pull { group: Some(group), topic, queue, from, next, .. } => {
                let lane = (process, *group, *topic, *queue);
                if operation.outcome != Outcome::Ok {
                    continue;
                }
                if let Some((expected, _, before)) = at_next
                    .get(&lane)
                    .filter(|(expected, returned, _)| *returned <= operation.invoke && expected != from)
                {
                    let way = if from > expected { "skipped" } else { "went back" };
                    findings.violation(&[*before, op], || {
                        let place = evidence.place(*topic, *queue, *from);
                        let process = evidence.text(process);
                        format!(
                            "{process} {way}: it pulled from {place} at {} and was to go on at {expected}",
                            at(operation.invoke)
                        )
                    });
                }
                if at_next.insert(lane, (*next, operation.returned, op)).is_none() {
                    lanes_of.entry(process).or_default().push(lane);
                }
            }
            Action::Pull { .. } => {}
            Action::Bound { topic, queue, .. }
            | Action::SearchTime { topic, queue, .. }
            | Action::QueryOffset { topic, queue, .. } => {
                forget(&mut at_next, &mut lanes_of, process, |lane| (lane.2, lane.3) == (*topic, *queue))
            }
            Action::StoreOffset { reset: true, group, .. } => {
                // A reset reaches the readers by itself.
                let group = *group;
                at_next.retain(|lane, _| lane.1 != group);
                lanes_of.values_mut().for_each(|lanes| lanes.retain(|lane| lane.1 != group));
            }
            Action::Join { .. } | Action::Leave { .. } | Action::Assign { .. } => {
                forget(&mut at_next, &mut lanes_of, process, |_| true);
            }
            _ => {}
        }
    }
}

fn forget(
    at_next: &mut Positions,
    lanes_of: &mut HashMap<Name, Vec<Lane>>,
    process: Name,
    gone: impl Fn(&Lane) -> bool,
) {
    if let Some(lanes) = lanes_of.get_mut(&process) {
        lanes.retain(|lane| {
            let gone = gone(lane);
            if gone {
                at_next.remove(lane);
            }
            !gone
        });
    }
}

fn filter(evidence: &Evidence<'_>, findings: &mut Findings) {
    for queue in &evidence.queues {
        for (op, operation) in evidence.ops(&queue.pulls).filter(|(_, operation)| operation.outcome == Outcome::Ok) {
            let Action::Pull { from, tags, status: PullStatus::Read, messages, next, .. } = &operation.action else {
                continue;
            };
            if tags.is_empty() {
                continue;
            }
            findings.examined(1);
            let matches = |tag: Option<Name>| tag.is_some_and(|tag| tags.contains(&tag));
            if let Some(found) = messages.iter().find(|found| !matches(found.tag)) {
                findings.violation(&[op], || {
                    let place = evidence.place(queue.topic, queue.queue, found.offset);
                    format!("{} at {place} does not match the filter of the pull", evidence.message(found.message))
                });
            }
            let Some(min) = queue.last_min() else { continue };
            let passed = queue.standing_in(from.max(&min).to_owned()..*next);
            let is_missed = |standing: &&Standing<'_>| {
                matches(standing.found.and_then(|found| found.tag))
                    && messages.binary_search_by_key(&standing.offset, |found| found.offset).is_err()
            };
            if let Some(missed) = passed.iter().find(is_missed) {
                findings.violation(&[op, missed.op], || {
                    let place = evidence.place(queue.topic, queue.queue, missed.offset);
                    format!("a pull from {from} is to go on at {next} and left out {place}, which matches its filter")
                });
            }
        }
    }
    deliveries(evidence, findings);
}

/// A member of a group gets only what it subscribed to.
fn deliveries(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut subscribed: HashMap<(Name, Name, Name), (u32, &[Name])> = HashMap::new();
    let mut several: Vec<(Name, Name, Name)> = Vec::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.members) {
        if let Action::Join { group, topic, tags, .. } = &operation.action {
            let key = (operation.process, *group, *topic);
            if subscribed.insert(key, (op, tags)).is_some_and(|(_, before)| before != tags) {
                several.push(key);
            }
        }
    }
    for (op, operation) in evidence.ops(&evidence.by_kind.deliveries) {
        let Action::Deliver { group, topic, queue, found, .. } = &operation.action else { continue };
        let key = (operation.process, *group, *topic);
        let Some((join, tags)) = subscribed.get(&key).filter(|(_, tags)| !tags.is_empty()) else { continue };
        if several.contains(&key) {
            continue;
        }
        findings.examined(1);
        if found.tag.is_none_or(|tag| !tags.contains(&tag)) {
            findings.violation(&[*join, op], || {
                let place = evidence.place(*topic, *queue, found.offset);
                format!("{} got {place}, whose tag it did not subscribe to", evidence.text(operation.process))
            });
        }
    }
}

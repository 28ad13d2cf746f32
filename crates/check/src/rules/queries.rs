//! Queries by id, key and time find exactly what is there.

use std::collections::HashMap;

use crate::evidence::{Evidence, Standing, at};
use crate::history::{Action, Located, MessageId, Name, Operation, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const EXACT: Invariant = Invariant {
    id: Id::new(32),
    jepsen: "",
    statement: "a query by id, key or time finds exactly the right messages",
    restates: None,
    judge: Judge::By(exact),
};

fn exact(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (op, operation) in evidence.ops(&evidence.by_kind.query_ids) {
        if let (Action::QueryId { topic, message, found }, Outcome::Ok) = (&operation.action, operation.outcome) {
            findings.examined(1);
            by_id(evidence, findings, (op, operation), *topic, *message, found);
        }
    }
    by_keys(evidence, findings);
    for (op, operation) in evidence.ops(&evidence.by_kind.searches) {
        if let (Action::SearchTime { topic, queue, time_ms, offset }, Outcome::Ok) =
            (&operation.action, operation.outcome)
        {
            findings.examined(1);
            by_time(evidence, findings, (op, operation), (*topic, *queue), (*time_ms, *offset));
        }
    }
}

/// Whether what a send stored is certainly still there, so that a query must find it.
fn must_be_there(evidence: &Evidence<'_>, send: &Operation, query: &Operation) -> Option<(u32, u64)> {
    let Action::Send { topic, queue: Some(queue), offset: Some(offset), .. } = &send.action else { return None };
    let min = evidence.queue(*topic, *queue)?.last_min()?;
    (send.outcome == Outcome::Ok && send.returned < query.invoke && *offset >= min).then_some((*queue, *offset))
}

fn is_among(found: &[Located], queue: u32, offset: u64) -> bool {
    found.iter().any(|located| (located.queue, located.offset) == (queue, offset))
}

fn by_id(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    (op, query): (u32, &Operation),
    topic: Name,
    message: MessageId,
    found: &[Located],
) {
    if let Some(other) = found.iter().find(|located| located.message != message) {
        findings.violation(&[op], || {
            format!("asked for {}, the answer is {}", evidence.message(message), evidence.message(other.message))
        });
    }
    let sends = evidence.sends(message).iter().map(|sent| sent.op);
    let is_missing = |send: &u32| match must_be_there(evidence, evidence.op(*send), query) {
        // One place answers for all.
        Some(_) => found.is_empty(),
        None => false,
    };
    if let Some(send) = sends.filter(|send| is_sent_to(evidence, *send, topic)).find(is_missing) {
        findings.violation(&[send, op], || {
            format!(
                "{} had been acknowledged at {} and was not found at {}",
                evidence.message(message),
                at(evidence.op(send).returned),
                at(query.invoke)
            )
        });
    }
}

fn is_sent_to(evidence: &Evidence<'_>, send: u32, wanted: Name) -> bool {
    matches!(&evidence.op(send).action, Action::Send { topic, .. } if *topic == wanted)
}

fn by_keys(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut sends: HashMap<(Name, Name), Vec<u32>> = HashMap::new();
    for (_, operation) in evidence.ops(&evidence.by_kind.query_keys) {
        if let Action::QueryKey { topic, key, .. } = &operation.action {
            sends.entry((*topic, *key)).or_default();
        }
    }
    if sends.is_empty() {
        return;
    }
    for (op, operation) in evidence.ops(&evidence.by_kind.sends) {
        if let Action::Send { topic, key: Some(key), .. } = &operation.action
            && let Some(all) = sends.get_mut(&(*topic, *key))
        {
            all.push(op);
        }
    }
    for (op, query) in evidence.ops(&evidence.by_kind.query_keys) {
        let Action::QueryKey { topic, key, between_ms, max, found } = &query.action else { continue };
        if query.outcome != Outcome::Ok {
            continue;
        }
        findings.examined(1);
        let name = || format!("a query for key {} at {}", evidence.text(*key), at(query.invoke));
        for located in found {
            let wrong =
                match standing(evidence, *topic, located.queue, located.offset).and_then(|standing| standing.found) {
                    Some(there) if there.key.is_some_and(|other| other != *key) => "which has another key",
                    Some(there) if is_outside(*between_ms, there.store_ms) => "which was stored at another time",
                    _ => continue,
                };
            findings.violation(&[op], || {
                format!("{} found {}, {wrong}", name(), evidence.place(*topic, located.queue, located.offset))
            });
        }
        if found.len() as u64 >= u64::from(*max) {
            continue;
        }
        for send in sends.get(&(*topic, *key)).map_or(&[][..], Vec::as_slice) {
            let Some((queue, offset)) = must_be_there(evidence, evidence.op(*send), query) else { continue };
            let stored = standing(evidence, *topic, queue, offset).and_then(|standing| standing.found?.store_ms);
            let is_wanted = between_ms.is_none() || stored.is_some() && !is_outside(*between_ms, stored);
            if is_wanted && !is_among(found, queue, offset) {
                findings.violation(&[*send, op], || {
                    format!("{} did not find {}", name(), evidence.place(*topic, queue, offset))
                });
            }
        }
    }
}

fn standing<'e>(evidence: &'e Evidence<'_>, topic: Name, queue: u32, offset: u64) -> Option<&'e Standing<'e>> {
    evidence.queue(topic, queue)?.at(offset)
}

fn is_outside(between: Option<(u64, u64)>, time: Option<u64>) -> bool {
    matches!((between, time), (Some((from, to)), Some(time)) if time < from || time > to)
}

fn by_time(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    (op, query): (u32, &Operation),
    (topic, number): (Name, u32),
    (time, answer): (u64, u64),
) {
    let Some(queue) = evidence.queue(topic, number) else { return };
    let stored = |offset: u64| queue.at(offset).and_then(|standing| Some((standing.found?.store_ms?, standing.op)));
    // The one before the answer is older; store times do not run backwards, so all before it are.
    if let Some(before) = answer.checked_sub(1).filter(|before| queue.last_min().is_some_and(|min| *before >= min))
        && let Some((stored, shows)) = stored(before).filter(|(stored, _)| *stored >= time)
    {
        findings.violation(&[op, shows], || {
            let name = evidence.place(topic, number, before);
            format!("the first message stored from {time} ms on is not at {answer}: {name} was stored at {stored} ms")
        });
    }
    // The answer itself is not, unless it was the end of the queue then.
    let existed = queue.acked.before(query.invoke).filter(|(end, _)| answer < *end);
    if let Some((_, ack)) = existed
        && let Some((stored, shows)) = stored(answer).filter(|(stored, _)| *stored < time)
    {
        findings.violation(&[op, ack, shows], || {
            let name = evidence.place(topic, number, answer);
            format!("the first message stored from {time} ms on is not {name}: that was stored at {stored} ms")
        });
    }
}

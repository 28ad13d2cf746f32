//! A message that is handed back comes again, once more each time, and ends with the dead letters.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, at};
use crate::history::{Action, Consumed, MessageId, Micros, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const RETRY: Invariant = Invariant {
    id: Id::new(14),
    jepsen: "",
    statement: "a message handed back comes again with its count raised by one, and after the last time is a dead letter once",
    restates: None,
    judge: Judge::By(retry),
};

/// A message was handed back when it had been so `count` times before.
#[derive(Clone, Copy, Debug)]
struct HandedBack {
    count: u32,
    /// `None` when only the delivery says so.
    max: Option<u32>,
    invoke: Micros,
    is_certain: bool,
    op: u32,
}

#[derive(Clone, Copy, Debug)]
struct Delivery {
    count: u32,
    returned: Micros,
    op: u32,
}

/// What happened to one message in one group.
#[derive(Debug, Default)]
struct Chain {
    handed_back: Vec<HandedBack>,
    deliveries: Vec<Delivery>,
}

/// Copies in the group's retry or dead-letter topic: how often handed back, and the operation that found it.
type Stored = BTreeMap<MessageId, Vec<(u32, u32)>>;

fn retry(evidence: &Evidence<'_>, findings: &mut Findings) {
    let chains = chains(evidence);
    let mut topics: BTreeMap<Name, (Option<Stored>, Option<Stored>)> = BTreeMap::new();
    for ((group, message), chain) in &chains {
        let (again, dead) = topics.entry(*group).or_insert_with(|| {
            let stored = |topic: Option<Name>| topic.and_then(|topic| stored(evidence, topic));
            (stored(evidence.retry_topic(*group)), stored(evidence.dead_letter_topic(*group)))
        });
        findings.examined(1);
        counts_rise(evidence, findings, (*group, *message), chain);
        for handed_back in &chain.handed_back {
            arrives(evidence, findings, (*group, *message), chain, handed_back, (again.as_ref(), dead.as_ref()));
        }
        not_too_often(evidence, findings, (*group, *message), chain, (again.as_ref(), dead.as_ref()));
    }
}

fn chains(evidence: &Evidence<'_>) -> BTreeMap<(Name, MessageId), Chain> {
    let mut chains: BTreeMap<(Name, MessageId), Chain> = BTreeMap::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.send_backs) {
        if let Action::SendBack { group, message, reconsume, max_reconsume } = &operation.action
            && operation.outcome != Outcome::Fail
        {
            chains.entry((*group, *message)).or_default().handed_back.push(HandedBack {
                count: *reconsume,
                max: Some(*max_reconsume),
                invoke: operation.invoke,
                is_certain: operation.outcome == Outcome::Ok,
                op,
            });
        }
    }
    // Messages that never were handed back need no chain, unless their count says otherwise.
    for (op, operation) in evidence.ops(&evidence.by_kind.deliveries) {
        let Action::Deliver { group, found, consumed, .. } = &operation.action else { continue };
        let key = (*group, found.message);
        if found.reconsume == 0 && *consumed == Consumed::Done && !chains.contains_key(&key) {
            continue;
        }
        let chain = chains.entry(key).or_default();
        let count = found.reconsume;
        chain.deliveries.push(Delivery { count, returned: operation.returned, op });
        let is_logged = chain.handed_back.iter().any(|handed| handed.count == count && handed.max.is_some());
        if *consumed == Consumed::Later && !is_logged {
            let invoke = operation.invoke;
            chain.handed_back.push(HandedBack { count, max: None, invoke, is_certain: false, op });
        }
    }
    chains
}

/// What the last drain of a topic found; `None` if there was none.
fn stored(evidence: &Evidence<'_>, topic: Name) -> Option<Stored> {
    let mut all: Option<Stored> = None;
    for queue in evidence.queues_of(topic) {
        if let Some(drain) = queue.last_drains().first() {
            let all = all.get_or_insert_with(BTreeMap::new);
            for (found, op) in drain.messages() {
                all.entry(found.message).or_default().push((found.reconsume, op));
            }
        }
    }
    all
}

fn counts_rise(evidence: &Evidence<'_>, findings: &mut Findings, (group, message): (Name, MessageId), chain: &Chain) {
    for delivery in chain.deliveries.iter().filter(|delivery| delivery.count > 0) {
        let before = || {
            let is_cause = |handed: &&HandedBack| {
                handed.count.saturating_add(1) == delivery.count && handed.invoke <= delivery.returned
            };
            chain.handed_back.iter().filter(is_cause)
        };
        let name = || format!("{} in {}", evidence.message(message), evidence.text(group));
        if before().any(|handed| handed.max.is_none_or(|max| handed.count < max)) {
            continue;
        }
        match before().next() {
            Some(handed) => findings.violation(&[handed.op, delivery.op], || {
                format!("{} came again although it had been handed back {} times", name(), handed.count)
            }),
            None => {
                let earlier = chain.deliveries.iter().filter(|other| other.op != delivery.op);
                let latest =
                    earlier.filter(|other| other.returned <= delivery.returned).max_by_key(|other| other.count);
                let mut operations = vec![delivery.op];
                operations.extend(latest.map(|latest| latest.op));
                findings.violation(&operations, || {
                    let count = delivery.count;
                    format!("{} came with count {count}, but nobody had handed it back with {}", name(), count - 1)
                });
            }
        }
    }
}

/// What was certainly handed back is in the retry topic, or with the dead letters.
fn arrives(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    (group, message): (Name, MessageId),
    chain: &Chain,
    handed: &HandedBack,
    (again, dead): (Option<&Stored>, Option<&Stored>),
) {
    let Some(max) = handed.max.filter(|_| handed.is_certain) else { return };
    let is_dead = handed.count >= max;
    let came = chain.deliveries.iter().any(|delivery| delivery.count == handed.count.saturating_add(1));
    let (stored, what) = if is_dead { (dead, "dead-letter topic") } else { (again, "retry topic") };
    let Some(stored) = stored else {
        if is_dead || !came {
            findings.unknown(|| format!("the {what} of {} was not drained", evidence.text(group)));
        }
        return;
    };
    let copies = stored.get(&message).map_or(&[][..], Vec::as_slice);
    let is_there = copies.iter().any(|(count, _)| is_dead || *count == handed.count.saturating_add(1));
    // Retention may have taken what had come already.
    if !is_there && (is_dead || !came) {
        findings.violation(&[handed.op], || {
            format!(
                "{} was handed back by {} at {} for the {}. time; the {what} does not have it",
                evidence.message(message),
                evidence.text(group),
                at(handed.invoke),
                handed.count.saturating_add(1)
            )
        });
    }
}

fn not_too_often(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    (group, message): (Name, MessageId),
    chain: &Chain,
    (again, dead): (Option<&Stored>, Option<&Stored>),
) {
    let name = || format!("{} in {}", evidence.message(message), evidence.text(group));
    if let Some(copies) = dead.and_then(|dead| dead.get(&message)) {
        let last = |handed: &&HandedBack| handed.max.is_none_or(|max| handed.count >= max);
        let causes: Vec<u32> = chain.handed_back.iter().filter(last).map(|handed| handed.op).collect();
        if copies.len() > causes.len() {
            let mut operations = causes;
            operations.extend(copies.iter().map(|copy| copy.1));
            findings.violation(&operations, || {
                format!("{} is {} times among the dead letters, more often than it was put there", name(), copies.len())
            });
        }
    }
    let Some(copies) = again.and_then(|again| again.get(&message)) else { return };
    let mut by_count: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (count, op) in copies {
        by_count.entry(*count).or_default().push(*op);
    }
    for (count, found) in by_count {
        let cause = |handed: &&HandedBack| handed.count.saturating_add(1) == count;
        let causes: Vec<u32> = chain.handed_back.iter().filter(cause).map(|handed| handed.op).collect();
        if found.len() > causes.len() {
            let times = found.len();
            let mut operations = causes;
            operations.extend(found);
            findings.violation(&operations, || {
                format!(
                    "{} is {times} times in the retry topic with count {count}, more often than handed back",
                    name()
                )
            });
        }
    }
}

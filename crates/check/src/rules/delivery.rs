//! Whoever subscribed gets every message.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, Kind, Queue};
use crate::history::{Action, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const UNSEEN: Invariant = Invariant {
    id: Id::new(12),
    jepsen: "unseen",
    statement: "every message is delivered to each subscribed group at least once",
    restates: None,
    judge: Judge::By(unseen),
};

pub(crate) const BROADCAST: Invariant = Invariant {
    id: Id::new(22),
    jepsen: "unseen",
    statement: "each member of a broadcasting group gets every message after its starting point",
    restates: None,
    judge: Judge::By(broadcast),
};

/// Offsets that were delivered.
#[derive(Debug, Default)]
struct Delivered {
    offsets: Vec<u64>,
    /// Ranges of which a filter took what it wanted.
    filtered: Vec<(u64, u64)>,
    first: Option<u64>,
    last: Option<u64>,
    /// An operation that shows that the reader was there.
    op: u32,
}

impl Delivered {
    fn add(&mut self, offset: u64, op: u32) {
        self.offsets.push(offset);
        self.first = Some(self.first.map_or(offset, |first| first.min(offset)));
        self.last = Some(self.last.map_or(offset, |last| last.max(offset)));
        self.op = op;
    }

    fn sort(&mut self) {
        self.offsets.sort_unstable();
        self.offsets.dedup();
        // Each range ends no earlier than the one before it, so that the last that begins in time decides.
        self.filtered.sort_unstable();
        let mut end = 0;
        for range in &mut self.filtered {
            end = range.1.max(end);
            range.1 = end;
        }
    }

    fn has(&self, offset: u64) -> bool {
        let begun = self.filtered.partition_point(|range| range.0 <= offset);
        self.offsets.binary_search(&offset).is_ok()
            || begun.checked_sub(1).is_some_and(|index| offset < self.filtered[index].1)
    }
}

/// What a group, or a member of one, is to get of one topic.
#[derive(Debug, Default)]
struct Subscription {
    /// `None` when members differ, so that nobody can say.
    tags: Option<Vec<Name>>,
    from_first: bool,
    /// The operation that says so.
    op: u32,
}

fn unseen(evidence: &Evidence<'_>, findings: &mut Findings) {
    let (mut delivered, starts) = group_reads(evidence);
    let subscriptions = group_subscriptions(evidence);
    let settled = settled(evidence);
    let (ends, resets) = stored_ends(evidence);
    // Groups that only pull have no subscription; what they read they wanted.
    let mut lanes: BTreeSet<(Name, Name, u32)> = delivered.keys().copied().collect();
    for (group, topic) in subscriptions.keys().filter(|key| settled.contains_key(key)) {
        lanes.extend(evidence.queues_of(*topic).map(|queue| (*group, *topic, queue.queue)));
    }
    for key @ (group, topic, number) in lanes {
        let Some(queue) = evidence.queue(topic, number).filter(|queue| queue.kind == Kind::Plain) else { continue };
        if resets.contains(&key) {
            continue;
        }
        let subscription = subscriptions.get(&(group, topic));
        let reads = delivered.entry(key).or_default();
        reads.sort();
        let from = match (subscription, starts.get(&key)) {
            (Some(subscription), _) if subscription.from_first => Some(0),
            (_, Some(start)) => Some(*start),
            _ => reads.first,
        };
        let by_settling = settled.get(&(group, topic)).map(|op| (queue.last_max().unwrap_or(0), *op));
        let end = by_settling.max(ends.get(&key).copied());
        let (Some(from), Some((end, shows))) = (from, end) else { continue };
        let tags = match subscription {
            Some(Subscription { tags: Some(tags), .. }) => tags.as_slice(),
            Some(_) => continue,
            None => &[],
        };
        if queue.drains.is_empty() {
            let name = format!("{}/{number}", evidence.text(topic));
            findings.unknown(|| format!("{name} was not drained"));
        }
        missing(findings, queue, from..end, tags, |offset, op, findings| {
            if !reads.has(offset) {
                findings.violation(&[op, shows], || {
                    let (group, place) = (evidence.text(group), evidence.place(topic, number, offset));
                    format!("{group} went on to {end} and was never given {place}")
                });
            }
        });
    }
}

/// Goes through what stands in a range and matches, with the operations that show it.
fn missing(
    findings: &mut Findings,
    queue: &Queue<'_>,
    range: std::ops::Range<u64>,
    tags: &[Name],
    mut judge: impl FnMut(u64, u32, &mut Findings),
) {
    let Some(min) = queue.last_min() else { return };
    for standing in queue.standing_in(range.start.max(min)..range.end) {
        let Some(found) = standing.found else { continue };
        if tags.is_empty() || found.tag.is_some_and(|tag| tags.contains(&tag)) {
            findings.examined(1);
            judge(standing.offset, standing.op, findings);
        }
    }
}

type Lane = (Name, Name, u32);

/// What groups were given, and from where their direct pulls began.
fn group_reads(evidence: &Evidence<'_>) -> (BTreeMap<Lane, Delivered>, BTreeMap<Lane, u64>) {
    let broadcasting = broadcasting(evidence);
    let mut delivered: BTreeMap<Lane, Delivered> = BTreeMap::new();
    let mut starts: BTreeMap<Lane, u64> = BTreeMap::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.deliveries) {
        if let Action::Deliver { group, topic, queue, found, .. } = &operation.action
            && !broadcasting.contains(group)
        {
            delivered.entry((*group, *topic, *queue)).or_default().add(found.offset, op);
        }
    }
    for (op, operation) in evidence.ops(&evidence.by_kind.pulls) {
        if let Action::Pull { group: Some(group), topic, queue, from, tags, messages, next, .. } = &operation.action
            && operation.outcome == Outcome::Ok
        {
            let reads = delivered.entry((*group, *topic, *queue)).or_default();
            for found in messages {
                reads.add(found.offset, op);
            }
            // What a filter passes over is none of this rule's business.
            if !tags.is_empty() {
                reads.filtered.push((*from, *next));
            }
            let start = starts.entry((*group, *topic, *queue)).or_insert(*from);
            *start = (*start).min(*from);
        }
    }
    (delivered, starts)
}

fn broadcasting(evidence: &Evidence<'_>) -> BTreeSet<Name> {
    let joins = evidence.ops(&evidence.by_kind.members);
    joins
        .filter_map(|(_, operation)| match &operation.action {
            Action::Join { group, broadcast: true, .. } => Some(*group),
            _ => None,
        })
        .collect()
}

fn group_subscriptions(evidence: &Evidence<'_>) -> BTreeMap<(Name, Name), Subscription> {
    let mut subscriptions: BTreeMap<(Name, Name), Subscription> = BTreeMap::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.members) {
        if let Action::Join { group, topic, tags, from_first, broadcast: false, .. } = &operation.action {
            subscriptions
                .entry((*group, *topic))
                .and_modify(|known| {
                    if known.tags.as_ref() != Some(tags) {
                        known.tags = None;
                    }
                    known.from_first &= *from_first;
                })
                .or_insert_with(|| Subscription { tags: Some(tags.clone()), from_first: *from_first, op });
        }
    }
    subscriptions
}

fn settled(evidence: &Evidence<'_>) -> BTreeMap<(Name, Name), u32> {
    let all = evidence.ops(&evidence.by_kind.settled).filter(|(_, operation)| operation.outcome == Outcome::Ok);
    all.filter_map(|(op, operation)| match &operation.action {
        Action::Settled { group, topic } => Some(((*group, *topic), op)),
        _ => None,
    })
    .collect()
}

/// Up to where groups say that they have consumed, and the queues on which somebody moved a group by hand.
fn stored_ends(evidence: &Evidence<'_>) -> (BTreeMap<Lane, (u64, u32)>, BTreeSet<Lane>) {
    let mut ends: BTreeMap<Lane, (u64, u32)> = BTreeMap::new();
    let mut resets = BTreeSet::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.stores) {
        if let Action::StoreOffset { group, topic, queue, offset, reset } = &operation.action {
            let key = (*group, *topic, *queue);
            if *reset {
                resets.insert(key);
            } else if operation.outcome == Outcome::Ok {
                let end = ends.entry(key).or_insert((*offset, op));
                *end = (*end).max((*offset, op));
            }
        }
    }
    (ends, resets)
}

fn broadcast(evidence: &Evidence<'_>, findings: &mut Findings) {
    type Member = (Name, Name, Name);
    let mut members: BTreeMap<Member, Subscription> = BTreeMap::new();
    let mut left: BTreeSet<(Name, Name)> = BTreeSet::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.members) {
        match &operation.action {
            Action::Join { group, topic, broadcast: true, tags, from_first, .. } => {
                let key = (operation.process, *group, *topic);
                let subscription = Subscription { tags: Some(tags.clone()), from_first: *from_first, op };
                if members.insert(key, subscription).is_some() {
                    // One that comes back starts where it likes.
                    left.insert((operation.process, *group));
                }
            }
            Action::Leave { group } => {
                left.insert((operation.process, *group));
            }
            _ => {}
        }
    }
    let settled = settled(evidence);
    let mut delivered: BTreeMap<(Member, u32), Delivered> = BTreeMap::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.deliveries) {
        if let Action::Deliver { group, topic, queue, found, .. } = &operation.action {
            let member = (operation.process, *group, *topic);
            if members.contains_key(&member) {
                delivered.entry((member, *queue)).or_default().add(found.offset, op);
            }
        }
    }
    for (member @ (process, group, topic), subscription) in &members {
        for queue in evidence.queues_of(*topic) {
            let reads = delivered.entry((*member, queue.queue)).or_default();
            reads.sort();
            let stayed = !left.contains(&(*process, *group));
            let to_the_end =
                settled.get(&(*group, *topic)).filter(|_| stayed).and_then(|op| Some((queue.last_max()?, *op)));
            let from = if subscription.from_first && stayed { Some(0) } else { reads.first };
            let end = to_the_end.or(reads.last.map(|last| (last, reads.op)));
            let (Some(from), Some((end, shows))) = (from, end) else { continue };
            let tags = subscription.tags.as_deref().unwrap_or_default();
            missing(findings, queue, from..end, tags, |offset, op, findings| {
                if !reads.has(offset) {
                    findings.violation(&[subscription.op, op, shows], || {
                        let (process, group) = (evidence.text(*process), evidence.text(*group));
                        let place = evidence.place(*topic, queue.queue, offset);
                        format!("{process} of {group} got what is before and after {place}, but not that")
                    });
                }
            });
        }
    }
}

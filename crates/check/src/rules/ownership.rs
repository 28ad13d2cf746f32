//! In quiet periods each queue has one owner in each group.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, at};
use crate::history::{Action, Micros, Name};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const OWNER: Invariant = Invariant {
    id: Id::new(13),
    jepsen: "",
    statement: "in quiet periods each queue has exactly one owner in each group",
    restates: None,
    judge: Judge::By(owner),
};

/// A member owned a queue for this long.
#[derive(Clone, Copy, Debug)]
struct Owned {
    member: Name,
    from: Micros,
    to: Micros,
    op: u32,
}

/// A group on a topic.
#[derive(Debug, Default)]
struct Group {
    /// When which member came (true) or went.
    changes: Vec<(Micros, Name, bool)>,
    owned: BTreeMap<u32, Vec<Owned>>,
    /// What each member owns at the moment.
    open: BTreeMap<Name, BTreeMap<u32, (Micros, u32)>>,
}

impl Group {
    fn close(&mut self, member: Name, keep: &BTreeSet<u32>, at: Micros) {
        let Some(open) = self.open.get_mut(&member) else { return };
        let gone: Vec<u32> = open.keys().copied().filter(|queue| !keep.contains(queue)).collect();
        for queue in gone {
            if let Some((from, op)) = open.remove(&queue) {
                self.owned.entry(queue).or_default().push(Owned { member, from, to: at, op });
            }
        }
    }
}

fn owner(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut groups = groups(evidence);
    let mut faults: Vec<(Micros, Micros)> = Vec::new();
    for (_, operation) in evidence.ops(&evidence.by_kind.faults) {
        faults.push((operation.invoke, operation.returned));
    }
    for ((group, topic), state) in &mut groups {
        let members: Vec<Name> = state.open.keys().copied().collect();
        for member in members {
            state.close(member, &BTreeSet::new(), evidence.end);
        }
        let mut queues: BTreeSet<u32> = state.owned.keys().copied().collect();
        queues.extend(evidence.queues_of(*topic).map(|queue| queue.queue));
        if state.owned.is_empty() {
            continue;
        }
        for (from, to) in quiet(evidence, state, &faults) {
            for queue in &queues {
                findings.examined(1);
                let owned = state.owned.get(queue).map_or(&[][..], Vec::as_slice);
                let name = || format!("{} on {}/{queue}", evidence.text(*group), evidence.text(*topic));
                judge(evidence, findings, owned, (from, to), &name);
            }
        }
    }
}

fn groups(evidence: &Evidence<'_>) -> BTreeMap<(Name, Name), Group> {
    let mut groups: BTreeMap<(Name, Name), Group> = BTreeMap::new();
    let mut ordered: Vec<u32> = evidence.by_kind.members.clone();
    ordered.sort_by_key(|op| (evidence.op(*op).invoke, *op));
    for op in ordered {
        let operation = evidence.op(op);
        let member = operation.process;
        match &operation.action {
            Action::Join { group, topic, broadcast: false, .. } => {
                let state = groups.entry((*group, *topic)).or_default();
                state.changes.push((operation.returned, member, true));
            }
            Action::Leave { group } => {
                for (_, state) in groups.iter_mut().filter(|(key, _)| key.0 == *group) {
                    state.changes.push((operation.invoke, member, false));
                    state.close(member, &BTreeSet::new(), operation.invoke);
                }
            }
            Action::Assign { group, topic, queues } => {
                let Some(state) = groups.get_mut(&(*group, *topic)) else { continue };
                let keep: BTreeSet<u32> = queues.iter().copied().collect();
                state.close(member, &keep, operation.invoke);
                let open = state.open.entry(member).or_default();
                for queue in keep {
                    open.entry(queue).or_insert((operation.returned, op));
                }
            }
            _ => {}
        }
    }
    groups
}

/// The spans in which the group has members and must have come to rest.
fn quiet(evidence: &Evidence<'_>, state: &Group, faults: &[(Micros, Micros)]) -> Vec<(Micros, Micros)> {
    let mut disturbed: Vec<(Micros, Micros)> = faults.to_vec();
    disturbed.extend(state.changes.iter().map(|(change, ..)| (*change, *change)));
    disturbed.sort_unstable();
    let Some(first) = state.changes.iter().filter(|(.., came)| *came).map(|(at, ..)| *at).min() else {
        return Vec::new();
    };
    let mut spans = Vec::new();
    let mut rest_from = first;
    for (from, to) in disturbed.into_iter().chain([(evidence.end, evidence.end)]) {
        let settled = rest_from.saturating_add(evidence.options.rebalance_within);
        if settled < from && has_members(state, settled) {
            spans.push((settled, from));
        }
        rest_from = rest_from.max(to);
    }
    spans
}

/// Whether somebody is in the group at `time`: queues of an empty group are nobody's.
fn has_members(state: &Group, time: Micros) -> bool {
    let mut changes: Vec<_> = state.changes.iter().filter(|(at, ..)| *at <= time).collect();
    changes.sort_by_key(|(at, ..)| *at);
    let mut members = BTreeSet::new();
    for (_, member, came) in changes {
        if *came {
            members.insert(*member);
        } else {
            members.remove(member);
        }
    }
    !members.is_empty()
}

fn judge(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    owned: &[Owned],
    (from, to): (Micros, Micros),
    name: &dyn Fn() -> String,
) {
    let mut inside: Vec<&Owned> = owned.iter().filter(|owned| owned.from < to && owned.to > from).collect();
    inside.sort_by_key(|owned| (owned.from, owned.op));
    let mut covered = from;
    let mut last: Option<&Owned> = None;
    for owned in inside {
        if let Some(before) = last.filter(|before| before.to > owned.from.max(from) && before.member != owned.member) {
            findings.violation(&[before.op, owned.op], || {
                let (one, other) = (evidence.text(before.member), evidence.text(owned.member));
                format!("{}: {one} and {other} own it at {}", name(), at(owned.from.max(from)))
            });
        }
        if owned.from > covered {
            uncovered(findings, last, Some(owned), covered, name);
        }
        covered = covered.max(owned.to);
        if last.is_none_or(|last| owned.to > last.to) {
            last = Some(owned);
        }
    }
    if covered < to {
        uncovered(findings, last, None, covered, name);
    }
}

fn uncovered(
    findings: &mut Findings,
    before: Option<&Owned>,
    after: Option<&Owned>,
    since: Micros,
    name: &dyn Fn() -> String,
) {
    let operations: Vec<u32> = before.into_iter().chain(after).map(|owned| owned.op).collect();
    findings.violation(&operations, || format!("{}: nobody owns it from {} on", name(), at(since)));
}

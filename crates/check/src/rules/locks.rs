//! An order lock has one holder.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, at, last_effect};
use crate::history::{Action, Micros, NEVER, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::linear::{Call, Model, Search, explain, search};
use crate::report::Findings;

pub(crate) const ORDER_LOCK: Invariant = Invariant {
    id: Id::new(15),
    jepsen: "mutex",
    statement: "at most one client of a group holds the order lock of a queue, and only that one consumes it in order",
    restates: None,
    judge: Judge::By(order_lock),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Granted until then; of unknown outcome, maybe.
    Grant {
        until: Micros,
    },
    Unlock,
}

#[derive(Clone, Copy, Debug)]
struct Access {
    client: Name,
    step: Step,
    invoke: Micros,
    returned: Micros,
    is_certain: bool,
    op: u32,
}

type Key = (Name, Name, u32);

fn order_lock(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut keys: BTreeMap<Key, Vec<Access>> = BTreeMap::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.locks) {
        let is_certain = operation.outcome == Outcome::Ok;
        let (key, client, step) = match &operation.action {
            Action::Lock { group, topic, queue, client, granted, until } if *granted || !is_certain => {
                ((*group, *topic, *queue), *client, Step::Grant { until: until.unwrap_or(0) })
            }
            Action::Unlock { group, topic, queue, client } => ((*group, *topic, *queue), *client, Step::Unlock),
            _ => continue,
        };
        if operation.outcome != Outcome::Fail {
            let (invoke, returned) = (operation.invoke, last_effect(operation));
            keys.entry(key).or_default().push(Access { client, step, invoke, returned, is_certain, op });
        }
    }
    for (key, accesses) in &mut keys {
        accesses.sort_by_key(|access| (access.invoke, access.op));
        findings.examined(accesses.len());
        if !sweep(evidence, findings, *key, accesses) && accesses.len() <= evidence.options.search_calls_max {
            linearize(evidence, findings, *key, accesses);
        }
    }
    consumption(evidence, findings, &keys);
}

fn name(evidence: &Evidence<'_>, (group, topic, queue): Key) -> String {
    format!("the order lock of {} on {}/{queue}", evidence.text(group), evidence.text(topic))
}

/// Finds a grant that lies wholly within the time for which another client certainly held the lock.
fn sweep(evidence: &Evidence<'_>, findings: &mut Findings, key: Key, accesses: &[Access]) -> bool {
    let mut unlocks: BTreeMap<Name, Vec<&Access>> = BTreeMap::new();
    for access in accesses.iter().filter(|access| access.step == Step::Unlock) {
        unlocks.entry(access.client).or_default().push(access);
    }
    let mut wrong = false;
    for (index, access) in accesses.iter().enumerate() {
        let Step::Grant { until } = access.step else { continue };
        if !access.is_certain {
            continue;
        }
        let of_client = unlocks.get(&access.client).map_or(&[][..], Vec::as_slice);
        // Any of its unlocks that can come after the grant may end it, from the moment it was made.
        let unlocked = of_client.iter().filter(|unlock| unlock.returned >= access.invoke).map(|unlock| unlock.invoke);
        let end = unlocked.min().unwrap_or(NEVER).min(until);
        let later = accesses[index + 1..].iter().take_while(|other| other.invoke <= end);
        let mut intruders = later.filter(|other| {
            other.client != access.client
                && other.is_certain
                && matches!(other.step, Step::Grant { .. })
                && other.invoke >= access.returned
                && other.returned <= end
        });
        if let Some(other) = intruders.next() {
            wrong = true;
            findings.violation(&[access.op, other.op], || {
                format!(
                    "{} was granted to {} at {} until {}, and to {} at {}",
                    name(evidence, key),
                    evidence.text(access.client),
                    at(access.returned),
                    at(until),
                    evidence.text(other.client),
                    at(other.returned)
                )
            });
        }
    }
    wrong
}

/// Holder, and until when it was promised.
type Holder = Option<(Name, Micros)>;

struct Mutex<'a>(&'a [Access]);

impl Model for Mutex<'_> {
    type State = Holder;

    fn initial(&self) -> Holder {
        None
    }

    fn step(&self, state: &Holder, call: usize, into: &mut Vec<Holder>) {
        let access = &self.0[call];
        match access.step {
            Step::Unlock => into.push(state.filter(|(holder, _)| *holder != access.client)),
            Step::Grant { until } => {
                // Whoever else held it must have expired when this took effect, which was before it returned.
                let is_free = state.is_none_or(|(holder, end)| holder == access.client || end <= access.returned);
                if is_free {
                    into.push(Some((access.client, until)));
                }
            }
        }
    }
}

fn linearize(evidence: &Evidence<'_>, findings: &mut Findings, key: Key, accesses: &[Access]) {
    let options = evidence.options;
    // A lock that perhaps was granted, and is not used, explains nothing.
    let counts = |access: &&Access| access.is_certain || access.step == Step::Unlock;
    let accesses: Vec<Access> = accesses.iter().filter(counts).copied().collect();
    let call = |access: &Access| Call { invoke: access.invoke, returned: access.returned, must: access.is_certain };
    let calls: Vec<Call> = accesses.iter().map(call).collect();
    let model = Mutex(&accesses);
    match search(&model, &calls, options.search_steps_max) {
        Search::Linearizable => {}
        Search::TooHard => {
            findings.unknown(|| format!("{}: too many overlapping operations to search", name(evidence, key)));
        }
        Search::NotLinearizable => {
            let needed = explain(&model, &calls, |_| false, options.search_steps_max / 20);
            let operations: Vec<u32> = needed.iter().map(|call| accesses[*call].op).collect();
            findings.violation(&operations, || {
                let clients: Vec<&str> = needed.iter().map(|call| evidence.text(accesses[*call].client)).collect();
                format!("{}: no order of the calls of {} gives it one holder", name(evidence, key), clients.join(", "))
            });
        }
    }
}

/// Whoever consumes in order holds the lock.
fn consumption(evidence: &Evidence<'_>, findings: &mut Findings, keys: &BTreeMap<Key, Vec<Access>>) {
    let mut clients: BTreeMap<(Name, Name, Name), Name> = BTreeMap::new();
    for (_, operation) in evidence.ops(&evidence.by_kind.members) {
        if let Action::Join { group, topic, lock_client: Some(client), .. } = &operation.action {
            clients.insert((operation.process, *group, *topic), *client);
        }
    }
    if clients.is_empty() {
        return;
    }
    for (op, operation) in evidence.ops(&evidence.by_kind.deliveries) {
        let Action::Deliver { group, topic, queue, .. } = &operation.action else { continue };
        let Some(client) = clients.get(&(operation.process, *group, *topic)) else { continue };
        findings.examined(1);
        let accesses = keys.get(&(*group, *topic, *queue)).map_or(&[][..], Vec::as_slice);
        let mine = || accesses.iter().filter(|access| access.client == *client);
        let may_hold = mine().any(|grant| match grant.step {
            Step::Grant { until } => {
                grant.invoke <= operation.invoke
                    && (operation.invoke <= until || until == 0 || !grant.is_certain)
                    && !mine().any(|unlock| {
                        unlock.step == Step::Unlock
                            && unlock.is_certain
                            && unlock.invoke > grant.returned
                            && unlock.returned < operation.invoke
                    })
            }
            Step::Unlock => false,
        });
        if !may_hold {
            let last = mine().rfind(|access| access.invoke <= operation.invoke);
            let mut operations = vec![op];
            operations.extend(last.map(|access| access.op));
            findings.violation(&operations, || {
                let (process, place) = (evidence.text(operation.process), name(evidence, (*group, *topic, *queue)));
                format!("{process} consumed in order at {} without {place}", at(operation.invoke))
            });
        }
    }
}

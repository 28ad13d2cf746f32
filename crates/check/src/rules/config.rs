//! Replicated configuration is a register per topic and group.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, at, last_effect};
use crate::history::{Action, ConfigKind, Micros, NEVER, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::linear::{Call, Model, Search, explain, search};
use crate::report::Findings;

pub(crate) const REGISTER: Invariant = Invariant {
    id: Id::new(23),
    jepsen: "register",
    statement: "changes of topics and groups are linearizable through the leader and survive failovers",
    restates: None,
    judge: Judge::By(registers),
};

#[derive(Clone, Copy, Debug)]
struct Access {
    is_put: bool,
    value: Option<Name>,
    invoke: Micros,
    returned: Micros,
    is_certain: bool,
    op: u32,
}

type Key = (ConfigKind, Name);

fn registers(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut keys: BTreeMap<Key, Vec<Access>> = BTreeMap::new();
    for (op, operation) in evidence.ops(&evidence.by_kind.configs) {
        let (key, is_put, value) = match &operation.action {
            Action::PutConfig { kind, name, value } if operation.outcome != Outcome::Fail => {
                ((*kind, *name), true, *value)
            }
            Action::GetConfig { kind, name, value }
                if operation.outcome == Outcome::Ok && operation.broker_id.is_none_or(|id| id == 0) =>
            {
                ((*kind, *name), false, *value)
            }
            _ => continue,
        };
        let (invoke, returned) = (operation.invoke, last_effect(operation));
        let is_certain = operation.outcome == Outcome::Ok;
        keys.entry(key).or_default().push(Access { is_put, value, invoke, returned, is_certain, op });
    }
    for (key, accesses) in &mut keys {
        accesses.sort_by_key(|access| (access.invoke, access.op));
        findings.examined(accesses.len());
        if !sweep(evidence, findings, *key, accesses) && accesses.len() <= evidence.options.search_calls_max {
            linearize(evidence, findings, *key, accesses);
        }
    }
}

fn name(evidence: &Evidence<'_>, (kind, name): Key) -> String {
    let kind = match kind {
        ConfigKind::Topic => "topic",
        ConfigKind::Group => "group",
    };
    format!("the {kind} {}", evidence.text(name))
}

fn value(evidence: &Evidence<'_>, value: Option<Name>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{:?}", evidence.text(value)))
}

/// Finds reads of a value that was certainly replaced before.
fn sweep(evidence: &Evidence<'_>, findings: &mut Findings, key: Key, accesses: &[Access]) -> bool {
    let mut puts: BTreeMap<Option<Name>, Vec<&Access>> = BTreeMap::new();
    for access in accesses.iter().filter(|access| access.is_put) {
        puts.entry(access.value).or_default().push(access);
    }
    let mut certain: Vec<&Access> = accesses.iter().filter(|access| access.is_put && access.is_certain).collect();
    certain.sort_by_key(|access| access.returned);
    // The put that was made last among those that had returned by then.
    let mut latest: Vec<(Micros, &Access)> = Vec::with_capacity(certain.len());
    for access in certain {
        let last = latest.last().map_or(access, |(_, last)| if last.invoke > access.invoke { last } else { access });
        latest.push((access.returned, last));
    }
    let mut wrong = false;
    for get in accesses.iter().filter(|access| !access.is_put) {
        let before = latest.partition_point(|(returned, _)| *returned < get.invoke);
        let Some((_, replaced_by)) = before.checked_sub(1).map(|index| latest[index]) else { continue };
        if replaced_by.value == get.value {
            continue;
        }
        let same = puts.get(&get.value).map_or(&[][..], Vec::as_slice);
        let source = same.iter().filter(|put| put.invoke <= get.returned).max_by_key(|put| put.returned);
        if source.is_some_and(|source| source.returned >= replaced_by.invoke) {
            continue;
        }
        wrong = true;
        let mut operations = vec![replaced_by.op, get.op];
        operations.extend(source.map(|source| source.op));
        findings.violation(&operations, || {
            format!(
                "{} was set to {} at {}, and read as {} at {}",
                name(evidence, key),
                value(evidence, replaced_by.value),
                at(replaced_by.returned),
                value(evidence, get.value),
                at(get.invoke)
            )
        });
    }
    wrong
}

struct Register<'a>(&'a [Access]);

impl Model for Register<'_> {
    /// Before the first look or change it may be anything.
    type State = Option<Option<Name>>;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, call: usize, into: &mut Vec<Self::State>) {
        let access = &self.0[call];
        if access.is_put || state.is_none_or(|known| known == access.value) {
            into.push(Some(access.value));
        }
    }
}

fn linearize(evidence: &Evidence<'_>, findings: &mut Findings, key: Key, accesses: &[Access]) {
    let options = evidence.options;
    let read: Vec<Option<Name>> = accesses.iter().filter(|access| !access.is_put).map(|access| access.value).collect();
    // A change that may not have happened and that nobody saw explains nothing.
    let counts = |access: &&Access| access.is_certain || read.contains(&access.value);
    let accesses: Vec<Access> = accesses.iter().filter(counts).copied().collect();
    let call = |access: &Access| Call { invoke: access.invoke, returned: access.returned, must: access.is_certain };
    let calls: Vec<Call> = accesses.iter().map(call).collect();
    let model = Register(&accesses);
    match search(&model, &calls, options.search_steps_max) {
        Search::Linearizable => {}
        Search::TooHard => {
            findings.unknown(|| format!("{}: too many overlapping operations to search", name(evidence, key)));
        }
        Search::NotLinearizable => {
            let needed = explain(&model, &calls, |call| !accesses[call].is_put, options.search_steps_max / 20);
            let operations: Vec<u32> = needed.iter().map(|call| accesses[*call].op).collect();
            findings.violation(&operations, || {
                let said = |call: &usize| {
                    let what = if accesses[*call].is_put { "set to" } else { "read as" };
                    format!("{what} {}", value(evidence, accesses[*call].value))
                };
                let all: Vec<String> = needed.iter().map(said).collect();
                format!("{}: no order explains {}", name(evidence, key), all.join(", "))
            });
        }
    }
    debug_assert!(calls.iter().all(|call| call.must || call.returned == NEVER));
}

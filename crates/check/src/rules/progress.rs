//! A group's stored offset is a register that nobody moves back by accident.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, at, last_effect};
use crate::history::{Action, Micros, NEVER, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::linear::{Call, Model, Search, explain, search};
use crate::report::Findings;

pub(crate) const GROUP_OFFSET: Invariant = Invariant {
    id: Id::new(11),
    jepsen: "stale read, lost update",
    statement: "a group's acknowledged offset never goes back without an explicit reset or a rewind by its owner",
    restates: None,
    judge: Judge::By(group_offset),
};

/// A stored offset, where 0 is "nothing stored" and 1 is offset 0.
type Level = u64;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A store; `resets` always takes effect, `lowers` may go back.
    Store {
        level: Level,
        resets: bool,
        lowers: bool,
    },
    Query {
        level: Level,
    },
}

#[derive(Clone, Copy, Debug)]
struct Access {
    step: Step,
    invoke: Micros,
    /// When it can take effect at the latest.
    returned: Micros,
    outcome: Outcome,
    op: u32,
}

type Key = (Name, Name, u32);

fn group_offset(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut keys = accesses(evidence);
    let claims = claims(evidence);
    for (key, accesses) in &mut keys {
        findings.examined(accesses.len());
        if let Some(claims) = claims.get(key) {
            claims.allow(evidence, accesses);
        }
        let has_stores = accesses.iter().any(|access| matches!(access.step, Step::Store { .. }));
        let before = findings.has_room();
        let wrong = sweep(evidence, findings, *key, accesses, has_stores);
        if !wrong && has_stores && before {
            linearize(evidence, findings, *key, accesses);
        }
    }
}

fn accesses(evidence: &Evidence<'_>) -> BTreeMap<Key, Vec<Access>> {
    let mut keys: BTreeMap<Key, Vec<Access>> = BTreeMap::new();
    let kinds = &evidence.by_kind;
    for (op, operation) in evidence.ops(&kinds.stores).chain(evidence.ops(&kinds.offset_queries)) {
        let (key, step) = match &operation.action {
            Action::StoreOffset { group, topic, queue, offset, reset } if operation.outcome != Outcome::Fail => (
                (*group, *topic, *queue),
                Step::Store { level: offset.saturating_add(1), resets: *reset, lowers: *reset },
            ),
            Action::QueryOffset { group, topic, queue, offset } if operation.outcome == Outcome::Ok => {
                ((*group, *topic, *queue), Step::Query { level: offset.map_or(0, |offset| offset.saturating_add(1)) })
            }
            _ => continue,
        };
        keys.entry(key).or_default().push(Access {
            step,
            invoke: operation.invoke,
            returned: last_effect(operation),
            outcome: operation.outcome,
            op,
        });
    }
    for accesses in keys.values_mut() {
        accesses.sort_by_key(|access| (access.invoke, access.op));
    }
    keys
}

/// When a process asked, and which.
type Claim = (Micros, Name);

/// Who asked for the stored offset of a queue, or pulled it for the group: the last one may move the offset back.
#[derive(Debug, Default)]
struct Claims {
    /// Per process, by invocation: invoked, and the latest time up to which one so far can have taken effect.
    own: BTreeMap<Name, Vec<(Micros, Micros)>>,
    /// By return: returned, the latest claim so far, and the latest of another process than that one.
    certain: Vec<(Micros, Claim, Option<Claim>)>,
}

fn claims(evidence: &Evidence<'_>) -> BTreeMap<Key, Claims> {
    let mut keys: BTreeMap<Key, Claims> = BTreeMap::new();
    let mut certain: BTreeMap<Key, Vec<(Micros, Micros, Name)>> = BTreeMap::new();
    let kinds = &evidence.by_kind;
    for (_, operation) in evidence.ops(&kinds.pulls).chain(evidence.ops(&kinds.offset_queries)) {
        let key = match &operation.action {
            Action::Pull { group: Some(group), topic, queue, .. } | Action::QueryOffset { group, topic, queue, .. }
                if operation.outcome != Outcome::Fail =>
            {
                (*group, *topic, *queue)
            }
            _ => continue,
        };
        let own = keys.entry(key).or_default().own.entry(operation.process).or_default();
        own.push((operation.invoke, last_effect(operation)));
        if operation.outcome == Outcome::Ok {
            certain.entry(key).or_default().push((operation.returned, operation.invoke, operation.process));
        }
    }
    for (key, claims) in &mut keys {
        for own in claims.own.values_mut() {
            own.sort_unstable();
            let mut latest = 0;
            for claim in own {
                latest = latest.max(claim.1);
                claim.1 = latest;
            }
        }
        let mut all = certain.remove(key).unwrap_or_default();
        all.sort_unstable();
        let mut best: Option<Claim> = None;
        let mut second: Option<Claim> = None;
        for (returned, invoke, process) in all {
            match best {
                Some(first) if first.1 == process => best = Some(first.max((invoke, process))),
                Some(first) if invoke > first.0 => (best, second) = (Some((invoke, process)), best),
                Some(_) => second = second.max(Some((invoke, process))),
                None => best = Some((invoke, process)),
            }
            claims.certain.extend(best.map(|best| (returned, best, second)));
        }
    }
    keys
}

impl Claims {
    /// Marks the stores that may go back.
    fn allow(&self, evidence: &Evidence<'_>, accesses: &mut [Access]) {
        for access in accesses {
            let process = evidence.op(access.op).process;
            let (invoke, returned) = (access.invoke, access.returned);
            if let Step::Store { lowers, .. } = &mut access.step {
                *lowers |= self.may_lower(process, invoke, returned);
            }
        }
    }

    /// Whether `process` may be the last that claimed the queue when its store of `invoke..returned` takes effect.
    fn may_lower(&self, process: Name, invoke: Micros, returned: Micros) -> bool {
        let Some(own) = self.own.get(&process) else { return false };
        let Some(mine) = own.partition_point(|claim| claim.0 < returned).checked_sub(1).map(|index| own[index].1)
        else {
            return false;
        };
        let before = self.certain.partition_point(|claim| claim.0 < invoke).checked_sub(1);
        let other = before.and_then(|index| {
            let (_, best, second) = self.certain[index];
            if best.1 == process { second } else { Some(best) }
        });
        other.is_none_or(|(invoked, _)| invoked <= mine)
    }
}

fn name(evidence: &Evidence<'_>, (group, topic, queue): Key) -> String {
    format!("{} on {}/{queue}", evidence.text(group), evidence.text(topic))
}

fn words(level: Level) -> String {
    level.checked_sub(1).map_or_else(|| "nothing".to_owned(), |offset| offset.to_string())
}

/// Finds answers below what was certainly stored before, and answers that nobody stored. Whether there are any.
fn sweep(evidence: &Evidence<'_>, findings: &mut Findings, key: Key, accesses: &[Access], has_stores: bool) -> bool {
    // Levels in force from a time on, unless something that may go back gets in between.
    let mut returns: Vec<&Access> = accesses.iter().filter(|access| access.outcome == Outcome::Ok).collect();
    returns.sort_by_key(|access| (access.returned, access.op));
    let mut returns = returns.into_iter().peekable();
    let mut certain: Option<(Level, &Access)> = None;
    let mut seen = Stairs::default();
    let mut lowering = Lowering::default();
    // By level: when it was first stored, and until when a store of it can take effect.
    let mut stored: BTreeMap<Level, (Micros, Micros)> = BTreeMap::new();
    let mut wrong = false;
    for (index, access) in accesses.iter().enumerate() {
        while let Some(before) = returns.next_if(|before| before.returned < access.invoke) {
            seen.add(before);
            let level = lowering.cap(level(before), before.invoke);
            if certain.is_none_or(|(known, _)| level > known) {
                certain = Some((level, before));
            }
        }
        match access.step {
            Step::Store { level, lowers, .. } => {
                let times = stored.entry(level).or_insert((access.invoke, access.returned));
                times.1 = times.1.max(access.returned);
                if lowers {
                    lowering.add(level, access.returned);
                    certain = certain.map(|(known, by)| (known.min(level), by));
                }
            }
            Step::Query { level } => {
                // Stores that began while the question was under way may have come before the answer.
                let meanwhile = accesses[index..].iter().take_while(|other| other.invoke <= access.returned);
                let meanwhile = meanwhile.filter_map(|other| match other.step {
                    Step::Store { level, lowers, .. } => Some((level, lowers)),
                    Step::Query { .. } => None,
                });
                let lowest = meanwhile.clone().filter(|(_, lowers)| *lowers).map(|(level, _)| level).min();
                let below = certain.filter(|(known, _)| level < (*known).min(lowest.unwrap_or(*known)));
                // Whatever went back in between, a lower level than was seen must have been stored after that.
                let unexplained = seen.above(level).filter(|before| {
                    stored.get(&level).is_none_or(|(_, last)| *last < before.invoke)
                        && !meanwhile.clone().any(|(stored, _)| stored == level)
                });
                if let Some(by) = below.map(|(_, by)| by).or(unexplained) {
                    wrong = true;
                    findings.violation(&[by.op, access.op], || {
                        let (name, known) = (name(evidence, key), words(self::level(by)));
                        let (since, asked) = (at(by.returned), at(access.invoke));
                        format!("{name}: {known} was there at {since}, and {} told at {asked}", words(level))
                    });
                }
            }
        }
    }
    for access in accesses.iter().filter(|_| has_stores) {
        if let Step::Query { level: told @ 2.. } = access.step
            && stored.get(&told).is_none_or(|(since, _)| *since > access.returned)
        {
            wrong = true;
            findings.violation(&[access.op], || {
                let (name, told) = (name(evidence, key), words(told));
                format!("{name}: {told} was told at {}, which nobody had stored", at(access.returned))
            });
        }
    }
    wrong
}

/// Answers and stores that had returned: of those that are lower, only the later ones.
#[derive(Debug, Default)]
struct Stairs<'a>(Vec<&'a Access>);

impl<'a> Stairs<'a> {
    fn add(&mut self, access: &'a Access) {
        let covers = |one: &Access, other: &Access| level(one) >= level(other) && one.invoke >= other.invoke;
        if !self.0.iter().any(|known| covers(known, access)) {
            self.0.retain(|known| !covers(access, known));
            self.0.push(access);
        }
    }

    /// The latest that is above a level.
    fn above(&self, than: Level) -> Option<&'a Access> {
        self.0.iter().copied().filter(|known| level(known) > than).max_by_key(|known| known.invoke)
    }
}

/// What is certainly stored because of this.
fn level(access: &Access) -> Level {
    match access.step {
        // A broker may tell 0 while nothing is stored.
        Step::Query { level: 1 } => 0,
        Step::Store { level, .. } | Step::Query { level } => level,
    }
}

/// Stores that may go back, and until when they may take effect.
#[derive(Debug, Default)]
struct Lowering {
    /// Latest effect, level; the levels of those with later effects are what counts.
    open: Vec<(Micros, Level)>,
}

impl Lowering {
    fn add(&mut self, level: Level, returned: Micros) {
        // One that ends no later and is no lower says nothing more.
        self.open.retain(|(end, known)| *end > returned || *known < level);
        if !self.open.iter().any(|(end, known)| *end >= returned && *known <= level) {
            self.open.push((returned, level));
        }
    }

    /// What a level stored by a call that began at `invoke` is worth, if those that may have come after it are counted.
    fn cap(&self, level: Level, invoke: Micros) -> Level {
        let after = self.open.iter().filter(|(end, _)| *end >= invoke).map(|(_, level)| *level);
        after.min().map_or(level, |lowest| lowest.min(level))
    }
}

struct Register<'a>(&'a [Access]);

impl Model for Register<'_> {
    type State = Level;

    fn initial(&self) -> Level {
        0
    }

    fn step(&self, state: &Level, call: usize, into: &mut Vec<Level>) {
        match self.0[call].step {
            Step::Store { level, resets: true, .. } => into.push(level),
            Step::Store { level, lowers, .. } => {
                into.push(level.max(*state));
                if lowers && level < *state {
                    into.push(level);
                }
            }
            Step::Query { level } if level == *state || level == 1 && *state == 0 => into.push(*state),
            Step::Query { .. } => {}
        }
    }
}

/// Looks for an order of all stores and answers.
fn linearize(evidence: &Evidence<'_>, findings: &mut Findings, key: Key, accesses: &[Access]) {
    let options = evidence.options;
    let asked: Vec<Level> = accesses
        .iter()
        .filter_map(|access| match access.step {
            Step::Query { level } => Some(level),
            Step::Store { .. } => None,
        })
        .collect();
    // A store that may not have happened, that nobody saw and that cannot go back explains nothing.
    let counts = |access: &&Access| match access.step {
        Step::Store { level, lowers: false, .. } => access.outcome == Outcome::Ok || asked.contains(&level),
        _ => true,
    };
    if accesses.len() > options.search_calls_max {
        return;
    }
    let accesses: Vec<Access> = accesses.iter().filter(counts).copied().collect();
    let call = |access: &Access| Call {
        invoke: access.invoke,
        returned: access.returned,
        must: access.outcome == Outcome::Ok,
    };
    let calls: Vec<Call> = accesses.iter().map(call).collect();
    let model = Register(&accesses);
    match search(&model, &calls, options.search_steps_max) {
        Search::Linearizable => {}
        Search::TooHard => {
            findings.unknown(|| format!("{}: too many overlapping operations to search", name(evidence, key)));
        }
        Search::NotLinearizable => {
            let is_look = |call: usize| matches!(accesses[call].step, Step::Query { .. });
            let needed = explain(&model, &calls, is_look, options.search_steps_max / 20);
            let operations: Vec<u32> = needed.iter().map(|call| accesses[*call].op).collect();
            findings.violation(&operations, || {
                let told = |call: &usize| match accesses[*call].step {
                    Step::Store { level, .. } => format!("{} stored", words(level)),
                    Step::Query { level } => format!("{} told", words(level)),
                };
                let all: Vec<String> = needed.iter().map(told).collect();
                format!("{}: no order explains {}", name(evidence, key), all.join(", "))
            });
        }
    }
    debug_assert!(calls.iter().all(|call| call.must || call.returned == NEVER));
}

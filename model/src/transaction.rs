//! Transactional messages: half message, decision, check-back, expiry, failover.
//!
//! Stands for the room `transaction` of `crates/machine` and its driver at the leader, as they are to be built: the
//! command `Half` stores the record where nobody sees it; `Commit` and `Rollback` resolve it; `Check` counts a check-back
//! and, when applied, lets the leader ask the producer; `Expire` gives up after `Transaction``.checks` of them. Every
//! decision is made where commands are applied, so a repeated, late or contrary one finds the first.
//!
//! Timers are soft state of a leader. A deposed leader has its own until they fire or it notices.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "transaction",
    about: "half, commit, rollback, check-back, expiry; duplicate and contrary decisions, failover",
    tla: "Transaction",
    bugs: &["applied_twice", "overturned", "expire_decided", "timers_lost", "check_unlogged"],
    shared: || explore_all(Transaction { checks: 1, terms: 2, room: 2, bug: Bug::None }),
    deep,
    find,
};

fn deep(limit: Limit) -> Count {
    explore(Transaction { checks: 3, terms: 3, room: 4, bug: Bug::None }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let bug = match bug {
        "applied_twice" => Bug::AppliedTwice,
        "overturned" => Bug::Overturned,
        "expire_decided" => Bug::ExpireDecided,
        "timers_lost" => Bug::TimersLost,
        "check_unlogged" => Bug::CheckUnlogged,
        _ => return None,
    };
    counterexample(Transaction { checks: 1, terms: 2, room: 2, bug })
}

/// The transactions.
const ALL: [u8; 2] = [1, 2];

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// A commit that comes again makes the message visible again.
    AppliedTwice,
    /// A rollback undoes a commit.
    Overturned,
    /// Expiry does not look whether there is a decision.
    ExpireDecided,
    /// A new leader does not set timers for what it finds undecided.
    TimersLost,
    /// The leader asks the producer without putting that into the log first.
    CheckUnlogged,
}

/// The specification with its bounds.
struct Transaction {
    /// Check-backs before a transaction expires.
    checks: u8,
    terms: u8,
    /// Entries that may be on their way.
    room: usize,
    bug: Bug,
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Status {
    /// Unknown.
    #[default]
    None,
    /// Stored, undecided.
    Half,
    /// Committed.
    Committed,
    /// Rolled back.
    RolledBack,
    /// Given up, which counts as rolled back.
    Expired,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Kind {
    /// Stores a half message.
    #[default]
    Half,
    /// Decides for.
    Commit,
    /// Decides against.
    Rollback,
    /// Counts a check-back, which the leader then sends.
    Check,
    /// Gives up.
    Expire,
}

/// An entry of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Entry {
    kind: Kind,
    id: u8,
}

/// All variables. Arrays are by transaction, less one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    term: u8,
    /// Whether the leader serves.
    started: bool,
    /// Proposed and not yet committed, oldest first.
    log: List<Entry, 4>,
    status: [Status; 2],
    /// What was decided first.
    first: [Status; 2],
    checks: [u8; 2],
    /// How often the message is in its queue.
    copies: [u8; 2],
    /// Whether somebody was told that the commit, or the rollback, holds.
    told: [[bool; 2]; 2],
    timers: [bool; 2],
    /// Timers of the last deposed leader.
    old_timers: [bool; 2],
    /// Whether a decided transaction was asked about.
    misasked: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// The producer sends the half message.
    Prepare { id: u8 },
    /// A decision arrives: the producer's own, a repeated one, or the answer to a check-back.
    Decide { id: u8, commit: bool },
    /// The leader's timer fires.
    Fire { id: u8 },
    /// The timer of a deposed leader fires.
    FireOld { id: u8 },
    /// The oldest entry is committed and applied.
    Apply,
    /// Another replica is elected with this many of the entries.
    Failover { kept: u8 },
    /// It has applied all that was before it and begins to serve.
    Start,
}

fn at(id: u8) -> usize {
    usize::from(id - 1)
}

impl State {
    /// The leader asks the producer.
    fn ask(&mut self, id: u8) {
        self.misasked |= self.status[at(id)] != Status::Half;
    }

    fn resolve(&mut self, id: u8, status: Status) {
        self.status[at(id)] = status;
        if self.first[at(id)] == Status::None {
            self.first[at(id)] = status;
        }
        self.timers[at(id)] = false;
    }
}

impl Transaction {
    fn apply(&self, next: &mut State, Entry { kind, id }: Entry) {
        let status = next.status[at(id)];
        match kind {
            Kind::Half => {
                next.status[at(id)] = Status::Half;
                next.timers[at(id)] = next.started;
            }
            Kind::Commit => {
                if status == Status::Half {
                    next.resolve(id, Status::Committed);
                }
                if status == Status::Half || (status == Status::Committed && self.bug == Bug::AppliedTwice) {
                    next.copies[at(id)] += 1;
                }
                next.told[at(id)][0] |= next.status[at(id)] == Status::Committed;
            }
            Kind::Rollback => {
                if status == Status::Half || (status == Status::Committed && self.bug == Bug::Overturned) {
                    next.resolve(id, Status::RolledBack);
                }
                next.told[at(id)][1] |= next.status[at(id)] != Status::Committed;
            }
            Kind::Check if status == Status::Half => {
                next.checks[at(id)] += 1;
                next.ask(id);
            }
            Kind::Expire if status == Status::Half || self.bug == Bug::ExpireDecided => {
                next.resolve(id, Status::Expired);
            }
            Kind::Check | Kind::Expire => {}
        }
    }
}

impl Specification for Transaction {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] = &["Prepare", "Decide", "Fire", "FireOld", "Apply", "Failover", "Start"];

    fn position(action: Action) -> usize {
        match action {
            Action::Prepare { .. } => 0,
            Action::Decide { .. } => 1,
            Action::Fire { .. } => 2,
            Action::FireOld { .. } => 3,
            Action::Apply => 4,
            Action::Failover { .. } => 5,
            Action::Start => 6,
        }
    }

    fn init(&self) -> Vec<State> {
        vec![State {
            term: 1,
            started: true,
            log: List::default(),
            status: [Status::None; 2],
            first: [Status::None; 2],
            checks: [0; 2],
            copies: [0; 2],
            told: [[false; 2]; 2],
            timers: [false; 2],
            old_timers: [false; 2],
            misasked: false,
        }]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        let takes = state.started && state.log.len() < self.room;
        let on_its_way = |id: u8, kinds: &[Kind]| state.log.iter().any(|e| e.id == id && kinds.contains(&e.kind));
        for id in ALL {
            let status = state.status[at(id)];
            if takes && status == Status::None && !on_its_way(id, &[Kind::Half]) {
                enabled.push(Action::Prepare { id });
            }
            if takes && status != Status::None {
                enabled.extend([true, false].map(|commit| Action::Decide { id, commit }));
            }
            if takes && state.timers[at(id)] && !on_its_way(id, &[Kind::Check, Kind::Expire]) {
                enabled.push(Action::Fire { id });
            }
            if state.old_timers[at(id)] {
                enabled.push(Action::FireOld { id });
            }
        }
        if !state.log.is_empty() {
            enabled.push(Action::Apply);
        }
        if state.term < self.terms {
            enabled.extend((0..=state.log.len() as u8).map(|kept| Action::Failover { kept }));
        }
        if !state.started && state.log.is_empty() {
            enabled.push(Action::Start);
        }
    }

    fn next(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Prepare { id } => next.log.push(Entry { kind: Kind::Half, id }),
            Action::Decide { id, commit } => {
                next.log.push(Entry { kind: if commit { Kind::Commit } else { Kind::Rollback }, id });
            }
            Action::Fire { id } => {
                let kind = if state.checks[at(id)] < self.checks { Kind::Check } else { Kind::Expire };
                next.log.push(Entry { kind, id });
            }
            Action::FireOld { id } => {
                // The proposal of a deposed leader comes to nothing.
                next.old_timers[at(id)] = false;
                if self.bug == Bug::CheckUnlogged {
                    next.ask(id);
                }
            }
            Action::Apply => {
                let entry = next.log.remove(0);
                self.apply(&mut next, entry);
            }
            Action::Failover { kept } => {
                next.log.truncate(kept.into());
                next.term += 1;
                next.started = false;
                next.old_timers = state.timers;
                next.timers = [false; 2];
            }
            Action::Start => {
                next.started = true;
                if self.bug != Bug::TimersLost {
                    next.timers = state.status.map(|status| status == Status::Half);
                }
            }
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        if state.misasked {
            return Some("I17 nobody is asked about a decided transaction");
        }
        for id in ALL.map(at) {
            let status = state.status[id];
            if state.copies[id] != u8::from(status == Status::Committed) {
                return Some("I16 a message is visible once when it is committed, and never otherwise");
            }
            if ![Status::None, Status::Half, state.first[id]].contains(&status) {
                return Some("I16 the first decision holds");
            }
            let [committed, rolled_back] = state.told[id];
            if (committed && status != Status::Committed) || (rolled_back && status == Status::Committed) {
                return Some("I16 what somebody was told holds");
            }
            if status == Status::Half && state.started && !state.timers[id] {
                return Some("I17 every undecided transaction has a timer");
            }
            if status == Status::Expired && state.checks[id] != self.checks {
                return Some("I17 nothing expires before all check-backs");
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sound() {
        crate::spec::assert_sound(&super::SPEC);
    }
}

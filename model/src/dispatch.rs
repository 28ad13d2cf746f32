//! Committed entries become rows of queues: commit, apply gate, rows in memory, rows in the store, crash anywhere.
//!
//! Stands for `crates/replica` (`state_machine`: the apply gate; `keeper`: when the store is written), for `crates/machine`
//! (`Store`: rotate, then write the frozen part in one atomic step) and for the marks `durable` and `synced` of
//! `crates/commitlog`. One replica is modelled, with the group's committed entries as the truth around it.
//!
//! An entry puts one message into queue 1 (kind 1), into queue 2 (kind 2), or one into each (kind 3). A row is the index of
//! the entry it points at. `memory` says whether an append counts as done once it is written, or only when it is synced.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "dispatch",
    about: "commit, apply, rows, what is visible; applied id atomic with its rows; crash anywhere",
    tla: "Dispatch",
    bugs: &["applied_apart", "gate_open", "flush_unsynced", "rotate_inside", "apply_uncommitted"],
    shared: || explore_all(Dispatch { entries: 2, bug: Bug::None }),
    deep,
    find,
};

fn deep(limit: Limit) -> Count {
    explore(Dispatch { entries: 4, bug: Bug::None }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let bug = match bug {
        "applied_apart" => Bug::AppliedApart,
        "gate_open" => Bug::GateOpen,
        "flush_unsynced" => Bug::FlushUnsynced,
        "rotate_inside" => Bug::RotateInside,
        "apply_uncommitted" => Bug::ApplyUncommitted,
        _ => return None,
    };
    counterexample(Dispatch { entries: 2, bug })
}

/// Most entries of any configuration.
const ENTRIES_MAX: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// Rows and the applied id reach the store in two steps.
    AppliedApart,
    /// Applying does not wait for the local log.
    GateOpen,
    /// The store is written without waiting until the log is synced.
    FlushUnsynced,
    /// The store is rotated while an entry is half applied.
    RotateInside,
    /// Applying does not wait for commitment.
    ApplyUncommitted,
}

/// The specification with its bounds.
pub struct Dispatch {
    entries: usize,
    bug: Bug,
}

/// Rows of both queues, and the last entry they take into account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rows {
    applied: u8,
    queues: [List<u8, ENTRIES_MAX>; 2],
}

/// All variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    memory: bool,
    /// What the group has committed.
    group: List<u8, ENTRIES_MAX>,
    /// The local log.
    log: List<u8, ENTRIES_MAX>,
    written: u8,
    synced: u8,
    /// Committed as far as this replica knows.
    known: u8,
    /// What readers see.
    rows: Rows,
    /// Whether the next entry's first row is there and its second is not.
    half: bool,
    frozen: Option<Rows>,
    /// Whether the frozen part's rows are written and its applied id is not.
    apart: bool,
    /// The store as the operating system has it.
    store: Rows,
    /// The store as a power cut leaves it.
    kept: Rows,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// The group commits an entry of this kind.
    Commit(u8),
    /// An entry of this kind is appended here.
    Append(u8),
    /// Entries that lost against committed ones are dropped.
    Truncate,
    /// This replica hears that its next entry is committed.
    Learn,
    /// The log's writer writes an entry.
    Write,
    /// The log's writer syncs.
    Sync,
    /// A row of the next entry.
    Apply,
    /// The store's part in memory is frozen.
    Rotate,
    /// The frozen part is written.
    WriteFrozen,
    /// The operating system has put the store on disk.
    Persist,
    /// Power cut: this many entries of the log are left.
    Crash(u8),
}

impl Dispatch {
    /// Rows that the first `upto` entries of `log` make.
    fn expected(log: &[u8], upto: u8) -> Rows {
        let mut rows = Rows { applied: upto, ..Rows::default() };
        for (index, kind) in (1..=upto).zip(log) {
            for queue in [0, 1] {
                if kind & (1 << queue) != 0 {
                    rows.queues[queue].push(index);
                }
            }
        }
        rows
    }

    fn common(a: &[u8], b: &[u8]) -> usize {
        a.iter().zip(b).take_while(|(a, b)| a == b).count()
    }

    fn may_apply(&self, state: &State) -> bool {
        let next = usize::from(state.rows.applied) + 1;
        let durable = if state.memory { state.written } else { state.synced };
        next <= state.log.len()
            && (next <= usize::from(state.known) || self.bug == Bug::ApplyUncommitted)
            && (next <= usize::from(durable) || self.bug == Bug::GateOpen)
    }
}

impl Specification for Dispatch {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] = &[
        "Commit",
        "Append",
        "Truncate",
        "Learn",
        "Write",
        "Sync",
        "Apply",
        "Rotate",
        "WriteFrozen",
        "Persist",
        "Crash",
    ];

    fn position(action: Action) -> usize {
        match action {
            Action::Commit(_) => 0,
            Action::Append(_) => 1,
            Action::Truncate => 2,
            Action::Learn => 3,
            Action::Write => 4,
            Action::Sync => 5,
            Action::Apply => 6,
            Action::Rotate => 7,
            Action::WriteFrozen => 8,
            Action::Persist => 9,
            Action::Crash(_) => 10,
        }
    }

    fn init(&self) -> Vec<State> {
        let state = |memory| State {
            memory,
            group: List::default(),
            log: List::default(),
            written: 0,
            synced: 0,
            known: 0,
            rows: Rows::default(),
            half: false,
            frozen: None,
            apart: false,
            store: Rows::default(),
            kept: Rows::default(),
        };
        vec![state(false), state(true)]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        let (log, group) = (state.log.len(), state.group.len());
        if group < self.entries {
            enabled.extend((1..=3).map(Action::Commit));
        }
        if log < self.entries && Self::common(&state.log, &state.group) == log.min(group) {
            enabled
                .extend((1..=3).filter(|kind| state.group.get(log).is_none_or(|due| due == kind)).map(Action::Append));
        }
        if Self::common(&state.log, &state.group) < log.min(group) {
            enabled.push(Action::Truncate);
        }
        let known = usize::from(state.known);
        if known < log && state.group.get(known) == Some(&state.log[known]) {
            enabled.push(Action::Learn);
        }
        if usize::from(state.written) < log {
            enabled.push(Action::Write);
        }
        if state.synced < state.written {
            enabled.push(Action::Sync);
        }
        if self.may_apply(state) {
            enabled.push(Action::Apply);
        }
        if state.frozen.is_none() && state.rows != state.store && (!state.half || self.bug == Bug::RotateInside) {
            enabled.push(Action::Rotate);
        }
        if let Some(frozen) = &state.frozen
            && (frozen.applied <= state.synced || self.bug == Bug::FlushUnsynced)
        {
            enabled.push(Action::WriteFrozen);
        }
        if state.kept != state.store {
            enabled.push(Action::Persist);
        }
        enabled.extend((state.synced..=state.written).map(Action::Crash));
    }

    fn next(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Commit(kind) => next.group.push(kind),
            Action::Append(kind) => next.log.push(kind),
            Action::Truncate => {
                let keep = Self::common(&state.log, &state.group);
                next.log.truncate(keep);
                next.written = state.written.min(keep as u8);
                next.synced = state.synced.min(keep as u8);
            }
            Action::Learn => next.known += 1,
            Action::Write => next.written += 1,
            Action::Sync => next.synced = state.written,
            Action::Apply => {
                let index = state.rows.applied + 1;
                let kind = state.log[usize::from(state.rows.applied)];
                let first = if kind & 1 != 0 { 0 } else { 1 };
                let queue = if state.half { 1 } else { first };
                next.rows.queues[queue].push(index);
                next.half = kind == 3 && !state.half;
                if !next.half {
                    next.rows.applied = index;
                }
            }
            Action::Rotate => next.frozen = Some(state.rows),
            Action::WriteFrozen => {
                let frozen = state.frozen.unwrap_or_default();
                next.store.queues = frozen.queues;
                next.apart = self.bug == Bug::AppliedApart && !state.apart;
                if !next.apart {
                    next.store.applied = frozen.applied;
                    next.frozen = None;
                }
            }
            Action::Persist => next.kept = state.store,
            Action::Crash(left) => {
                next.log.truncate(left.into());
                next.written = left;
                next.synced = left;
                next.known = state.known.min(left);
                next.rows = state.kept;
                next.store = state.kept;
                next.half = false;
                next.frozen = None;
                next.apart = false;
            }
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let applied = state.rows.applied;
        let durable = if state.memory { state.written } else { state.synced };
        if applied > durable {
            return Some("I25 a replica shows only what its own log holds for good");
        }
        if usize::from(applied) > state.group.len() {
            return Some("I9 only committed entries are visible");
        }
        if !state.half && state.rows != Self::expected(&state.group, applied) {
            return Some("I3 a queue's rows are those of the committed entries, each once");
        }
        if state.kept.applied > state.synced {
            return Some("I28 the store never knows of an entry that the log can lose");
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

//! A send that is repeated, because its outcome was unknown, gets the offset of the first.
//!
//! Stands for the room `dedupe` of `crates/machine` as it is to be built: applying a send looks for its unique key among
//! those of the last `WINDOW`; a known one is answered with the offset it has. The window is measured in time that passed
//! under leaders, `elapsed`: the time of the log without the jumps that a change of leader makes, since clocks differ. A
//! producer repeats for no longer than `PATIENCE`, the way to the leader included.
//!
//! `now` is the true time; a leader's clock shows `now` plus a skew that it brings along.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "dedupe",
    about: "a repeated send gets one offset; a window by time, leaders whose clocks differ",
    tla: "Dedupe",
    bugs: &["window_lost", "checked_early", "counts_jump", "before_start"],
    shared: || explore_all(Dedupe { end: 2, terms: 2, skew: 2, room: 2, bug: Bug::None }),
    deep,
    find,
};

fn deep(limit: Limit) -> Count {
    explore(Dedupe { end: 5, terms: 3, skew: 3, room: 2, bug: Bug::None }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let bug = match bug {
        "window_lost" => Bug::WindowLost,
        "checked_early" => Bug::CheckedEarly,
        "counts_jump" => Bug::CountsJump,
        "before_start" => Bug::BeforeStart,
        _ => return None,
    };
    counterexample(Dedupe { end: 3, terms: 2, skew: 3, room: 2, bug })
}

/// How long a key is known, in time that passed under leaders.
const WINDOW: u8 = 3;
/// How long a producer repeats.
const PATIENCE: u8 = 2;
/// Most entries on their way in any configuration: commands, and a start for each change of leader.
const LOG_MAX: usize = 4;
/// The messages.
const ALL: [u8; 2] = [1, 2];

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// The window is in the leader's memory.
    WindowLost,
    /// The key is looked for before the send is in the log.
    CheckedEarly,
    /// The window is measured in time of the log, jumps included.
    CountsJump,
    /// A new leader takes sends before its start is applied.
    BeforeStart,
}

/// The specification with its bounds.
struct Dedupe {
    /// The last moment.
    end: u8,
    terms: u8,
    /// Largest skew of a leader's clock.
    skew: u8,
    /// Entries that may be on their way.
    room: usize,
    bug: Bug,
}

/// An entry of the log: a send, or with `id` 0 a leader's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Entry {
    id: u8,
    /// Its time.
    at: u8,
    /// The term of a start; 0 otherwise.
    term: u8,
}

/// The leader, as far as commands are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Elected.
    Elected,
    /// Its first entry is on its way.
    Starting,
    /// Its first entry is applied.
    Started,
}

/// All variables. Arrays are by message, less one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    skew: u8,
    term: u8,
    phase: Phase,
    /// Proposed and not yet committed, oldest first.
    log: List<Entry, LOG_MAX>,
    /// The time of the log.
    at: u8,
    /// What of it passed under leaders.
    elapsed: u8,
    /// Messages in the queue.
    end: u8,
    copies: [u8; 2],
    /// The first offset plus one; 0 for none.
    offset: [u8; 2],
    /// `elapsed` when the key was put into the window, plus one; 0 when it is not there.
    window: [u8; 2],
    /// When the producer first sent it, plus one.
    sent: [u8; 2],
    /// The offset that was answered, plus one.
    answered: [u8; 2],
    /// Whether two answers differed.
    differs: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// Time passes.
    Tick,
    /// A producer sends a message, or repeats it.
    Send { id: u8 },
    /// The oldest entry is committed and applied.
    Apply,
    /// Another replica is elected with this many of the entries and this clock.
    Failover { kept: u8, skew: u8 },
    /// The elected replica proposes its start.
    Begin,
}

fn at(id: u8) -> usize {
    usize::from(id - 1)
}

impl State {
    fn propose(&mut self, id: u8) {
        let at = self.log.last().map_or(self.at, |entry| entry.at).max(self.now + self.skew);
        let term = if id == 0 { self.term } else { 0 };
        self.log.push(Entry { id, at, term });
    }

    fn store(&mut self, id: usize) {
        self.copies[id] = (self.copies[id] + 1).min(2);
        self.end += 1;
        if self.offset[id] == 0 {
            self.offset[id] = self.end;
        }
        self.window[id] = self.elapsed + 1;
        self.answer(id, self.end);
    }

    fn answer(&mut self, id: usize, offset: u8) {
        if self.answered[id] == 0 {
            self.answered[id] = offset;
        }
        self.differs |= self.answered[id] != offset;
    }
}

impl Specification for Dedupe {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] = &["Tick", "Send", "Apply", "Failover", "Begin"];

    fn position(action: Action) -> usize {
        match action {
            Action::Tick => 0,
            Action::Send { .. } => 1,
            Action::Apply => 2,
            Action::Failover { .. } => 3,
            Action::Begin => 4,
        }
    }

    fn init(&self) -> Vec<State> {
        vec![State {
            now: 0,
            skew: 0,
            term: 1,
            phase: Phase::Started,
            log: List::default(),
            at: 0,
            elapsed: 0,
            end: 0,
            copies: [0; 2],
            offset: [0; 2],
            window: [0; 2],
            sent: [0; 2],
            answered: [0; 2],
            differs: false,
        }]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        if state.now < self.end {
            enabled.push(Action::Tick);
        }
        let takes = state.log.len() < self.room && (state.phase == Phase::Started || self.bug == Bug::BeforeStart);
        for id in ALL {
            let sent = state.sent[at(id)];
            if takes && (sent == 0 || state.now <= sent - 1 + PATIENCE) {
                enabled.push(Action::Send { id });
            }
        }
        if !state.log.is_empty() {
            enabled.push(Action::Apply);
        }
        if state.term < self.terms {
            for kept in 0..=state.log.len() as u8 {
                enabled.extend((0..=self.skew).map(|skew| Action::Failover { kept, skew }));
            }
        }
        if state.phase == Phase::Elected {
            enabled.push(Action::Begin);
        }
    }

    fn next(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Tick => next.now += 1,
            Action::Send { id } => {
                if state.sent[at(id)] == 0 {
                    next.sent[at(id)] = state.now + 1;
                }
                if self.bug == Bug::CheckedEarly && state.window[at(id)] != 0 {
                    next.answer(at(id), state.offset[at(id)]);
                } else {
                    next.propose(id);
                }
            }
            Action::Apply => {
                let Entry { id, at: time, term } = next.log.remove(0);
                next.at = time;
                if id != 0 || self.bug == Bug::CountsJump {
                    next.elapsed += time - state.at;
                }
                for key in &mut next.window {
                    if *key != 0 && next.elapsed >= *key - 1 + WINDOW {
                        *key = 0;
                    }
                }
                if id == 0 {
                    if term == state.term {
                        next.phase = Phase::Started;
                    }
                } else if next.window[at(id)] == 0 || self.bug == Bug::CheckedEarly {
                    next.store(at(id));
                } else {
                    next.answer(at(id), state.offset[at(id)]);
                }
            }
            Action::Failover { kept, skew } => {
                next.log.truncate(kept.into());
                next.term += 1;
                next.skew = skew;
                next.phase = Phase::Elected;
                if self.bug == Bug::WindowLost {
                    next.window = [0; 2];
                }
            }
            Action::Begin => {
                next.propose(0);
                next.phase = Phase::Starting;
            }
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        if state.copies.iter().any(|copies| *copies > 1) {
            return Some("I7 a message is stored once however often it is sent");
        }
        if state.differs {
            return Some("I7 all answers to one message say the same offset");
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

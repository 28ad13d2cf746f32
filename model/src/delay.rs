//! Delayed messages: due by the time of the log, exactly once, whoever leads and however its clock is set.
//!
//! Stands for the room `delay` of `crates/machine` and its driver at the leader, as they are to be built: the command
//! `Put` stores the record and when it is due, where nobody sees it; the driver proposes `Fire` when the leader's clock
//! says so; applying it makes the message visible if it still waits and is due by the entry's own time. What still waits
//! is the progress, and it is in the log. A driver that is refused, or hears nothing, tries again.
//!
//! `now` is the true time; a leader's clock shows `now` plus a skew and may be set at any moment.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "delay",
    about: "not before it is due, once in its queue; clocks that are set, repeated firing, failover",
    tla: "Delay",
    bugs: &["fires_again", "trusts_driver", "timers_lost", "gives_up"],
    shared: || explore_all(Delay { end: 2, terms: 2, skew: 1, room: 2, bug: Bug::None }),
    deep,
    find,
};

fn deep(limit: Limit) -> Count {
    explore(Delay { end: 5, terms: 3, skew: 2, room: 3, bug: Bug::None }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let bug = match bug {
        "fires_again" => Bug::FiresAgain,
        "trusts_driver" => Bug::TrustsDriver,
        "timers_lost" => Bug::TimersLost,
        "gives_up" => Bug::GivesUp,
        _ => return None,
    };
    counterexample(Delay { end: 2, terms: 2, skew: 1, room: 2, bug })
}

/// How long a message is delayed.
const LENGTH: u8 = 1;
/// The messages.
const ALL: [u8; 2] = [1, 2];

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// Firing does not look whether the message still waits.
    FiresAgain,
    /// Firing does not look whether the message is due.
    TrustsDriver,
    /// A new leader does not set timers for what it finds waiting.
    TimersLost,
    /// A driver that is refused does not try again.
    GivesUp,
}

/// The specification with its bounds.
struct Delay {
    /// The last moment.
    end: u8,
    terms: u8,
    /// Largest skew of a leader's clock.
    skew: u8,
    /// Entries that may be on their way.
    room: usize,
    bug: Bug,
}

/// An entry of the log: `Put` or, with `fire`, `Fire`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Entry {
    fire: bool,
    id: u8,
    /// Its time.
    at: u8,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Status {
    /// Unknown.
    #[default]
    None,
    /// Stored, and not yet visible.
    Waits,
    /// Visible.
    Visible,
}

/// What the leader's driver does about a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Driver {
    /// Nothing.
    #[default]
    Idle,
    /// Waits for the clock.
    Armed,
    /// Has handed the command over, to be put into an entry.
    Fired,
    /// Waits for the outcome.
    Proposed,
}

/// All variables. Arrays are by message, less one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    skew: u8,
    term: u8,
    /// Whether the leader serves.
    started: bool,
    /// Proposed and not yet committed, oldest first.
    log: List<Entry, 3>,
    /// The time of the log.
    at: u8,
    status: [Status; 2],
    /// When it is due by the log's time.
    due: [u8; 2],
    /// How often it is in its queue.
    copies: [u8; 2],
    drivers: [Driver; 2],
    /// Whether a message became visible too early.
    early: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// Time passes.
    Tick,
    /// The leader's clock is set.
    SetClock { skew: u8 },
    /// A delayed message is sent.
    Put { id: u8 },
    /// The leader's clock says that a message is due.
    Fire { id: u8 },
    /// The command becomes an entry.
    Propose { id: u8 },
    /// The driver hears nothing for too long.
    Retry { id: u8 },
    /// The oldest entry is committed and applied.
    Apply,
    /// Another replica is elected with this many of the entries and this clock.
    Failover { kept: u8, skew: u8 },
    /// It has applied all that was before it and begins to serve.
    Start,
}

fn at(id: u8) -> usize {
    usize::from(id - 1)
}

impl State {
    fn clock(&self) -> u8 {
        self.now + self.skew
    }

    fn propose(&mut self, fire: bool, id: u8) {
        let at = self.log.last().map_or(self.at, |entry| entry.at).max(self.clock());
        self.log.push(Entry { fire, id, at });
    }
}

impl Specification for Delay {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] =
        &["Tick", "SetClock", "Put", "Fire", "Propose", "Retry", "Apply", "Failover", "Start"];

    fn position(action: Action) -> usize {
        match action {
            Action::Tick => 0,
            Action::SetClock { .. } => 1,
            Action::Put { .. } => 2,
            Action::Fire { .. } => 3,
            Action::Propose { .. } => 4,
            Action::Retry { .. } => 5,
            Action::Apply => 6,
            Action::Failover { .. } => 7,
            Action::Start => 8,
        }
    }

    fn init(&self) -> Vec<State> {
        vec![State {
            now: 0,
            skew: 0,
            term: 1,
            started: true,
            log: List::default(),
            at: 0,
            status: [Status::None; 2],
            due: [0; 2],
            copies: [0; 2],
            drivers: [Driver::Idle; 2],
            early: false,
        }]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        if state.now < self.end {
            enabled.push(Action::Tick);
        }
        let other_skews = (0..=self.skew).filter(|skew| *skew != state.skew);
        enabled.extend(other_skews.map(|skew| Action::SetClock { skew }));
        let takes = state.started && state.log.len() < self.room;
        for id in ALL {
            let is_put = state.log.iter().any(|entry| entry.id == id && !entry.fire);
            if takes && state.status[at(id)] == Status::None && !is_put {
                enabled.push(Action::Put { id });
            }
            match state.drivers[at(id)] {
                Driver::Armed if state.clock() >= state.due[at(id)] => enabled.push(Action::Fire { id }),
                Driver::Fired if takes => enabled.push(Action::Propose { id }),
                Driver::Proposed => enabled.push(Action::Retry { id }),
                _ => {}
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
        if !state.started && state.log.is_empty() {
            enabled.push(Action::Start);
        }
    }

    fn next(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Tick => next.now += 1,
            Action::SetClock { skew } => next.skew = skew,
            Action::Put { id } => next.propose(false, id),
            Action::Fire { id } => next.drivers[at(id)] = Driver::Fired,
            Action::Propose { id } => {
                next.propose(true, id);
                next.drivers[at(id)] = Driver::Proposed;
            }
            Action::Retry { id } => next.drivers[at(id)] = Driver::Armed,
            Action::Apply => {
                let Entry { fire, id, at: time } = next.log.remove(0);
                next.at = time;
                let id = at(id);
                if !fire {
                    next.status[id] = Status::Waits;
                    next.due[id] = time + LENGTH;
                    next.drivers[id] = if state.started { Driver::Armed } else { Driver::Idle };
                } else if (state.status[id] == Status::Waits || self.bug == Bug::FiresAgain)
                    && (state.due[id] <= time || self.bug == Bug::TrustsDriver)
                {
                    next.status[id] = Status::Visible;
                    next.copies[id] = (state.copies[id] + 1).min(2);
                    next.drivers[id] = Driver::Idle;
                    // By the log's time, and by the true one but for the largest skew.
                    next.early |= time < state.due[id] || state.now + self.skew < state.due[id];
                } else if state.status[id] == Status::Waits && state.drivers[id] == Driver::Proposed {
                    next.drivers[id] = if self.bug == Bug::GivesUp { Driver::Idle } else { Driver::Armed };
                }
            }
            Action::Failover { kept, skew } => {
                next.log.truncate(kept.into());
                next.term += 1;
                next.skew = skew;
                next.started = false;
                next.drivers = [Driver::Idle; 2];
            }
            Action::Start => {
                next.started = true;
                for id in ALL.map(at) {
                    if state.status[id] == Status::Waits && self.bug != Bug::TimersLost {
                        next.drivers[id] = Driver::Armed;
                    }
                }
            }
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        if state.early {
            return Some("I18 no message is visible before it is due");
        }
        for id in ALL.map(at) {
            if state.copies[id] != u8::from(state.status[id] == Status::Visible) {
                return Some("I18 a message is in its queue once");
            }
            if state.started && state.status[id] == Status::Waits && state.drivers[id] == Driver::Idle {
                return Some("I18 whatever waits has a timer");
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

//! Order locks: grant, renew, expiry by the time of the log, a new leader whose clock differs.
//!
//! Stands for `crates/machine` (`order`; `meta`: `LeaderStarted`), for `crates/broker` (`locks`) and for `crates/replica`
//! (`role`: nothing but `LeaderStarted` is proposed before it is applied; `proposer`: an entry's time is never earlier than
//! that of the entry before). One queue of one group, two clients. Client 0 is nobody.
//!
//! `now` is the true time; a leader's clock shows `now` plus a skew that it brings along. A client trusts a lock for
//! `TRUST` from when it is told, and believes no answer that took longer than `PATIENCE`; the table keeps it for
//! `EXPIRY` of log time.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "order_lock",
    about: "grant, renew, expire by log time; a new leader's clock differs and it extends what is alive",
    tla: "OrderLock",
    bugs: &["no_extend", "new_time", "before_start", "takeover", "unlogged"],
    shared: || explore_all(OrderLock { end: 4, terms: 2, skew: 2, room: 1, bug: Bug::None }),
    deep,
    find,
};

fn deep(limit: Limit) -> Count {
    explore(OrderLock { end: 6, terms: 3, skew: 2, room: 1, bug: Bug::None }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let bug = match bug {
        "no_extend" => Bug::NoExtend,
        "new_time" => Bug::NewTime,
        "before_start" => Bug::BeforeStart,
        "takeover" => Bug::Takeover,
        "unlogged" => Bug::Unlogged,
        _ => return None,
    };
    counterexample(OrderLock { end: 5, terms: 2, skew: 4, room: 2, bug })
}

/// How long a lock lives in the table after it was granted.
const EXPIRY: u8 = 4;
/// How long a client trusts a lock after it was told.
const TRUST: u8 = 2;
/// How long a client waits for an answer.
const PATIENCE: u8 = 1;
/// Most entries on their way in any configuration: commands, and a start for each change of leader.
const LOG_MAX: usize = 4;
/// Both clients.
const CLIENTS: [u8; 2] = [1, 2];

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// A new leader does not extend locks.
    NoExtend,
    /// A new leader first drops what is over by its own time.
    NewTime,
    /// A new leader takes commands before its start is applied.
    BeforeStart,
    /// A lock is granted whoever has it.
    Takeover,
    /// A lock is answered before it is in the log.
    Unlogged,
}

/// The specification with its bounds.
struct OrderLock {
    /// The last moment.
    end: u8,
    terms: u8,
    /// Largest skew of a leader's clock.
    skew: u8,
    /// Entries that may be on their way.
    room: usize,
    bug: Bug,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Kind {
    /// A client takes or renews the lock.
    #[default]
    Lock,
    /// A client gives it back.
    Unlock,
    /// A leader's first entry.
    Start,
    /// Anything else.
    Other,
}

/// An entry of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Entry {
    /// What it does.
    kind: Kind,
    /// Whose it is.
    client: u8,
    /// Its time.
    at: u8,
    /// When the client asked for the lock, plus one. Of a leader's start the term. Otherwise 0.
    sent: u8,
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

/// All variables. Arrays are by client, less one.
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
    /// Who has the lock's row.
    owner: u8,
    expires: u8,
    /// When a client asked, plus one; 0 when it is not waiting.
    asked: [u8; 2],
    /// Whether the answer that it has the lock is on its way.
    granted: [bool; 2],
    /// Until when a client trusts that it has the lock.
    until: [u8; 2],
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// Time passes.
    Tick,
    /// A client asks for the lock, or renews it.
    Ask { client: u8 },
    /// A client stops consuming and gives the lock back.
    GiveBack { client: u8 },
    /// Something else is proposed.
    Other,
    /// The oldest entry is committed and applied.
    Apply,
    /// A client is told that it has the lock.
    Told { client: u8 },
    /// A client waits no longer.
    Forget { client: u8 },
    /// Another replica is elected with this many of the entries and this clock.
    Failover { kept: u8, skew: u8 },
    /// The elected replica proposes its start.
    Begin,
}

fn at(client: u8) -> usize {
    usize::from(client - 1)
}

impl State {
    fn expire(&mut self, time: u8) {
        if self.expires <= time {
            (self.owner, self.expires) = (0, 0);
        }
    }

    /// The time of an entry that is proposed now.
    fn sealed(&self) -> u8 {
        self.log.last().map_or(self.at, |entry| entry.at).max(self.now + self.skew)
    }

    fn propose(&mut self, kind: Kind, client: u8) {
        let sent = match kind {
            Kind::Lock => self.now + 1,
            Kind::Start => self.term,
            Kind::Unlock | Kind::Other => 0,
        };
        let at = self.sealed();
        self.log.push(Entry { kind, client, at, sent });
    }
}

impl Specification for OrderLock {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] =
        &["Tick", "Ask", "GiveBack", "Other", "Apply", "Told", "Forget", "Failover", "Begin"];

    fn position(action: Action) -> usize {
        match action {
            Action::Tick => 0,
            Action::Ask { .. } => 1,
            Action::GiveBack { .. } => 2,
            Action::Other => 3,
            Action::Apply => 4,
            Action::Told { .. } => 5,
            Action::Forget { .. } => 6,
            Action::Failover { .. } => 7,
            Action::Begin => 8,
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
            owner: 0,
            expires: 0,
            asked: [0; 2],
            granted: [false; 2],
            until: [0; 2],
        }]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        if state.now < self.end {
            enabled.push(Action::Tick);
        }
        let takes = state.log.len() < self.room && (state.phase == Phase::Started || self.bug == Bug::BeforeStart);
        for client in CLIENTS {
            let asked = state.asked[at(client)];
            if takes && asked == 0 {
                enabled.push(Action::Ask { client });
                if state.until[at(client)] > state.now {
                    enabled.push(Action::GiveBack { client });
                }
            }
            let in_time = state.now <= asked.saturating_sub(1) + PATIENCE;
            if asked != 0 && state.granted[at(client)] && in_time {
                enabled.push(Action::Told { client });
            }
            if asked != 0 && !in_time {
                enabled.push(Action::Forget { client });
            }
        }
        if takes {
            enabled.push(Action::Other);
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
            Action::Ask { client } => {
                next.propose(Kind::Lock, client);
                next.asked[at(client)] = state.now + 1;
                next.granted[at(client)] = self.bug == Bug::Unlogged && [0, client].contains(&state.owner);
            }
            Action::GiveBack { client } => {
                next.until[at(client)] = 0;
                next.propose(Kind::Unlock, client);
            }
            Action::Other => next.propose(Kind::Other, 0),
            Action::Apply => {
                let Entry { kind, client, at: time, sent } = next.log.remove(0);
                next.at = time;
                match kind {
                    Kind::Lock => {
                        next.expire(time);
                        let grants = next.owner == 0 || next.owner == client || self.bug == Bug::Takeover;
                        if grants {
                            (next.owner, next.expires) = (client, time + EXPIRY);
                        }
                        if state.asked[at(client)] == sent {
                            next.granted[at(client)] |= grants;
                            if !grants {
                                next.asked[at(client)] = 0;
                            }
                        }
                    }
                    Kind::Unlock if next.owner == client => (next.owner, next.expires) = (0, 0),
                    Kind::Start => {
                        next.expire(if self.bug == Bug::NewTime { time } else { state.at });
                        if next.owner != 0 && self.bug != Bug::NoExtend {
                            next.expires = next.expires.max(time + EXPIRY);
                        }
                        if sent == state.term {
                            next.phase = Phase::Started;
                        }
                    }
                    Kind::Unlock | Kind::Other => {}
                }
            }
            Action::Told { client } => {
                next.until[at(client)] = state.now + TRUST;
                next.asked[at(client)] = 0;
                next.granted[at(client)] = false;
            }
            Action::Forget { client } => {
                next.asked[at(client)] = 0;
                next.granted[at(client)] = false;
            }
            Action::Failover { kept, skew } => {
                next.log.truncate(kept.into());
                next.term += 1;
                next.skew = skew;
                next.phase = Phase::Elected;
            }
            Action::Begin => {
                next.propose(Kind::Start, 0);
                next.phase = Phase::Starting;
            }
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let trusts = |client: u8| state.until[at(client)] > state.now;
        if trusts(1) && trusts(2) {
            return Some("I15 two clients trust that they have the lock");
        }
        if CLIENTS.into_iter().any(|client| trusts(client) && state.owner != client) {
            return Some("I15 a client trusts a lock that the table does not give it");
        }
        None
    }
}

#[cfg(test)]
mod on_machine;

#[cfg(test)]
mod tests {
    #[test]
    fn sound() {
        crate::spec::assert_sound(&super::SPEC);
    }
}

//! Stored offsets of a group: claims, commits on their way, lowering, reset, failover.
//!
//! Stands for `crates/broker` (`offsets`: query, update, reset; `commit`: merging, one proposal at a time), for
//! `crates/session` (`claims`) and for `crates/machine` (`offset`). One queue of one group, two clients, two replicas.
//!
//! A client calls a replica on a connection of its own, or through the other replica on a connection that both clients
//! share. A deposed leader goes on until it notices. Offset 0 stands for nothing stored.
//!
//! `last` is the client that claimed the queue last at the leader, and `promise` the one that was shown where the queue
//! stands, or has stored where, and was not followed by another claim since: nobody else may lower the offset then.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "offsets",
    about: "store, lower, reset; late commits of a previous owner, forwarded calls, failover",
    tla: "Offsets",
    bugs: &["late_commit", "forwarded", "in_flight", "stale_claims", "any_term"],
    shared: || explore_all(Offsets { top: 2, terms: 2, room: 1, stale: false, bug: Bug::None }),
    deep,
    find,
};

fn deep(limit: Limit) -> Count {
    explore(Offsets { top: 2, terms: 3, room: 1, stale: true, bug: Bug::None }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let bug = match bug {
        "late_commit" => Bug::LateCommit,
        "forwarded" => Bug::Forwarded,
        "in_flight" => Bug::InFlight,
        "stale_claims" => Bug::StaleClaims,
        "any_term" => Bug::AnyTerm,
        _ => return None,
    };
    counterexample(Offsets { top: 2, terms: 3, room: 1, stale: false, bug })
}

/// The connection that both clients share when they call through the other replica.
const SHARED: u8 = 3;
/// Both clients, and both replicas.
const BOTH: [u8; 2] = [1, 2];

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// Whoever commits may lower.
    LateCommit,
    /// A forwarded commit may lower when a forwarded call claimed the queue.
    Forwarded,
    /// A query does not wait for commits that are proposed and not yet stored.
    InFlight,
    /// A claim outlives the term in which it was made.
    StaleClaims,
    /// A commit that was accepted in an earlier term may lower.
    AnyTerm,
}

/// The specification with its bounds.
struct Offsets {
    top: u8,
    terms: u8,
    /// Entries that may be on their way.
    room: usize,
    /// Whether clients still call a deposed leader.
    stale: bool,
    bug: Bug,
}

/// Who claimed the queue last at a replica, and in which term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Claim {
    term: u8,
    channel: u8,
}

/// A commit that waits to be proposed; offset 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Waiting {
    offset: u8,
    /// The term in which it was accepted as one that may lower; 0 when it may not.
    allow: u8,
    /// Whose it is, when it may lower.
    by: u8,
}

/// An entry of the log: a commit, or with `by` 0 and `allow` set a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Entry {
    offset: u8,
    allow: u8,
    by: u8,
    /// The term in which it was proposed.
    term: u8,
}

/// All variables. Arrays are by replica or client, less one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    leader: u8,
    term: u8,
    /// The term in which a replica takes itself for the leader; 0 for none.
    believes: [u8; 2],
    claims: [Claim; 2],
    waiting: [Waiting; 2],
    /// Proposed and not yet committed, oldest first.
    log: List<Entry, 2>,
    stored: u8,
    /// The replica that a client has asked; 0 for none.
    query: [u8; 2],
    last: u8,
    promise: u8,
    /// Whether a promise was broken.
    broken: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// A client asks a replica where the queue stands.
    Query { client: u8, node: u8, shared: bool },
    /// A client pulls from the queue.
    Pull { client: u8, node: u8 },
    /// A client is told where the queue stands.
    Answer { client: u8 },
    /// A client's question fails.
    QueryFails { client: u8 },
    /// A client's commit arrives at a replica.
    Commit { client: u8, node: u8, offset: u8, shared: bool },
    /// A replica proposes what waits, or drops it because it does not lead.
    Propose { node: u8 },
    /// The oldest entry is committed and applied.
    Apply,
    /// Somebody resets the group.
    Reset { offset: u8 },
    /// The other replica is elected with this many of the entries.
    Failover { kept: u8 },
    /// The elected replica has applied all that was before it and begins to serve.
    Start,
    /// A deposed leader hears of it.
    Notice { node: u8 },
}

fn at(one: u8) -> usize {
    usize::from(one - 1)
}

impl State {
    fn serves(&self, node: u8) -> bool {
        node == self.leader && self.believes[at(node)] == self.term
    }

    fn of_others(&self, allow: u8, by: u8, client: u8) -> bool {
        allow == self.term && by != client && by != 0
    }

    /// Whether a commit with which somebody else may lower waits to be proposed at a replica.
    fn others_wait(&self, client: u8, node: u8) -> bool {
        let Waiting { allow, by, .. } = self.waiting[at(node)];
        self.of_others(allow, by, client)
    }

    /// Whether a commit with which somebody else may lower is proposed.
    fn others_proposed(&self, client: u8) -> bool {
        self.log.iter().any(|entry| self.of_others(entry.allow, entry.by, client))
    }

    fn claim(&mut self, client: u8, node: u8, channel: u8) {
        self.claims[at(node)] = Claim { term: self.believes[at(node)], channel };
        if self.serves(node) {
            self.last = client;
            if self.promise != client {
                self.promise = 0;
            }
        }
    }
}

impl Offsets {
    /// The term for which a commit may lower, 0 when it may not.
    fn allowed(&self, state: &State, client: u8, node: u8, shared: bool) -> u8 {
        let (claim, term) = (state.claims[at(node)], state.believes[at(node)]);
        let channel = if shared { SHARED } else { client };
        let holds = claim.channel == channel && (claim.term == term || self.bug == Bug::StaleClaims);
        let may = (holds && (!shared || self.bug == Bug::Forwarded)) || self.bug == Bug::LateCommit;
        if may { term } else { 0 }
    }

    /// Whether the client's question has to wait.
    fn unsettled(&self, state: &State, client: u8, node: u8) -> bool {
        state.others_wait(client, node) || (self.bug != Bug::InFlight && state.others_proposed(client))
    }
}

impl Specification for Offsets {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] = &[
        "Query",
        "Pull",
        "Answer",
        "QueryFails",
        "Commit",
        "Propose",
        "Apply",
        "Reset",
        "Failover",
        "Start",
        "Notice",
    ];

    fn position(action: Action) -> usize {
        match action {
            Action::Query { .. } => 0,
            Action::Pull { .. } => 1,
            Action::Answer { .. } => 2,
            Action::QueryFails { .. } => 3,
            Action::Commit { .. } => 4,
            Action::Propose { .. } => 5,
            Action::Apply => 6,
            Action::Reset { .. } => 7,
            Action::Failover { .. } => 8,
            Action::Start => 9,
            Action::Notice { .. } => 10,
        }
    }

    fn init(&self) -> Vec<State> {
        vec![State {
            leader: 1,
            term: 1,
            believes: [1, 0],
            claims: [Claim::default(); 2],
            waiting: [Waiting::default(); 2],
            log: List::default(),
            stored: 0,
            query: [0, 0],
            last: 0,
            promise: 0,
            broken: false,
        }]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        for client in BOTH {
            for node in BOTH {
                if state.believes[at(node)] == 0 || (node != state.leader && !self.stale) {
                    continue;
                }
                if state.query[at(client)] == 0 {
                    enabled.extend([false, true].map(|shared| Action::Query { client, node, shared }));
                }
                enabled.push(Action::Pull { client, node });
                for offset in 1..=self.top {
                    enabled.extend([false, true].map(|shared| Action::Commit { client, node, offset, shared }));
                }
            }
            let asked = state.query[at(client)];
            if asked != 0 && !state.serves(asked) {
                enabled.push(Action::QueryFails { client });
            }
            if asked != 0 && state.serves(asked) && !self.unsettled(state, client, asked) {
                enabled.push(Action::Answer { client });
            }
        }
        for node in BOTH {
            let proposes = state.serves(node);
            // One proposal with commits at a time. Resets do not wait for it.
            let is_free =
                state.log.len() < self.room && state.log.iter().all(|entry| entry.by == 0 && entry.allow != 0);
            if state.waiting[at(node)].offset != 0 && (!proposes || is_free) {
                enabled.push(Action::Propose { node });
            }
            if node != state.leader && state.believes[at(node)] != 0 {
                enabled.push(Action::Notice { node });
            }
        }
        if !state.log.is_empty() {
            enabled.push(Action::Apply);
        }
        if state.serves(state.leader) && state.log.len() < self.room {
            enabled.extend((1..=self.top).map(|offset| Action::Reset { offset }));
        }
        if state.term < self.terms {
            enabled.extend((0..=state.log.len() as u8).map(|kept| Action::Failover { kept }));
        }
        if state.believes[at(state.leader)] != state.term && state.log.is_empty() {
            enabled.push(Action::Start);
        }
    }

    fn next(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Query { client, node, shared } => {
                next.claim(client, node, if shared { SHARED } else { client });
                next.query[at(client)] = node;
            }
            Action::Pull { client, node } => next.claim(client, node, client),
            Action::Answer { client } => {
                next.query[at(client)] = 0;
                if state.last == client {
                    next.promise = client;
                }
            }
            Action::QueryFails { client } => next.query[at(client)] = 0,
            Action::Commit { client, node, offset, shared } => {
                let allow = self.allowed(state, client, node, shared);
                let waiting = &mut next.waiting[at(node)];
                if allow != 0 {
                    *waiting = Waiting { offset, allow, by: client };
                } else {
                    waiting.offset = waiting.offset.max(offset);
                }
            }
            Action::Propose { node } => {
                let Waiting { offset, allow, by } = state.waiting[at(node)];
                next.waiting[at(node)] = Waiting::default();
                if state.serves(node) {
                    next.log.push(Entry { offset, allow, by, term: state.term });
                }
            }
            Action::Apply => {
                let Entry { offset, allow, by, term } = next.log.remove(0);
                let may_lower = allow == term || (self.bug == Bug::AnyTerm && allow != 0);
                if offset > state.stored || may_lower {
                    next.stored = offset;
                }
                if next.stored < state.stored && by != 0 && state.promise != 0 && state.promise != by {
                    next.broken = true;
                }
                // What others were allowed before the claim may still lower it.
                if by != 0 && by == state.last && !next.others_wait(by, state.leader) && !next.others_proposed(by) {
                    next.promise = by;
                }
            }
            Action::Reset { offset } => {
                next.log.push(Entry { offset, allow: state.term, by: 0, term: state.term });
            }
            Action::Failover { kept } => {
                next.leader = 3 - state.leader;
                next.term += 1;
                next.believes[at(next.leader)] = 0;
                next.log.truncate(kept.into());
            }
            Action::Start => next.believes[at(state.leader)] = state.term,
            Action::Notice { node } => {
                next.believes[at(node)] = 0;
                next.claims[at(node)] = Claim::default();
            }
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        if state.broken {
            return Some("I11 an offset that was shown or stored is lowered by its owner or by a reset only");
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

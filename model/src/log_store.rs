//! Raft over a log that can lose what was not synced: votes, elections, replication, acknowledgement, commitment, the apply
//! gate, and power cuts that leave any part of the unsynced tail.
//!
//! Stands for `crates/replica` (`log_store`, `state_machine`, the engine's rules as `crates/replica/src/raft` drives them)
//! and for `crates/commitlog`. What the code makes atomic for the engine is one step here: the engine waits until a vote is
//! durable, and the log's writer syncs what was queued before it; the engine waits until a truncation is durable. Appends do
//! not wait: they are in memory at once, durable after a sync, and acknowledged only then.
//!
//! A message that may arrive late is a fact that stays: who was given votes, and how far each replica has ever acknowledged
//! to the leader of a term. An entry is its term and how often its leader had been restarted when it made it, so that two
//! entries of one term at one place can be told apart.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "log_store",
    about: "votes, fsync, acknowledgement, commitment, apply gate, power cuts with partial persistence: three replicas",
    tla: "LogStore",
    bugs: &["ack_unsynced", "vote_unsynced", "leader_counts_unsynced", "leader_restored", "gate_open", "older_term"],
    shared: || explore_all(SHARED),
    deep,
    find,
};

/// The configuration that both engines explore.
const SHARED: LogStore =
    LogStore { terms: 2, entries: 1, candidates: 2, in_turn: false, frail: 1, crashes: 1, bug: Bug::None };

fn deep(limit: Limit) -> Count {
    explore(LogStore { terms: 3, frail: 3, ..SHARED }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let small = |bug| LogStore { frail: 3, bug, ..SHARED };
    counterexample(match bug {
        "ack_unsynced" => small(Bug::AckUnsynced),
        "vote_unsynced" => small(Bug::VoteUnsynced),
        "leader_counts_unsynced" => small(Bug::LeaderCountsUnsynced),
        "gate_open" => small(Bug::GateOpen),
        "leader_restored" => LogStore { entries: 2, ..small(Bug::LeaderRestored) },
        // A leader, another one, the first again, and the other again.
        "older_term" => LogStore { terms: 4, in_turn: true, crashes: 0, ..small(Bug::OlderTerm) },
        _ => return None,
    })
}

const NODES: usize = 3;
const TERMS_MAX: usize = 4;
const ENTRIES_MAX: usize = 3;
const QUORUM: u32 = 2;

type Log = List<u8, ENTRIES_MAX>;

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// A follower acknowledges what it has in memory.
    AckUnsynced,
    /// A vote is given before it is durable.
    VoteUnsynced,
    /// A leader counts its own entries before its own sync.
    LeaderCountsUnsynced,
    /// A leader that restarts goes on as leader of its term.
    LeaderRestored,
    /// Applying does not wait for the local log.
    GateOpen,
    /// An entry of an older term is committed by counting replicas.
    OlderTerm,
}

/// The specification with its bounds.
pub struct LogStore {
    terms: usize,
    entries: usize,
    /// How many of the nodes start elections.
    candidates: usize,
    /// Whether only the first of them starts the first term, the second the second, and so on in turn.
    in_turn: bool,
    /// How many of the nodes can lose power.
    frail: usize,
    /// Power cuts in total.
    crashes: u8,
    bug: Bug,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Role {
    #[default]
    Follower,
    Candidate,
    Leader,
}

/// A term and whom it was given to (a node counted from 1, 0 for nobody).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Vote {
    term: u8,
    given: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    role: Role,
    vote: Vote,
    /// The vote as a power cut leaves it.
    kept: Vote,
    log: Log,
    durable: u8,
    committed: u8,
    applied: u8,
    /// How often it was restarted.
    life: u8,
}

/// All variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    nodes: [Node; NODES],
    /// By term and candidate: bits of the voters.
    cast: [[u8; NODES]; TERMS_MAX],
    /// By term: bits of the nodes that led it.
    led: [u8; TERMS_MAX],
    /// By term and follower: how far it acknowledged to that term's leader.
    acked: [[u8; NODES]; TERMS_MAX],
    /// What has ever been committed.
    chosen: Log,
}

/// A step; nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// A node starts an election.
    Timeout(usize),
    /// The first votes for the second.
    Grant(usize, usize),
    /// The first hears of the second's newer term, or that it leads the present one.
    Observe(usize, usize),
    /// A candidate has a majority.
    Lead(usize),
    /// A leader appends an entry.
    Propose(usize),
    /// The first drops what contradicts the log of its leader, the second.
    Truncate(usize, usize),
    /// The first appends the next entry of its leader, the second.
    Append(usize, usize),
    /// The log's writer syncs.
    Sync(usize),
    /// A replica tells its leader, perhaps itself, how far it is durable.
    Ack(usize),
    /// A leader takes entries up to this one as committed.
    Commit(usize, u8),
    /// The first hears from its leader, the second, what is committed.
    Learn(usize, usize),
    /// An entry is applied.
    Apply(usize),
    /// Power cut: this many entries are left.
    Crash(usize, u8),
}

fn common(a: &[u8], b: &[u8]) -> u8 {
    a.iter().zip(b).take_while(|(a, b)| a == b).count() as u8
}

fn term_of(entry: u8) -> u8 {
    entry >> 4
}

fn last_term(log: &[u8]) -> u8 {
    log.last().map_or(0, |entry| term_of(*entry))
}

impl LogStore {
    /// Makes `vote` the node's vote, durably, and with it everything that was queued before.
    fn save_vote(&self, node: &mut Node, vote: Vote) {
        node.vote = vote;
        node.role = Role::Follower;
        if self.bug != Bug::VoteUnsynced {
            node.kept = vote;
            node.durable = node.log.len() as u8;
        }
    }

    fn follows(state: &State, follower: usize, leader: usize) -> bool {
        let (f, l) = (&state.nodes[follower], &state.nodes[leader]);
        follower != leader && l.role == Role::Leader && f.vote == Vote { term: l.vote.term, given: leader as u8 + 1 }
    }

    /// How far `n` may acknowledge to the leader of its term, if there is news.
    fn acknowledgeable(&self, state: &State, n: usize) -> Option<u8> {
        let node = &state.nodes[n];
        let leader = usize::from(node.vote.given).checked_sub(1)?;
        if leader != n && !Self::follows(state, n, leader) || state.nodes[leader].role != Role::Leader {
            return None;
        }
        let unsynced =
            self.bug == Bug::AckUnsynced && leader != n || self.bug == Bug::LeaderCountsUnsynced && leader == n;
        let safe = if unsynced { node.log.len() } else { node.durable.into() };
        let to = common(&node.log[..safe], &state.nodes[leader].log);
        (to > state.acked[usize::from(node.vote.term) - 1][n]).then_some(to)
    }

    fn may_commit(&self, state: &State, n: usize, to: u8) -> bool {
        let node = &state.nodes[n];
        let acked = &state.acked[usize::from(node.vote.term) - 1];
        let of_this_term = term_of(node.log[usize::from(to) - 1]) == node.vote.term;
        (of_this_term || self.bug == Bug::OlderTerm)
            && acked.iter().filter(|upto| **upto >= to).count() as u32 >= QUORUM
    }
}

impl Specification for LogStore {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] = &[
        "Timeout", "Grant", "Observe", "Lead", "Propose", "Truncate", "Append", "Sync", "Ack", "Commit", "Learn",
        "Apply", "Crash",
    ];

    fn position(action: Action) -> usize {
        match action {
            Action::Timeout(_) => 0,
            Action::Grant(..) => 1,
            Action::Observe(..) => 2,
            Action::Lead(_) => 3,
            Action::Propose(_) => 4,
            Action::Truncate(..) => 5,
            Action::Append(..) => 6,
            Action::Sync(_) => 7,
            Action::Ack(_) => 8,
            Action::Commit(..) => 9,
            Action::Learn(..) => 10,
            Action::Apply(_) => 11,
            Action::Crash(..) => 12,
        }
    }

    fn init(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        let crashed: u8 = state.nodes.iter().map(|node| node.life).sum();
        for (n, node) in state.nodes.iter().enumerate() {
            let len = node.log.len() as u8;
            let term = usize::from(node.vote.term);
            let its_turn = n < self.candidates && (!self.in_turn || term % self.candidates == n);
            if its_turn && term < self.terms && node.role != Role::Leader {
                enabled.push(Action::Timeout(n));
            }
            if node.role == Role::Candidate && state.cast[term - 1][n].count_ones() >= QUORUM {
                enabled.push(Action::Lead(n));
            }
            if node.role == Role::Leader {
                if node.log.len() < self.entries {
                    enabled.push(Action::Propose(n));
                }
                let committable = (node.committed + 1..=len).filter(|to| self.may_commit(state, n, *to));
                enabled.extend(committable.map(|to| Action::Commit(n, to)));
            }
            if node.durable < len || node.kept != node.vote {
                enabled.push(Action::Sync(n));
            }
            if self.acknowledgeable(state, n).is_some() {
                enabled.push(Action::Ack(n));
            }
            if node.applied < node.committed && (node.applied < node.durable || self.bug == Bug::GateOpen) {
                enabled.push(Action::Apply(n));
            }
            if n < self.frail && crashed < self.crashes {
                enabled.extend((node.durable..=len).map(|left| Action::Crash(n, left)));
            }
            for (m, other) in state.nodes.iter().enumerate().filter(|(m, _)| *m != n) {
                if other.role == Role::Candidate
                    && (node.vote.term < other.vote.term || node.vote == other.vote)
                    && state.cast[usize::from(other.vote.term) - 1][m] & (1 << n) == 0
                    && (last_term(&other.log), other.log.len()) >= (last_term(&node.log), node.log.len())
                {
                    enabled.push(Action::Grant(n, m));
                }
                if other.vote.term > node.vote.term
                    || other.vote.term == node.vote.term && other.role == Role::Leader && node.vote != other.vote
                {
                    enabled.push(Action::Observe(n, m));
                }
                if Self::follows(state, n, m) {
                    let same = common(&node.log, &other.log);
                    if usize::from(same) < node.log.len().min(other.log.len()) {
                        enabled.push(Action::Truncate(n, m));
                    } else if node.log.len() < other.log.len() {
                        enabled.push(Action::Append(n, m));
                    }
                    if other.committed.min(same) > node.committed {
                        enabled.push(Action::Learn(n, m));
                    }
                }
            }
        }
    }

    fn next(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Timeout(n) => {
                let node = &mut next.nodes[n];
                let vote = Vote { term: node.vote.term + 1, given: n as u8 + 1 };
                self.save_vote(node, vote);
                node.role = Role::Candidate;
                next.cast[usize::from(vote.term) - 1][n] |= 1 << n;
            }
            Action::Grant(n, m) => {
                let vote = state.nodes[m].vote;
                self.save_vote(&mut next.nodes[n], vote);
                next.cast[usize::from(vote.term) - 1][m] |= 1 << n;
            }
            Action::Observe(n, m) => self.save_vote(&mut next.nodes[n], state.nodes[m].vote),
            Action::Lead(n) => {
                let node = &mut next.nodes[n];
                node.role = Role::Leader;
                next.led[usize::from(node.vote.term) - 1] |= 1 << n;
            }
            Action::Propose(n) => {
                let node = &mut next.nodes[n];
                node.log.push(node.vote.term << 4 | node.life);
            }
            Action::Truncate(n, m) => {
                let node = &mut next.nodes[n];
                let keep = common(&node.log, &state.nodes[m].log);
                node.log.truncate(keep.into());
                // What was queued before is synced, then cut.
                node.durable = keep;
            }
            Action::Append(n, m) => {
                let at = state.nodes[n].log.len();
                next.nodes[n].log.push(state.nodes[m].log[at]);
            }
            Action::Sync(n) => {
                let node = &mut next.nodes[n];
                node.durable = node.log.len() as u8;
                node.kept = node.vote;
            }
            Action::Ack(n) => {
                let term = usize::from(state.nodes[n].vote.term);
                next.acked[term - 1][n] = self.acknowledgeable(state, n).unwrap_or_default();
            }
            Action::Commit(n, to) => {
                let node = &mut next.nodes[n];
                node.committed = to;
                if usize::from(to) > state.chosen.len() {
                    next.chosen = node.log[..to.into()].iter().copied().collect();
                }
            }
            Action::Learn(n, m) => {
                let leader = &state.nodes[m];
                let node = &mut next.nodes[n];
                node.committed = leader.committed.min(common(&node.log, &leader.log));
            }
            Action::Apply(n) => next.nodes[n].applied += 1,
            Action::Crash(n, left) => {
                let node = &mut next.nodes[n];
                node.log.truncate(left.into());
                node.durable = left;
                let restored = self.bug == Bug::LeaderRestored && node.role == Role::Leader;
                node.role = if restored { Role::Leader } else { Role::Follower };
                node.vote = node.kept;
                // What is committed is heard again, and applied again.
                node.committed = 0;
                node.applied = 0;
                node.life += 1;
            }
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        if state.led.iter().any(|nodes| nodes.count_ones() > 1) {
            return Some("I24 a term has one leader");
        }
        let chosen = &state.chosen;
        let newest = state.led.iter().rposition(|nodes| *nodes != 0).map_or(0, |at| at + 1);
        for node in &state.nodes {
            if node.applied > node.durable {
                return Some("I25 what is applied is durable here");
            }
            if node.applied > node.committed || common(&node.log, chosen) < node.committed {
                return Some("I2 what a replica takes as committed is what was committed");
            }
            let leads = node.role == Role::Leader && usize::from(node.vote.term) == newest;
            if leads && usize::from(common(&node.log, chosen)) < chosen.len() {
                return Some("I1 the newest leader has everything that was committed");
            }
            if last_term(&node.log) > node.vote.term || !node.log.is_sorted() {
                return Some("I26 terms do not fall along a log, nor below the vote");
            }
            for other in &state.nodes {
                let same = usize::from(common(&node.log, &other.log));
                let both = node.log[same..].iter().zip(&other.log[same..]);
                if both.into_iter().any(|(a, b)| term_of(*a) == term_of(*b)) {
                    return Some("I26 logs that agree on an entry agree on all before it");
                }
            }
        }
        for (at, entry) in chosen.iter().enumerate() {
            let holders = state.nodes.iter().filter(|node| node.log[..node.durable.into()].get(at) == Some(entry));
            if (holders.count() as u32) < QUORUM {
                return Some("I28 what is committed is durable on a majority");
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

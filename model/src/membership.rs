//! Replacing a member of the group: the joint change, a leader that removes itself, a new node id, and a disk that was wiped.
//!
//! Stands for `crates/replica` (`Replica::replace`, `add_learner`, `bootstrap`, `peer`, and the incarnations that members have in
//! the log) and the engine's joint consensus as we drive it. The group is nodes 1 to 3; node 4 is a learner that takes the place
//! of node 3: first both configurations decide together, then, when that is committed, the new one alone. Which configuration
//! counts is the last in a node's log, committed or not. Disks do not forget here, except one that is wiped as a whole: its node
//! has forgotten what it promised, and is refused from then on, since everybody's log says that it was another one.
//! [`log_store`](crate::log_store) has the rest.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "membership",
    about: "joint change of voters, removed leader, replaced node id, wiped disk refused",
    tla: "Membership",
    bugs: &["one_step", "new_majority_only", "wiped_votes", "removed_leader_counts"],
    shared: || explore_all(SHARED),
    deep,
    find,
};

/// The configuration that both engines explore.
const SHARED: Membership =
    Membership { terms: 2, entries: 2, candidates: 2, in_turn: true, frail: 1, wipes: 1, bug: Bug::None };

fn deep(limit: Limit) -> Count {
    explore(Membership { candidates: 3, in_turn: false, frail: 3, ..SHARED }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let all = Membership { candidates: 3, in_turn: false, frail: 3, ..SHARED };
    counterexample(match bug {
        "one_step" => Membership { bug: Bug::OneStep, ..SHARED },
        "new_majority_only" => Membership { bug: Bug::NewMajorityOnly, ..SHARED },
        "wiped_votes" => Membership { bug: Bug::WipedVotes, ..all },
        // The change is two entries, and then one has to be lost.
        "removed_leader_counts" => Membership { entries: 3, wipes: 0, bug: Bug::RemovedLeaderCounts, ..all },
        _ => return None,
    })
}

const NODES: usize = 4;
/// Those that vote before the change, and after it: bits by node from 0.
const OLD: u8 = 0b0111;
const NEW: u8 = 0b1011;
const TERMS_MAX: usize = 3;
const ENTRIES_MAX: usize = 3;

type Log = List<u8, ENTRIES_MAX>;

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// The new voters take over at once.
    OneStep,
    /// While both configurations count, the new one is asked alone.
    NewMajorityOnly,
    /// A node whose disk was wiped goes on under its id.
    WipedVotes,
    /// A leader counts itself though it no longer votes.
    RemovedLeaderCounts,
}

/// The specification with its bounds.
pub struct Membership {
    terms: usize,
    entries: usize,
    /// How many of the nodes start elections: node 2, then node 3, which goes, node 1, and node 4, which comes.
    candidates: usize,
    /// Whether only the first of them starts the first term, the second the second, and so on in turn.
    in_turn: bool,
    /// How many of the nodes can lose their disk.
    frail: usize,
    wipes: u8,
    bug: Bug,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Role {
    #[default]
    Follower,
    Candidate,
    Leader,
}

/// What an entry is.
const DATA: u8 = 0;
const JOINT: u8 = 1;
const FINAL: u8 = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    role: Role,
    term: u8,
    /// Whom it voted for in that term, counted from 1.
    given: u8,
    log: Log,
    committed: u8,
    wiped: bool,
}

/// All variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    nodes: [Node; NODES],
    /// By term and candidate: bits of the voters.
    cast: [[u8; NODES]; TERMS_MAX],
    /// By term: bits of the nodes that led it.
    led: [u8; TERMS_MAX],
    chosen: Log,
}

/// A step; nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// A voter starts an election.
    Timeout(usize),
    /// The first votes for the second.
    Grant(usize, usize),
    /// The first follows the second, a leader of a term not older than its own.
    Follow(usize, usize),
    /// A candidate has its majorities.
    Lead(usize),
    /// A leader appends a message.
    Propose(usize),
    /// A leader appends the next configuration.
    Change(usize),
    /// The first takes over one entry of its leader, the second, dropping what contradicts it.
    Append(usize, usize),
    /// A leader takes entries up to this one as committed.
    Commit(usize, u8),
    /// A leader that no longer votes goes.
    StepDown(usize),
    /// A disk is lost.
    Wipe(usize),
}

fn common(a: &[u8], b: &[u8]) -> u8 {
    a.iter().zip(b).take_while(|(a, b)| a == b).count() as u8
}

fn term_of(entry: u8) -> u8 {
    entry >> 4
}

fn kind_of(entry: u8) -> u8 {
    entry & 15
}

/// The last configuration in a log; `DATA` when there is none but the first.
fn config(log: &[u8]) -> u8 {
    log.iter().rev().map(|entry| kind_of(*entry)).find(|kind| *kind != DATA).unwrap_or(DATA)
}

/// Whether `nodes`, with those in `also` counted though they are none of them, are a majority of `of`.
fn is_majority(nodes: u8, of: u8, also: u8) -> bool {
    2 * (nodes & (of | also)).count_ones() > of.count_ones()
}

impl Membership {
    fn voters(config: u8) -> u8 {
        match config {
            JOINT => OLD | NEW,
            FINAL => NEW,
            _ => OLD,
        }
    }

    fn is_quorum(&self, nodes: u8, config: u8, also: u8) -> bool {
        match config {
            JOINT => {
                (is_majority(nodes, OLD, also) || self.bug == Bug::NewMajorityOnly) && is_majority(nodes, NEW, also)
            }
            FINAL => is_majority(nodes, NEW, also),
            _ => is_majority(nodes, OLD, also),
        }
    }

    /// Whether the others deal with it.
    fn is_member(&self, node: &Node) -> bool {
        !node.wiped || self.bug == Bug::WipedVotes
    }

    /// Which configuration a leader may append next, if any.
    fn change(&self, node: &Node) -> Option<u8> {
        match config(&node.log) {
            DATA if self.bug == Bug::OneStep => Some(FINAL),
            DATA => Some(JOINT),
            // Only once both have agreed that both count.
            JOINT => node.log[..node.committed.into()].iter().any(|entry| kind_of(*entry) == JOINT).then_some(FINAL),
            _ => None,
        }
    }

    fn may_commit(&self, state: &State, n: usize, upto: u8) -> bool {
        let node = &state.nodes[n];
        let mut holders = 0;
        for (m, other) in state.nodes.iter().enumerate() {
            let follows = m == n || other.term == node.term && usize::from(other.given) == n + 1;
            if follows && self.is_member(other) && common(&other.log, &node.log) >= upto {
                holders |= 1 << m;
            }
        }
        let also = if self.bug == Bug::RemovedLeaderCounts { 1 << n } else { 0 };
        term_of(node.log[usize::from(upto) - 1]) == node.term && self.is_quorum(holders, config(&node.log), also)
    }

    fn may_stand(&self, n: usize, term: u8) -> bool {
        let order = &[1, 2, 0, 3][..self.candidates];
        if self.in_turn { order[usize::from(term) % order.len()] == n } else { order.contains(&n) }
    }
}

impl Specification for Membership {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] =
        &["Timeout", "Grant", "Follow", "Lead", "Propose", "Change", "Append", "Commit", "StepDown", "Wipe"];

    fn position(action: Action) -> usize {
        match action {
            Action::Timeout(_) => 0,
            Action::Grant(..) => 1,
            Action::Follow(..) => 2,
            Action::Lead(_) => 3,
            Action::Propose(_) => 4,
            Action::Change(_) => 5,
            Action::Append(..) => 6,
            Action::Commit(..) => 7,
            Action::StepDown(_) => 8,
            Action::Wipe(_) => 9,
        }
    }

    fn init(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        let wiped = state.nodes.iter().filter(|node| node.wiped).count();
        for (n, node) in state.nodes.iter().enumerate() {
            if n < self.frail && wiped < usize::from(self.wipes) {
                enabled.push(Action::Wipe(n));
            }
            if !self.is_member(node) {
                continue;
            }
            let votes = Self::voters(config(&node.log)) & (1 << n) != 0;
            if self.may_stand(n, node.term) && votes && usize::from(node.term) < self.terms && node.role != Role::Leader
            {
                enabled.push(Action::Timeout(n));
            }
            if node.role == Role::Candidate
                && self.is_quorum(state.cast[usize::from(node.term) - 1][n], config(&node.log), 0)
            {
                enabled.push(Action::Lead(n));
            }
            if node.role == Role::Leader {
                if node.log.len() < self.entries {
                    enabled.push(Action::Propose(n));
                    if self.change(node).is_some() {
                        enabled.push(Action::Change(n));
                    }
                }
                let len = node.log.len() as u8;
                let committable = (node.committed + 1..=len).filter(|upto| self.may_commit(state, n, *upto));
                enabled.extend(committable.map(|upto| Action::Commit(n, upto)));
                if !votes && node.log[..node.committed.into()].iter().any(|entry| kind_of(*entry) == FINAL) {
                    enabled.push(Action::StepDown(n));
                }
            }
            for (m, other) in state.nodes.iter().enumerate().filter(|(m, _)| *m != n) {
                if other.role == Role::Candidate && self.is_member(other) && node.term < other.term {
                    let last = |log: &Log| (log.last().map_or(0, |entry| term_of(*entry)), log.len());
                    if last(&other.log) >= last(&node.log) {
                        enabled.push(Action::Grant(n, m));
                    }
                }
                if other.role == Role::Leader && self.is_member(other) {
                    let given = m as u8 + 1;
                    if node.term < other.term || node.term == other.term && node.given != given {
                        enabled.push(Action::Follow(n, m));
                    }
                    let follows = node.term == other.term && node.given == given;
                    if follows && common(&node.log, &other.log) < other.log.len() as u8 {
                        enabled.push(Action::Append(n, m));
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
                (node.role, node.term, node.given) = (Role::Candidate, node.term + 1, n as u8 + 1);
                next.cast[usize::from(node.term) - 1][n] |= 1 << n;
            }
            Action::Grant(n, m) => {
                let node = &mut next.nodes[n];
                (node.role, node.term, node.given) = (Role::Follower, state.nodes[m].term, m as u8 + 1);
                next.cast[usize::from(node.term) - 1][m] |= 1 << n;
            }
            Action::Follow(n, m) => {
                let node = &mut next.nodes[n];
                (node.role, node.term, node.given) = (Role::Follower, state.nodes[m].term, m as u8 + 1);
            }
            Action::Lead(n) => {
                let node = &mut next.nodes[n];
                node.role = Role::Leader;
                next.led[usize::from(node.term) - 1] |= 1 << n;
            }
            Action::Propose(n) => {
                let node = &mut next.nodes[n];
                node.log.push(node.term << 4 | DATA);
            }
            Action::Change(n) => {
                let node = &mut next.nodes[n];
                let config = self.change(node).unwrap_or(DATA);
                node.log.push(node.term << 4 | config);
            }
            Action::Append(n, m) => {
                let leader = &state.nodes[m].log;
                let log = &mut next.nodes[n].log;
                let keep = usize::from(common(log, leader));
                log.truncate(keep);
                log.push(leader[keep]);
            }
            Action::Commit(n, upto) => {
                let node = &mut next.nodes[n];
                node.committed = upto;
                if usize::from(upto) > state.chosen.len() {
                    next.chosen = node.log[..upto.into()].iter().copied().collect();
                }
            }
            Action::StepDown(n) => next.nodes[n].role = Role::Follower,
            Action::Wipe(n) => next.nodes[n] = Node { wiped: true, ..Node::default() },
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
            if common(&node.log, chosen) < node.committed {
                return Some("I2 what a replica takes as committed is what was committed");
            }
            let leads = node.role == Role::Leader && usize::from(node.term) == newest;
            if leads && usize::from(common(&node.log, chosen)) < chosen.len() {
                return Some("I1 the newest leader has everything that was committed");
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

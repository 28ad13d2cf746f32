//! Who the NameServers say leads: registrations that are late, lost or out of order, and fencing by term.
//!
//! Stands for `crates/broker/src/register.rs` (what a broker says of itself), `crates/route` (`register`, `is_fenced`, `admit`:
//! what a NameServer makes of it) and the lifetime of an entry there. Raft is only what it guarantees: a term has one leader at
//! most. A broker is a follower under an id of its own or the leader under id 0, at one address. A NameServer forgets a broker
//! that is silent, and the term it fences by with the last one.

use crate::list::List;
use crate::spec::{Count, Counterexample, Limit, Spec, Specification, counterexample, explore, explore_all};

/// The registered specification.
pub const SPEC: Spec = Spec {
    name: "group_role",
    about: "registration under id 0, fencing by term, two NameServers, messages in any order",
    tla: "GroupRole",
    bugs: &["no_fence", "torn_role", "follower_raises", "keeps_old_id"],
    shared: || explore_all(SHARED),
    deep,
    find,
};

/// The configuration that both engines explore.
const SHARED: GroupRole = GroupRole { brokers: 2, servers: 2, terms: 2, messages: 2, bug: Bug::None };

fn deep(limit: Limit) -> Count {
    explore(GroupRole { brokers: 3, servers: 2, terms: 2, messages: 2, bug: Bug::None }, limit)
}

fn find(bug: &'static str) -> Option<Counterexample> {
    let bug = match bug {
        "no_fence" => Bug::NoFence,
        "torn_role" => Bug::TornRole,
        "follower_raises" => Bug::FollowerRaises,
        "keeps_old_id" => Bug::KeepsOldId,
        _ => return None,
    };
    counterexample(GroupRole { bug, ..SHARED })
}

const BROKERS_MAX: usize = 3;
const SERVERS_MAX: usize = 2;
const TERMS_MAX: usize = 3;
const MESSAGES_MAX: usize = 3;

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// A NameServer takes every registration.
    NoFence,
    /// A broker reads its role and then, later, its term.
    TornRole,
    /// A follower's registration raises the term to fence by.
    FollowerRaises,
    /// A broker that registers under a new id stays under the old one.
    KeepsOldId,
}

/// The specification with its bounds.
pub struct GroupRole {
    brokers: usize,
    servers: usize,
    terms: usize,
    /// Messages under way at a time.
    messages: usize,
    bug: Bug,
}

/// A registration on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    from: u8,
    to: u8,
    leads: bool,
    term: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Broker {
    term: u8,
    leads: bool,
    /// With `Bug::TornRole`: what it is about to say of itself.
    says_leads: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Server {
    /// The highest term accepted for id 0.
    version: u8,
    /// Who is under id 0, counted from 1; 0 for nobody.
    leader: u8,
    /// Bits of the brokers under ids of their own.
    followers: u8,
    /// Kept by the specification: the highest term of a leader that was accepted while somebody was registered.
    highest: u8,
}

/// All variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    brokers: [Broker; BROKERS_MAX],
    servers: [Server; SERVERS_MAX],
    /// By term: who stood for election, counted from 1.
    stood: [u8; TERMS_MAX],
    /// By term: who leads, counted from 1.
    leads: [u8; TERMS_MAX],
    /// Sorted, so that there is one state for each set.
    net: List<Message, MESSAGES_MAX>,
}

/// A step; brokers and NameServers are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// A broker stands for election in a new term.
    Campaign(usize),
    /// It is elected.
    Elect(usize),
    /// The first hears of the second's newer term.
    Learn(usize, usize),
    /// A broker tells a NameServer what it is.
    Register(usize, usize),
    /// A message arrives.
    Deliver(Message),
    /// A NameServer forgets a silent broker.
    Expire(usize, usize),
    /// With `Bug::TornRole`: a broker looks at its role.
    Look(usize),
}

impl GroupRole {
    fn message(&self, state: &State, from: usize, to: usize) -> Message {
        let broker = &state.brokers[from];
        let leads = if self.bug == Bug::TornRole { broker.says_leads } else { broker.leads };
        Message { from: from as u8, to: to as u8, leads, term: broker.term }
    }

    fn receive(&self, server: &mut Server, message: Message) {
        let Message { from, leads, term, .. } = message;
        let (number, bit) = (from + 1, 1 << from);
        if leads {
            let other = server.leader != 0 && server.leader != number;
            let fenced = term < server.version || term == server.version && term > 0 && other;
            if fenced && self.bug != Bug::NoFence {
                return;
            }
            server.version = server.version.max(term);
            server.highest = server.highest.max(term);
            server.leader = number;
            if self.bug != Bug::KeepsOldId {
                server.followers &= !bit;
            }
        } else {
            if self.bug == Bug::FollowerRaises {
                server.version = server.version.max(term);
            }
            server.followers |= bit;
            if server.leader == number && self.bug != Bug::KeepsOldId {
                server.leader = 0;
            }
        }
    }
}

impl Specification for GroupRole {
    type State = State;
    type Action = Action;

    const ACTIONS: &'static [&'static str] = &["Campaign", "Elect", "Learn", "Register", "Deliver", "Expire"];

    fn position(action: Action) -> usize {
        match action {
            Action::Campaign(_) => 0,
            Action::Elect(_) => 1,
            Action::Learn(..) => 2,
            // Looking is a part of registering.
            Action::Register(..) | Action::Look(_) => 3,
            Action::Deliver(_) => 4,
            Action::Expire(..) => 5,
        }
    }

    fn init(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, enabled: &mut Vec<Action>) {
        let top = state.stood.iter().filter(|stood| **stood != 0).count();
        for b in 0..self.brokers {
            let broker = &state.brokers[b];
            if top < self.terms && !broker.leads {
                enabled.push(Action::Campaign(b));
            }
            if let Some(at) = usize::from(broker.term).checked_sub(1)
                && usize::from(state.stood[at]) == b + 1
                && state.leads[at] == 0
            {
                enabled.push(Action::Elect(b));
            }
            let newer = (0..self.brokers).filter(|c| state.brokers[*c].term > broker.term);
            enabled.extend(newer.map(|c| Action::Learn(b, c)));
            if self.bug == Bug::TornRole && broker.says_leads != broker.leads {
                enabled.push(Action::Look(b));
            }
            for s in 0..self.servers {
                if state.net.len() < self.messages && !state.net.contains(&self.message(state, b, s)) {
                    enabled.push(Action::Register(b, s));
                }
                let server = &state.servers[s];
                if usize::from(server.leader) == b + 1 || server.followers & (1 << b) != 0 {
                    enabled.push(Action::Expire(s, b));
                }
            }
        }
        enabled.extend(state.net.iter().map(|message| Action::Deliver(*message)));
    }

    fn next(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Campaign(b) => {
                let top = state.stood.iter().filter(|stood| **stood != 0).count();
                next.stood[top] = b as u8 + 1;
                next.brokers[b].term = top as u8 + 1;
            }
            Action::Elect(b) => {
                next.leads[usize::from(state.brokers[b].term) - 1] = b as u8 + 1;
                next.brokers[b].leads = true;
            }
            Action::Learn(b, c) => {
                next.brokers[b].term = state.brokers[c].term;
                next.brokers[b].leads = false;
            }
            Action::Register(b, s) => {
                let mut net: Vec<Message> = state.net.to_vec();
                net.push(self.message(state, b, s));
                net.sort_unstable();
                next.net = net.into_iter().collect();
            }
            Action::Deliver(message) => {
                if let Some(at) = state.net.iter().position(|other| *other == message) {
                    next.net.remove(at);
                }
                self.receive(&mut next.servers[usize::from(message.to)], message);
            }
            Action::Expire(s, b) => {
                let server = &mut next.servers[s];
                server.followers &= !(1 << b);
                if usize::from(server.leader) == b + 1 {
                    server.leader = 0;
                }
                if server.followers == 0 && server.leader == 0 {
                    *server = Server::default();
                }
            }
            Action::Look(b) => next.brokers[b].says_leads = state.brokers[b].leads,
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let led = state.leads.iter().rposition(|leader| *leader != 0).map_or(0, |at| at + 1);
        for server in &state.servers {
            if server.leader != 0 {
                let due = usize::from(server.highest).checked_sub(1).map(|at| state.leads[at]);
                if due != Some(server.leader) {
                    return Some("I24 id 0 is the leader of the highest term that registered");
                }
                if server.followers & (1 << (server.leader - 1)) != 0 {
                    return Some("I24 a broker stands under one id");
                }
            }
            if usize::from(server.version) > led {
                return Some("I30 nothing shuts the newest leader out");
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

//! Makes wrong traces from good ones, to see that the acceptor rejects them.
//!
//! A mutant must be wrong by what the events mean, not merely different: two steps of different replicas often commute, a
//! follower need not acknowledge, and a lost answer is no fault. So a mutation is offered only where the event is bound to
//! others of its node, and each rule below says by which. Which of the possible mutants are tried is decided by a seed, with every
//! rule equally often whatever the number of events it fits.

use std::collections::{BTreeMap, HashMap};

use super::acceptor::Acceptor;
use super::{Event, Kind};

/// A change to a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Drop,
    Duplicate,
    /// With the node's next event.
    Swap(usize),
    /// Field and the value it gets.
    Set(usize, u64),
}

#[derive(Clone, Copy, Debug)]
struct Mutation {
    at: usize,
    change: Change,
}

/// What became of the mutants of a trace.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Mutants tried.
    pub mutants: u64,
    /// Of those, rejected.
    pub rejected: u64,
    /// By rule: tried and rejected.
    pub rules: BTreeMap<String, (u64, u64)>,
    /// Mutants that were accepted, at most a few.
    pub survivors: Vec<String>,
}

/// Most survivors that are described.
const SURVIVORS_MAX: usize = 20;

/// Chooses `count` mutations of an accepted trace, each with the rule that allows it.
fn choose(events: &[Event], count: usize, seed: u64) -> Vec<(String, Mutation)> {
    let rules: Vec<(String, Vec<Mutation>)> = rules(events).into_iter().collect();
    let mut random = seed;
    let mut chosen = Vec::new();
    while chosen.len() < count && !rules.is_empty() {
        let (name, places) = &rules[below(&mut random, rules.len())];
        chosen.push((name.clone(), places[below(&mut random, places.len())]));
    }
    chosen
}

/// `count` wrong traces made from an accepted one, each with the rule that made it.
#[must_use]
pub fn mutants(events: &[Event], count: usize, seed: u64) -> Vec<(String, Vec<Event>)> {
    let chosen = choose(events, count, seed).into_iter();
    chosen.map(|(rule, Mutation { at, change })| (rule, changed(events, at, change))).collect()
}

/// Tries `mutants` mutants of an accepted trace.
#[must_use]
pub fn mutate(events: &[Event], mutants: usize, seed: u64) -> Tally {
    let mut tally = Tally::default();
    for (name, Mutation { at, change }) in choose(events, mutants, seed) {
        let rejected = Acceptor::check(&changed(events, at, change)).is_err();
        tally.mutants += 1;
        tally.rejected += u64::from(rejected);
        let (tried, killed) = tally.rules.entry(name.clone()).or_default();
        *tried += 1;
        *killed += u64::from(rejected);
        if !rejected && tally.survivors.len() < SURVIVORS_MAX {
            tally.survivors.push(format!("{name} at event {at}: {}", events[at]));
        }
    }
    tally
}

/// A number below `bound`, from a seed that moves on.
fn below(seed: &mut u64, bound: usize) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % bound as u64) as usize
}

fn changed(events: &[Event], at: usize, change: Change) -> Vec<Event> {
    let mut events = events.to_vec();
    match change {
        Change::Drop => drop(events.remove(at)),
        Change::Duplicate => events.insert(at, events[at].clone()),
        Change::Swap(other) => events.swap(at, other),
        Change::Set(field, value) => events[at].values[field] = value,
    }
    events
}

/// The trace by node, and what is needed to see whether a change is wrong.
struct Context<'a> {
    events: &'a [Event],
    /// Positions of each node's events.
    of_node: HashMap<u64, Vec<usize>>,
    /// Position of each event among its node's.
    rank: Vec<usize>,
    /// How many appends and applications there are of each entry.
    copies: HashMap<(u64, u64), u64>,
    /// How many nodes were told a membership at this index.
    memberships: HashMap<u64, u64>,
}

impl<'a> Context<'a> {
    fn new(events: &'a [Event]) -> Self {
        let mut of_node: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut rank = Vec::with_capacity(events.len());
        let mut copies = HashMap::new();
        let mut memberships = HashMap::new();
        for (at, event) in events.iter().enumerate() {
            let mine = of_node.entry(event.node).or_default();
            rank.push(mine.len());
            mine.push(at);
            match event.kind {
                Kind::Append | Kind::Apply => *copies.entry((event.values[0], event.values[1])).or_default() += 1,
                Kind::Membership => *memberships.entry(event.values[0]).or_default() += 1,
                _ => {}
            }
        }
        Self { events, of_node, rank, copies, memberships }
    }

    /// The node's events after `at`, up to the end of its process.
    fn later(&self, at: usize) -> impl Iterator<Item = (usize, &'a Event)> + '_ {
        let mine = &self.of_node[&self.events[at].node];
        let end = |kind| matches!(kind, Kind::Crash | Kind::Start | Kind::Wipe | Kind::RecoveredTerm);
        let rest = mine[self.rank[at] + 1..].iter().map(|at| (*at, &self.events[*at]));
        rest.take_while(move |(_, event)| !end(event.kind))
    }

    /// The first of these kinds that follows on the same node.
    fn first(&self, at: usize, kinds: &[Kind]) -> Option<Kind> {
        self.later(at).map(|(_, event)| event.kind).find(|kind| kinds.contains(kind))
    }

    fn followed_by(&self, at: usize, kinds: &[Kind]) -> bool {
        self.first(at, kinds).is_some()
    }
}

/// Every mutation that the rules allow, by rule.
fn rules(events: &[Event]) -> BTreeMap<String, Vec<Mutation>> {
    let context = Context::new(events);
    let mut rules: BTreeMap<String, Vec<Mutation>> = BTreeMap::new();
    let mut add = |name: String, at, change| rules.entry(name).or_default().push(Mutation { at, change });
    // By node: the commit and durable marks before the event.
    let mut committed: HashMap<u64, u64> = HashMap::new();
    let mut durable: HashMap<u64, u64> = HashMap::new();
    let mut next: HashMap<u64, u64> = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        let name = event.kind.name();
        let before = *committed.get(&event.node).unwrap_or(&0);
        if may_drop(&context, at, before) {
            add(format!("drop {name}"), at, Change::Drop);
        }
        // Every step is taken once; but a machine that is off may be switched off, and a log may be opened again and again.
        if !matches!(event.kind, Kind::Start | Kind::Crash | Kind::Wipe | Kind::Recovered) {
            add(format!("duplicate {name}"), at, Change::Duplicate);
        }
        if let Some((other, second)) = context.later(at).next()
            && must_precede(event, second, *durable.get(&event.node).unwrap_or(&0))
        {
            add(format!("swap {name} {}", second.kind.name()), at, Change::Swap(other));
        }
        let end = *next.get(&event.node).unwrap_or(&0);
        for (field, value) in wrong_values(&context, at, before, end) {
            add(format!("change {name}.{}", event.kind.fields()[field]), at, Change::Set(field, value));
        }
        match event.kind {
            Kind::Append => drop(next.insert(event.node, event.values[0] + 1)),
            Kind::Truncate => drop(next.insert(event.node, event.values[0])),
            Kind::Commit => drop(committed.insert(event.node, event.values[0] + 1)),
            Kind::Durable => drop(durable.insert(event.node, event.values[0])),
            Kind::Recovered => {
                committed.insert(event.node, event.values[3]);
                durable.insert(event.node, event.values[2]);
                next.insert(event.node, event.values[2]);
            }
            Kind::Started => {
                let known = committed.entry(event.node).or_default();
                *known = (*known).max(event.values[1]);
            }
            _ => {}
        }
    }
    rules
}

/// Whether a later step of the node needs this one. Acknowledgements need the one before because operations are acknowledged
/// in turn. An answer, a purge that is never durable, or serving as leader need not happen.
fn may_drop(context: &Context<'_>, at: usize, committed: u64) -> bool {
    use Kind::{
        Ack, Append, Apply, Commit, Durable, Install, Installed, Membership, Purge, Purged, Recovered, Reset,
        ResetSaved, Started, Submit, Synced, Truncate, Truncated, Vote, VoteSaved,
    };
    let event = &context.events[at];
    match event.kind {
        Append => context.followed_by(at, &[Append, Submit]),
        Submit => context.followed_by(at, &[Ack]),
        Synced => context.first(at, &[Synced, Durable]) == Some(Durable),
        Durable => context.first(at, &[Durable, Ack]) == Some(Ack),
        Ack => context.followed_by(at, &[Ack]),
        Vote => context.followed_by(at, &[VoteSaved]),
        VoteSaved => context.followed_by(at, &[Vote, Append]),
        Truncate => context.followed_by(at, &[Truncated]),
        Truncated => context.followed_by(at, &[Append]),
        Purge => context.followed_by(at, &[Purged]),
        Install => context.followed_by(at, &[Installed]),
        Installed => context.first(at, &[Apply, Install]) == Some(Apply),
        Reset => context.followed_by(at, &[ResetSaved]),
        Commit => {
            let next = context
                .later(at)
                .find(|(_, later)| later.kind == Commit || later.kind == Apply && later.values[0] >= committed);
            next.is_some_and(|(_, later)| later.kind == Apply)
        }
        Apply => context.followed_by(at, &[Apply]),
        Recovered => context.followed_by(at, &[Started]),
        Started => context.followed_by(at, &[Append, Vote, Apply]),
        // Another replica says what the entry is.
        Membership => context.memberships[&event.values[0]] > 1,
        _ => false,
    }
}

/// Whether the node's next event cannot come before this one.
fn must_precede(first: &Event, second: &Event, durable: u64) -> bool {
    use Kind::{
        Ack, Answer, Append, Apply, Durable, Membership, Recovered, RecoveredTerm, Started, Submit, Synced, Truncate,
        Truncated, Vote, VoteSaved,
    };
    match (first.kind, second.kind) {
        (Append, Append | Submit)
        | (Submit, Append)
        | (Synced, Durable)
        | (Ack, Ack)
        | (Vote, VoteSaved)
        | (VoteSaved, Append | Vote)
        | (Truncate, Truncated)
        | (Truncated, Append)
        | (Apply, Apply | Answer)
        | (Answer, Apply)
        | (RecoveredTerm, RecoveredTerm | Recovered)
        | (Recovered, Started)
        | (Started, _) => true,
        (Membership, Append) => first.values[0] == second.values[0],
        (Durable, Ack) => second.values[0] >= durable,
        _ => false,
    }
}

/// Fields whose value is determined by what came before or is repeated by what follows, with a value next to the true one.
fn wrong_values(context: &Context<'_>, at: usize, committed: u64, end: u64) -> Vec<(usize, u64)> {
    let event = &context.events[at];
    let values = &event.values;
    let mut wrong = Vec::new();
    let mut near = |field: usize| {
        wrong.push((field, values[field] + 1));
        wrong.extend(values[field].checked_sub(1).map(|less| (field, less)));
    };
    match event.kind {
        Kind::Append => {
            near(0);
            near(1);
            // Content that nobody else has could be right.
            if context.copies[&(values[0], values[1])] > 1 {
                near(2);
            }
        }
        Kind::Apply => (0..3).for_each(near),
        Kind::Submit | Kind::Ack | Kind::Answer | Kind::Installed => (0..2).for_each(near),
        Kind::Synced if context.first(at, &[Kind::Synced, Kind::Durable]) == Some(Kind::Durable) => near(0),
        Kind::Durable => near(0),
        Kind::Truncate if context.followed_by(at, &[Kind::Truncated]) => near(0),
        Kind::Purge if context.followed_by(at, &[Kind::Purged]) => near(0),
        Kind::Truncated | Kind::Purged | Kind::ResetSaved | Kind::BecameLeader => near(0),
        Kind::Commit => {
            near(1);
            // One more than there is, or what was committed before.
            if values[0] + 1 == end {
                wrong.push((0, values[0] + 1));
            }
            if values[0] == committed && committed > 0 {
                wrong.push((0, values[0] - 1));
            }
        }
        Kind::Vote if !context.followed_by(at, &[Kind::VoteSaved]) => {}
        Kind::Vote | Kind::VoteSaved => {
            near(0);
            near(1);
            wrong.push((2, 1 - values[2].min(1)));
        }
        Kind::Recovered => (4..6).for_each(near),
        Kind::RecoveredTerm => (0..2).for_each(near),
        Kind::Started => {
            if values[1] > 0 {
                near(2);
            }
            // Replay begins behind it.
            if context.followed_by(at, &[Kind::Apply]) {
                near(1);
            }
        }
        _ => {}
    }
    wrong
}

//! Decides whether a trace is a behaviour of the specification.
//!
//! The specification is that of [`log_store`](crate::log_store) without its bounds, with what the small one leaves out:
//! changing memberships, purged logs, snapshots, replaced disks. Its state is what the events say, so that there is never more
//! than one: each event is an action with all its parameters, and the trace is rejected at the first one that is not enabled.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::{Event, Kind, Voters};

/// Why a trace is no behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Position of the event in the trace, from 0.
    pub at: usize,
    /// The event.
    pub event: String,
    /// The guard that it does not meet.
    pub why: String,
    /// The node's state before it.
    pub state: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} ({}): {}; the node's state before: {}", self.at, self.event, self.why, self.state)
    }
}

/// A vote, ordered as votes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ballot {
    term: u64,
    given: u64,
    /// Whether the node it was given to leads the term.
    committed: bool,
}

impl Ballot {
    fn of(values: &[u64]) -> Self {
        Self { term: values[0], given: values[1], committed: values[2] != 0 }
    }

    /// Whether this one may replace `old`.
    fn exceeds(self, old: Self) -> bool {
        self.term > old.term || self.term == old.term && self.committed && !old.committed
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    term: u64,
    sum: u64,
}

/// A log in memory or on disk: entries from `first` on.
#[derive(Clone, Debug, Default)]
struct Log {
    first: u64,
    purged_term: u64,
    entries: VecDeque<Entry>,
}

impl Log {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn get(&self, index: u64) -> Option<Entry> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?).copied()
    }

    /// Term of the entry before `next`.
    fn term_before(&self, next: u64) -> Option<u64> {
        match next.checked_sub(1) {
            None => Some(0),
            Some(index) if index + 1 == self.first => Some(self.purged_term),
            Some(index) => self.get(index).map(|entry| entry.term),
        }
    }

    /// Term and index after the last entry, by which candidates are compared.
    fn last(&self) -> (u64, u64) {
        (self.term_before(self.next()).unwrap_or(0), self.next())
    }

    fn truncate(&mut self, next: u64) {
        self.entries.truncate(next.saturating_sub(self.first) as usize);
    }

    fn purge(&mut self, next: u64) {
        self.purged_term = self.term_before(next).unwrap_or(0);
        self.entries.drain(..(next - self.first) as usize);
        self.first = next;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No process.
    #[default]
    Down,
    /// A process that has not opened its log.
    Starting,
    /// The log is open, the replica does not run.
    Open,
    Running,
}

/// The log as a crash may still bring it back.
#[derive(Clone, Debug)]
struct Before {
    log: Log,
    synced: u64,
    purged: u64,
    /// Index from which the present log differs.
    cut: u64,
    by_reset: bool,
}

#[derive(Clone, Debug, Default)]
struct Node {
    phase: Phase,
    id: Option<u64>,
    vote: Ballot,
    saved: Ballot,
    saving: bool,
    log: Log,
    synced: u64,
    durable: u64,
    /// Operations handed to the log's writer: the last entry of each.
    submitted: VecDeque<(u64, u64)>,
    /// Entries appended and not yet part of an operation.
    open: bool,
    before: Option<Before>,
    /// Purged before this in memory; on disk before the log's first entry at least.
    purged: u64,
    committed: u64,
    applied: u64,
    answered: u64,
    /// The snapshot whose installation began last, and whether it is done.
    snapshot: Option<(u64, u64)>,
    installed: bool,
    /// The last term it was elected in since it started: who restarts does not go on leading.
    elected: u64,
    /// Whether it came with an id whose promises are forgotten.
    refused: bool,
    serving: u64,
    recovered_terms: Vec<(u64, u64)>,
    /// Membership entries of the log, by index.
    members: BTreeMap<u64, Arc<Voters>>,
    /// Memberships told for entries about to be appended.
    announced: BTreeMap<u64, Arc<Voters>>,
}

impl Node {
    fn leads(&self) -> bool {
        self.vote.committed && self.id == Some(self.vote.given) && self.elected == self.vote.term
    }

    /// Whether the entry is here and no power cut takes it away.
    fn holds(&self, index: u64, term: u64) -> bool {
        if index < self.log.first {
            return true;
        }
        index < self.durable && self.log.get(index).is_some_and(|entry| entry.term == term)
    }
}

/// An entry that is committed.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    entry: Entry,
    /// Term of the leader that committed it.
    by: u64,
}

/// What is known of an entry wherever it is.
#[derive(Clone, Debug)]
struct Known {
    sum: u64,
    term_before: u64,
    voters: Option<Arc<Voters>>,
}

/// The specification's state, fed with one event after another.
#[derive(Clone, Debug, Default)]
pub struct Acceptor {
    nodes: BTreeMap<u64, Node>,
    /// Every entry that was ever appended, by term and index.
    entries: HashMap<(u64, u64), Known>,
    /// By index. Nothing is ever taken away.
    chosen: Vec<Chosen>,
    /// By term.
    leaders: BTreeMap<u64, u64>,
    /// By term and candidate: who has durably voted, seeing a log not older than its own.
    granted: HashMap<(u64, u64), BTreeSet<u64>>,
    /// By term and candidate: its last entry when its candidacy was durable.
    stood: HashMap<(u64, u64), (u64, u64)>,
    /// Nodes as they were when they lost their disk, and their Raft ids, which may not come back.
    lost: Vec<Node>,
    spent: BTreeSet<u64>,
    /// Whether the recorder tells when a process starts.
    starts: bool,
    counts: BTreeMap<Kind, u64>,
    at: usize,
}

type Verdict = Result<(), String>;

macro_rules! guard {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

impl Acceptor {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks a whole trace; how often each kind of event occurred.
    ///
    /// # Errors
    /// The first event that is not enabled.
    pub fn check(events: &[Event]) -> Result<BTreeMap<Kind, u64>, Rejection> {
        let mut acceptor = Self::new();
        events.iter().try_for_each(|event| acceptor.accept(event))?;
        Ok(acceptor.counts)
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// When it is not enabled. The state is of no use then.
    pub fn accept(&mut self, event: &Event) -> Result<(), Rejection> {
        let mut node = self.nodes.remove(&event.node).unwrap_or_default();
        let verdict = self.step(&mut node, event);
        let rejection = verdict.map_err(|why| {
            let Node { phase, id, vote, saved, log, synced, durable, committed, applied, .. } = &node;
            let chosen = self.chosen.len();
            Rejection {
                at: self.at,
                event: event.to_string(),
                why,
                state: format!(
                    "{phase:?} id {id:?} vote {vote:?} saved {saved:?} log {}..{} synced {synced} durable {durable} \
                     committed {committed} applied {applied}; chosen {chosen}",
                    log.first,
                    log.next()
                ),
            }
        });
        self.nodes.insert(event.node, node);
        self.at += 1;
        *self.counts.entry(event.kind).or_default() += 1;
        rejection
    }

    fn step(&mut self, node: &mut Node, event: &Event) -> Verdict {
        let values = &event.values;
        let needed = match event.kind {
            Kind::Start | Kind::Crash | Kind::Wipe | Kind::RecoveredTerm | Kind::Recovered => None,
            // A snapshot whose installation was cut by a crash is finished before the replica runs.
            Kind::Reset | Kind::ResetSaved | Kind::Started if node.phase == Phase::Open => None,
            Kind::Synced | Kind::Durable if node.phase == Phase::Open => None,
            _ => Some(Phase::Running),
        };
        guard!(needed.is_none_or(|phase| node.phase == phase), "the node is {:?}", node.phase);
        guard!(needed.is_none() || !node.refused, "its Raft id belonged to a disk that is gone");
        match event.kind {
            Kind::Start => {
                node.phase = Phase::Starting;
                self.starts = true;
            }
            Kind::Crash => {
                node.phase = Phase::Down;
            }
            Kind::Wipe => {
                guard!(node.phase == Phase::Down, "it runs");
                self.spent.extend(node.id);
                self.lost.push(std::mem::take(node));
            }
            Kind::RecoveredTerm => node.recovered_terms.push((values[0], values[1])),
            Kind::Recovered => self.recovered(node, values)?,
            Kind::Started => self.started(node, values)?,
            Kind::Vote => self.vote(node, Ballot::of(values))?,
            Kind::VoteSaved => self.vote_saved(node, Ballot::of(values))?,
            Kind::Membership => {
                guard!(values[0] >= node.log.next(), "there is an entry already");
                let voters = event.voters.clone().unwrap_or_default();
                guard!(
                    node.announced.insert(values[0], voters).is_none(),
                    "a membership for this entry was told before"
                );
            }
            Kind::Append => self.append(node, values[0], Entry { term: values[1], sum: values[2] })?,
            Kind::Submit => {
                guard!(node.open && values[0] + 1 == node.log.next(), "it is not what was appended last");
                guard!(node.log.term_before(values[0] + 1) == Some(values[1]), "the entry has another term");
                node.submitted.push_back((values[0], values[1]));
                node.open = false;
            }
            Kind::Synced => {
                guard!(values[0] > node.synced, "that was synced before");
                guard!(values[0] <= node.log.next() && !node.open, "the log does not reach so far");
                node.synced = values[0];
            }
            Kind::Durable => {
                guard!(values[0] > node.durable, "that was durable before");
                guard!(values[0] == node.synced, "durable is what is synced");
                node.durable = values[0];
            }
            Kind::Ack => Self::ack(node, values[0], values[1])?,
            Kind::Truncate => self.truncate(node, values[0])?,
            Kind::Truncated => match node.before.take() {
                Some(before) if !before.by_reset && before.cut == values[0] => {}
                _ => return Err("no such truncation is under way".into()),
            },
            Kind::Purge => {
                guard!(values[0] > node.purged, "that was purged before");
                guard!(values[0] <= node.applied.min(node.durable), "what is not applied and durable is still needed");
                node.purged = values[0];
            }
            Kind::Purged => {
                guard!(values[0] == node.purged && values[0] > node.log.first, "no such purge is under way");
                node.log.purge(values[0]);
            }
            Kind::Install => {
                let (index, term) = (values[0], values[1]);
                guard!(index + 1 > node.applied, "the state is newer");
                guard!(node.snapshot != Some((index, term)) || node.installed, "that installation is under way");
                self.is_chosen(index, term)?;
                node.snapshot = Some((index, term));
                node.installed = false;
            }
            Kind::Installed => {
                let (index, term) = (values[0], values[1]);
                guard!(node.snapshot == Some((index, term)) && !node.installed, "no such installation is under way");
                node.installed = true;
                node.applied = index + 1;
                node.committed = node.committed.max(index + 1);
            }
            Kind::Reset => self.reset(node, values[0], values[1])?,
            Kind::ResetSaved => {
                guard!(values[0] + 1 >= node.log.first, "the log does not begin there");
                match node.before.take() {
                    Some(before) if before.by_reset && before.cut == values[0] + 1 => {}
                    _ => return Err("no such reset is under way".into()),
                }
            }
            Kind::Commit => self.commit(node, values[0], values[1])?,
            Kind::Apply => self.apply(node, values[0], Entry { term: values[1], sum: values[2] })?,
            Kind::Answer => {
                let (index, term) = (values[0], values[1]);
                guard!(index + 1 == node.applied, "it is not what was applied last");
                guard!(index + 1 > node.answered, "it was answered before");
                guard!(node.log.term_before(index + 1) == Some(term), "the entry has another term");
                guard!(self.quorum(node, |voter| voter.holds(index, term)), "no majority has it durably");
                node.answered = index + 1;
            }
            Kind::BecameLeader => {
                let term = values[0];
                guard!(node.elected == term, "it was not elected in this term");
                guard!(node.serving < term, "it serves already");
                guard!(node.log.term_before(node.applied) >= Some(term), "nothing of its term is applied");
                node.serving = term;
            }
        }
        Ok(())
    }

    /// Whether a majority of the node's membership, of both configurations while there are two, has `property`.
    fn quorum(&self, node: &Node, property: impl Fn(&Node) -> bool) -> bool {
        let Some(voters) = node.members.values().next_back() else { return false };
        let has = |id: &u64| {
            if node.id == Some(*id) {
                return property(node);
            }
            // What a disk promised before it was lost is a fact to whoever heard it.
            self.nodes.values().chain(&self.lost).any(|other| other.id == Some(*id) && property(other))
        };
        voters.iter().all(|config| 2 * config.iter().filter(|id| has(id)).count() > config.len())
    }

    fn is_chosen(&self, index: u64, term: u64) -> Verdict {
        match self.chosen.get(index as usize) {
            None => Err("nobody has committed that entry".into()),
            Some(chosen) if chosen.entry.term != term => {
                Err(format!("the committed entry has term {}", chosen.entry.term))
            }
            Some(_) => Ok(()),
        }
    }

    fn recovered(&self, node: &mut Node, values: &[u64]) -> Verdict {
        let &[purged, purged_term, next, committed, vote_term, voted_for, vote_committed] = values else {
            return Err("fields are missing".into());
        };
        guard!(node.phase == Phase::Starting || !self.starts, "no process was started");
        let vote = Ballot { term: vote_term, given: voted_for, committed: vote_committed != 0 };
        guard!(vote == node.saved || node.saving && vote == node.vote, "that is not what it voted");
        let terms = std::mem::take(&mut node.recovered_terms);
        // What is found is the log, or what it was before a change that was not yet durable; unsynced entries may be gone.
        let matches = |log: &Log, synced: u64, purged_max: u64| {
            let within =
                (log.first..=purged_max).contains(&purged) && (synced.max(purged)..=log.next()).contains(&next);
            let starts = (purged..next).filter_map(|index| {
                let term = log.get(index)?.term;
                (index == purged || log.term_before(index) != Some(term)).then_some((index, term))
            });
            within && log.term_before(purged) == Some(purged_term) && starts.eq(terms.iter().copied())
        };
        if !matches(&node.log, node.synced, node.purged) {
            let before = node.before.take().filter(|before| matches(&before.log, before.synced, before.purged));
            let Some(before) = before else {
                return Err("that is neither its log nor what a power cut can leave of it".into());
            };
            node.members = self.members_of(&before.log, &node.members);
            node.log = before.log;
        }
        node.log.truncate(next);
        node.log.purge(purged);
        node.purged = purged;
        guard!(committed <= next.max(purged), "what is committed is not in the log");
        guard!(committed as usize <= self.chosen.len(), "nobody has committed that much");
        node.members.split_off(&next);
        node.announced.clear();
        node.submitted.clear();
        node.open = false;
        node.before = None;
        node.synced = next;
        node.durable = next;
        node.committed = committed;
        node.answered = 0;
        node.elected = 0;
        node.refused = false;
        node.serving = 0;
        node.vote = vote;
        node.saved = vote;
        node.saving = false;
        node.phase = Phase::Open;
        Ok(())
    }

    /// The membership entries in a log that came back.
    fn members_of(&self, log: &Log, known: &BTreeMap<u64, Arc<Voters>>) -> BTreeMap<u64, Arc<Voters>> {
        let mut members = known.clone();
        members.split_off(&log.first);
        for (index, entry) in (log.first..).zip(&log.entries) {
            if let Some(voters) = self.entries.get(&(entry.term, index)).and_then(|known| known.voters.clone()) {
                members.insert(index, voters);
            }
        }
        members
    }

    fn started(&self, node: &mut Node, values: &[u64]) -> Verdict {
        let (id, applied, applied_term) = (values[0], values[1], values[2]);
        guard!(node.phase == Phase::Open, "its log is not open");
        guard!(node.id.is_none_or(|known| known == id), "it had another Raft id");
        // It may run and ask to be let in; it must not take part.
        node.refused = self.spent.contains(&id);
        let taken = self.nodes.values().any(|other| other.id == Some(id));
        guard!(!taken, "another node has this Raft id");
        // A crash may come between writing a snapshot's state and saying so.
        let snapshot = node.snapshot.is_some_and(|(index, _)| index + 1 == applied);
        guard!(applied <= node.applied || snapshot, "its state is newer than what it has applied");
        if !snapshot {
            node.snapshot = None;
        }
        guard!((node.log.first..=node.log.next()).contains(&applied), "its state and its log do not fit");
        if let Some(index) = applied.checked_sub(1) {
            self.is_chosen(index, applied_term)?;
        }
        node.id = Some(id);
        node.applied = applied;
        node.committed = node.committed.max(applied);
        node.phase = Phase::Running;
        Ok(())
    }

    fn vote(&mut self, node: &mut Node, vote: Ballot) -> Verdict {
        guard!(!node.saving, "the vote before is not durable yet");
        guard!(vote.exceeds(node.vote), "it has voted in this term, or a later one");
        let own = node.id == Some(vote.given);
        if vote.committed {
            if own {
                let granted = self.granted.get(&(vote.term, vote.given));
                let elected = self.quorum(node, |voter| {
                    voter.id.is_some_and(|id| granted.is_some_and(|granted| granted.contains(&id)))
                });
                guard!(elected, "no majority has durably voted for it");
                let last = self.chosen.partition_point(|chosen| chosen.by <= vote.term).checked_sub(1);
                if let Some(last) = last {
                    let due = self.chosen[last].entry.term;
                    let has = node.log.term_before(last as u64 + 1) == Some(due) || (last as u64) < node.log.first;
                    guard!(has, "it would lead without committed entry {last} of term {due}");
                }
                node.elected = vote.term;
            } else {
                guard!(self.leaders.get(&vote.term) == Some(&vote.given), "that node does not lead the term");
            }
        } else if own {
            guard!(vote.term == node.vote.term + 1, "an election is for the next term");
            // It asks the others at once: its own vote counts when it is durable, and they may hear of it before, or after
            // a crash that took it away.
            self.stood.insert((vote.term, vote.given), node.log.last());
        } else {
            guard!(self.stood.contains_key(&(vote.term, vote.given)), "that node has not stood for election");
        }
        node.vote = vote;
        node.saving = true;
        Ok(())
    }

    fn vote_saved(&mut self, node: &mut Node, vote: Ballot) -> Verdict {
        guard!(node.saving && vote == node.vote, "that vote was not being saved");
        node.saving = false;
        node.saved = vote;
        let Some(id) = node.id else { return Err("it has no Raft id".into()) };
        let key = (vote.term, vote.given);
        if vote.committed {
            if id == vote.given {
                let leader = *self.leaders.entry(vote.term).or_insert(id);
                guard!(leader == id, "node {leader} leads this term");
            }
            return Ok(());
        }
        // A node also adopts the vote of others when it only hears of it; that is no consent.
        if self.stood.get(&key).is_some_and(|stood| *stood >= node.log.last()) {
            self.granted.entry(key).or_default().insert(id);
        }
        Ok(())
    }

    fn append(&mut self, node: &mut Node, index: u64, entry: Entry) -> Verdict {
        guard!(index == node.log.next(), "the next entry is {}", node.log.next());
        guard!(!node.saving, "a vote is being saved");
        guard!(node.before.as_ref().is_none_or(|before| before.by_reset), "a truncation is under way");
        let term_before = node.log.term_before(index).unwrap_or(0);
        guard!(entry.term >= term_before, "terms fall along the log");
        guard!(entry.term <= node.vote.term, "its term is newer than the node's");
        let announced = node.announced.remove(&index);
        let first = index == 0;
        match self.entries.get(&(entry.term, index)) {
            Some(known) => {
                guard!(known.sum == entry.sum, "the entry of this term and index has other content elsewhere");
                guard!(
                    known.term_before == term_before,
                    "the entry before it has term {} elsewhere",
                    known.term_before
                );
                guard!(known.voters == announced, "it is a membership here or elsewhere only");
                guard!(first || node.vote.committed, "it follows nobody and leads nothing");
            }
            None => {
                // The first entry of all is the membership that a group begins with.
                let leads = node.leads() && entry.term == node.vote.term;
                guard!(leads || first && announced.is_some(), "only the leader of its term makes an entry");
                let known = Known { sum: entry.sum, term_before, voters: announced.clone() };
                self.entries.insert((entry.term, index), known);
            }
        }
        if let Some(voters) = announced {
            node.members.insert(index, voters);
        }
        node.log.entries.push_back(entry);
        node.open = true;
        Ok(())
    }

    fn ack(node: &mut Node, index: u64, term: u64) -> Verdict {
        guard!(node.submitted.pop_front() == Some((index, term)), "it is not the operation whose turn it is");
        // What was queued before a truncation or a reset is still done first, and says so.
        guard!(node.holds(index, term) || node.before.is_some(), "the entry is not durable here");
        Ok(())
    }

    fn truncate(&self, node: &mut Node, next: u64) -> Verdict {
        guard!(next >= node.log.first && next < node.log.next(), "there is nothing to drop");
        guard!(next >= node.committed, "it knows that more is committed");
        guard!(node.vote.committed && !node.leads(), "only a follower drops entries");
        guard!(node.before.is_none() && !node.open, "another change is under way");
        for (index, entry) in
            (next..node.log.next()).zip(node.log.entries.iter().skip((next - node.log.first) as usize))
        {
            let chosen = self.chosen.get(index as usize).is_some_and(|chosen| chosen.entry == *entry);
            guard!(!chosen, "entry {index} of term {} is committed", entry.term);
        }
        let (log, synced, purged) = (node.log.clone(), node.synced, node.purged);
        node.before = Some(Before { log, synced, purged, cut: next, by_reset: false });
        node.log.truncate(next);
        node.members.split_off(&next);
        node.synced = node.synced.min(next);
        node.durable = node.durable.min(next);
        Ok(())
    }

    fn reset(&self, node: &mut Node, index: u64, term: u64) -> Verdict {
        guard!(node.snapshot == Some((index, term)), "no snapshot up to this entry was installed");
        guard!(node.log.term_before(index + 1) != Some(term) || index >= node.log.next(), "the log has that entry");
        guard!(node.before.is_none(), "another change is under way");
        self.is_chosen(index, term)?;
        let (log, synced, purged) = (node.log.clone(), node.synced, node.purged);
        node.before = Some(Before { log, synced, purged, cut: index + 1, by_reset: true });
        let members = (0..=index).rev().find_map(|at| {
            let entry = self.chosen[at as usize].entry;
            self.entries.get(&(entry.term, at)).and_then(|known| known.voters.clone()).map(|voters| (at, voters))
        });
        node.members = members.into_iter().collect();
        node.log = Log { first: index + 1, purged_term: term, entries: VecDeque::new() };
        node.purged = index + 1;
        node.synced = index + 1;
        node.durable = index + 1;
        node.committed = node.committed.max(index + 1);
        Ok(())
    }

    fn commit(&mut self, node: &mut Node, index: u64, term: u64) -> Verdict {
        guard!(index + 1 > node.committed, "that was committed before");
        guard!(node.log.term_before(index + 1) == Some(term), "its log has no such entry");
        let known = self.chosen.len() as u64;
        if index < known {
            self.is_chosen(index, term)?;
        } else {
            // Who follows may say so before the leader does, whose own disk is not needed for a majority.
            let of_its_leader = node.vote.committed && term == node.vote.term;
            guard!(of_its_leader, "what is committed first is an entry of its leader's own term");
            guard!(self.quorum(node, |voter| voter.holds(index, term)), "no majority has it durably");
            for at in known..=index {
                let Some(entry) = node.log.get(at) else { return Err(format!("its log has no entry {at}")) };
                self.chosen.push(Chosen { entry, by: node.vote.term });
            }
        }
        node.committed = index + 1;
        Ok(())
    }

    fn apply(&self, node: &mut Node, index: u64, entry: Entry) -> Verdict {
        guard!(index == node.applied, "entry {} is due", node.applied);
        guard!(index < node.committed, "it is not committed as far as the node knows");
        guard!(index < node.durable, "it is not durable here");
        guard!(node.log.get(index) == Some(entry), "that is not the entry in its log");
        guard!(
            self.chosen.get(index as usize).is_some_and(|chosen| chosen.entry == entry),
            "another entry was committed"
        );
        node.applied = index + 1;
        Ok(())
    }
}

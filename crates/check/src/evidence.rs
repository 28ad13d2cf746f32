//! A history, sorted once for all rules.

use std::collections::{BTreeMap, HashMap};

use crate::Options;
use crate::history::{Action, Found, History, MessageId, Micros, NEVER, Name, Operation, Outcome};

/// Prefix of the topic through which a group gets messages again.
const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead-letter topic.
const DLQ_PREFIX: &str = "%DLQ%";

/// What kind of topic a queue belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Retry,
    DeadLetter,
}

/// Operations by what they do, as indices in the order of the history.
#[derive(Debug, Default)]
pub(crate) struct ByKind {
    pub sends: Vec<u32>,
    pub pulls: Vec<u32>,
    pub bounds: Vec<u32>,
    pub searches: Vec<u32>,
    pub query_ids: Vec<u32>,
    pub query_keys: Vec<u32>,
    pub stores: Vec<u32>,
    pub offset_queries: Vec<u32>,
    pub locks: Vec<u32>,
    pub routes: Vec<u32>,
    pub members: Vec<u32>,
    pub deliveries: Vec<u32>,
    pub send_backs: Vec<u32>,
    pub settled: Vec<u32>,
    pub configs: Vec<u32>,
    pub digests: Vec<u32>,
    pub faults: Vec<u32>,
    pub exits: Vec<u32>,
    pub panics: Vec<u32>,
    pub resources: Vec<u32>,
    pub services: Vec<u32>,
}

/// An acknowledged send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub offset: u64,
    pub invoke: Micros,
    pub returned: Micros,
    pub op: u32,
}

/// A full read of one queue on one replica.
#[derive(Debug)]
pub(crate) struct Drained<'a> {
    pub pass: u32,
    pub node: Option<Name>,
    pub min: u64,
    pub max: u64,
    /// The last of its operations.
    pub op: u32,
    /// When the last of its parts had been read.
    pub returned: Micros,
    /// From, to, operation, messages; by `from`.
    parts: Vec<(u64, u64, u32, &'a [Found])>,
    /// Whether messages are in the order of offsets in each part.
    sorted: bool,
}

impl<'a> Drained<'a> {
    /// Whether the parts cover all of the queue.
    pub fn is_complete(&self) -> bool {
        let mut at = self.min;
        for (from, to, ..) in &self.parts {
            if *from > at {
                return false;
            }
            at = at.max(*to);
        }
        at >= self.max
    }

    /// What stands at an offset.
    pub fn at(&self, offset: u64) -> Option<(&'a Found, u32)> {
        let after = self.parts.partition_point(|part| part.0 <= offset);
        self.parts[..after].iter().rev().filter(|part| offset < part.1).find_map(|(from, _, op, messages)| {
            let guess = usize::try_from(offset - from).ok()?;
            if let Some(found) = messages.get(guess).filter(|found| found.offset == offset) {
                return Some((found, *op));
            }
            let found = if self.sorted {
                messages.binary_search_by_key(&offset, |found| found.offset).ok().map(|index| &messages[index])
            } else {
                messages.iter().find(|found| found.offset == offset)
            };
            found.map(|found| (found, *op))
        })
    }

    /// All messages with the operations that read them.
    pub fn messages(&self) -> impl Iterator<Item = (&'a Found, u32)> + '_ {
        self.parts.iter().flat_map(|(_, _, op, messages)| messages.iter().map(|found| (found, *op)))
    }
}

/// Two operations that saw different messages at one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    pub offset: u64,
    pub first: (MessageId, u32),
    pub second: (MessageId, u32),
}

/// What stands, or once stood, at an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<'a> {
    pub offset: u64,
    pub id: MessageId,
    /// An operation that shows it.
    pub op: u32,
    /// What a reader found; `None` when only an acknowledgement or a query names it.
    pub found: Option<&'a Found>,
}

/// Highest value known at a time: steps up, by time.
#[derive(Debug, Default)]
pub(crate) struct Floor(Vec<(Micros, u64, u32)>);

impl Floor {
    /// From values that were certain from a time on, with the operations that say so.
    pub fn new(mut values: Vec<(Micros, u64, u32)>) -> Self {
        values.sort_unstable();
        let mut steps: Vec<(Micros, u64, u32)> = Vec::new();
        for value in values {
            if steps.last().is_none_or(|last| value.1 > last.1) {
                steps.push(value);
            }
        }
        Self(steps)
    }

    /// The highest value certain before `at`.
    pub fn before(&self, at: Micros) -> Option<(u64, u32)> {
        let index = self.0.partition_point(|step| step.0 < at);
        index.checked_sub(1).map(|index| (self.0[index].1, self.0[index].2))
    }
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue<'a> {
    pub topic: Name,
    pub queue: u32,
    pub kind: Kind,
    /// Acknowledged sends, by invocation.
    pub acks: Vec<Ack>,
    /// The offset after the highest acknowledged.
    pub acked: Floor,
    /// Pulls and bound queries of this queue.
    pub pulls: Vec<u32>,
    pub bounds: Vec<u32>,
    /// All drains, by pass.
    pub drains: Vec<Drained<'a>>,
    /// Everything ever seen here, by offset.
    pub standing: Vec<Standing<'a>>,
    pub conflicts: Vec<Conflict>,
}

impl<'a> Queue<'a> {
    /// Drains of the last pass, one per replica.
    pub fn last_drains(&self) -> &[Drained<'a>] {
        let pass = self.drains.last().map(|drain| drain.pass);
        let first = self.drains.partition_point(|drain| Some(drain.pass) < pass);
        &self.drains[first..]
    }

    /// Offsets below this one may have been deleted.
    pub fn last_min(&self) -> Option<u64> {
        self.last_drains().iter().map(|drain| drain.min).max()
    }

    /// The one after the last offset, in the end.
    pub fn last_max(&self) -> Option<u64> {
        self.last_drains().iter().map(|drain| drain.max).max()
    }

    /// What stands at the offsets of a range.
    pub fn standing_in(&self, range: std::ops::Range<u64>) -> &[Standing<'a>] {
        let first = self.standing.partition_point(|standing| standing.offset < range.start);
        let count = self.standing[first..].partition_point(|standing| standing.offset < range.end);
        &self.standing[first..first + count]
    }

    /// What stands at an offset.
    pub fn at(&self, offset: u64) -> Option<&Standing<'a>> {
        let first = self.standing.first()?.offset;
        let guess = usize::try_from(offset.checked_sub(first)?).ok()?;
        if let Some(found) = self.standing.get(guess).filter(|standing| standing.offset == offset) {
            return Some(found);
        }
        self.standing.binary_search_by_key(&offset, |standing| standing.offset).ok().map(|index| &self.standing[index])
    }
}

/// A send of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    seq: u64,
    attempt: u32,
    pub op: u32,
}

/// Everything a rule looks at.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub history: &'a History,
    pub options: &'a Options,
    pub by_kind: ByKind,
    pub queues: Vec<Queue<'a>>,
    /// Replicas that the run names.
    pub replicas: Vec<Name>,
    /// First and last time in the history.
    pub begin: Micros,
    pub end: Micros,
    queue_index: HashMap<(Name, u32), u32>,
    producers: Vec<Vec<Sent>>,
    /// Where each message was seen in ordinary topics: message, queue, offset.
    copies: Vec<(MessageId, u32, u64)>,
}

impl<'a> Evidence<'a> {
    pub fn gather(history: &'a History, options: &'a Options) -> Self {
        let mut evidence = Self {
            history,
            options,
            by_kind: ByKind::default(),
            queues: Vec::new(),
            replicas: Vec::new(),
            begin: NEVER,
            end: 0,
            queue_index: HashMap::new(),
            producers: Vec::new(),
            copies: Vec::new(),
        };
        evidence.producers.resize_with(history.names().len(), Vec::new);
        for (index, operation) in history.operations().iter().enumerate() {
            let op = u32::try_from(index).unwrap_or(u32::MAX);
            evidence.begin = evidence.begin.min(operation.invoke);
            evidence.end = evidence.end.max(operation.invoke);
            if operation.returned != NEVER {
                evidence.end = evidence.end.max(operation.returned);
            }
            evidence.sort_in(op, operation);
        }
        for sent in &mut evidence.producers {
            sent.sort_unstable_by_key(|sent| (sent.seq, sent.attempt, sent.op));
        }
        evidence.finish_queues();
        evidence
    }

    fn sort_in(&mut self, op: u32, operation: &'a Operation) {
        let kinds = &mut self.by_kind;
        match &operation.action {
            Action::Run { replicas, .. } => self.replicas.clone_from(replicas),
            Action::Send { topic, queue, message, offset, .. } => {
                kinds.sends.push(op);
                self.producers[message.producer.index()].push(Sent { seq: message.seq, attempt: message.attempt, op });
                if let (Some(queue), Some(offset), Outcome::Ok) = (queue, offset, operation.outcome) {
                    let ack = Ack { offset: *offset, invoke: operation.invoke, returned: operation.returned, op };
                    self.queue_mut(*topic, *queue).acks.push(ack);
                } else if let Some(queue) = queue
                    && operation.outcome == Outcome::Unknown
                {
                    self.queue_mut(*topic, *queue);
                }
            }
            Action::Pull { topic, queue, .. } => {
                kinds.pulls.push(op);
                self.queue_mut(*topic, *queue).pulls.push(op);
            }
            Action::Bound { topic, queue, .. } => {
                kinds.bounds.push(op);
                self.queue_mut(*topic, *queue).bounds.push(op);
            }
            Action::Drain { pass, topic, queue, min, max, from, to, messages } => {
                if operation.outcome == Outcome::Ok {
                    let part = (*from, *to, op, messages.as_slice());
                    let (node, at) = (operation.node, operation.returned);
                    self.queue_mut(*topic, *queue).add_drain(*pass, node, (*min, *max), part, at);
                }
            }
            Action::SearchTime { .. } => kinds.searches.push(op),
            Action::QueryId { .. } => kinds.query_ids.push(op),
            Action::QueryKey { .. } => kinds.query_keys.push(op),
            Action::StoreOffset { .. } => kinds.stores.push(op),
            Action::QueryOffset { .. } => kinds.offset_queries.push(op),
            Action::Lock { .. } | Action::Unlock { .. } => kinds.locks.push(op),
            Action::Route { .. } => kinds.routes.push(op),
            Action::Join { .. } | Action::Leave { .. } | Action::Assign { .. } => kinds.members.push(op),
            Action::Deliver { .. } => kinds.deliveries.push(op),
            Action::SendBack { .. } => kinds.send_backs.push(op),
            Action::Settled { .. } => kinds.settled.push(op),
            Action::PutConfig { .. } | Action::GetConfig { .. } => kinds.configs.push(op),
            Action::Digest { .. } => kinds.digests.push(op),
            Action::Fault { .. } => kinds.faults.push(op),
            Action::Exit { .. } => kinds.exits.push(op),
            Action::Panic { .. } => kinds.panics.push(op),
            Action::Resources { .. } => kinds.resources.push(op),
            Action::Service { .. } => kinds.services.push(op),
        }
    }

    fn queue_mut(&mut self, topic: Name, queue: u32) -> &mut Queue<'a> {
        let next = u32::try_from(self.queues.len()).unwrap_or(u32::MAX);
        let index = *self.queue_index.entry((topic, queue)).or_insert(next);
        if index == next {
            let text = self.history.text(topic);
            let kind = if text.starts_with(RETRY_PREFIX) {
                Kind::Retry
            } else if text.starts_with(DLQ_PREFIX) {
                Kind::DeadLetter
            } else {
                Kind::Plain
            };
            self.queues.push(Queue {
                topic,
                queue,
                kind,
                acks: Vec::new(),
                acked: Floor::default(),
                pulls: Vec::new(),
                bounds: Vec::new(),
                drains: Vec::new(),
                standing: Vec::new(),
                conflicts: Vec::new(),
            });
        }
        &mut self.queues[index as usize]
    }

    fn finish_queues(&mut self) {
        let mut extra = self.seen_elsewhere();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.acks.sort_unstable_by_key(|ack| (ack.invoke, ack.op));
            queue.acked =
                Floor::new(queue.acks.iter().map(|ack| (ack.returned, ack.offset.saturating_add(1), ack.op)).collect());
            for drain in &mut queue.drains {
                drain.parts.sort_by_key(|part| part.0);
                drain.sorted = drain.parts.iter().all(|part| part.3.is_sorted_by_key(|found| found.offset));
            }
            queue.drains.sort_by_key(|drain| (drain.pass, drain.op));
            queue.stand(self.history, extra.remove(&index).unwrap_or_default());
            if queue.kind == Kind::Plain {
                let number = u32::try_from(index).unwrap_or(u32::MAX);
                let seen = queue.standing.iter().filter(|standing| standing.found.is_some());
                self.copies.extend(seen.map(|standing| (standing.id, number, standing.offset)));
            }
        }
        self.copies.sort_unstable();
    }

    /// What deliveries and queries say about places, by queue.
    fn seen_elsewhere(&self) -> HashMap<usize, Vec<Standing<'a>>> {
        let mut seen: HashMap<usize, Vec<Standing<'a>>> = HashMap::new();
        let operations = self.history.operations();
        for op in self.by_kind.deliveries.iter().chain(&self.by_kind.query_ids).chain(&self.by_kind.query_keys) {
            let operation = &operations[*op as usize];
            match &operation.action {
                Action::Deliver { topic, queue, found, .. } => {
                    if let Some(index) = self.queue_index.get(&(*topic, *queue)) {
                        let standing =
                            Standing { offset: found.offset, id: found.message, op: *op, found: Some(found) };
                        seen.entry(*index as usize).or_default().push(standing);
                    }
                }
                Action::QueryId { topic, found, .. } | Action::QueryKey { topic, found, .. }
                    if operation.outcome == Outcome::Ok =>
                {
                    for located in found {
                        if let Some(index) = self.queue_index.get(&(*topic, located.queue)) {
                            let standing =
                                Standing { offset: located.offset, id: located.message, op: *op, found: None };
                            seen.entry(*index as usize).or_default().push(standing);
                        }
                    }
                }
                _ => {}
            }
        }
        seen
    }

    pub fn op(&self, op: u32) -> &'a Operation {
        &self.history.operations()[op as usize]
    }

    /// The operations with these indices.
    pub fn ops<'s>(&'s self, indices: &'s [u32]) -> impl Iterator<Item = (u32, &'a Operation)> + 's {
        indices.iter().map(|op| (*op, self.op(*op)))
    }

    pub fn queue(&self, topic: Name, queue: u32) -> Option<&Queue<'a>> {
        self.queue_index.get(&(topic, queue)).map(|index| &self.queues[*index as usize])
    }

    pub fn queues_of(&self, topic: Name) -> impl Iterator<Item = &Queue<'a>> {
        self.queues.iter().filter(move |queue| queue.topic == topic)
    }

    /// The sends of exactly this message and attempt.
    pub fn sends(&self, id: MessageId) -> &[Sent] {
        let Some(all) = self.producers.get(id.producer.index()) else { return &[] };
        let key = (id.seq, id.attempt);
        let of = |sent: &Sent| (sent.seq, sent.attempt);
        // Numbers are mostly dense: the first of them tells where this one is.
        let guess = all.first().and_then(|first| usize::try_from(id.seq.checked_sub(first.seq)?).ok());
        let first = match guess {
            Some(at) if all.get(at).is_some_and(|sent| of(sent) == key) && (at == 0 || of(&all[at - 1]) < key) => at,
            _ => all.partition_point(|sent| of(sent) < key),
        };
        let count = all[first..].iter().take_while(|sent| of(sent) == key).count();
        &all[first..first + count]
    }

    /// Where a message was seen in ordinary topics: queue and offset.
    pub fn copies(&self, id: MessageId) -> impl Iterator<Item = (&Queue<'a>, u64)> {
        let first = self.copies.partition_point(|copy| copy.0 < id);
        let same = self.copies[first..].iter().take_while(move |copy| copy.0 == id);
        same.map(|(_, queue, offset)| (&self.queues[*queue as usize], *offset))
    }

    /// All messages seen in ordinary topics, those of one message together.
    pub fn all_copies(&self) -> impl Iterator<Item = &[(MessageId, u32, u64)]> {
        self.copies.chunk_by(|a, b| a.0 == b.0)
    }

    /// Copies beyond the first of any message, whatever its attempt.
    pub fn duplicates(&self) -> u64 {
        let same = |a: &MessageId, b: &MessageId| (a.producer, a.seq) == (b.producer, b.seq);
        self.copies.chunk_by(|a, b| same(&a.0, &b.0)).map(|group| group.len() as u64 - 1).sum()
    }

    pub fn text(&self, name: Name) -> &'a str {
        self.history.text(name)
    }

    /// A message in words.
    pub fn message(&self, id: MessageId) -> String {
        let attempt = if id.attempt == 0 { String::new() } else { format!(" (attempt {})", id.attempt) };
        format!("{}-{}{attempt}", self.text(id.producer), id.seq)
    }

    /// A place in words.
    pub fn place(&self, topic: Name, queue: u32, offset: u64) -> String {
        format!("{}/{queue} offset {offset}", self.text(topic))
    }

    /// A node in words.
    pub fn node(&self, node: Option<Name>) -> String {
        node.map_or_else(|| "a node".to_owned(), |node| format!("node {}", self.text(node)))
    }

    /// The group's retry topic, if the history names it.
    pub fn retry_topic(&self, group: Name) -> Option<Name> {
        self.history.names().get(&format!("{RETRY_PREFIX}{}", self.text(group)))
    }

    /// The group's dead-letter topic, if the history names it.
    pub fn dead_letter_topic(&self, group: Name) -> Option<Name> {
        self.history.names().get(&format!("{DLQ_PREFIX}{}", self.text(group)))
    }

    /// Times at which the process of a node ended, or a fault hit it; by node, sorted.
    pub fn restarts(&self) -> BTreeMap<Name, Vec<Micros>> {
        let mut restarts: BTreeMap<Name, Vec<Micros>> = BTreeMap::new();
        for (_, operation) in self.ops(&self.by_kind.exits) {
            if let Some(node) = operation.node {
                restarts.entry(node).or_default().push(operation.invoke);
            }
        }
        for (_, operation) in self.ops(&self.by_kind.faults) {
            if let Action::Fault { nodes, .. } = &operation.action {
                for node in nodes {
                    restarts.entry(*node).or_default().extend([operation.invoke, operation.returned]);
                }
            }
        }
        restarts.values_mut().for_each(|times| times.sort_unstable());
        restarts
    }
}

impl<'a> Queue<'a> {
    fn add_drain(
        &mut self,
        pass: u32,
        node: Option<Name>,
        (min, max): (u64, u64),
        part: (u64, u64, u32, &'a [Found]),
        at: Micros,
    ) {
        // The parts of one drain follow each other.
        let same = |drain: &&mut Drained<'a>| drain.pass == pass && drain.node == node;
        if let Some(drain) = self.drains.iter_mut().rev().find(same) {
            // Bounds that differ between parts are for the rules to find: the narrowest maximum, the lowest minimum.
            drain.min = drain.min.min(min);
            drain.max = drain.max.max(max);
            drain.op = part.2;
            drain.returned = drain.returned.max(at);
            drain.parts.push(part);
        } else {
            self.drains.push(Drained {
                pass,
                node,
                min,
                max,
                op: part.2,
                returned: at,
                parts: vec![part],
                sorted: true,
            });
        }
    }

    /// Puts together what everybody saw, and notes where two saw different messages.
    fn stand(&mut self, history: &'a History, extra: Vec<Standing<'a>>) {
        let mut standing: Vec<Standing<'a>> = Vec::new();
        let pass = self.drains.last().map(|drain| drain.pass);
        let base = self.drains.iter().position(|drain| Some(drain.pass) == pass);
        if let Some(base) = base {
            let base = &self.drains[base];
            let all = base.messages();
            standing.extend(all.map(|(found, op)| Standing {
                offset: found.offset,
                id: found.message,
                op,
                found: Some(found),
            }));
            if !standing.is_sorted_by_key(|standing| standing.offset) {
                standing.sort_by_key(|standing| standing.offset);
            }
        }
        self.merge(standing, base, history, extra);
    }

    fn merge(
        &mut self,
        mut standing: Vec<Standing<'a>>,
        base: Option<usize>,
        history: &'a History,
        extra: Vec<Standing<'a>>,
    ) {
        let mut rest: Vec<Standing<'a>> = Vec::new();
        {
            let base = base.map(|base| &self.drains[base]);
            let mut see = |seen: Standing<'a>| {
                let known = base.and_then(|base| base.at(seen.offset));
                if known.is_none_or(|(found, _)| found.message != seen.id) {
                    rest.push(seen);
                }
            };
            for drain in &self.drains {
                if base.is_some_and(|base| std::ptr::eq(base, drain)) {
                    continue;
                }
                for (found, op) in drain.messages() {
                    see(Standing { offset: found.offset, id: found.message, op, found: Some(found) });
                }
            }
            for op in &self.pulls {
                let operation = &history.operations()[*op as usize];
                if let (Action::Pull { messages, .. }, Outcome::Ok) = (&operation.action, operation.outcome) {
                    for found in messages {
                        see(Standing { offset: found.offset, id: found.message, op: *op, found: Some(found) });
                    }
                }
            }
            extra.into_iter().for_each(&mut see);
            for ack in &self.acks {
                if let Action::Send { message, .. } = &history.operations()[ack.op as usize].action {
                    see(Standing { offset: ack.offset, id: *message, op: ack.op, found: None });
                }
            }
        }
        let first_new = standing.len();
        standing.append(&mut rest);
        if first_new < standing.len() {
            // What was found in the last drain first, then what any reader saw.
            standing[first_new..].sort_by_key(|standing| (standing.offset, standing.found.is_none(), standing.op));
            standing.sort_by_key(|standing| standing.offset);
        }
        let mut kept: Vec<Standing<'a>> = Vec::with_capacity(standing.len());
        for seen in standing {
            match kept.last() {
                Some(last) if last.offset == seen.offset => {
                    let noted = self.conflicts.last().is_some_and(|conflict| conflict.offset == seen.offset);
                    if last.id != seen.id && !noted {
                        self.conflicts.push(Conflict {
                            offset: seen.offset,
                            first: (last.id, last.op),
                            second: (seen.id, seen.op),
                        });
                    }
                }
                _ => kept.push(seen),
            }
        }
        self.standing = kept;
    }
}

/// When an operation can have its last effect: one of unknown outcome, at any later time.
pub(crate) fn last_effect(operation: &Operation) -> Micros {
    if operation.outcome == Outcome::Unknown { NEVER } else { operation.returned }
}

/// A time in words.
pub(crate) fn at(time: Micros) -> String {
    format!("{}.{:06} s", time / 1_000_000, time % 1_000_000)
}

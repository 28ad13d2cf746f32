//! A naive model of the machine: plain maps and lists, everything recomputed, nothing stored in blocks or runs. It shares no
//! code with the machine beyond the types that commands, replies and effects are made of.

use std::collections::BTreeMap;

use timbermq_types::{
    GroupConfig, GroupName, LogId, LogIndex, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, TopicName,
    UnixMillis,
};

use super::history::{Op, Sending, Spoil};
use super::support::{Item, Message, group, topic};
use crate::{
    Applied, Arrived, Boundary, CommitOffsets, DeleteGroup, Effect, EntryPlace, Lock, MarkInfo, Membership, PutGroup,
    PutTopic, QueueBounds, Refusal, Reply, Row, Unlock, View,
};

pub const LOCK_MS: u64 = 60_000;
const QUEUES_MAX: u32 = 65_536;

/// The index of no mark.
pub const NO_MARK: u64 = 1_000_000;

#[derive(Clone, Debug, Default)]
struct Queue {
    min: u64,
    rows: Vec<Row>,
    /// Tells a queue from one of the same name before its topic was deleted.
    incarnation: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    topic: String,
    message: Message,
    position: u64,
    size: u32,
    at: u64,
}

/// A mark and everything as of it.
#[derive(Clone, Debug)]
struct Kept {
    mark: MarkInfo,
    state: Box<Model>,
}

/// The state that the machine must have.
#[derive(Clone, Debug, Default)]
pub struct Model {
    applied: Option<LogId>,
    end: LogPosition,
    at: u64,
    leader: Option<(NodeId, Term)>,
    membership: Option<Membership>,
    topics: BTreeMap<String, TopicConfig>,
    /// Changes so far, and when the last one was.
    topics_version: (u64, u64),
    groups: BTreeMap<String, GroupConfig>,
    groups_version: (u64, u64),
    queues: BTreeMap<(String, u32), Queue>,
    offsets: BTreeMap<(String, String, u32), u64>,
    locks: BTreeMap<(String, String, u32), (String, u64)>,
    stored: Vec<Stored>,
    marks: Vec<Kept>,
    snapshot: Option<MarkInfo>,
    incarnations: u64,
}

/// A question by key, as a client asks it.
#[derive(Clone, Debug)]
pub struct KeyQuestion<'a> {
    pub topic: &'a str,
    pub key: &'a str,
    pub unique: bool,
    pub begin: u64,
    pub end: u64,
    pub before: Option<u64>,
    pub max: usize,
}

fn tags_code(message: &Message) -> i64 {
    let units: Vec<u16> = message.tags.encode_utf16().collect();
    i64::from(units.iter().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(*unit))))
}

impl Model {
    /// Which mark a `Trim` of a history means: one of those there are, one that is gone, the entry itself, or none at all.
    pub fn mark_at(&self, nth: usize, own: LogIndex) -> LogIndex {
        let gone = self.snapshot.map_or(LogIndex(NO_MARK), |mark| mark.id.index);
        let others = [gone, own, LogIndex(NO_MARK)];
        let all: Vec<LogIndex> = self.marks.iter().map(|kept| kept.mark.id.index).chain(others).collect();
        all[nth % all.len()]
    }

    /// The marks that can be trimmed to.
    pub fn marks(&self) -> Vec<MarkInfo> {
        self.marks.iter().map(|kept| kept.mark).collect()
    }

    /// What a replica has that begins with the dump of a mark: nothing in the queues, and the mark as its snapshot.
    pub fn started_from(&self, mark: &MarkInfo) -> Model {
        let kept = self.marks.iter().find(|kept| kept.mark == *mark).expect("a mark of the model");
        let mut model = (*kept.state).clone();
        for queue in model.queues.values_mut() {
            queue.min = queue.rows.len() as u64;
        }
        model.snapshot = Some(*mark);
        model
    }

    pub fn blank(&mut self, place: &EntryPlace) {
        self.applied = Some(place.id);
        self.end = place.end;
    }

    pub fn set_membership(&mut self, place: &EntryPlace, bytes: &[u8]) {
        self.membership = Some(Membership { id: place.id, bytes: bytes.to_vec().into() });
        self.blank(place);
    }

    /// Applies a batch; returns what the machine must answer.
    pub fn apply(&mut self, place: &EntryPlace, at: u64, ops: &[(Op, Item)]) -> Applied {
        let previous_at = self.at;
        self.at = self.at.max(at);
        let mut applied = Applied::default();
        let mut body = place.position.0 + 13;
        for (op, item) in ops {
            body += 5;
            let reply = self.one(op, item, body, previous_at, &mut applied.effects);
            applied.replies.push(reply);
            body += item.body().len() as u64;
        }
        self.blank(place);
        if ops.iter().any(|(op, _)| matches!(op, Op::Mark)) {
            self.locks.retain(|_, lock| lock.1 > self.at);
            let mark = MarkInfo { id: place.id, end: place.end, at: UnixMillis(self.at) };
            let state = Model { marks: Vec::new(), snapshot: None, ..self.clone() };
            self.marks.push(Kept { mark, state: Box::new(state) });
            applied.effects.push(Effect::Marked(mark));
        }
        applied
    }

    fn one(&mut self, op: &Op, item: &Item, body: u64, previous_at: u64, effects: &mut Vec<Effect>) -> Reply {
        match op {
            Op::Send(sending) => self.send(sending, body, effects),
            Op::PutTopic(PutTopic { config, if_absent }) => {
                if config.read_queues.max(config.write_queues) > QUEUES_MAX {
                    return Reply::Refused(Refusal::TooManyQueues);
                }
                let name = config.name.as_str().to_owned();
                let old = self.topics.get(&name).cloned();
                if old.is_none() || (!if_absent && old.as_ref() != Some(config)) {
                    self.topics.insert(name.clone(), config.clone());
                    self.topics_version = (self.topics_version.0 + 1, self.at);
                    effects.push(Effect::TopicChanged(config.clone().into()));
                }
                Reply::Topic(self.topics[&name].clone().into())
            }
            Op::DeleteTopic(name) => {
                if self.topics.remove(*name).is_none() {
                    return Reply::Refused(Refusal::TopicMissing);
                }
                self.topics_version = (self.topics_version.0 + 1, self.at);
                effects.push(Effect::TopicDeleted(topic(name)));
                self.queues.retain(|(of, _), _| of != name);
                self.offsets.retain(|(_, of, _), _| of != name);
                self.locks.retain(|(_, of, _), _| of != name);
                Reply::Done
            }
            Op::PutGroup(PutGroup { config, if_absent }) => {
                let name = config.name.as_str().to_owned();
                let old = self.groups.get(&name).cloned();
                if old.is_none() || (!if_absent && old.as_ref() != Some(config)) {
                    self.groups.insert(name.clone(), config.clone());
                    self.groups_version = (self.groups_version.0 + 1, self.at);
                    effects.push(Effect::GroupChanged(config.clone().into()));
                }
                Reply::Group(self.groups[&name].clone().into())
            }
            Op::DeleteGroup(DeleteGroup { group, clean_offsets }) => {
                let name = group.as_str();
                self.locks.retain(|(of, _, _), _| of != name);
                if *clean_offsets {
                    self.offsets.retain(|(of, _, _), _| of != name);
                }
                if self.groups.remove(name).is_none() {
                    return Reply::Refused(Refusal::GroupMissing);
                }
                self.groups_version = (self.groups_version.0 + 1, self.at);
                effects.push(Effect::GroupDeleted(group.clone()));
                Reply::Done
            }
            Op::Commit(CommitOffsets { offsets }) => {
                for one in offsets {
                    let key = (one.group.as_str().to_owned(), one.topic.as_str().to_owned(), one.queue.0);
                    let lower = self.offsets.get(&key).is_some_and(|stored| one.offset.0 < *stored);
                    if one.queue.0 < QUEUES_MAX
                        && self.topics.contains_key(one.topic.as_str())
                        && (one.allow_lower || !lower)
                    {
                        self.offsets.insert(key, one.offset.0);
                    }
                }
                Reply::Done
            }
            Op::Lock(Lock { group, client, queues }) => {
                let group = group.as_str();
                self.locks.retain(|(of, _, _), (_, expires)| of != group || *expires > self.at);
                let mut granted = Vec::new();
                for (topic, queue) in queues {
                    let key = (group.to_owned(), topic.as_str().to_owned(), queue.0);
                    let free = self.locks.get(&key).is_none_or(|(owner, _)| owner == client);
                    if free && queue.0 < QUEUES_MAX && self.topics.contains_key(topic.as_str()) {
                        self.locks.insert(key, (client.clone(), self.at + LOCK_MS));
                        granted.push((topic.clone(), *queue));
                    }
                }
                Reply::Locked { granted }
            }
            Op::Unlock(Unlock { group, client, queues }) => {
                for (topic, queue) in queues {
                    let key = (group.as_str().to_owned(), topic.as_str().to_owned(), queue.0);
                    if self.locks.get(&key).is_some_and(|(owner, _)| owner == client) {
                        self.locks.remove(&key);
                    }
                }
                Reply::Done
            }
            Op::LeaderStarted(started) => {
                self.leader = Some((started.node, started.term));
                self.locks.retain(|_, (_, expires)| *expires > previous_at);
                for (_, expires) in self.locks.values_mut() {
                    *expires = (*expires).max(self.at + LOCK_MS);
                }
                effects.push(Effect::LeaderStarted { node: started.node, term: started.term });
                Reply::Done
            }
            Op::Mark => Reply::Done,
            Op::Trim { .. } => {
                let command: crate::Trim = crate::codec::decode(item.body()).unwrap();
                effects.extend(self.trim(command.to).map(Effect::Trimmed));
                Reply::Done
            }
            Op::Garbage { .. } => Reply::Refused(Refusal::Malformed),
        }
    }

    fn send(&mut self, sending: &Sending, body: u64, effects: &mut Vec<Effect>) -> Reply {
        let Sending { topic: name, queue, messages, spoil } = sending;
        match spoil {
            Spoil::Empty | Spoil::NegativeQueue => return Reply::Refused(Refusal::Malformed),
            Spoil::Cut(_) if messages.len() == 1 => return Reply::Refused(Refusal::Malformed),
            _ => {}
        }
        let Some(config) = self.topics.get(*name) else { return Reply::Refused(Refusal::TopicMissing) };
        if config.perm & 2 == 0 {
            return Reply::Refused(Refusal::NotWritable);
        }
        if *queue >= config.read_queues.max(config.write_queues) {
            return Reply::Refused(Refusal::QueueOutOfRange);
        }
        if *spoil != Spoil::None {
            return Reply::Refused(Refusal::Malformed);
        }
        let incarnations = &mut self.incarnations;
        let rows = self.queues.entry(((*name).to_owned(), *queue)).or_insert_with(|| {
            *incarnations += 1;
            Queue { incarnation: *incarnations, ..Queue::default() }
        });
        let first = rows.rows.len() as u64;
        let mut positions = crate::Positions::new();
        let mut position = body;
        let mut tags_codes = Vec::new();
        for message in messages {
            let size = u32::try_from(super::support::record(name, *queue, message).len()).unwrap();
            rows.rows.push(Row {
                offset: QueueOffset(rows.rows.len() as u64),
                position: LogPosition(position),
                size,
                tags_code: tags_code(message),
                store_time: UnixMillis(self.at),
            });
            tags_codes.push(tags_code(message));
            let (topic, message) = ((*name).to_owned(), message.clone());
            self.stored.push(Stored { topic, message, position, size, at: self.at });
            positions.push(LogPosition(position));
            position += u64::from(size);
        }
        let at = UnixMillis(self.at);
        let (first, next) = (QueueOffset(first), QueueOffset(rows.rows.len() as u64));
        let arrived = Arrived { topic: topic(name), queue: QueueId(*queue), first, next, tags_codes, at };
        // One effect for what came to a queue without anything else between, as far as one looks back.
        let mut together = effects.iter_mut().rev().take(crate::machine::ARRIVED_TOGETHER);
        let same = together.find(|effect| match effect {
            Effect::Arrived(other) => (&other.topic, other.queue) == (&arrived.topic, arrived.queue),
            _ => true,
        });
        match same {
            Some(Effect::Arrived(other)) => {
                other.next = arrived.next;
                other.tags_codes.extend(arrived.tags_codes);
            }
            _ => effects.push(Effect::Arrived(arrived)),
        }
        Reply::Sent { queue_offset: first, positions, at }
    }

    fn trim(&mut self, to: LogIndex) -> Option<MarkInfo> {
        let kept = self.marks.iter().find(|kept| kept.mark.id.index == to)?.clone();
        for queue in self.queues.values_mut() {
            let then = kept.state.queues.values().find(|then| then.incarnation == queue.incarnation);
            queue.min = queue.min.max(then.map_or(0, |then| then.rows.len() as u64));
        }
        self.marks.retain(|kept| kept.mark.id.index > to);
        self.snapshot = Some(kept.mark);
        Some(kept.mark)
    }

    fn floor(&self) -> u64 {
        self.snapshot.map_or(0, |mark| mark.end.0)
    }

    /// Everything a view says, except for answers to questions, against the model.
    pub fn check(&self, view: &View, topics: &[&str], groups: &[&str]) {
        self.check_whole(view);
        self.check_configuration(view, topics, groups);
        self.check_queues(view);
        self.check_offsets(view, topics, groups);
        for of in groups {
            for name in topics {
                for queue in [0, 1, 2, 3, QUEUES_MAX - 1, QUEUES_MAX, u32::MAX] {
                    let lock = self.locks.get(&((*of).to_owned(), (*name).to_owned(), queue));
                    let owner = view.lock_owner(of, &topic(name), QueueId(queue));
                    let owner = owner.map(|owner| (owner.client, owner.expires_at.0));
                    assert_eq!(owner.as_ref(), lock.filter(|(_, expires)| *expires > self.at), "{of} {name} {queue}");
                }
            }
        }
    }

    fn check_whole(&self, view: &View) {
        assert_eq!(view.applied(), self.applied);
        assert_eq!(view.applied_end(), self.end);
        assert_eq!(view.last_at().0, self.at);
        assert_eq!(view.leader(), self.leader);
        assert_eq!(view.membership(), self.membership);
        assert_eq!(view.marks(), self.marks());
        assert_eq!(view.snapshot_mark(), self.snapshot);
        assert_eq!(view.floor().0, self.floor());
        let snapshot = view.current_snapshot().unwrap();
        assert_eq!(
            snapshot.as_ref().map(|found| (found.mark, found.end)),
            self.snapshot.map(|mark| (mark.id, mark.end))
        );
    }

    fn check_configuration(&self, view: &View, topics: &[&str], groups: &[&str]) {
        let found: Vec<TopicConfig> = view.topics().iter().map(|config| (**config).clone()).collect();
        assert_eq!(found, self.topics.values().cloned().collect::<Vec<_>>());
        for name in topics {
            assert_eq!(view.topic(name).as_deref(), self.topics.get(*name));
        }
        let version = view.topics_version();
        assert_eq!((version.counter, version.changed_at.0), self.topics_version);
        let found: Vec<GroupConfig> = view.groups().iter().map(|config| (**config).clone()).collect();
        assert_eq!(found, self.groups.values().cloned().collect::<Vec<_>>());
        for name in groups {
            assert_eq!(view.group(name).as_deref(), self.groups.get(*name));
        }
        let version = view.groups_version();
        assert_eq!((version.counter, version.changed_at.0), self.groups_version);
    }

    fn check_queues(&self, view: &View) {
        let expected: Vec<(TopicName, QueueId, QueueBounds)> = self
            .queues
            .iter()
            .map(|((name, id), queue)| {
                let (min, max) = (QueueOffset(queue.min), QueueOffset(queue.rows.len() as u64));
                (topic(name), QueueId(*id), QueueBounds { min, max })
            })
            .collect();
        assert_eq!(view.queues(), expected);
        for ((name, id), queue) in &self.queues {
            let kept = &queue.rows[usize::try_from(queue.min).unwrap()..];
            assert_eq!(view.rows(name, QueueId(*id), QueueOffset(queue.min), usize::MAX).unwrap(), kept);
            assert_eq!(view.earliest_store_time(name, QueueId(*id)).unwrap(), kept.first().map(|row| row.store_time));
        }
    }

    fn check_offsets(&self, view: &View, topics: &[&str], groups: &[&str]) {
        let with = |has: &dyn Fn(&str, &str) -> bool| {
            let of = |name: &&&str| self.offsets.keys().any(|(group, topic, _)| group == **name && has(group, topic));
            let mut names: Vec<GroupName> = groups.iter().filter(of).map(|name| group(name)).collect();
            names.sort();
            names
        };
        assert_eq!(view.groups_with_offsets(), with(&|_, _| true));
        for name in topics {
            assert_eq!(view.groups_with_offsets_on(name), with(&|_, topic| topic == *name));
        }
        for of in groups {
            let stored = self.offsets.iter().filter(|((group, _, _), _)| group == of);
            let expected: Vec<_> =
                stored.map(|((_, name, queue), offset)| (topic(name), QueueId(*queue), QueueOffset(*offset))).collect();
            assert_eq!(view.offsets_of_group(of), expected);
            for (name, queue, offset) in &expected {
                assert_eq!(view.offset_of(of, name.as_str(), *queue), Some(*offset));
            }
            assert_eq!(view.offset_of(of, topics[0], QueueId(QUEUES_MAX)), None);
        }
    }

    /// A read of a queue: which rows, whether `from` is in it or not.
    pub fn check_rows(&self, view: &View, name: &str, queue: u32, from: u64, max: usize) {
        let model = self.queues.get(&(name.to_owned(), queue)).cloned().unwrap_or_default();
        let inside = from >= model.min && from < model.rows.len() as u64;
        let expected: Vec<Row> = if inside {
            model.rows.iter().copied().filter(|row| row.offset.0 >= from).take(max).collect()
        } else {
            Vec::new()
        };
        assert_eq!(view.rows(name, QueueId(queue), QueueOffset(from), max).unwrap(), expected);
        assert!(view.rows_cached(name, QueueId(queue), QueueOffset(from), max), "all of the memory store is in memory");
        let bounds = view.queue_bounds(name, QueueId(queue));
        assert_eq!((bounds.min.0, bounds.max.0), (model.min, model.rows.len() as u64));
    }

    /// A search by time.
    pub fn check_time(&self, view: &View, name: &str, queue: u32, time: u64) {
        let model = self.queues.get(&(name.to_owned(), queue)).cloned().unwrap_or_default();
        let kept: Vec<&Row> = model.rows.iter().filter(|row| row.offset.0 >= model.min).collect();
        let lower =
            kept.iter().find(|row| row.store_time.0 >= time).map_or(model.rows.len() as u64, |row| row.offset.0);
        let upper = kept.iter().rev().find(|row| row.store_time.0 <= time).map_or(model.min, |row| row.offset.0);
        let search = |boundary| view.search_by_time(name, QueueId(queue), UnixMillis(time), boundary).unwrap().0;
        assert_eq!((search(Boundary::Lower), search(Boundary::Upper)), (lower, upper));
    }

    /// A question by key, page after page.
    pub fn check_key(&self, view: &View, question: &KeyQuestion<'_>) {
        let KeyQuestion { topic, key, unique, begin, end, before, max } = question.clone();
        let mut found = Vec::new();
        let mut next = before.map(LogPosition);
        for _ in 0..=self.stored.len() {
            let (begin, end) = (UnixMillis(begin), UnixMillis(end));
            let page = view.lookup_key(topic, key, unique, begin, end, max, next).unwrap();
            assert!(page.hits.len() <= max.max(1));
            assert!(page.next.is_none() || next.is_none() || page.next < next, "every page goes on further down");
            found.extend(page.hits.iter().map(|hit| (hit.position.0, hit.size, hit.store_time.0)));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(next, None, "the pages come to an end");
        let has = |message: &Message| {
            message.unique_key == key || (!unique && message.keys.split(' ').any(|one| !one.is_empty() && one == key))
        };
        let fits = |stored: &&Stored| {
            stored.topic == topic
                && stored.position >= self.floor()
                && before.is_none_or(|before| stored.position < before)
                && (begin..=end).contains(&stored.at)
                && has(&stored.message)
        };
        let expected: Vec<_> =
            self.stored.iter().rev().filter(fits).map(|stored| (stored.position, stored.size, stored.at)).collect();
        assert_eq!(found, expected, "{question:?}");
    }

    /// A time at this share of all there were, and a position likewise.
    pub fn moment(&self, share: f64) -> (u64, u64) {
        let nth = (share * self.stored.len() as f64) as usize;
        let last = self.stored.last().map_or((self.at, 0), |stored| (stored.at, stored.position + 1));
        self.stored.get(nth).map_or(last, |stored| (stored.at, stored.position))
    }
}

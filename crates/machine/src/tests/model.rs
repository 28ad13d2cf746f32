//! A naive model of the machine: plain maps, everything recomputed, nothing stored in blocks or runs.

use std::collections::BTreeMap;

use timbermq_types::{GroupName, LogIndex, LogPosition, QueueId, QueueOffset, TopicName};

use super::support::{Message, group, record, topic};
use crate::batch::{COMMAND_HEADER_BYTES, HEADER_BYTES};
use crate::{EntryPlace, Machine, Proposal, Refusal, Reply, Row};

pub const TOPICS: [&str; 3] = ["alpha", "beta", "%RETRY%g"];
pub const GROUPS: [&str; 2] = ["g", "h"];
pub const CLIENTS: [&str; 2] = ["c1", "c2"];
pub const LOCK_MS: u64 = 60_000;

/// A command in the terms of the model: indices into the names above.
#[derive(Clone, Debug)]
pub enum Op {
    Send {
        topic: usize,
        queue: u32,
        messages: Vec<(u8, u8, u8)>,
    },
    PutTopic {
        topic: usize,
        queues: u32,
        writable: bool,
        if_absent: bool,
    },
    DeleteTopic {
        topic: usize,
    },
    PutGroup {
        group: usize,
        retries: i32,
    },
    DeleteGroup {
        group: usize,
        clean: bool,
    },
    Commit {
        group: usize,
        topic: usize,
        queue: u32,
        offset: u64,
        allow_lower: bool,
    },
    Lock {
        group: usize,
        client: usize,
        topic: usize,
        queue: u32,
    },
    Unlock {
        group: usize,
        client: usize,
        topic: usize,
        queue: u32,
    },
    LeaderStarted,
    Mark,
    /// To the mark at this place of the list, modulo its length plus one; the last is no mark.
    Trim {
        nth: usize,
    },
}

pub fn message((tag, key, unique): (u8, u8, u8)) -> Message {
    let keys = match key {
        0 => String::new(),
        1..=4 => format!("k{key}"),
        _ => format!("k{} k1 k1", key % 5),
    };
    let tags = if tag == 0 { String::new() } else { format!("tag{tag}") };
    let unique_key = if unique == 0 { String::new() } else { format!("u{unique}") };
    Message { tags, keys, unique_key, body: vec![tag; usize::from(key)], ipv6: unique % 2 == 1, shadowed: false }
}

#[derive(Clone, Debug, Default)]
struct Queue {
    min: u64,
    rows: Vec<Row>,
    incarnation: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    topic: usize,
    message: Message,
    position: u64,
    at: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    topics: BTreeMap<usize, (u32, bool)>,
    groups: BTreeMap<usize, i32>,
    queues: BTreeMap<(usize, u32), Queue>,
    offsets: BTreeMap<(usize, usize, u32), u64>,
    locks: BTreeMap<(usize, usize, u32), (usize, u64)>,
    stored: Vec<Stored>,
    marks: BTreeMap<u64, BTreeMap<u64, u64>>,
    ends: BTreeMap<u64, u64>,
    floor: u64,
    incarnations: u64,
    at: u64,
}

impl Model {
    pub fn mark_at(&self, nth: usize) -> u64 {
        self.marks.keys().nth(nth % (self.marks.len() + 1)).copied().unwrap_or(1_000_000)
    }

    /// Applies a batch; returns what the machine must reply.
    pub fn apply(&mut self, place: &EntryPlace, at: u64, ops: &[(Op, Proposal)]) -> Vec<Reply> {
        let previous_at = self.at;
        self.at = self.at.max(at);
        let mut offset = HEADER_BYTES;
        let mut replies = Vec::new();
        let mut mark = false;
        for (op, proposal) in ops {
            let body = place.position.0 + (offset + COMMAND_HEADER_BYTES) as u64;
            offset += proposal.batch_bytes();
            mark |= matches!(op, Op::Mark);
            replies.push(self.one(op, proposal, body, previous_at));
        }
        if mark {
            self.locks.retain(|_, lock| lock.1 > self.at);
            let next = self.queues.values().map(|queue| (queue.incarnation, queue.rows.len() as u64)).collect();
            self.marks.insert(place.id.index.0, next);
            self.ends.insert(place.id.index.0, place.end.0);
        }
        replies
    }

    fn one(&mut self, op: &Op, proposal: &Proposal, body: u64, previous_at: u64) -> Reply {
        match op {
            Op::Send { topic, queue, messages } => self.send(*topic, *queue, messages, body),
            Op::PutTopic { topic: name, queues, writable, if_absent } => {
                let new = (*queues, *writable);
                let kept = *if_absent && self.topics.contains_key(name);
                if !kept {
                    self.topics.insert(*name, new);
                }
                let (queues, writable) = self.topics[name];
                let mut config = timbermq_types::TopicConfig::new(topic(TOPICS[*name]), queues);
                config.perm = if writable { 6 } else { 4 };
                Reply::Topic(config.into())
            }
            Op::DeleteTopic { topic } => {
                if self.topics.remove(topic).is_none() {
                    return Reply::Refused(Refusal::TopicMissing);
                }
                self.queues.retain(|(of, _), _| of != topic);
                self.offsets.retain(|(_, of, _), _| of != topic);
                self.locks.retain(|(_, of, _), _| of != topic);
                Reply::Done
            }
            Op::PutGroup { group: name, retries } => {
                self.groups.insert(*name, *retries);
                let mut config = timbermq_types::GroupConfig::new(group(GROUPS[*name]));
                config.retry_max_times = *retries;
                Reply::Group(config.into())
            }
            Op::DeleteGroup { group, clean } => {
                let existed = self.groups.remove(group).is_some();
                self.locks.retain(|(of, _, _), _| of != group);
                if *clean {
                    self.offsets.retain(|(of, _, _), _| of != group);
                }
                if existed { Reply::Done } else { Reply::Refused(Refusal::GroupMissing) }
            }
            Op::Commit { group, topic, queue, offset, allow_lower } => {
                if self.topics.contains_key(topic) {
                    let stored = self.offsets.entry((*group, *topic, *queue)).or_insert(*offset);
                    if *offset > *stored || *allow_lower {
                        *stored = *offset;
                    }
                }
                Reply::Done
            }
            Op::Lock { group, client, topic: name, queue } => {
                let mut granted = Vec::new();
                self.locks.retain(|(of, _, _), lock| of != group || lock.1 > self.at);
                if self.topics.contains_key(name) {
                    let lock = self.locks.entry((*group, *name, *queue)).or_insert((*client, 0));
                    if lock.0 == *client || lock.1 <= self.at {
                        *lock = (*client, self.at + LOCK_MS);
                        granted.push((topic(TOPICS[*name]), QueueId(*queue)));
                    }
                }
                Reply::Locked { granted }
            }
            Op::Unlock { group, client, topic, queue } => {
                let name = (*group, *topic, *queue);
                if self.locks.get(&name).is_some_and(|lock| lock.0 == *client) {
                    self.locks.remove(&name);
                }
                Reply::Done
            }
            Op::LeaderStarted => {
                for lock in self.locks.values_mut().filter(|lock| lock.1 > previous_at) {
                    lock.1 = lock.1.max(self.at + LOCK_MS);
                }
                Reply::Done
            }
            Op::Mark => Reply::Done,
            Op::Trim { .. } => {
                let command: crate::Trim = crate::codec::decode(proposal.body()).unwrap();
                self.trim(command.to.0);
                Reply::Done
            }
        }
    }

    fn send(&mut self, topic: usize, queue: u32, messages: &[(u8, u8, u8)], body: u64) -> Reply {
        let Some((queues, writable)) = self.topics.get(&topic) else { return Reply::Refused(Refusal::TopicMissing) };
        if !writable {
            return Reply::Refused(Refusal::NotWritable);
        }
        if queue >= *queues {
            return Reply::Refused(Refusal::QueueOutOfRange);
        }
        let at = timbermq_types::UnixMillis(self.at);
        let rows = self.queues.entry((topic, queue)).or_insert_with(|| {
            self.incarnations += 1;
            Queue { incarnation: self.incarnations, ..Queue::default() }
        });
        let first = rows.rows.len() as u64;
        let mut positions = Vec::new();
        let mut position = body;
        for one in messages {
            let message = message(*one);
            let size = record(TOPICS[topic], queue, &message).len();
            let tags_code = message.tags.chars().fold(0_i32, |hash, c| hash.wrapping_mul(31).wrapping_add(c as i32));
            rows.rows.push(Row {
                offset: QueueOffset(rows.rows.len() as u64),
                position: LogPosition(position),
                size: u32::try_from(size).unwrap(),
                tags_code: i64::from(tags_code),
                store_time: at,
            });
            self.stored.push(Stored { topic, message, position, at: self.at });
            positions.push(LogPosition(position));
            position += size as u64;
        }
        Reply::Sent { queue_offset: QueueOffset(first), positions, at }
    }

    fn trim(&mut self, to: u64) {
        let Some(next) = self.marks.get(&to).cloned() else { return };
        for queue in self.queues.values_mut() {
            if let Some(next) = next.get(&queue.incarnation) {
                queue.min = queue.min.max(*next);
            }
        }
        self.marks.retain(|index, _| *index > to);
        self.floor = self.ends[&to];
    }

    /// Everything a view says, against the model.
    pub fn check(&self, machine: &Machine) {
        let view = machine.view();
        let names = |name: usize| TOPICS[name];
        assert_eq!(view.topics().len(), self.topics.len());
        assert_eq!(view.groups().len(), self.groups.len());
        assert_eq!(view.last_at().0, self.at);
        assert_eq!(view.floor().0, self.floor);
        let marks: Vec<u64> = view.marks().iter().map(|mark| mark.id.index.0).collect();
        assert_eq!(marks, self.marks.keys().copied().collect::<Vec<_>>());
        assert_eq!(view.queues().len(), self.queues.len());
        for ((name, id), queue) in &self.queues {
            let (name, id) = (names(*name), QueueId(*id));
            let bounds = view.queue_bounds(name, id);
            assert_eq!((bounds.min.0, bounds.max.0), (queue.min, queue.rows.len() as u64));
            let kept = &queue.rows[usize::try_from(queue.min).unwrap()..];
            assert_eq!(view.rows(name, id, bounds.min, usize::MAX).unwrap(), kept);
            assert_eq!(
                view.rows(name, id, bounds.min.plus(3), 2).unwrap(),
                kept.iter().copied().skip(3).take(2).collect::<Vec<_>>()
            );
            assert!(view.rows(name, id, bounds.max, 5).unwrap().is_empty());
            assert_eq!(view.earliest_store_time(name, id).unwrap(), kept.first().map(|row| row.store_time));
        }
        let mut offsets = 0;
        for (number, name) in GROUPS.iter().enumerate() {
            for (topic, queue, offset) in view.offsets_of_group(name) {
                let topic = TOPICS.iter().position(|known| *known == topic.as_str()).unwrap();
                assert_eq!(self.offsets.get(&(number, topic, queue.0)), Some(&offset.0));
                offsets += 1;
            }
        }
        assert_eq!(offsets, self.offsets.len());
        for ((of, name, queue), (client, expires)) in &self.locks {
            let owner = view.lock_owner(GROUPS[*of], &TopicName::new(names(*name)).unwrap(), QueueId(*queue));
            let expected = (*expires > self.at).then(|| (CLIENTS[*client].to_owned(), *expires));
            assert_eq!(owner.map(|owner| (owner.client, owner.expires_at.0)), expected);
        }
        for name in 0..TOPICS.len() {
            let groups: Vec<GroupName> = view.groups_with_offsets_on(names(name));
            let expected = (0..GROUPS.len()).filter(|of| self.offsets.keys().any(|(g, t, _)| g == of && *t == name));
            assert_eq!(groups, expected.map(|of| group(GROUPS[of])).collect::<Vec<_>>());
        }
    }

    /// Queries by key and time, against the model.
    pub fn check_queries(&self, machine: &Machine) {
        let view = machine.view();
        let times: Vec<u64> = self.stored.iter().map(|stored| stored.at).collect();
        let (begin, end) = (times.get(times.len() / 4).copied().unwrap_or(0), times.last().copied().unwrap_or(0));
        for (number, name) in TOPICS.iter().enumerate() {
            for key in ["k1", "k2", "u1", "u2", "none"] {
                for (unique, begin, page) in [(true, 0, 3), (false, begin, 2), (false, 0, 1_000)] {
                    let mut found = Vec::new();
                    let mut before = None;
                    loop {
                        let answer = view
                            .lookup_key(
                                name,
                                key,
                                unique,
                                timbermq_types::UnixMillis(begin),
                                timbermq_types::UnixMillis(end),
                                page,
                                before,
                            )
                            .unwrap();
                        assert!(answer.hits.len() <= page);
                        found.extend(answer.hits.iter().map(|hit| hit.position.0));
                        before = answer.next;
                        if before.is_none() {
                            break;
                        }
                    }
                    let has = |message: &Message| {
                        message.unique_key == key || (!unique && message.keys.split(' ').any(|one| one == key))
                    };
                    let expected = self.stored.iter().rev().filter(|stored| {
                        stored.topic == number
                            && stored.position >= self.floor
                            && stored.at >= begin
                            && has(&stored.message)
                    });
                    assert_eq!(found, expected.map(|stored| stored.position).collect::<Vec<_>>(), "{name} {key}");
                }
            }
            for queue in 0..4 {
                let Some(model) = self.queues.get(&(number, queue)) else { continue };
                for time in [0, begin, begin + 1, end, end + 1] {
                    let time = timbermq_types::UnixMillis(time);
                    let search = |boundary| view.search_by_time(name, QueueId(queue), time, boundary).unwrap().0;
                    let kept = model.rows.iter().filter(|row| row.offset.0 >= model.min);
                    let lower = kept
                        .clone()
                        .find(|row| row.store_time >= time)
                        .map_or(model.rows.len() as u64, |row| row.offset.0);
                    let upper = kept.rev().find(|row| row.store_time <= time).map_or(model.min, |row| row.offset.0);
                    assert_eq!(search(crate::Boundary::Lower), lower);
                    assert_eq!(search(crate::Boundary::Upper), upper);
                }
            }
        }
    }

    pub fn proposal(&self, op: &Op) -> Proposal {
        let name = |number: &usize| topic(TOPICS[*number]);
        let of = |number: &usize| group(GROUPS[*number]);
        match op {
            Op::Send { topic, queue, messages } => {
                let messages: Vec<Message> = messages.iter().map(|one| message(*one)).collect();
                super::support::send(TOPICS[*topic], *queue, &messages)
            }
            Op::PutTopic { topic, queues, writable, if_absent } => {
                let mut config = timbermq_types::TopicConfig::new(name(topic), *queues);
                config.perm = if *writable { 6 } else { 4 };
                crate::PutTopic { config, if_absent: *if_absent }.into()
            }
            Op::DeleteTopic { topic } => crate::DeleteTopic { topic: name(topic) }.into(),
            Op::PutGroup { group, retries } => {
                let mut config = timbermq_types::GroupConfig::new(of(group));
                config.retry_max_times = *retries;
                crate::PutGroup { config, if_absent: false }.into()
            }
            Op::DeleteGroup { group, clean } => crate::DeleteGroup { group: of(group), clean_offsets: *clean }.into(),
            Op::Commit { group, topic, queue, offset, allow_lower } => crate::CommitOffsets {
                offsets: vec![crate::OffsetCommit {
                    group: of(group),
                    topic: name(topic),
                    queue: QueueId(*queue),
                    offset: QueueOffset(*offset),
                    allow_lower: *allow_lower,
                }],
            }
            .into(),
            Op::Lock { group, client, topic, queue } => crate::Lock {
                group: of(group),
                client: CLIENTS[*client].into(),
                queues: vec![(name(topic), QueueId(*queue))],
            }
            .into(),
            Op::Unlock { group, client, topic, queue } => crate::Unlock {
                group: of(group),
                client: CLIENTS[*client].into(),
                queues: vec![(name(topic), QueueId(*queue))],
            }
            .into(),
            Op::LeaderStarted => {
                crate::LeaderStarted { node: timbermq_types::NodeId(1), term: timbermq_types::Term(1) }.into()
            }
            Op::Mark => crate::Mark {}.into(),
            Op::Trim { nth } => crate::Trim { to: LogIndex(self.mark_at(*nth)) }.into(),
        }
    }
}

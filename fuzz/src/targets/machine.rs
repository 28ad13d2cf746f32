//! The replicated state machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use timbermq_machine::batch::{Batch, BatchBuilder, COMMAND_HEADER_BYTES, HEADER_BYTES};
use timbermq_machine::codec::{self, ENVELOPE_BYTES};
use timbermq_machine::{
    Applied, Boundary, CommandKind, CommitOffsets, DeleteGroup, DeleteTopic, EntryPlace, LeaderStarted, Lock, Machine,
    MachineError, Mark, MemoryStore, OffsetCommit, Proposal, PutGroup, PutTopic, Snapshot, Store, Trim, Unlock, View,
};
use timbermq_record::{Record, RecordBuilder};
use timbermq_types::{
    GroupConfig, GroupName, LogId, LogIndex, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, TopicFilter,
    TopicName, UnixMillis,
};

use super::input::Input;

/// Names that commands speak of; few, so that they meet.
const NAMES: &[&str] = &["T", "U", "%RETRY%g", "a-topic-of-more-than-one-word", "%DLQ%g"];

pub(super) fn topic(number: usize) -> TopicName {
    TopicName::new(NAMES[number % NAMES.len()]).expect("a legal name")
}

fn group(number: usize) -> GroupName {
    GroupName::new(["g", "h", "another_group"][number % 3]).expect("a legal name")
}

pub(super) fn open(store: &Arc<MemoryStore>) -> Machine {
    Machine::open(Arc::clone(store) as Arc<dyn Store>).expect("a store of our own")
}

/// What an entry carries.
#[derive(Clone, Debug)]
enum Content {
    Blank,
    Membership(Bytes),
    Batch(Bytes),
}

/// A log in memory.
#[derive(Default)]
pub(super) struct Log {
    entries: Vec<(EntryPlace, Content)>,
}

impl Log {
    /// The place after the last entry.
    fn push(&mut self, term: u64, content: Content) -> &(EntryPlace, Content) {
        let len = match &content {
            Content::Blank => 0,
            Content::Membership(bytes) | Content::Batch(bytes) => bytes.len() as u64,
        };
        let index = LogIndex(self.entries.len() as u64);
        let start = self.entries.last().map_or(LogPosition(0), |(place, _)| place.end);
        let position = start.plus(40);
        let place = EntryPlace { id: LogId::new(Term(term), index), position, end: position.plus(len) };
        self.entries.push((place, content));
        &self.entries[self.entries.len() - 1]
    }
}

fn apply_entry(machine: &mut Machine, entry: &(EntryPlace, Content)) -> Result<Applied, MachineError> {
    match entry {
        (place, Content::Blank) => machine.apply_blank(place).map(|()| Applied::default()),
        (place, Content::Membership(bytes)) => machine.apply_membership(place, bytes).map(|()| Applied::default()),
        (place, Content::Batch(bytes)) => {
            let applied = machine.apply(place, bytes)?;
            let commands = Batch::parse(bytes).expect("it was applied").len();
            assert_eq!(applied.replies.len(), commands, "one reply for each command");
            Ok(applied)
        }
    }
}

/// A batch from the bytes as they are, or with the header and the envelopes of its commands made right.
pub(super) fn batch(input: &[u8]) {
    let mut input = Input::new(input);
    let mode = input.byte();
    let mut payload = input.rest().to_vec();
    if mode & 1 == 1 {
        sign_batch(&mut payload);
    }
    let (store, twin) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let (mut machine, mut other) = (open(&store), open(&twin));
    let mut log = Log::default();
    let entry = log.push(1, Content::Batch(setting())).clone();
    apply_entry(&mut machine, &entry).expect("a batch of our own");
    apply_entry(&mut other, &entry).expect("a batch of our own");
    let before = machine.view().digest();

    let entry = log.push(2, Content::Batch(payload.clone().into())).clone();
    let applied = apply_entry(&mut machine, &entry);
    assert_eq!(applied, apply_entry(&mut other, &entry), "equal on all replicas");
    assert_eq!(machine.view().digest(), other.view().digest());
    match (Batch::parse(&payload), &applied) {
        (Ok(batch), Ok(_)) => {
            let mut built = BatchBuilder::new();
            let mut rebuilt = true;
            for item in batch.items() {
                assert_eq!(&payload[item.offset..item.offset + item.body.len()], item.body);
                if item.kind == CommandKind::Send {
                    match Proposal::send(Bytes::copy_from_slice(item.body)) {
                        Ok(proposal) => {
                            built.push(&proposal);
                        }
                        Err(_) => rebuilt = false,
                    }
                } else {
                    rebuilt = false;
                }
            }
            // Sealing stamps records with the batch's time; without records nothing else is in it.
            if rebuilt {
                let sealed = built.seal(batch.at());
                let again = Batch::parse(&sealed).expect("a batch of our own");
                assert_eq!((again.at(), again.len()), (batch.at(), batch.len()));
                assert_eq!(sealed.len(), payload.len());
            }
        }
        (Ok(_), Err(MachineError::Format { .. })) | (Err(_), Err(MachineError::Batch { .. })) => {
            assert_eq!(machine.view().digest(), before, "nothing is half applied");
        }
        (parsed, applied) => panic!("{parsed:?}, but {applied:?}"),
    }
    look(&machine.view());
}

/// A topic and a group to speak of.
fn setting() -> Bytes {
    let mut builder = BatchBuilder::new();
    let topic = TopicConfig::new(topic(0), 4);
    builder.push(&PutTopic { config: topic, if_absent: false }.into());
    builder.push(&PutGroup { config: GroupConfig::new(group(0)), if_absent: false }.into());
    builder.seal(UnixMillis(1000))
}

/// Gives the batch and every command in it the format, count, lengths and checksums that belong to what is there.
fn sign_batch(payload: &mut [u8]) {
    if payload.len() < HEADER_BYTES {
        return;
    }
    payload[0] = timbermq_machine::batch::FORMAT;
    let mut count = 0u32;
    let mut at = HEADER_BYTES;
    while at + COMMAND_HEADER_BYTES <= payload.len() {
        let kinds = CommandKind::ALL;
        let kind = kinds[usize::from(payload[at]) % kinds.len()] as u8;
        payload[at] = kind;
        let body = at + COMMAND_HEADER_BYTES;
        let len = usize::from(payload[at + 1]).min(payload.len() - body);
        // The last command takes all there is.
        let len = if payload.len() - body - len < COMMAND_HEADER_BYTES { payload.len() - body } else { len };
        payload[at + 1..body].copy_from_slice(&u32::try_from(len).expect("inputs are short").to_le_bytes());
        if kind != CommandKind::Send as u8 {
            sign_envelope(&mut payload[body..body + len], kind);
        }
        count += 1;
        at = body + len;
    }
    payload[9..13].copy_from_slice(&count.to_le_bytes());
}

/// Makes `value` an envelope of this kind around the payload that is in it.
pub(super) fn sign_envelope(value: &mut [u8], kind: u8) {
    let Some((envelope, payload)) = value.split_at_mut_checked(ENVELOPE_BYTES) else { return };
    envelope[0] = codec::FORMAT;
    envelope[1] = kind;
    envelope[2..6].copy_from_slice(&u32::try_from(payload.len()).expect("inputs are short").to_le_bytes());
    envelope[6..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
}

/// Records of one queue, as a handler builds them.
fn records(input: &mut Input<'_>) -> Bytes {
    let topic = NAMES[input.below(NAMES.len())];
    let queue_id = input.number_u32().cast_signed() & 0x1_ffff;
    let mut out = BytesMut::new();
    for _ in 0..1 + input.below(4) {
        let properties = match input.below(4) {
            0 => String::new(),
            1 => format!("TAGS\u{1}{}\u{2}UNIQ_KEY\u{1}{}\u{2}", input.below(4), input.below(8)),
            2 => format!("KEYS\u{1}a b {} \u{2}", input.below(8)),
            _ => input.text(),
        };
        let host = match input.flag() {
            true => SocketAddr::from(([0; 16], 9)),
            false => SocketAddr::from(([10, 0, 0, 1], 9)),
        };
        let builder = RecordBuilder {
            queue_id,
            sys_flag: i32::from(input.byte()),
            born_host: host,
            properties: &properties,
            ..RecordBuilder::new(topic, input.short())
        };
        builder.encode(&mut out).expect("a legal record");
    }
    out.freeze()
}

fn queues(input: &mut Input<'_>) -> Vec<(TopicName, QueueId)> {
    (0..input.below(4)).map(|_| (topic(input.below(8)), QueueId(input.number_u32()))).collect()
}

/// Any well-formed command.
fn command(input: &mut Input<'_>, entries: u64) -> Proposal {
    match input.below(18) {
        0..=5 => Proposal::send(records(input)).expect("legal records"),
        6 | 7 => {
            let mut config = TopicConfig::new(topic(input.below(8)), 4);
            if input.flag() {
                (config.read_queues, config.write_queues) = (input.number_u32(), input.number_u32());
                (config.perm, config.sys_flag) = (input.number_u32(), input.number_u32());
                config.order = input.flag();
                config.filter = if input.flag() { TopicFilter::MultiTag } else { TopicFilter::SingleTag };
                config.attributes.insert(input.text(), input.text());
            }
            PutTopic { config, if_absent: input.flag() }.into()
        }
        8 => DeleteTopic { topic: topic(input.below(8)) }.into(),
        9 => {
            let mut config = GroupConfig::new(group(input.below(3)));
            (config.retry_queue_nums, config.broker_id) = (input.number_u32(), input.number());
            config.retry_max_times = input.number_u32().cast_signed();
            config.attributes.insert(input.text(), input.text());
            PutGroup { config, if_absent: input.flag() }.into()
        }
        10 => DeleteGroup { group: group(input.below(3)), clean_offsets: input.flag() }.into(),
        11 | 12 => {
            let commit = |input: &mut Input<'_>| OffsetCommit {
                group: group(input.below(3)),
                topic: topic(input.below(8)),
                queue: QueueId(input.number_u32()),
                offset: QueueOffset(input.number()),
                allow_lower: input.flag(),
            };
            CommitOffsets { offsets: (0..input.below(4)).map(|_| commit(input)).collect() }.into()
        }
        13 => {
            let (group, client) = (group(input.below(3)), input.text());
            Lock { group, client, queues: queues(input) }.into()
        }
        14 => {
            let (group, client) = (group(input.below(3)), input.text());
            Unlock { group, client, queues: queues(input) }.into()
        }
        15 => LeaderStarted { node: NodeId(input.number()), term: Term(input.number()) }.into(),
        16 => Mark {}.into(),
        _ => {
            let back = input.number();
            Trim { to: LogIndex(if back < 200 { entries.saturating_sub(back) } else { back }) }.into()
        }
    }
}

/// A log of entries. One replica applies it from beginning to end; a second one restarts wherever the input says, losing
/// what was not written; a third starts from the last snapshot. All must agree.
pub(super) fn apply(input: &[u8]) {
    let mut input = Input::new(input);
    let (store, disk) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let (mut machine, mut restarted) = (open(&store), open(&disk));
    let mut log = Log::default();
    let mut at = 1000;
    let mut term = 1;
    let mut snapshot = None;
    while !input.is_empty() && log.entries.len() < 64 {
        let content = match input.below(16) {
            0 => Content::Blank,
            1 => Content::Membership(Bytes::copy_from_slice(input.short())),
            2 => {
                term += 1;
                Content::Blank
            }
            _ => {
                // Clocks differ between leaders.
                at = match input.below(8) {
                    0 => input.number(),
                    1 => at.saturating_sub(500),
                    step => at.saturating_add(step as u64 * 9000),
                };
                let mut builder = BatchBuilder::new();
                let entries = log.entries.len() as u64;
                for index in 0..1 + input.below(4) {
                    assert_eq!(builder.push(&command(&mut input, entries)), index);
                }
                Content::Batch(builder.seal(UnixMillis(at)))
            }
        };
        let entry = log.push(term, content).clone();
        let applied = apply_entry(&mut machine, &entry).expect("a well-formed entry");
        assert_eq!(apply_entry(&mut restarted, &entry).as_ref(), Ok(&applied), "equal on all replicas");
        match input.below(8) {
            0 => {
                restarted.rotate();
            }
            1 => {
                restarted.rotate();
                disk.write_frozen(input.flag()).expect("memory");
            }
            2 => {
                drop(restarted);
                disk.crash(input.below(3));
                restarted = open(&disk);
                let next = restarted.applied().0.map_or(0, |id| id.index.0 + 1);
                for entry in &log.entries[usize::try_from(next).expect("short")..] {
                    apply_entry(&mut restarted, entry).expect("it was applied before");
                }
            }
            _ => {}
        }
        if let Some(current) = machine.current_snapshot().expect("a store of our own") {
            snapshot = Some(current);
        }
    }
    let view = machine.view();
    let digests = |view: &View| (view.digest(), view.small_state_digest());
    assert_eq!(digests(&view), digests(&restarted.view()));
    assert_eq!(view.state_digest(), restarted.view().state_digest());
    if let Some(snapshot) = &snapshot {
        let joined = join(snapshot, &log);
        assert_eq!(digests(&joined.view()), digests(&view));
        assert_eq!(joined.view().state_digest(), view.state_digest());
    }
    look(&view);
}

/// A replica that starts from a snapshot and then applies the log behind it.
fn join(snapshot: &Snapshot, log: &Log) -> Machine {
    let read = Snapshot::from_dump(snapshot.dump.clone()).expect("a snapshot of our own");
    assert_eq!(&read, snapshot);
    let mut machine = open(&Arc::new(MemoryStore::new()));
    machine.install(snapshot).expect("a snapshot of our own");
    let next = usize::try_from(snapshot.mark.index.0 + 1).expect("short");
    for entry in &log.entries[next..] {
        apply_entry(&mut machine, entry).expect("it was applied before");
    }
    machine
}

/// Asks everything that can be asked.
pub(super) fn look(view: &View) {
    for (topic, queue, bounds) in view.queues() {
        let name = topic.as_str();
        assert!(bounds.min <= bounds.max);
        assert_eq!(view.queue_bounds(name, queue), bounds);
        for from in [bounds.min, QueueOffset(bounds.max.0.saturating_sub(40)), bounds.max, QueueOffset(u64::MAX)] {
            let _ = view.rows_cached(name, queue, from, 50);
            let rows = view.rows(name, queue, from, 50).expect("a store of our own");
            assert!(rows.len() <= 50);
            for (row, offset) in rows.iter().zip(from.0..) {
                assert_eq!(row.offset.0, offset, "without a gap");
            }
        }
        for boundary in [Boundary::Lower, Boundary::Upper] {
            for time in [0, 1000, u64::MAX] {
                let found = view.search_by_time(name, queue, UnixMillis(time), boundary).expect("a store of our own");
                assert!((bounds.min..=bounds.max).contains(&found), "{found} is outside {bounds:?}");
            }
        }
        let _ = view.earliest_store_time(name, queue);
        let _ = view.lock_owner("g", &topic, queue);
        let _ = view.groups_with_offsets_on(name);
    }
    for key in ["0", "a", "3"] {
        for unique in [true, false] {
            let mut before = None;
            for _ in 0..100 {
                let (begin, end) = (UnixMillis(0), UnixMillis(u64::MAX));
                let page = view.lookup_key("T", key, unique, begin, end, 2, before).expect("a store of our own");
                assert!(page.hits.len() <= 2);
                assert!(page.hits.windows(2).all(|pair| pair[0].position >= pair[1].position), "newest first");
                let Some(next) = page.next else { break };
                assert!(before.is_none_or(|before| next < before), "pages go back");
                before = Some(next);
            }
        }
    }
    for topic in view.topics() {
        assert_eq!(view.topic(topic.name.as_str()), Some(topic));
    }
    for group in view.groups_with_offsets() {
        let _ = view.offsets_of_group(group.as_str());
    }
    let _ = (view.groups(), view.marks(), view.snapshot_mark(), view.floor(), view.leader(), view.membership());
    let _ = (view.last_at().plus(Duration::from_secs(1)), view.applied_end());
}

/// A record of a topic, to append after something else.
pub(super) fn one_record(topic: &str, queue: QueueId) -> Option<Proposal> {
    let mut record = BytesMut::new();
    let queue_id = i32::try_from(queue.0).ok()?;
    let properties = "UNIQ_KEY\u{1}0\u{2}KEYS\u{1}a\u{2}";
    RecordBuilder { queue_id, properties, ..RecordBuilder::new(topic, b"x") }.encode(&mut record).ok()?;
    debug_assert!(Record::parse(&record).is_ok());
    Proposal::send(record.freeze()).ok()
}

#[cfg(test)]
mod tests {
    use timbermq_machine::codec::Encoded;
    use timbermq_machine::{LockOwner, MarkInfo};

    use super::*;
    use crate::Bound;

    /// What reading a value may hold: the value, and one text in the room for the next larger step of lengths.
    const READING: Bound = Bound { base: 1 << 10, per_byte: 16 };

    /// Reads a value with each eight bytes of it as a length that is not there.
    fn read_with_lengths<T: Encoded>(value: &T) {
        let written = codec::encode(value);
        for at in ENVELOPE_BYTES..=written.len().saturating_sub(8) {
            for length in [written.len() as u64, 4000, 5 << 20, 1 << 40, u64::MAX] {
                let mut changed = written.clone();
                changed[at..at + 8].copy_from_slice(&length.to_le_bytes());
                sign_envelope(&mut changed, T::KIND);
                let _ = READING.hold(changed.len(), || codec::decode::<T>(&changed));
            }
        }
    }

    #[test]
    fn lengths_in_a_value_are_not_believed() {
        let mut config = TopicConfig::new(topic(0), 4);
        config.attributes.insert("a".into(), "b".into());
        let mut group_config = GroupConfig::new(group(0));
        group_config.attributes.insert("a".into(), "b".into());
        let queues = vec![(topic(0), QueueId(1)), (topic(1), QueueId(2))];
        let commit = OffsetCommit {
            group: group(0),
            topic: topic(0),
            queue: QueueId(2),
            offset: QueueOffset(3),
            allow_lower: true,
        };
        read_with_lengths(&PutTopic { config: config.clone(), if_absent: true });
        read_with_lengths(&DeleteTopic { topic: topic(0) });
        read_with_lengths(&PutGroup { config: group_config.clone(), if_absent: true });
        read_with_lengths(&DeleteGroup { group: group(0), clean_offsets: true });
        read_with_lengths(&CommitOffsets { offsets: vec![commit.clone(), commit] });
        read_with_lengths(&Lock { group: group(0), client: "c".into(), queues: queues.clone() });
        read_with_lengths(&Unlock { group: group(0), client: "c".into(), queues });
        read_with_lengths(&config);
        read_with_lengths(&group_config);
        read_with_lengths(&LockOwner { client: "c".into(), expires_at: UnixMillis(9) });
        let place = LogId::new(Term(1), LogIndex(2));
        read_with_lengths(&MarkInfo { id: place, end: LogPosition(3), at: UnixMillis(4) });
    }
}

//! Random histories: what can be in a log, proper commands and nonsense, and a run of it on the machine and the model.

use bytes::Bytes;
use proptest::prelude::*;
use timbermq_types::{GroupConfig, LogIndex, NodeId, QueueId, QueueOffset, Term, TopicConfig, TopicFilter};

use super::model::{KeyQuestion, Model};
use super::support::{Content, Entry, Item, Log, Message, feed, group, new_machine, record, topic};
use crate::{
    CommandKind, CommitOffsets, DeleteGroup, LeaderStarted, Lock, Machine, OffsetCommit, Proposal, PutGroup, PutTopic,
    Unlock,
};

/// One is the beginning of another, one is longer than a short record's topic may be.
pub const TOPICS: [&str; 4] = ["alpha", "alp", "%RETRY%g", LONG_TOPIC];
const LONG_TOPIC: &str = "%RETRY%0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
pub const GROUPS: [&str; 3] = ["g", "g-h", "h"];
const CLIENTS: [&str; 3] = ["c1", "c2", ""];
/// Two of them have the same hash in Java.
const TAGS: [&str; 5] = ["", "a", "Aa", "BB", "é😀"];
const KEYS: [&str; 6] = ["", "k1", "k2 u1", " k1  k2 ", "k1 k1 k3", "k1 k2 k3 k4 k5"];
const UNIQUE_KEYS: [&str; 5] = ["", "u1", "u2", "k1", "u 3"];
/// What is asked for: keys that are both kinds, of one kind, parts of keys and none.
const QUESTIONS: [&str; 8] = ["k1", "k2", "u1", "u2", "u 3", "k5", "k", "none"];

/// What is wrong with the records of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    None,
    Empty,
    NegativeQueue,
    /// This many bytes of the last record are missing, modulo its length.
    Cut(usize),
    /// Bytes behind the last record.
    Junk(u8),
    /// One more record, of another queue.
    OtherQueue,
    /// One more record, of another topic.
    OtherTopic,
}

#[derive(Clone, Debug)]
pub struct Sending {
    pub topic: &'static str,
    pub queue: u32,
    pub messages: Vec<Message>,
    pub spoil: Spoil,
}

/// A command, or bytes that are none.
#[derive(Clone, Debug)]
pub enum Op {
    Send(Sending),
    PutTopic(PutTopic),
    DeleteTopic(&'static str),
    PutGroup(PutGroup),
    DeleteGroup(DeleteGroup),
    Commit(CommitOffsets),
    Lock(Lock),
    Unlock(Unlock),
    LeaderStarted(LeaderStarted),
    Mark,
    /// See [`Model::mark_at`].
    Trim {
        nth: usize,
    },
    Garbage {
        kind: CommandKind,
        body: Vec<u8>,
    },
}

impl Sending {
    fn item(&self) -> Item {
        let Sending { topic, queue, messages, spoil } = self;
        let one = |message: &Message| record(topic, *queue, message);
        let mut records: Vec<u8> = messages.iter().flat_map(one).collect();
        match spoil {
            Spoil::None => return Item::Proposal(Proposal::send(records.into()).unwrap()),
            Spoil::Empty => records.clear(),
            Spoil::NegativeQueue => {
                records = messages.iter().flat_map(|message| record(topic, u32::MAX, message)).collect();
            }
            Spoil::Cut(bytes) => {
                let last = one(messages.last().unwrap()).len();
                records.truncate(records.len() - 1 - bytes % (last - 1));
            }
            Spoil::Junk(byte) => records.extend_from_slice(&[*byte; 7]),
            Spoil::OtherQueue => records.extend(record(topic, queue ^ 1, &messages[0])),
            Spoil::OtherTopic => records.extend(record("other", *queue, &messages[0])),
        }
        assert!(Proposal::send(records.clone().into()).is_err(), "what is spoilt does not get into a log");
        Item::Raw(CommandKind::Send, records)
    }
}

impl Op {
    fn item(&self, model: &Model, own: LogIndex) -> Item {
        Item::Proposal(match self {
            Op::Send(sending) => return sending.item(),
            Op::PutTopic(command) => command.into(),
            Op::DeleteTopic(name) => crate::DeleteTopic { topic: topic(name) }.into(),
            Op::PutGroup(command) => command.into(),
            Op::DeleteGroup(command) => command.into(),
            Op::Commit(command) => command.into(),
            Op::Lock(command) => command.into(),
            Op::Unlock(command) => command.into(),
            Op::LeaderStarted(command) => command.into(),
            Op::Mark => crate::Mark {}.into(),
            Op::Trim { nth } => crate::Trim { to: model.mark_at(*nth, own) }.into(),
            Op::Garbage { kind, body } => return Item::Raw(*kind, body.clone()),
        })
    }
}

/// One entry of a history.
#[derive(Clone, Debug)]
pub enum Step {
    Batch { wait: i64, ops: Vec<Op> },
    Blank,
    Membership(Vec<u8>),
}

fn of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> + Clone {
    prop::sample::select(all)
}

fn message() -> impl Strategy<Value = Message> {
    let body = proptest::collection::vec(any::<u8>(), 0..6);
    (of(&TAGS), of(&KEYS), of(&UNIQUE_KEYS), body, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(tags, keys, unique_key, body, ipv6, shadowed)| Message {
            tags: tags.into(),
            keys: keys.into(),
            unique_key: unique_key.into(),
            body,
            ipv6,
            shadowed,
        },
    )
}

fn queue() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![30 => 0..5_u32, 1 => of(&[65_535_u32, 65_536, u32::MAX - 7])]
}

fn sending() -> impl Strategy<Value = Sending> {
    let spoil = prop_oneof![
        30 => Just(Spoil::None),
        1 => Just(Spoil::Empty),
        1 => Just(Spoil::NegativeQueue),
        1 => any::<usize>().prop_map(Spoil::Cut),
        1 => any::<u8>().prop_map(Spoil::Junk),
        1 => Just(Spoil::OtherQueue),
        1 => Just(Spoil::OtherTopic),
    ];
    // Now and then so many that their blocks go as a range when they are trimmed.
    let times = prop_oneof![15 => Just(1_usize), 1 => Just(50_usize)];
    // A negative number is no queue; that is one of the things that are wrong with records.
    let queue = queue().prop_map(|queue| queue & 0x7FFF_FFFF);
    (of(&TOPICS), queue, proptest::collection::vec(message(), 1..20), times, spoil).prop_map(
        |(topic, queue, messages, times, spoil)| {
            let count = messages.len() * times;
            let messages = messages.into_iter().cycle().take(count).collect();
            Sending { topic, queue, messages, spoil }
        },
    )
}

fn attributes() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-c]", "[a-c]{0,2}", 0..2)
}

fn put_topic() -> impl Strategy<Value = PutTopic> {
    let queues = || prop_oneof![30 => 0..6_u32, 1 => of(&[65_536_u32, 65_537])];
    let perm = prop_oneof![8 => Just(6_u32), 2 => 0..8_u32];
    let filter = of(&[TopicFilter::SingleTag, TopicFilter::MultiTag]);
    (of(&TOPICS), queues(), queues(), perm, filter, 0..2_u32, any::<bool>(), attributes(), any::<bool>()).prop_map(
        |(name, read_queues, write_queues, perm, filter, sys_flag, order, attributes, if_absent)| {
            let name = topic(name);
            let config = TopicConfig { name, read_queues, write_queues, perm, filter, sys_flag, order, attributes };
            PutTopic { config, if_absent }
        },
    )
}

fn put_group() -> impl Strategy<Value = PutGroup> {
    (of(&GROUPS), 0..3_i32, any::<bool>(), attributes(), any::<bool>()).prop_map(
        |(name, retry_max_times, consume_enable, attributes, if_absent)| {
            let config = GroupConfig { retry_max_times, consume_enable, attributes, ..GroupConfig::new(group(name)) };
            PutGroup { config, if_absent }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let offset = (of(&GROUPS), of(&TOPICS), queue(), 0..50_u64, prop::bool::weighted(0.3)).prop_map(
        |(name, on, queue, offset, allow_lower)| OffsetCommit {
            group: group(name),
            topic: topic(on),
            queue: QueueId(queue),
            offset: QueueOffset(offset),
            allow_lower,
        },
    );
    let lock = (of(&GROUPS), of(&CLIENTS), proptest::collection::vec((of(&TOPICS), queue().prop_map(QueueId)), 0..4))
        .prop_map(|(name, client, queues)| Lock {
            group: group(name),
            client: client.into(),
            queues: queues.into_iter().map(|(name, queue)| (topic(name), queue)).collect(),
        });
    let lock = lock.boxed();
    let unlock = lock.clone().prop_map(|Lock { group, client, queues }| Unlock { group, client, queues });
    let garbage = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        16 => sending().prop_map(Op::Send),
        4 => put_topic().prop_map(Op::PutTopic),
        1 => of(&TOPICS).prop_map(Op::DeleteTopic),
        2 => put_group().prop_map(Op::PutGroup),
        1 => (of(&GROUPS), any::<bool>())
            .prop_map(|(name, clean_offsets)| Op::DeleteGroup(DeleteGroup { group: group(name), clean_offsets })),
        3 => proptest::collection::vec(offset, 0..5).prop_map(|offsets| Op::Commit(CommitOffsets { offsets })),
        4 => lock.prop_map(Op::Lock),
        1 => unlock.prop_map(Op::Unlock),
        1 => (0..4_u64, 0..4_u64)
            .prop_map(|(node, term)| Op::LeaderStarted(LeaderStarted { node: NodeId(node), term: Term(term) })),
        2 => Just(Op::Mark),
        2 => any::<usize>().prop_map(|nth| Op::Trim { nth }),
        1 => (of(&CommandKind::ALL[1..]), prop::option::of(garbage)).prop_map(|(kind, body)| Op::Garbage {
            kind,
            body: body.map_or(Vec::new(), |body| [&[crate::codec::FORMAT][..], &body].concat()),
        }),
    ]
}

/// Entries of a log; the first creates the topics.
pub fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // The leader's clock may go back, and by more than a lock lives.
        20 => (-20_000..40_000_i64, proptest::collection::vec(op(), 0..4)).prop_map(|(wait, ops)| Step::Batch { wait, ops }),
        1 => (-70_000..70_000_i64).prop_map(|wait| Step::Batch { wait, ops: Vec::new() }),
        1 => Just(Step::Blank),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Step::Membership),
    ];
    let topics = TOPICS.iter().map(|name| TopicConfig::new(topic(name), 4));
    let start = topics.map(|config| Op::PutTopic(PutTopic { config, if_absent: false }));
    let start = Step::Batch { wait: 0, ops: start.collect() };
    proptest::collection::vec(step, 1..60).prop_map(move |mut steps| {
        steps.insert(0, start.clone());
        steps
    })
}

/// A question to a view; shares are of what is there when it is asked.
#[derive(Clone, Debug)]
pub struct Question {
    topic: &'static str,
    queue: u32,
    key: &'static str,
    unique: bool,
    from: f64,
    to: f64,
    before: Option<f64>,
    max: usize,
}

pub fn questions() -> impl Strategy<Value = Vec<Question>> {
    let share = || prop_oneof![2 => Just(0.0), 2 => Just(1.0), 5 => 0.0..1.0];
    let max = prop_oneof![5 => 0..6_usize, 1 => Just(1_000_usize)];
    let question = (
        of(&TOPICS),
        queue(),
        of(&QUESTIONS),
        any::<bool>(),
        share(),
        share(),
        prop::option::weighted(0.3, share()),
        max,
    );
    let question = question.prop_map(|(topic, queue, key, unique, from, to, before, max)| Question {
        topic,
        queue,
        key,
        unique,
        from,
        to,
        before,
        max,
    });
    proptest::collection::vec(question, 1..20)
}

/// Asks machine and model.
pub fn ask(machine: &Machine, model: &Model, questions: &[Question]) {
    let view = machine.view();
    for Question { topic, queue, key, unique, from, to, before, max } in questions.iter().cloned() {
        let ((begin, _), (end, _)) = (model.moment(from), model.moment(to));
        let before = before.map(|share| model.moment(share).1);
        model.check_key(&view, &KeyQuestion { topic, key, unique, begin, end, before, max });
        model
            .check_key(&view, &KeyQuestion { topic, key, unique, begin: 0, end: u64::MAX, before: None, max: max + 1 });
        let next = view.queue_bounds(topic, QueueId(queue)).max.0;
        model.check_rows(&view, topic, queue, (from * 1.2 * next as f64) as u64, max);
        for time in [begin, begin.saturating_sub(1), end + 1, 0, u64::MAX] {
            model.check_time(&view, topic, queue, time);
        }
    }
}

/// Compares all that can be listed.
pub fn check(machine: &Machine, model: &Model) {
    model.check(&machine.view(), &TOPICS, &GROUPS);
}

/// An entry as the machine gets it, and as the model does.
#[derive(Clone, Debug)]
pub struct Told {
    pub entry: Entry,
    at: u64,
    ops: Vec<(Op, Item)>,
}

impl Told {
    /// Applies it to both and compares the answers.
    pub fn apply(&self, machine: &mut Machine, model: &mut Model) {
        let place = &self.entry.place;
        let expected = match &self.entry.content {
            Content::Blank => {
                model.blank(place);
                crate::Applied::default()
            }
            Content::Membership(bytes) => {
                model.set_membership(place, bytes);
                crate::Applied::default()
            }
            Content::Batch(_) => model.apply(place, self.at, &self.ops),
        };
        assert_eq!(feed(machine, &self.entry).unwrap(), expected);
    }
}

/// What a run leaves.
pub struct Run {
    pub machine: Machine,
    pub model: Model,
    pub log: Vec<Told>,
}

impl Run {
    /// The entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.log.iter().map(|told| &told.entry)
    }
}

/// Runs a history on a machine and the model; `after` sees both after every entry.
pub fn run(history: &[Step], mut after: impl FnMut(&mut Machine, &Model)) -> Run {
    let (_, mut machine) = new_machine();
    let (mut model, mut log, mut told, mut now) = (Model::default(), Log::default(), Vec::new(), 1_000_000_i64);
    for step in history {
        let next = match step {
            Step::Blank => Told { entry: log.push(Content::Blank), at: 0, ops: Vec::new() },
            Step::Membership(bytes) => {
                Told { entry: log.push(Content::Membership(bytes.clone())), at: 0, ops: Vec::new() }
            }
            Step::Batch { wait, ops } => {
                now = (now + wait).max(1);
                let at = u64::try_from(now).unwrap();
                let own = LogIndex(log.entries.len() as u64);
                let ops: Vec<_> = ops.iter().map(|op| (op.clone(), op.item(&model, own))).collect();
                let payload = payload(at, &ops);
                Told { entry: log.push(Content::Batch(payload)), at, ops }
            }
        };
        next.apply(&mut machine, &mut model);
        after(&mut machine, &model);
        told.push(next);
    }
    Run { machine, model, log: told }
}

fn payload(at: u64, ops: &[(Op, Item)]) -> Bytes {
    let items: Vec<Item> = ops.iter().map(|(_, item)| item.clone()).collect();
    super::support::payload(at, &items)
}

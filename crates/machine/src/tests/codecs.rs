//! The bytes of every encoded type: what is in logs and stores must stay readable.

use proptest::prelude::*;
use timbermq_types::{
    GroupConfig, LogId, LogIndex, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, UnixMillis,
};

use super::support::{group, topic};
use crate::codec::{CodecError, ENVELOPE_BYTES, Encoded, FORMAT, decode, encode};
use crate::{
    CommitOffsets, DeleteGroup, DeleteTopic, LeaderStarted, Lock, LockOwner, Mark, MarkInfo, OffsetCommit, PutGroup,
    PutTopic, Trim, Unlock, Version,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! golden {
    ($($name:ident: $type:ty = $value:expr => $bytes:expr;)*) => {$(
        #[test]
        fn $name() {
            let value: $type = $value;
            let bytes = encode(&value);
            assert_eq!(hex(&bytes), $bytes);
            assert_eq!(decode::<$type>(&bytes).unwrap(), value);
        }
    )*};
}

fn topic_config() -> TopicConfig {
    let mut config = TopicConfig::new(topic("T"), 4);
    config.attributes.insert("a".into(), "b".into());
    config
}

golden! {
    put_topic: PutTopic = PutTopic { config: topic_config(), if_absent: true } => "01023900000039ae7fee010000000000000054040000000400000006000000000000000000000000010000000000000001000000000000006101000000000000006201";
    delete_topic: DeleteTopic = DeleteTopic { topic: topic("T") } => "0103090000000095749d010000000000000054";
    put_group: PutGroup = PutGroup { config: GroupConfig::new(group("G")), if_absent: false } => "01043700000002da73bf0100000000000000470101010001000000100000000000000000000000010000000000000001000000000f000000000000000000000000";
    delete_group: DeleteGroup = DeleteGroup { group: group("G"), clean_offsets: true } => "01050a0000001cea77c401000000000000004701";
    commit_offsets: CommitOffsets = CommitOffsets {
        offsets: vec![OffsetCommit { group: group("G"), topic: topic("T"), queue: QueueId(2), offset: QueueOffset(3), allow_lower: true }],
    } => "010627000000980fb6b4010000000000000001000000000000004701000000000000005402000000030000000000000001";
    lock: Lock = Lock { group: group("G"), client: "c".into(), queues: vec![(topic("T"), QueueId(1))] } => "01072700000045f67e99010000000000000047010000000000000063010000000000000001000000000000005401000000";
    unlock: Unlock = Unlock { group: group("G"), client: "c".into(), queues: vec![(topic("T"), QueueId(1))] } => "01082700000045f67e99010000000000000047010000000000000063010000000000000001000000000000005401000000";
    leader_started: LeaderStarted = LeaderStarted { node: NodeId(1), term: Term(2) } => "010910000000b9ddf60001000000000000000200000000000000";
    mark: Mark = Mark {} => "010a0000000000000000";
    trim: Trim = Trim { to: LogIndex(7) } => "010b0800000070d6e76f0700000000000000";
    version: Version = Version { counter: 1, changed_at: UnixMillis(2) } => "014010000000b9ddf60001000000000000000200000000000000";
    topic_row: TopicConfig = topic_config() => "0141380000002565a57e0100000000000000540400000004000000060000000000000000000000000100000000000000010000000000000061010000000000000062";
    group_row: GroupConfig = GroupConfig::new(group("G")) => "0142360000001564d1ac0100000000000000470101010001000000100000000000000000000000010000000000000001000000000f0000000000000000000000";
    lock_row: LockOwner = LockOwner { client: "c".into(), expires_at: UnixMillis(9) } => "014411000000b49ce8340100000000000000630900000000000000";
    mark_row: MarkInfo = MarkInfo { id: LogId::new(Term(1), LogIndex(2)), end: LogPosition(3), at: UnixMillis(4) } => "0148200000000026699c0100000000000000020000000000000003000000000000000400000000000000";
}

#[test]
fn what_is_not_the_value_is_told_apart() {
    let good = encode(&Trim { to: LogIndex(7) });
    assert!(matches!(decode::<Mark>(&good), Err(CodecError::Kind { .. })));
    assert!(matches!(decode::<Trim>(&good[..good.len() - 1]), Err(CodecError::Length { .. })));
    assert!(matches!(decode::<Trim>(&[&good[..], &[0]].concat()), Err(CodecError::Length { .. })));
    let change = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        decode::<Trim>(&bytes).unwrap_err()
    };
    assert!(matches!(change(0), CodecError::Format { found: 0 }));
    assert!(matches!(change(6), CodecError::Crc));
    assert!(matches!(change(10), CodecError::Crc));
    // A payload with a right CRC that is longer than its type.
    let mut long = good.clone();
    long.push(0);
    long[2] += 1;
    let crc = crc32fast::hash(&long[10..]);
    long[6..10].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(decode::<Trim>(&long), Err(CodecError::Payload(_))));
    // A name inside that is not a name.
    let mut named = encode(&DeleteTopic { topic: topic("T") });
    *named.last_mut().unwrap() = b' ';
    let crc = crc32fast::hash(&named[10..]);
    named[6..10].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(decode::<DeleteTopic>(&named), Err(CodecError::Payload(_))));
    // A length that would take more memory than any value may.
    let mut huge = encode(&CommitOffsets { offsets: Vec::new() });
    huge[10..18].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let crc = crc32fast::hash(&huge[10..]);
    huge[6..10].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(decode::<CommitOffsets>(&huge), Err(CodecError::Payload(_))));
}

/// What every reader of envelopes does with these bytes.
fn read_all(bytes: &[u8]) {
    fn read<T: Encoded>(bytes: &[u8]) {
        // What can be read is what was written: there is one spelling of every value.
        if let Ok(value) = decode::<T>(bytes) {
            assert_eq!(encode(&value), bytes);
        }
    }
    read::<PutTopic>(bytes);
    read::<DeleteTopic>(bytes);
    read::<PutGroup>(bytes);
    read::<DeleteGroup>(bytes);
    read::<CommitOffsets>(bytes);
    read::<Lock>(bytes);
    read::<Unlock>(bytes);
    read::<LeaderStarted>(bytes);
    read::<Mark>(bytes);
    read::<Trim>(bytes);
    read::<Version>(bytes);
    read::<TopicConfig>(bytes);
    read::<GroupConfig>(bytes);
    read::<LockOwner>(bytes);
    read::<MarkInfo>(bytes);
}

/// An envelope that is right about these bytes.
fn envelope(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![FORMAT, kind];
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    assert_eq!(out.len(), ENVELOPE_BYTES);
    [out, payload.to_vec()].concat()
}

const KINDS: [u8; 15] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 64, 65, 66, 68, 72];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn values_read_back(
        (name, of) in ("[%|a-zA-Z0-9_-]{1,20}", "[%|a-zA-Z0-9_-]{1,20}"),
        words in any::<[u64; 4]>(),
        halves in any::<[u32; 4]>(),
        signed in any::<[i32; 3]>(),
        flags in any::<[bool; 6]>(),
        attributes in proptest::collection::btree_map("\\PC{0,5}", "\\PC{0,5}", 0..4),
        client in "\\PC{0,9}",
        queues in proptest::collection::vec(any::<u32>(), 0..9),
    ) {
        let (topic, group) = (topic(&name), group(&of));
        let mut put = PutTopic { config: TopicConfig::new(topic.clone(), halves[0]), if_absent: flags[0] };
        put.config.write_queues = halves[1];
        (put.config.perm, put.config.sys_flag, put.config.order) = (halves[2], halves[3], flags[1]);
        put.config.attributes = attributes.clone();
        let config = GroupConfig {
            consume_enable: flags[2],
            consume_broadcast_enable: flags[3],
            retry_queue_nums: halves[0],
            retry_max_times: signed[0],
            broker_id: words[0],
            group_sys_flag: signed[1],
            consume_timeout_minute: signed[2],
            attributes,
            ..GroupConfig::new(group.clone())
        };
        let queues: Vec<_> = queues.into_iter().map(|queue| (topic.clone(), QueueId(queue))).collect();
        let offsets = queues.iter().map(|(topic, queue)| OffsetCommit {
            group: group.clone(), topic: topic.clone(), queue: *queue, offset: QueueOffset(words[1]), allow_lower: flags[4],
        });
        macro_rules! reads_back {
            ($($value:expr),* $(,)?) => {$(
                let value = $value;
                let bytes = encode(&value);
                prop_assert_eq!(decode(&bytes), Ok(value));
                read_all(&bytes);
            )*};
        }
        reads_back!(
            CommitOffsets { offsets: offsets.collect() },
            Lock { group: group.clone(), client: client.clone(), queues: queues.clone() },
            Unlock { group: group.clone(), client: client.clone(), queues },
            LockOwner { client, expires_at: UnixMillis(words[2]) },
            put.config.clone(),
            put,
            config.clone(),
            PutGroup { config, if_absent: flags[5] },
            DeleteTopic { topic },
            DeleteGroup { group, clean_offsets: flags[0] },
            LeaderStarted { node: NodeId(words[0]), term: Term(words[1]) },
            Trim { to: LogIndex(words[3]) },
            Version { counter: words[0], changed_at: UnixMillis(words[1]) },
            MarkInfo { id: LogId::new(Term(words[0]), LogIndex(words[1])), end: LogPosition(words[2]), at: UnixMillis(words[3]) },
        );
    }

    /// The envelope's CRC keeps most nonsense from the reader of payloads; here it does not.
    #[test]
    fn any_payload_is_read_or_refused(
        kind in prop::sample::select(&KINDS[..]),
        payload in proptest::collection::vec(prop_oneof![3 => Just(0_u8), 2 => 0..4_u8, 1 => Just(b'a'), 1 => any::<u8>()], 0..90),
    ) {
        read_all(&envelope(kind, &payload));
        read_all(&payload);
    }

    /// A value of which one byte is another, in an envelope that is right about it.
    #[test]
    fn a_changed_payload_is_read_or_refused(at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let (group, topic) = (group("G"), topic("T"));
        let queues = vec![(topic.clone(), QueueId(1)), (topic.clone(), QueueId(2))];
        let samples = [
            encode(&PutTopic { config: topic_config(), if_absent: true }),
            encode(&PutGroup { config: GroupConfig::new(group.clone()), if_absent: true }),
            encode(&Lock { group, client: "client".into(), queues }),
            encode(&topic_config()),
        ];
        for sample in samples {
            let mut payload = sample[ENVELOPE_BYTES..].to_vec();
            let at = at.index(payload.len());
            payload[at] = value;
            read_all(&envelope(sample[1], &payload));
            payload.truncate(cut.index(payload.len()));
            read_all(&envelope(sample[1], &payload));
        }
    }
}

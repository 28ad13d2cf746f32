//! The bytes of every encoded type: what is in logs and stores must stay readable.

use timbermq_types::{
    GroupConfig, LogId, LogIndex, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, UnixMillis,
};

use super::support::{group, topic};
use crate::codec::{CodecError, decode, encode};
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

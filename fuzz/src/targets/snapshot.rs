//! Snapshots, as another replica sends them and as a file has them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use timbermq_env::Env;
use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{
    CommitOffsets, EntryPlace, LeaderStarted, Lock, Mark, MemoryStore, OffsetCommit, PutTopic, Reply, Snapshot, Trim,
};
use timbermq_replica::fuzzing;
use timbermq_types::{GroupName, LogId, NodeId, QueueId, QueueOffset, Term, TopicConfig, UnixMillis};

use super::input::Input;
use super::{disk, machine};

const CHECKSUM: usize = 4;

/// The first byte says whether the rest is rows, each a key with a length of one byte and a value with one of two bytes,
/// whose envelopes are made right when the top bit of the key's length is set; or a whole dump whose checksum is made right.
pub(super) fn dump(input: &[u8]) {
    let mut input = Input::new(input);
    let dump = match input.flag() {
        true => rows(&mut input),
        false => {
            let mut dump = input.rest().to_vec();
            if let Some((body, crc)) = dump.split_last_chunk_mut::<CHECKSUM>() {
                *crc = crc32fast::hash(body).to_le_bytes();
            }
            dump
        }
    };
    let dump = Bytes::from(dump);
    let Ok(snapshot) = Snapshot::from_dump(dump.clone()) else { return };
    assert_eq!(snapshot.dump, dump);
    transfer(&snapshot);

    let mut replica = machine::open(&Arc::new(MemoryStore::new()));
    replica.install(&snapshot).expect("what can be read can be installed");
    let view = replica.view();
    assert_eq!(replica.applied().0, Some(snapshot.mark));
    machine::look(&view);
    view.state_digest().expect("a store of our own");

    // The group goes on from there: a command of each kind, then a mark and a trim to it.
    let mut builder = BatchBuilder::new();
    builder.push(&LeaderStarted { node: NodeId(1), term: Term(1) }.into());
    for (topic, queue, _) in view.queues() {
        if let Some(send) = machine::one_record(topic.as_str(), queue) {
            builder.push(&send);
        }
        let group = GroupName::new("g").expect("a legal name");
        let (allow_lower, offset) = (true, QueueOffset(1));
        let commit = OffsetCommit { group: group.clone(), topic: topic.clone(), queue, offset, allow_lower };
        builder.push(&CommitOffsets { offsets: vec![commit] }.into());
        builder.push(&Lock { group, client: "c".into(), queues: vec![(topic, queue)] }.into());
    }
    let new = machine::topic(3);
    builder.push(&PutTopic { config: TopicConfig::new(new.clone(), 1), if_absent: true }.into());
    builder.push(&machine::one_record(new.as_str(), QueueId(0)).expect("a legal record"));
    builder.push(&Mark {}.into());
    let mut place = snapshot_place(&snapshot);
    let mut next = |bytes: usize| {
        place = EntryPlace {
            id: LogId::new(place.id.term, place.id.index.next()),
            position: place.end.plus(40),
            end: place.end.plus(40 + bytes as u64),
        };
        place
    };
    let payload = builder.seal(UnixMillis(5));
    let marked = next(payload.len());
    let applied = replica.apply(&marked, &payload).expect("a batch of our own");
    assert_eq!(applied.replies.first(), Some(&Reply::Done));
    let mut builder = BatchBuilder::new();
    builder.push(&Trim { to: marked.id.index }.into());
    let payload = builder.seal(UnixMillis(6));
    replica.apply(&next(payload.len()), &payload).expect("a batch of our own");
    machine::look(&view);

    // Its own snapshot is one that others can start from.
    let current = replica.current_snapshot().expect("a store of our own").expect("there was a trim");
    assert_eq!(current.mark, marked.id);
    let mut other = machine::open(&Arc::new(MemoryStore::new()));
    other.install(&current).expect("a snapshot of our own");
    other.apply(&place, &payload).expect("it was applied before");
    assert_eq!(other.view().small_state_digest(), view.small_state_digest());
    assert_eq!(other.view().state_digest(), view.state_digest());
}

fn snapshot_place(snapshot: &Snapshot) -> EntryPlace {
    EntryPlace { id: snapshot.mark, position: snapshot.end, end: snapshot.end }
}

fn rows(input: &mut Input<'_>) -> Vec<u8> {
    let mut dump = vec![1];
    while !input.is_empty() {
        let len = input.byte();
        let key = input.take(usize::from(len & 0x7f));
        let mut value = input.long().to_vec();
        if len & 0x80 == 0x80 {
            let kind = value.get(1).copied().unwrap_or_default();
            machine::sign_envelope(&mut value, kind);
        }
        for part in [key, &value] {
            dump.extend_from_slice(&u32::try_from(part.len()).expect("inputs are short").to_le_bytes());
        }
        dump.extend_from_slice(key);
        dump.extend_from_slice(&value);
    }
    let crc = crc32fast::hash(&dump);
    dump.extend_from_slice(&crc.to_le_bytes());
    dump
}

/// What a leader sends and what a follower makes of it.
fn transfer(snapshot: &Snapshot) {
    let Some(head) = fuzzing::snapshot_head(snapshot) else { return };
    let mut chunks = Vec::new();
    for (at, bytes) in (0u64..).step_by(100).zip(snapshot.dump.chunks(100)) {
        chunks.push(Bytes::from([&at.to_le_bytes()[..], bytes].concat()));
    }
    assert_eq!(fuzzing::receive_snapshot(head.clone(), &chunks).as_ref(), Some(snapshot));
    chunks.pop();
    assert_eq!(fuzzing::receive_snapshot(head, &chunks), None, "not all of it");
}

/// The first byte picks the file and says whether its checksum is to be made right; the rest is the file.
pub(super) fn files(input: &[u8]) {
    let mut input = Input::new(input);
    let mode = input.byte();
    let mut bytes = input.rest().to_vec();
    let signed = mode & 4 == 4;
    let disk = disk::new();
    let env = disk::env(&disk);
    let dir = Path::new("/data");
    match mode & 3 {
        0 => {
            if signed && let Some((head, dump)) = bytes.split_at_mut_checked(20) {
                head[..8].copy_from_slice(b"TMQSNAP1");
                head[8..16].copy_from_slice(&(dump.len() as u64).to_le_bytes());
                head[16..].copy_from_slice(&crc32fast::hash(dump).to_le_bytes());
            }
            disk::put(&disk, &dir.join("snapshot"), &bytes);
            if let Ok(found) = fuzzing::read_snapshot_file(&*env.disk, dir) {
                let dump = found.expect("the file is there");
                fuzzing::write_snapshot_file(&*env.disk, dir, &dump).expect("a simulated disk");
                assert_eq!(disk.content(&dir.join("snapshot")).as_ref(), Some(&bytes));
                assert_eq!(fuzzing::read_snapshot_file(&*env.disk, dir).expect("our own"), Some(dump));
            } else {
                assert!(!signed || bytes.len() < 20, "a snapshot of our own is refused");
            }
        }
        1 => {
            sign_small(&mut bytes, signed);
            disk::put(&disk, &dir.join("identity"), &bytes);
            check_identity(&env, dir);
            assert_eq!(disk.content(&dir.join("identity")), Some(bytes), "an identity is written once");
        }
        2 => {
            sign_small(&mut bytes, signed);
            disk::put(&disk, &dir.join("peers"), &bytes);
            let _ = fuzzing::open_peers(&env, dir, NodeId(2));
        }
        _ => {
            assert!(fuzzing::open_identity(&env, dir, 5, false).is_err(), "a log without an identity");
            assert_eq!(fuzzing::open_identity(&env, dir, 5, true).expect("an empty directory"), 5);
            assert_eq!(fuzzing::open_identity(&env, dir, 6, false).expect("our own"), 5);
            let at = usize::from(mode >> 3);
            let content = disk.content(&dir.join("identity")).unwrap_or_default();
            let mut damaged = content.clone();
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= bytes.first().copied().unwrap_or(1);
            }
            disk::put(&disk, &dir.join("identity"), &damaged);
            assert_eq!(fuzzing::open_identity(&env, dir, 6, true).is_ok(), damaged == content, "byte {at} of it");
        }
    }
}

fn check_identity(env: &Env, dir: &Path) {
    let found = fuzzing::open_identity(env, dir, 5, true);
    let again = fuzzing::open_identity(env, dir, 6, false);
    assert_eq!(found.ok(), again.ok(), "what is there counts, not what is wanted");
}

fn sign_small(bytes: &mut [u8], signed: bool) {
    if signed && let Some((crc, body)) = bytes.split_first_chunk_mut::<CHECKSUM>() {
        *crc = crc32fast::hash(body).to_le_bytes();
    }
}

//! Doors to what other replicas send and what a replica keeps in small files, for fuzz targets.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use timbermq_env::{BoxFuture, Disk, Env, ReadHalf};
use timbermq_machine::Snapshot;
use timbermq_types::{NodeId, Slot};

use crate::identity::{Identity, IdentityError};
use crate::peer::book::PeerBook;
use crate::peer::frame::{self, FrameReader};
use crate::peer::handshake::{Hello, HelloReply};
use crate::peer::message;
use crate::peer::snapshot::Incoming;
use crate::wire::Malformed;
use crate::{membership, snapshot_file};

/// Decodes a message and encodes it again; `None` when it is refused.
pub type Again = fn(Bytes) -> Option<Bytes>;

fn again<B, T, E>(bytes: B, decode: impl FnOnce(B) -> Result<T, Malformed>, encode: impl FnOnce(T) -> E) -> Option<E> {
    decode(bytes).ok().map(encode)
}

/// Every message by name, the largest first.
pub const MESSAGES: &[(&str, Again)] = &[
    ("append", |bytes| {
        again(bytes.into(), message::decode_append, message::encode_append).map(|parts| parts.concat().into())
    }),
    ("append answer", |bytes| again(bytes, message::decode_append_reply, |reply| message::encode_append_reply(&reply))),
    ("vote", |bytes| again(bytes, message::decode_vote, |ask| message::encode_vote(&ask))),
    ("vote answer", |bytes| again(bytes, message::decode_vote_reply, |reply| message::encode_vote_reply(&reply))),
    ("transfer", |bytes| again(bytes, message::decode_transfer, |ask| message::encode_transfer(&ask))),
    ("status", |bytes| again(bytes, message::decode_status, |status| message::encode_status(&status))),
    ("snapshot head", |bytes| again(bytes, message::decode_snapshot_head, |head| message::encode_snapshot_head(&head))),
    ("snapshot chunk", |bytes| {
        let encode = |(offset, bytes)| message::encode_chunk(offset, bytes).concat().into();
        again(bytes, message::decode_chunk, encode)
    }),
    ("snapshot answer", |bytes| again(bytes, message::decode_vote_only, |vote| message::encode_vote_only(&vote))),
    ("hello", |bytes| again(bytes, Hello::decode, |hello| hello.encode())),
    ("hello answer", |bytes| again(bytes, HelloReply::decode, |reply| reply.encode())),
    ("membership", |bytes| again(bytes, membership::decode, |membership| membership::encode(&membership))),
];

/// Kind, request number and payload of a frame.
pub type Frame = (u8, u64, Bytes);

/// Gives a stream in pieces of a fixed size.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl ReadHalf for Pieces<'_> {
    fn read<'a>(&'a mut self, buf: &'a mut BytesMut) -> BoxFuture<'a, io::Result<usize>> {
        let (piece, rest) = self.rest.split_at(self.piece.min(self.rest.len()));
        buf.extend_from_slice(piece);
        self.rest = rest;
        Box::pin(std::future::ready(Ok(piece.len())))
    }
}

/// The frames of a stream that comes in pieces of `piece` bytes, and the error it ends with. `trusted` says whether the
/// handshake is over.
#[must_use]
pub fn frames(stream: &[u8], piece: usize, trusted: bool) -> (Vec<Frame>, Option<io::ErrorKind>) {
    let mut from = Pieces { rest: stream, piece };
    let mut reader = FrameReader::new();
    if trusted {
        reader.trust();
    }
    let mut frames = Vec::new();
    loop {
        match timbermq_sync::block_on(reader.next(&mut from)) {
            Ok(Some(frame)) => frames.push((frame.kind, frame.request, frame.payload.into_bytes())),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error.kind())),
        }
    }
}

/// The bytes of a frame.
#[must_use]
pub fn frame_bytes(kind: u8, request: u64, payload: Bytes) -> Vec<u8> {
    let mut parts = Vec::new();
    frame::encode(kind, request, vec![payload.into()], &mut parts);
    parts.concat()
}

/// What a replica makes of a head and chunks that another sends it; `None` when it refuses them.
#[must_use]
pub fn receive_snapshot(head: Bytes, chunks: &[Bytes]) -> Option<Snapshot> {
    let mut incoming = Incoming::default();
    incoming.start(message::decode_snapshot_head(head).ok()?).ok()?;
    for chunk in chunks {
        let (offset, bytes) = message::decode_chunk(chunk.clone()).ok()?;
        incoming.chunk(offset, &bytes).ok()?;
    }
    incoming.finish().ok().map(|(_, snapshot)| snapshot)
}

/// The head that a leader would send before `snapshot`; `None` when the snapshot's membership is malformed.
#[must_use]
pub fn snapshot_head(snapshot: &Snapshot) -> Option<Bytes> {
    let meta = crate::state_machine::meta_of(snapshot).ok()?;
    let leader = timbermq_commitlog::Vote { term: snapshot.mark.term, node: Some(NodeId(1)), committed: true };
    let head = message::SnapshotHead {
        vote: crate::raft::vote_from_log(leader)?,
        meta,
        position: snapshot.end,
        len: snapshot.dump.len() as u64,
        crc: crc32fast::hash(&snapshot.dump),
    };
    Some(message::encode_snapshot_head(&head))
}

/// Reads the snapshot file of `dir`.
///
/// # Errors
/// As the replica's own start.
pub fn read_snapshot_file(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Bytes>> {
    snapshot_file::read(disk, dir)
}

/// Writes the snapshot file of `dir`.
///
/// # Errors
/// Those of the disk.
pub fn write_snapshot_file(disk: &dyn Disk, dir: &Path, dump: &[u8]) -> io::Result<()> {
    snapshot_file::write(disk, dir, dump)
}

/// Whom the directories of these doors belong to.
fn me(incarnation: u64) -> Identity {
    Identity { cluster: "c".into(), group: "g".into(), node: NodeId(1), slot: Slot(0), incarnation }
}

/// Opens the identity in `dir` and returns its incarnation; a new one gets `incarnation`.
///
/// # Errors
/// As the replica's own start.
pub fn open_identity(env: &Env, dir: &Path, incarnation: u64, log_is_empty: bool) -> Result<u64, IdentityError> {
    Identity::open(env, dir, &me(incarnation), log_is_empty).map(|identity| identity.incarnation)
}

/// Opens the list of peers in `dir` and says which incarnation it knows of `node`.
///
/// # Errors
/// As the replica's own start.
pub fn open_peers(env: &Env, dir: &Path, node: NodeId) -> io::Result<Option<u64>> {
    Ok(PeerBook::open(env, dir, me(7), std::collections::BTreeMap::new())?.known(node))
}

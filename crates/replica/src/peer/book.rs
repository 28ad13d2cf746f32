//! What a replica knows about the others: where they are, and which incarnation each had.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use timbermq_bugs::{Bug, planted};
use timbermq_env::Env;
use timbermq_types::NodeId;

use crate::identity::{Identity, read_checked, write_checked};
use crate::membership::NodeAddr;
use crate::peer::handshake::{Hello, Refusal};
use crate::wire::{Malformed, Reader, Writer};

const FILE: &str = "peers";
const FORMAT: u8 = 1;

/// Addresses and incarnations of the group's replicas.
pub(crate) struct PeerBook {
    env: Env,
    dir: PathBuf,
    me: Identity,
    /// Configured addresses. They win over those in the membership, so that a replica can move.
    configured: BTreeMap<NodeId, NodeAddr>,
    incarnations: Mutex<BTreeMap<NodeId, u64>>,
    /// Held while a new incarnation is being made durable.
    learning: tokio::sync::Mutex<()>,
}

impl PeerBook {
    /// Reads what `dir` remembers. Blocks.
    pub fn open(env: &Env, dir: &Path, me: Identity, configured: BTreeMap<NodeId, NodeAddr>) -> io::Result<Self> {
        let incarnations = match read_checked(env, &dir.join(FILE))? {
            None => BTreeMap::new(),
            Some(bytes) => {
                let damaged = |problem: String| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {problem}", dir.join(FILE).display()))
                };
                decode(bytes.map_err(|problem| damaged(problem.into()))?).map_err(|error| damaged(error.to_string()))?
            }
        };
        Ok(Self {
            env: env.clone(),
            dir: dir.to_owned(),
            me,
            configured,
            incarnations: Mutex::new(incarnations),
            learning: tokio::sync::Mutex::new(()),
        })
    }

    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// What to say when connecting to `to`.
    pub fn hello(&self, to: NodeId) -> Hello {
        let Identity { cluster, group, node, incarnation, .. } = self.me.clone();
        Hello { cluster, group, from: node, to, incarnation }
    }

    /// Where `node` is: as configured, else as the membership says.
    pub fn addr(&self, node: NodeId, membership: &NodeAddr) -> String {
        self.configured.get(&node).unwrap_or(membership).peer_addr.clone()
    }

    /// Whether whoever sent `hello` may talk to this replica.
    pub fn check_hello(&self, hello: &Hello) -> Result<(), Refusal> {
        if hello.cluster != self.me.cluster {
            return Err(Refusal::Cluster);
        }
        if hello.group != self.me.group {
            return Err(Refusal::Group);
        }
        if hello.to != self.me.node {
            return Err(Refusal::Node);
        }
        if hello.from == self.me.node {
            return Err(if hello.incarnation == self.me.incarnation { Refusal::Itself } else { Refusal::Incarnation });
        }
        Ok(())
    }

    /// Accepts `incarnation` for `node` when it is the known one, or the first one seen: then it is durable before this
    /// returns.
    pub async fn admit(self: &std::sync::Arc<Self>, node: NodeId, incarnation: u64) -> io::Result<Result<(), Refusal>> {
        let known = |book: &Self| book.known(node);
        let is_same = |known: u64| known == incarnation || planted(Bug::WipedNodeVotes);
        let verdict = |known: u64| if is_same(known) { Ok(()) } else { Err(Refusal::Incarnation) };
        if let Some(known) = known(self) {
            return Ok(verdict(known));
        }
        let _learning = self.learning.lock().await;
        if let Some(known) = known(self) {
            return Ok(verdict(known));
        }
        let mut all = self.incarnations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.insert(node, incarnation);
        let (env, dir, bytes) = (self.env.clone(), self.dir.clone(), encode(&all));
        self.env.blocking("peer.learn", move || write_checked(&env, &dir, FILE, &bytes)).await?;
        *self.incarnations.lock().unwrap_or_else(PoisonError::into_inner) = all;
        tracing::info!(%node, incarnation, "peer.first_seen");
        Ok(Ok(()))
    }

    pub fn known(&self, node: NodeId) -> Option<u64> {
        self.incarnations.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }
}

fn encode(incarnations: &BTreeMap<NodeId, u64>) -> Bytes {
    let mut out = Writer::new();
    out.u8(FORMAT).u32(u32::try_from(incarnations.len()).expect("a group has few replicas"));
    for (node, incarnation) in incarnations {
        out.u64(node.0).u64(*incarnation);
    }
    out.finish()
}

fn decode(bytes: Bytes) -> Result<BTreeMap<NodeId, u64>, Malformed> {
    let mut from = Reader::new("peer list", bytes);
    if from.u8()? != FORMAT {
        return Err(from.problem("its format is of another version of this program"));
    }
    let mut incarnations = BTreeMap::new();
    for _ in 0..from.count(16)? {
        incarnations.insert(NodeId(from.u64()?), from.u64()?);
    }
    from.end()?;
    Ok(incarnations)
}

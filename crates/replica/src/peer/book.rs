//! What a replica knows about the others: where they are, and which incarnation each had.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use timbermq_bugs::{Bug, planted};
use timbermq_env::Env;
use timbermq_types::NodeId;

use crate::config::Member;
use crate::identity::{Identity, read_checked, write_checked};
use crate::membership::{GroupMember, NodeAddr};
use crate::peer::handshake::{Hello, Refusal};
use crate::wire::{Malformed, Reader, Writer};

const FILE: &str = "peers";
const FORMAT: u8 = 1;

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub node: NodeId,
    /// `host:port` of its peer listener.
    pub addr: String,
    /// Which incarnation it must have, when the group's log says so.
    pub incarnation: Option<u64>,
}

impl Target {
    /// A replica that is no member yet, as far as this one knows.
    pub fn stranger(member: &Member) -> Self {
        Self { node: member.node, addr: member.addr.peer_addr.clone(), incarnation: None }
    }
}

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

    /// How to reach a member: at its configured address, else where the membership says.
    pub fn target(&self, node: NodeId, member: &GroupMember) -> Target {
        let addr = self.configured.get(&node).unwrap_or(&member.addr).peer_addr.clone();
        Target { node, addr, incarnation: Some(member.incarnation) }
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

    /// Accepts `incarnation` for `node` when it is that of the `member`. Of a node that is no member, it accepts the known
    /// one, or the first one seen: then it is durable before this returns.
    pub async fn admit(
        self: &std::sync::Arc<Self>,
        node: NodeId,
        member: Option<u64>,
        incarnation: u64,
    ) -> io::Result<Result<(), Refusal>> {
        let known = |book: &Self| member.or_else(|| book.known(node));
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

#[cfg(test)]
mod tests {
    use timbermq_types::Slot;

    use super::*;

    fn open(env: &Env, dir: &Path) -> std::sync::Arc<PeerBook> {
        let me = Identity { cluster: "c".into(), group: "g".into(), node: NodeId(1), slot: Slot(0), incarnation: 11 };
        std::sync::Arc::new(PeerBook::open(env, dir, me, BTreeMap::new()).unwrap())
    }

    #[test]
    fn the_first_incarnation_seen_is_kept_and_a_members_is_the_memberships() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = timbermq_host::env_on(runtime.handle().clone());
        let dir = tempfile::tempdir().unwrap();
        let book = open(&env, dir.path());
        let admit = |book: &std::sync::Arc<PeerBook>, node, member, incarnation| {
            runtime.block_on(book.admit(NodeId(node), member, incarnation)).unwrap()
        };
        let refused = Err(Refusal::Incarnation);
        assert_eq!(admit(&book, 2, None, 5), Ok(()));
        assert_eq!(admit(&book, 2, None, 6), refused);
        // Whom it has met before does not matter once the log names the member.
        assert_eq!(admit(&book, 2, Some(6), 6), Ok(()));
        assert_eq!(admit(&book, 2, Some(6), 5), refused);
        assert_eq!(admit(&book, 3, Some(7), 8), refused);
        assert_eq!(book.known(NodeId(3)), None, "who is refused is not remembered");
        drop(book);
        let book = open(&env, dir.path());
        assert_eq!(admit(&book, 2, None, 6), refused, "it is durable");
        assert_eq!(book.known(NodeId(2)), Some(5));
    }

    #[test]
    fn a_member_is_reached_where_the_configuration_says_and_must_be_the_one_the_log_names() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = timbermq_host::env_on(runtime.handle().clone());
        let dir = tempfile::tempdir().unwrap();
        let at = |addr: &str| NodeAddr { slot: Slot(1), peer_addr: addr.into(), broker_addr: String::new() };
        let book = PeerBook::open(
            &env,
            dir.path(),
            open(&env, dir.path()).me().clone(),
            BTreeMap::from([(NodeId(2), at("new:1"))]),
        );
        let member = GroupMember { addr: at("old:1"), incarnation: 7 };
        let target = |node| book.as_ref().unwrap().target(NodeId(node), &member);
        assert_eq!(target(2), Target { node: NodeId(2), addr: "new:1".into(), incarnation: Some(7) });
        assert_eq!(target(3), Target { node: NodeId(3), addr: "old:1".into(), incarnation: Some(7) });
    }
}

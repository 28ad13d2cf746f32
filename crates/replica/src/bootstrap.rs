//! What an empty replica does: it asks the others before it does anything that counts.
//!
//! * It votes only after a majority of the members has answered it. Peers whose log, or memory, has this node id with other
//!   data refuse it in the handshake, which stops the replica with a message. Nobody would count its votes either.
//! * The group is founded by the member with the smallest slot, and only when every other member has answered that it is
//!   empty too. Their incarnations stand in the first membership.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::errors::RaftError;
use timbermq_commitlog::CommitLog;
use timbermq_env::Env;
use timbermq_sync::Latch;
use tokio::sync::mpsc;

use crate::config::{Member, ReplicaConfig};
use crate::failure::Failure;
use crate::membership::GroupMember;
use crate::peer::book::Target;
use crate::peer::network::Peers;
use crate::peer::suspicion::Raft;
use crate::race::{Either, race};

/// Longest time to wait for one member's answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

pub(crate) struct Bootstrap {
    pub env: Env,
    pub config: ReplicaConfig,
    pub raft: Raft,
    pub log: CommitLog,
    pub peers: Peers,
    pub may_vote: Arc<Latch>,
    pub failure: Failure,
}

impl Bootstrap {
    /// Runs until this replica has a log, or `stop` is closed.
    pub async fn run(self, stop: mpsc::Sender<()>) {
        if let Either::Left(Err(message)) = race(self.settle(), stop.closed()).await {
            self.failure.report(message);
        }
    }

    async fn settle(&self) -> Result<(), String> {
        loop {
            if self.log.last().is_some() {
                self.may_vote.set();
                return Ok(());
            }
            let others: Vec<&Member> = self.config.members.iter().filter(|m| m.node != self.config.node).collect();
            let asked = others.iter().map(|member| self.peers.status(Target::stranger(member), ANSWER_LIMIT));
            let answers: Vec<_> = join_all(asked).await.into_iter().filter_map(Result::ok).collect();
            if (answers.len() + 1) * 2 > self.config.members.len() {
                self.may_vote.set();
            }
            let all_empty = answers.len() == others.len() && answers.iter().all(|status| status.last.is_none());
            let first = others.iter().all(|other| other.addr.slot > self.config.slot);
            if self.config.bootstrap && all_empty && first {
                self.found_group().await?;
            }
            self.env.sleep(Duration::from_millis(100 + self.env.random_below(50))).await;
        }
    }

    async fn found_group(&self) -> Result<(), String> {
        let me = self.peers.book.me();
        let mut members = BTreeMap::new();
        for Member { node, addr } in &self.config.members {
            let known = if *node == me.node { Some(me.incarnation) } else { self.peers.book.known(*node) };
            // All have answered, and answers come over connections that began with an incarnation.
            let incarnation = known.ok_or_else(|| format!("node {node} answered without a handshake"))?;
            members.insert(node.0, GroupMember { addr: addr.clone(), incarnation });
        }
        tracing::info!(group = self.config.group, members = members.len(), "replica.group_founded");
        match self.raft.initialize(members).await {
            // Somebody else was faster, or a leader has reached this replica meanwhile.
            Ok(()) | Err(RaftError::APIError(_)) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(format!("cannot found the group: {fatal}")),
        }
    }
}

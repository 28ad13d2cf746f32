//! Noticing at once that the leader's process is gone.
//!
//! A lost connection proves nothing. A lost connection *and* a refused new one show that no process listens at the leader's
//! address any more. Then this replica stops honouring the leader's lease and asks for an election, with a pre-vote, after
//! a short random wait. Leases only avoid needless elections here: reads are confirmed by a round to a majority, so
//! dropping a lease early can cost an election, never a wrong answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use timbermq_env::Env;
use timbermq_types::NodeId;

use crate::peer::book::PeerBook;
use crate::peer::message::TransferAsk;
use crate::raft::{Group, RaftVote};
use crate::state_machine::StateMachine;

/// Longest time the trial connection may take; one that takes longer shows nothing.
const TRIAL_LIMIT: Duration = Duration::from_millis(300);
/// Attempts to get elected before the timers are left to it.
const ATTEMPTS: usize = 5;
/// A node id that no replica has.
const NOBODY: u64 = u64::MAX;

pub(crate) type Raft = openraft::Raft<Group, StateMachine>;

/// Watches for the leader's death.
#[derive(Clone)]
pub(crate) struct Suspicion {
    env: Env,
    raft: Raft,
    book: Arc<PeerBook>,
    busy: Arc<AtomicBool>,
}

impl Suspicion {
    pub fn new(env: Env, raft: Raft, book: Arc<PeerBook>) -> Self {
        Self { env, raft, book, busy: Arc::default() }
    }

    /// To be told that a connection from `node` was closed by the other end.
    pub fn connection_lost(&self, node: NodeId) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        self.env.spawn("peer.suspicion", async move {
            this.investigate(node).await;
            this.busy.store(false, Ordering::Release);
        });
    }

    /// The vote for `node` while it leads, and its address.
    async fn led_by(&self, node: NodeId) -> Option<(RaftVote, String)> {
        let id = node.0;
        let state = self.raft.with_raft_state(move |state| {
            let membership = state.membership_state.effective().membership();
            (*state.vote_ref(), membership.get_node(&id).cloned())
        });
        let (vote, addr) = state.await.ok()?;
        let leads = vote.committed && vote.leader_id.voted_for == node.0 && node != self.book.me().node;
        leads.then(|| addr.map(|addr| (vote, self.book.addr(node, &addr))))?
    }

    async fn is_dead(&self, addr: &str) -> bool {
        let trial = self.env.timeout(TRIAL_LIMIT, self.env.net.connect(addr)).await;
        matches!(trial, Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    async fn investigate(&self, node: NodeId) {
        let Some((vote, addr)) = self.led_by(node).await else { return };
        if !self.is_dead(&addr).await {
            return;
        }
        tracing::info!(leader = %node, term = vote.leader_id.term, "raft.leader_process_gone");
        for attempt in 0..ATTEMPTS {
            // As a leader does that hands over to somebody else: the lease ends, nothing more.
            let lease_over = TransferAsk::new(vote, NOBODY, None);
            if self.raft.handle_transfer_leader(lease_over).await.is_err() {
                return;
            }
            let wait = 10 + self.env.random_below(40) + attempt as u64 * self.env.random_below(100);
            self.env.sleep(Duration::from_millis(wait)).await;
            if self.led_by(node).await.is_none() {
                return; // somebody was faster
            }
            if self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            self.env.sleep(Duration::from_millis(100)).await;
            if self.led_by(node).await.is_none_or(|(now, _)| now != vote) {
                return;
            }
        }
    }
}

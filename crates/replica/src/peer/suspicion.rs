//! Noticing at once that the leader's process is gone.
//!
//! A lost connection proves nothing. A lost connection *and* a refused new one show that no process listens at the leader's
//! address any more. Then this replica stops honouring the leader's lease and asks for an election, with a pre-vote, after
//! a short random wait. Leases only avoid needless elections here: reads are confirmed by a round to a majority, so
//! dropping a lease early can cost an election, never a wrong answer.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timbermq_env::Env;
use timbermq_types::NodeId;

use crate::peer::book::PeerBook;
use crate::peer::message::TransferAsk;
use crate::raft::{Group, RaftVote};
use crate::state_machine::StateMachine;

/// Longest time the trial connection may take; one that takes longer shows nothing.
const TRIAL_LIMIT: Duration = Duration::from_millis(300);
/// Pauses before the trials. The system closes a killed process's sockets one after the other, so the first trial may still
/// find the listening one open.
const TRIAL_PAUSES_MS: [u64; 5] = [0, 10, 20, 50, 100];
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
    under_way: Arc<Mutex<UnderWay>>,
}

/// Whose loss is being looked into, and whether another connection to it was lost meanwhile. Each is looked into by itself:
/// somebody else's lost connection must not hide the leader's.
#[derive(Debug, Default)]
struct UnderWay(BTreeMap<NodeId, bool>);

impl UnderWay {
    /// Whether to begin; if not, whoever is at it will look again.
    fn begin(&mut self, node: NodeId) -> bool {
        match self.0.get_mut(&node) {
            Some(again) => {
                *again = true;
                false
            }
            None => self.0.insert(node, false).is_none(),
        }
    }

    /// Whether that was all.
    fn end(&mut self, node: NodeId) -> bool {
        match self.0.get_mut(&node) {
            Some(again) if *again => {
                *again = false;
                false
            }
            _ => {
                self.0.remove(&node);
                true
            }
        }
    }
}

impl Suspicion {
    pub fn new(env: Env, raft: Raft, book: Arc<PeerBook>) -> Self {
        Self { env, raft, book, under_way: Arc::default() }
    }

    /// To be told that a connection from `node` was closed by the other end.
    pub fn connection_lost(&self, node: NodeId) {
        if !self.under_way().begin(node) {
            return;
        }
        let this = self.clone();
        self.env.spawn("peer.suspicion", async move {
            loop {
                this.investigate(node).await;
                if this.under_way().end(node) {
                    return;
                }
            }
        });
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vote for `node` while it leads, and its address.
    async fn led_by(&self, node: NodeId) -> Option<(RaftVote, String)> {
        let id = node.0;
        let state = self.raft.with_raft_state(move |state| {
            let membership = state.membership_state.effective().membership();
            (*state.vote_ref(), membership.get_node(&id).cloned())
        });
        let (vote, member) = state.await.ok()?;
        let leads = vote.committed && vote.leader_id.voted_for == node.0 && node != self.book.me().node;
        leads.then(|| member.map(|member| (vote, self.book.target(node, &member).addr)))?
    }

    /// Whether somebody leads after `vote`. A vote that nobody has won yet is not enough: where two asked at the same moment,
    /// each has its own vote, and nobody would go on before the timers do.
    async fn is_over(&self, vote: RaftVote) -> bool {
        let now = self.raft.with_raft_state(|state| *state.vote_ref()).await;
        now.map_or(true, |now| now.committed && now != vote)
    }

    async fn investigate(&self, node: NodeId) {
        let Some((vote, addr)) = self.led_by(node).await else { return };
        if !process_is_gone(&self.env, &addr).await {
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
            if self.is_over(vote).await {
                return; // somebody was faster
            }
            if self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            self.env.sleep(Duration::from_millis(100)).await;
            if self.is_over(vote).await {
                return;
            }
        }
    }
}

/// Whether nothing listens at `addr` any more.
async fn process_is_gone(env: &Env, addr: &str) -> bool {
    for pause in TRIAL_PAUSES_MS {
        env.sleep(Duration::from_millis(pause)).await;
        let trial = env.timeout(TRIAL_LIMIT, env.net.connect(addr)).await;
        if matches!(trial, Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(listener: std::net::TcpListener, accepts: usize) -> bool {
        let addr = listener.local_addr().unwrap().to_string();
        let accepting = std::thread::spawn(move || {
            for _ in 0..accepts {
                drop(listener.accept());
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let gone = runtime.block_on(process_is_gone(&timbermq_host::env_on(runtime.handle().clone()), &addr));
        accepting.join().unwrap();
        gone
    }

    #[test]
    fn each_lost_connection_is_looked_into_and_none_hides_anothers() {
        let (leader, other) = (NodeId(1), NodeId(2));
        let mut under_way = UnderWay::default();
        assert!(under_way.begin(other));
        assert!(under_way.begin(leader), "while the other is looked into");
        assert!(!under_way.begin(leader), "somebody is at it");
        assert!(under_way.end(other));
        assert!(!under_way.end(leader), "it was lost again meanwhile");
        assert!(under_way.end(leader));
        assert!(under_way.begin(leader) && under_way.begin(other), "from the beginning");
    }

    #[test]
    fn a_dying_process_whose_listener_closes_last_is_noticed_and_a_living_one_is_left_alone() {
        let listener = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(judge(listener(), 0), "refused at once");
        assert!(judge(listener(), 1), "still accepted the first trial");
        assert!(!judge(listener(), TRIAL_PAUSES_MS.len()), "it listens all the time");
    }
}

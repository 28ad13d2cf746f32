//! Who leads, as this replica sees it.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use timbermq_bugs::{Bug, planted};
use timbermq_commitlog::spec_event;
use timbermq_env::Env;
use timbermq_machine::{LeaderStarted, Proposal};
use timbermq_types::{Mono, NodeId, Term};
use tokio::sync::{mpsc, watch};

use crate::failure::Failure;
use crate::peer::suspicion::Raft;
use crate::proposer::{ProposeError, Proposer};
use crate::race::{Either, race};

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its term.
    pub term: Term,
    /// Who leads that term, when known.
    pub leader: Option<NodeId>,
    /// Whether this replica leads and its term has begun: its first command is applied, so its state is complete.
    pub is_leader: bool,
    /// Whether this replica leads and a majority has answered within the lease. A leader without it accepts nothing.
    pub has_quorum: bool,
}

/// Follows the engine.
pub(crate) struct RoleWatch {
    pub env: Env,
    pub raft: Raft,
    pub node: NodeId,
    pub lease: Duration,
    pub proposer: Proposer,
    pub role: watch::Sender<Role>,
    pub failure: Failure,
}

/// Follows the engine until `stop` is closed.
pub(crate) async fn run(watch: RoleWatch, stop: mpsc::Sender<()>) {
    let RoleWatch { env, raft, node, lease, proposer, role, failure } = watch;
    let mut metrics = raft.metrics();
    let mut started: Option<Term> = None;
    let clock = || if planted(Bug::LeaseOnWallClock) { Mono(env.wall().0 * 1_000_000) } else { env.mono() };
    let mut acked = (None, clock());
    loop {
        let (now, alive) = {
            let seen = metrics.borrow_watched();
            let leads = seen.state == ServerState::Leader;
            let voters = seen.membership_config.voter_ids().count();
            let acked_at = seen.last_quorum_acked;
            if acked_at != acked.0 {
                acked = (acked_at, clock());
            }
            let fresh = acked_at.is_some() && clock().since(acked.1) < lease;
            let now = Role {
                term: Term(seen.current_term),
                leader: seen.current_leader.map(NodeId),
                is_leader: leads && (started == Some(Term(seen.current_term)) || planted(Bug::ServedBeforeApplied)),
                has_quorum: leads && (voters <= 1 || fresh),
            };
            (now, seen.running_state.clone().map(|()| leads))
        };
        let leads = match alive {
            Ok(leads) => leads,
            Err(fatal) => {
                failure.report(format!("the consensus engine stopped: {fatal}"));
                return;
            }
        };
        if now.is_leader && !role.borrow().is_leader {
            spec_event!("became_leader", term = now.term.0);
        }
        let changed = role.send_if_modified(|role| std::mem::replace(role, now) != now);
        if changed {
            tracing::info!(term = now.term.0, leader = ?now.leader, leads = now.is_leader, quorum = now.has_quorum, "raft.role");
        }
        if leads && !now.is_leader && now.has_quorum {
            let start = Proposal::from(LeaderStarted { node, term: now.term });
            match proposer.propose(start).await {
                Ok(_) => {
                    let still = metrics.borrow_watched().current_term == now.term.0;
                    started = still.then_some(now.term);
                    continue;
                }
                Err(ProposeError::Stopping) => {}
                Err(error) => {
                    tracing::info!(%error, "raft.leader_not_started");
                    // The refusal itself changes the metrics: without a pause this would go round at full speed for as
                    // long as the engine and this task disagree about the quorum.
                    env.sleep(lease / 16).await;
                }
            }
        }
        // A lost quorum shows only by time passing.
        let changed = async {
            if metrics.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let wait = env.timeout(lease / 4, changed);
        if let Either::Right(_) = race(wait, stop.closed()).await {
            role.send_modify(|role| (role.is_leader, role.has_quorum) = (false, false));
            return;
        }
    }
}

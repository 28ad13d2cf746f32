//! A replica, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, ReadPolicy};
use timbermq_bugs::{Bug, planted};
use timbermq_commitlog::{CommitLog, spec_event};
use timbermq_env::Env;
use timbermq_machine::{Machine, Proposal, Reply, Snapshot, View};
use timbermq_sync::{Budget, Latch};
use timbermq_types::{LogId, NodeId, Term};
use tokio::sync::{mpsc, oneshot, watch};

use crate::bootstrap::Bootstrap;
use crate::config::{Member, ReplicaConfig};
use crate::effects::{EffectHub, Effects};
use crate::failure::{Failure, ReplicaFailure};
use crate::identity::{Identity, IdentityError};
use crate::keeper::Keeper;
use crate::log_store::LogStore;
use crate::membership::{self, GroupMember, NodeAddr};
use crate::peer::book::{PeerBook, Target};
use crate::peer::network::Peers;
use crate::peer::server::{CONNECTIONS_MAX, PeerServer};
use crate::peer::suspicion::{Raft, Suspicion};
use crate::proposer::{self, Outcome, ProposeError, Proposer, ProposerOptions, forward_error, write_error};
use crate::race::{Either, race};
use crate::raft::{self, Group, StoredMembership};
use crate::retention::RetentionDriver;
use crate::role::{self, Role, RoleWatch};
use crate::snapshot_file;
use crate::state_machine::{StateMachine, restart_log};
use crate::status::{FollowerStatus, ReplicaStatus};

/// How long a new replica is waited for until it answers.
const MEET_LIMIT: Duration = Duration::from_secs(5);
/// How often a new replica's progress is looked at.
const CATCH_UP_LOOK: Duration = Duration::from_millis(50);
/// Time without progress after which a new replica is not waited for any more. A snapshot shows no progress until it is
/// installed.
const CATCH_UP_STALL: Duration = Duration::from_secs(150);

/// What to do when a replica's own state cannot be used.
const REJOIN: &str = "This replica must come back with an empty directory under a new node id";

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration makes no sense.
    #[error("replica configuration: {0}")]
    Config(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The disk or the network failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The index knows entries that the log does not have.
    #[error(
        "the index has applied entry {applied}, but the log ends at {last:?}: entries that were durable are gone. {REJOIN}"
    )]
    IndexAhead {
        /// Last applied entry.
        applied: LogId,
        /// Last entry of the log.
        last: Option<LogId>,
    },
    /// The log no longer has the entries the index needs.
    #[error(
        "the index has applied {applied:?}, but the log begins after {purged}: the index was lost or replaced by an older one. {REJOIN}"
    )]
    IndexBehind {
        /// Last applied entry.
        applied: Option<LogId>,
        /// Last purged entry.
        purged: LogId,
    },
    /// The group knows this node id in another slot.
    #[error("the group knows node {node} in slot {known}, the configuration says {configured}")]
    Slot {
        /// The node id.
        node: NodeId,
        /// Slot in the membership.
        known: u32,
        /// Slot in the configuration.
        configured: u32,
    },
    /// The consensus engine did not start.
    #[error("the consensus engine did not start: {0}")]
    Engine(String),
}

/// Why a read barrier was not passed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// Another replica leads.
    #[error("this replica does not lead; the leader is {leader:?}")]
    NotLeader {
        /// Who leads, when known.
        leader: Option<NodeId>,
    },
    /// No majority has answered.
    #[error("the replica has no quorum")]
    NoQuorum,
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Stopping,
}

/// Why the membership was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The change was not proposed, or its outcome is not known.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The change makes no sense now.
    #[error("the membership was not changed: {0}")]
    Refused(String),
}

/// One member of a broker group. Clones are the same replica; it stops when the last is dropped. All methods may be called
/// from any thread.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    config: ReplicaConfig,
    raft: Raft,
    log: CommitLog,
    keeper: Keeper,
    peers: Peers,
    proposer: Proposer,
    effects: EffectHub,
    role: watch::Receiver<Role>,
    failure: Failure,
    disk_used_ppm: Arc<AtomicU32>,
    peer_addr: SocketAddr,
    stop: Mutex<Option<Stop>>,
}

/// Dropping it stops the replica's tasks.
struct Stop {
    _tasks: mpsc::Receiver<()>,
    keeper: mpsc::Sender<()>,
    keeper_ended: oneshot::Receiver<()>,
}

impl Replica {
    /// Starts a replica on the runtime this is called on; its tasks stay there. `env` becomes this thread's world.
    ///
    /// # Errors
    /// [`StartError`]. Nothing runs then, and nothing but `identity` was written.
    pub async fn start(
        env: Env,
        config: ReplicaConfig,
        log: CommitLog,
        machine: Machine,
    ) -> Result<Replica, StartError> {
        if let Some(problem) = config.problem() {
            return Err(StartError::Config(problem));
        }
        let engine = Arc::new(config.engine().map_err(StartError::Config)?);
        // The engine asks this thread's world for time and tasks; it runs nowhere else.
        timbermq_env::enter(Some(Arc::new(env.clone())));
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| StartError::Io { what, source }
        };
        let was_empty = log.last().is_none() && log.vote().is_none();
        let machine = rebuilt(&env, &config.data_dir, &log, machine).await?;
        reconcile(&env, &config.data_dir, &log, &machine).await?;
        let applied = machine.applied().0;
        spec_event!(
            "started",
            id = config.node.0,
            applied = applied.map_or(0, |id| id.index.0 + 1),
            applied_term = applied.map_or(0, |id| id.term.0),
        );
        check_slot(&config, &machine)?;
        let book = Arc::new(open_book(&env, &config, was_empty).await?);
        let listener = env.net.listen(&config.peer_listen).await;
        let listener = listener.map_err(io(&format!("listen on {}", config.peer_listen)))?;
        let peer_addr = listener.local_addr();

        let failure = Failure::new();
        let keeper = Keeper::new(env.clone(), log.clone(), machine, config.data_dir.clone(), config.keeper.clone());
        let effects = EffectHub::new();
        let (installed, installs) = watch::channel(0);
        let log_store = LogStore::new(env.clone(), log.clone(), config.node, config.request_bytes_max, installs);
        let state_machine = StateMachine::new(env.clone(), log.clone(), keeper.clone(), effects.clone(), installed);
        let peers =
            Peers::new(env.clone(), Arc::clone(&book), failure.clone(), config.stall_limit, config.request_window);
        // Before the engine, which applies again what the index does not have: it may be more than memory may hold.
        let (keeper_stop, keeper_stopped) = mpsc::channel(1);
        let (keeper_end, keeper_ended) = oneshot::channel();
        let keeper_task = keeper.clone().run(failure.clone(), keeper_stopped);
        env.spawn("index.keeper", async move {
            keeper_task.await;
            let _ = keeper_end.send(());
        });
        let raft = Raft::new(config.node.0, engine, peers.clone(), log_store, state_machine);
        let raft = match race(failure.wait(), raft).await {
            Either::Left(failure) => Err(failure.to_string()),
            Either::Right(raft) => raft.map_err(|error| error.to_string()),
        };
        let raft = raft.map_err(StartError::Engine)?;

        let (stop, tasks) = mpsc::channel(1);
        watch_log(&env, &log, &failure, stop.clone());

        let (role_tx, role) = watch::channel(Role::default());
        let proposer = proposer::start(
            ProposerOptions {
                env: env.clone(),
                raft: raft.clone(),
                log: log.clone(),
                view: keeper.view().clone(),
                role: role.clone(),
                in_flight_bytes_max: config.in_flight_bytes_max,
                batch_bytes_max: config.batch_bytes_max,
                batches_in_flight: config.batches_in_flight,
                deadline: config.proposal_deadline,
            },
            stop.clone(),
        );
        let role_watch = RoleWatch {
            env: env.clone(),
            raft: raft.clone(),
            node: config.node,
            lease: config.timing.election_max,
            proposer: proposer.clone(),
            role: role_tx,
            failure: failure.clone(),
        };
        env.spawn("raft.role", role::run(role_watch, stop.clone()));
        let may_vote = Arc::new(Latch::new(!was_empty));
        let disk_used_ppm = Arc::new(AtomicU32::new(0));
        let server = PeerServer {
            env: env.clone(),
            raft: raft.clone(),
            log: log.clone(),
            view: keeper.view().clone(),
            book: Arc::clone(&book),
            suspicion: Suspicion::new(env.clone(), raft.clone(), book),
            may_vote: Arc::clone(&may_vote),
            disk_used_ppm: Arc::clone(&disk_used_ppm),
            connections: Arc::new(Budget::new(CONNECTIONS_MAX)),
        };
        env.spawn("peer.server", server.run(listener, stop.clone()));
        let retention = RetentionDriver {
            env: env.clone(),
            config: config.clone(),
            raft: raft.clone(),
            log: log.clone(),
            keeper: keeper.clone(),
            peers: peers.clone(),
            proposer: proposer.clone(),
            role: role.clone(),
            disk_used_ppm: Arc::clone(&disk_used_ppm),
            failure: failure.clone(),
        };
        retention.measure_disk().await;
        env.spawn("retention", retention.run(stop.clone()));
        if was_empty {
            let bootstrap = Bootstrap {
                env: env.clone(),
                config: config.clone(),
                raft: raft.clone(),
                log: log.clone(),
                peers: peers.clone(),
                may_vote,
                failure: failure.clone(),
            };
            env.spawn("replica.bootstrap", bootstrap.run(stop));
        }
        tracing::info!(node = %config.node, slot = %config.slot, %peer_addr, last = ?log.last(), applied = ?keeper.view().applied(), "replica.started");
        let stop = Mutex::new(Some(Stop { _tasks: tasks, keeper: keeper_stop, keeper_ended }));
        let shared = Shared {
            env,
            config,
            raft,
            log,
            keeper,
            peers,
            proposer,
            effects,
            role,
            failure,
            disk_used_ppm,
            peer_addr,
            stop,
        };
        Ok(Replica { shared: Arc::new(shared) })
    }

    /// Says where those who propose run: from now on a task of `env` hands out what applying gave, for all commands of an
    /// entry at once. Without it the replica's own thread does, which works but wakes every caller across threads.
    pub fn answer_on(&self, env: &Env) {
        self.shared.proposer.answer_on(env);
    }

    /// Puts a command into the log and returns what applying it gave.
    ///
    /// # Errors
    /// [`ProposeError`], which says whether anything may have been proposed.
    pub async fn propose(&self, proposal: Proposal) -> Result<Reply, ProposeError> {
        self.shared.proposer.propose(proposal).await
    }

    /// As [`propose`](Self::propose), without a task that waits: `then` gets the outcome, at once or on whatever thread it
    /// comes to, and must not block. It is called in any case, within the deadline of proposals.
    pub fn propose_then(&self, proposal: Proposal, then: impl FnOnce(Outcome) + Send + 'static) {
        self.shared.proposer.propose_then(proposal, then);
    }

    /// As [`propose`](Self::propose), but only while this replica leads in `term`: what the caller concluded in that term
    /// may not hold in a later one.
    ///
    /// # Errors
    /// [`ProposeError`]; `NotLeader` in any other term.
    pub async fn propose_in(&self, term: Term, proposal: Proposal) -> Result<Reply, ProposeError> {
        self.shared.proposer.propose_in(term, proposal).await
    }

    /// Returns once everything acknowledged anywhere before the call is applied here, as confirmed by a majority.
    ///
    /// # Errors
    /// [`BarrierError`].
    pub async fn read_barrier(&self) -> Result<(), BarrierError> {
        if planted(Bug::DeposedLeaderReads) && self.shared.role.borrow().is_leader {
            return Ok(());
        }
        let raft = self.shared.raft.clone();
        let (tx, rx) = oneshot::channel();
        // On the replica's own runtime, whose timers the engine uses.
        self.shared.env.spawn("raft.read_barrier", async move {
            let passed = if planted(Bug::ServedBeforeApplied) {
                raft.get_read_linearizer(ReadPolicy::ReadIndex).await.map(drop)
            } else {
                raft.ensure_linearizable(ReadPolicy::ReadIndex).await.map(drop)
            };
            let _ = tx.send(passed);
        });
        let limit = self.shared.config.proposal_deadline;
        let outcome = self.shared.env.timeout(limit, rx).await.ok_or(BarrierError::NoQuorum)?;
        match outcome.map_err(|_| BarrierError::Stopping)? {
            Ok(()) => Ok(()),
            Err(RaftError::Fatal(_)) => Err(BarrierError::Stopping),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(BarrierError::NoQuorum),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(match forward_error(&forward) {
                    ProposeError::NotLeader { leader } => BarrierError::NotLeader { leader },
                    _ => BarrierError::NoQuorum,
                })
            }
        }
    }

    /// The state, for reading.
    #[must_use]
    pub fn view(&self) -> &View {
        self.shared.keeper.view()
    }

    /// The log, for reading records.
    #[must_use]
    pub fn log(&self) -> &CommitLog {
        &self.shared.log
    }

    /// Who leads, as this replica sees it.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.shared.role.clone()
    }

    /// What is applied from now on. A subscriber that falls behind is told to look at everything. Messages that arrive are told
    /// only while some subscriber `waits` for some; it is asked by the thread that applies, and must not keep it waiting. Who
    /// begins to wait looks at the state afterwards: what was applied before is not told.
    #[must_use]
    pub fn effects(&self, waits: impl Fn() -> bool + Send + Sync + 'static) -> Effects {
        self.shared.effects.subscribe(waits)
    }

    /// Where it listens for other replicas.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.shared.peer_addr
    }

    /// Completes when the replica has failed. The process must end then: its state can no longer be trusted.
    pub async fn failed(&self) -> ReplicaFailure {
        self.shared.failure.wait().await
    }

    /// Adds a replica that gets everything but does not vote; returns when it has caught up. It must be running, empty,
    /// with `bootstrap` off and a node id that was never used.
    ///
    /// # Errors
    /// [`ChangeError`]; refused, too, when it does not answer.
    pub async fn add_learner(&self, node: NodeId, addr: NodeAddr) -> Result<(), ChangeError> {
        let raft = self.shared.raft.clone();
        let incarnation = self.meet(&Member { node, addr: addr.clone() }).await?;
        let member = GroupMember { addr, incarnation };
        self.change(async move { raft.add_learner(node.0, member, false).await }).await?;
        self.wait_for_log(node).await
    }

    /// Which incarnation a replica that is to become a member has.
    async fn meet(&self, new: &Member) -> Result<u64, ChangeError> {
        let Shared { env, raft, peers, role, .. } = &*self.shared;
        let Role { is_leader, leader, .. } = *role.borrow();
        if !is_leader {
            return Err(ProposeError::NotLeader { leader }.into());
        }
        if let Some(incarnation) = incarnation_of(raft, new.node) {
            return Ok(incarnation);
        }
        let since = env.mono();
        loop {
            match peers.status(Target::stranger(new), MEET_LIMIT).await.map(|_| peers.book.known(new.node)) {
                Ok(Some(incarnation)) => return Ok(incarnation),
                asked if env.mono().since(since) > MEET_LIMIT => {
                    let why = asked.err().map_or_else(String::new, |error| error.to_string());
                    return Err(ChangeError::Refused(format!("the new replica does not answer: {why}")));
                }
                _ => env.sleep(CATCH_UP_LOOK).await,
            }
        }
    }

    /// Waits until `node` has the log but for its last few entries, as long as it comes nearer.
    async fn wait_for_log(&self, node: NodeId) -> Result<(), ChangeError> {
        let env = &self.shared.env;
        let (mut seen, mut moved) = (None, env.mono());
        loop {
            let status = self.status();
            if !status.role.is_leader {
                return Err(ChangeError::Refused("this replica does not lead any more".into()));
            }
            let follower = status.followers.into_iter().find(|follower| follower.node == node);
            if follower.as_ref().is_some_and(FollowerStatus::has_log) {
                return Ok(());
            }
            let (matched, lag) = follower.map_or((None, None), |follower| (follower.matched, Some(follower.lag)));
            if matched != seen {
                (seen, moved) = (matched, env.mono());
            }
            if env.mono().since(moved) > CATCH_UP_STALL {
                return Err(ChangeError::Refused(format!(
                    "node {node} lacks {} entries of the log and has not come nearer for {} s",
                    lag.map_or_else(|| "all".to_owned(), |lag| lag.to_string()),
                    CATCH_UP_STALL.as_secs()
                )));
            }
            env.sleep(CATCH_UP_LOOK).await;
        }
    }

    /// Makes `voters` the voters, in one joint change. All of them must be members already, and have the log but for its
    /// last few entries; who votes no longer leaves the group.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ChangeError> {
        self.check_new_voters(&voters)?;
        let voters: BTreeSet<u64> = voters.into_iter().map(|node| node.0).collect();
        let raft = self.shared.raft.clone();
        let change = ChangeMembers::<u64, GroupMember>::ReplaceAllVoters(voters);
        self.change(async move { raft.change_membership(change, false).await }).await
    }

    /// A voter counts as having what it acknowledges. One that has nothing yet would only make the majority larger.
    fn check_new_voters(&self, voters: &BTreeSet<NodeId>) -> Result<(), ChangeError> {
        let (present, status) = (self.voters(), self.status());
        for new in voters.difference(&present) {
            let follower = status.followers.iter().find(|follower| follower.node == *new);
            match follower {
                Some(follower) if follower.has_log() => {}
                Some(follower) => {
                    return Err(ChangeError::Refused(format!(
                        "node {new} lacks {} entries of the log; let it catch up before it votes",
                        follower.lag
                    )));
                }
                None => {
                    return Err(ChangeError::Refused(format!(
                        "node {new} is no learner that this leader replicates to"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn promote(&self, node: NodeId) -> Result<(), ChangeError> {
        let mut voters = self.voters();
        voters.insert(node);
        self.change_voters(voters).await
    }

    /// Lets the learner `new` vote in the place of `old`, in one joint change.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn replace(&self, old: NodeId, new: NodeId) -> Result<(), ChangeError> {
        let mut voters = self.voters();
        if !voters.remove(&old) {
            return Err(ChangeError::Refused(format!("node {old} is not a voter")));
        }
        voters.insert(new);
        self.change_voters(voters).await
    }

    /// Takes a replica out of the group.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove(&self, node: NodeId) -> Result<(), ChangeError> {
        let mut voters = self.voters();
        if voters.remove(&node) {
            return self.change_voters(voters).await;
        }
        let raft = self.shared.raft.clone();
        let change = ChangeMembers::<u64, GroupMember>::RemoveNodes(BTreeSet::from([node.0]));
        self.change(async move { raft.change_membership(change, false).await }).await
    }

    /// Hands leadership to another voter. Returns when that was asked for; see [`role`](Self::role) for the outcome.
    ///
    /// # Errors
    /// [`ProposeError::Stopping`].
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ProposeError> {
        self.shared.raft.trigger().transfer_leader(to.0).await.map_err(|_| ProposeError::Stopping)
    }

    fn voters(&self) -> BTreeSet<NodeId> {
        self.shared.raft.voter_ids().map(NodeId).collect()
    }

    async fn change(
        &self,
        change: impl Future<Output = Result<ClientWriteResponse<Group>, RaftError<Group, ClientWriteError<Group>>>>
        + Send
        + 'static,
    ) -> Result<(), ChangeError> {
        let (tx, rx) = oneshot::channel();
        self.shared.env.spawn("raft.change_membership", async move {
            let _ = tx.send(change.await);
        });
        match rx.await {
            Err(_) => Err(ProposeError::OutcomeUnknown.into()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(_))) => Err(ProposeError::OutcomeUnknown.into()),
            Ok(Err(RaftError::APIError(error))) => Err(match error {
                ClientWriteError::ChangeMembershipError(why) => ChangeError::Refused(why.to_string()),
                other => write_error(other).into(),
            }),
        }
    }

    /// State of the replica.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let Shared { raft, log, keeper, .. } = &*self.shared;
        let (membership, replication) = {
            let metrics = raft.metrics();
            let seen = metrics.borrow_watched();
            (Arc::clone(&seen.membership_config), seen.replication.clone())
        };
        let last = log.last();
        let next = last.map_or(0, |last| last.index.0 + 1);
        let follower = |(node, matched): (&u64, &Option<raft::RaftLogId>)| FollowerStatus {
            node: NodeId(*node),
            matched: matched.map(raft::from_raft),
            lag: next.saturating_sub(matched.map_or(0, |id| id.index + 1)),
        };
        let me = self.shared.config.node;
        ReplicaStatus {
            node: me,
            role: *self.shared.role.borrow(),
            last,
            committed: log.committed(),
            applied: keeper.view().applied(),
            durable: log.durable(),
            purged: log.last_purged(),
            snapshot: keeper.view().snapshot_mark().map(|mark| mark.id),
            first_position: log.first_position(),
            end_position: log.end_position(),
            members: membership::members(membership.membership()),
            followers: replication.iter().flatten().map(follower).filter(|f| f.node != me).collect(),
            in_flight_bytes: self.shared.proposer.in_flight_bytes(),
            queued_bytes: log.queued_bytes(),
            dirty_bytes: keeper.machine().dirty_bytes(),
            disk_used_ppm: self.shared.disk_used_ppm.load(Ordering::Relaxed),
        }
    }

    /// Stops: nothing more is accepted, the engine ends, the index is made durable. The log stays open; it belongs to the
    /// caller.
    pub async fn shutdown(&self) {
        let stop = self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Stop { _tasks: tasks, keeper, keeper_ended }) = stop else { return };
        drop(tasks);
        // A core that has failed already is stopped as well.
        let _ = self.shared.raft.shutdown().await;
        drop(keeper);
        let _ = keeper_ended.await;
        tracing::info!(node = %self.shared.config.node, "replica.stopped");
    }
}

fn membership_of(raft: &Raft) -> Arc<StoredMembership> {
    let metrics = raft.metrics();
    Arc::clone(&metrics.borrow_watched().membership_config)
}

/// Which incarnation the membership demands of `node`; `None` when it is no member.
pub(crate) fn incarnation_of(raft: &Raft, node: NodeId) -> Option<u64> {
    membership_of(raft).membership().get_node(&node.0).map(|member| member.incarnation)
}

/// Everybody in the group, with addresses.
pub(crate) fn members_of(raft: &Raft) -> Vec<(NodeId, GroupMember)> {
    membership_of(raft).nodes().map(|(node, member)| (NodeId(*node), member.clone())).collect()
}

/// The machine, brought to the snapshot when its store is empty although the log was purged: somebody deleted the index.
/// What follows the snapshot is then applied again from the log.
async fn rebuilt(env: &Env, dir: &Path, log: &CommitLog, mut machine: Machine) -> Result<Machine, StartError> {
    let Some(purged) = log.last_purged().filter(|_| machine.applied().0.is_none()) else { return Ok(machine) };
    let (world, dir) = (env.clone(), dir.to_owned());
    let built = env.blocking("replica.rebuild", move || -> std::io::Result<Machine> {
        let Some(dump) = snapshot_file::read(&*world.disk, &dir)? else { return Ok(machine) };
        let snapshot = Snapshot::from_dump(dump).map_err(std::io::Error::other)?;
        if snapshot.mark.index < purged.index {
            return Ok(machine);
        }
        tracing::info!(mark = %snapshot.mark, "replica.index_rebuilt_from_snapshot");
        machine.install(&snapshot).map_err(std::io::Error::other)?;
        machine.rotate();
        machine.store().write_frozen(true).map_err(std::io::Error::other)?;
        Ok(machine)
    });
    built.await.map_err(|source| StartError::Io { what: "rebuild the index from the snapshot".into(), source })
}

/// Brings log and index together, or says why they do not fit.
async fn reconcile(env: &Env, dir: &Path, log: &CommitLog, machine: &Machine) -> Result<(), StartError> {
    let (applied, _) = machine.applied();
    if let Some(applied) = applied {
        let last = log.last();
        let in_log = log.term_of(applied.index);
        let ahead = last.is_none_or(|last| applied.index > last.index) || in_log.is_some_and(|t| t != applied.term);
        if ahead {
            // A crash between installing a snapshot and restarting the log behind it leaves just this.
            match machine.view().snapshot_mark() {
                Some(mark) if mark.id == applied => {
                    tracing::warn!(mark = %mark.id, "replica.snapshot_installation_resumed");
                    let (world, dir, view) = (env.clone(), dir.to_owned(), machine.view());
                    let keep = move || snapshot_file::keep(&*world.disk, &dir, &view);
                    let kept = env.blocking("replica.snapshot", keep).await;
                    kept.map_err(|source| StartError::Io { what: "write the snapshot's file".into(), source })?;
                    let restarted = restart_log(log, mark.id, mark.end).await;
                    return restarted.map_err(|source| StartError::Io { what: "restart the log".into(), source });
                }
                _ => return Err(StartError::IndexAhead { applied, last }),
            }
        }
    }
    match log.last_purged() {
        Some(purged) if applied.is_none_or(|applied| applied.index < purged.index) => {
            Err(StartError::IndexBehind { applied, purged })
        }
        _ => Ok(()),
    }
}

fn check_slot(config: &ReplicaConfig, machine: &Machine) -> Result<(), StartError> {
    let Some(stored) = machine.applied().1 else { return Ok(()) };
    let membership = membership::decode(stored.bytes).map_err(|error| StartError::Engine(error.to_string()))?;
    match membership.get_node(&config.node.0) {
        Some(known) if known.addr.slot != config.slot => {
            Err(StartError::Slot { node: config.node, known: known.addr.slot.0, configured: config.slot.0 })
        }
        _ => Ok(()),
    }
}

async fn open_book(env: &Env, config: &ReplicaConfig, was_empty: bool) -> Result<PeerBook, StartError> {
    let wanted = Identity {
        cluster: config.cluster.clone(),
        group: config.group.clone(),
        node: config.node,
        slot: config.slot,
        incarnation: env.entropy.next_u64(),
    };
    let addresses: BTreeMap<NodeId, NodeAddr> =
        config.members.iter().map(|member| (member.node, member.addr.clone())).collect();
    let (world, dir) = (env.clone(), config.data_dir.clone());
    let opened = env.blocking("replica.identity", move || {
        let me = Identity::open(&world, &dir, &wanted, was_empty)?;
        PeerBook::open(&world, &dir, me, addresses)
            .map_err(|source| StartError::Io { what: format!("read the peer list in {}", dir.display()), source })
    });
    opened.await
}

/// Lets the replica fail with its log.
fn watch_log(env: &Env, log: &CommitLog, failure: &Failure, stop: mpsc::Sender<()>) {
    let (mut failed, failure) = (log.failed(), failure.clone());
    env.spawn("replica.log_watch", async move {
        let failed = async { failed.wait_for(Option::is_some).await.ok().and_then(|failed| failed.clone()) };
        if let Either::Left(Some(error)) = race(failed, stop.closed()).await {
            failure.report(error);
        }
    });
}

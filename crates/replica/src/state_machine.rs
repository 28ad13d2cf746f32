//! The machine as the engine's state machine, behind the apply gate.
//!
//! The engine hands over entries that a majority has on disk, which may be before this replica has them there. Applying one
//! then would let rows reach the store that point at bytes a power cut takes away. So every entry waits at the gate until
//! the local log says it is done.

use std::io;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use timbermq_bugs::{Bug, planted};
use timbermq_commitlog::{CommitLog, spec_event};
use timbermq_env::Env;
use timbermq_machine::batch::Batch as MachineBatch;
use timbermq_machine::{Applied, CommandKind, EntryPlace, MachineError, Snapshot};
use timbermq_types::LogIndex;
use tokio::sync::watch;

use crate::effects::EffectHub;
use crate::keeper::Keeper;
use crate::membership;
use crate::raft::{self, Entry, Group, Payload, RaftLogId, Replies, SnapshotMeta, StoredMembership};

/// Payload bytes applied before other tasks of the thread get a turn.
const TURN_BYTES: usize = 512 << 10;

pub(crate) type RaftSnapshot =
    openraft::Snapshot<openraft::vote::leader_id_std::CommittedLeaderId<u64>, u64, membership::GroupMember, Snapshot>;

/// Applies entries of the log to the machine.
pub(crate) struct StateMachine {
    env: Env,
    log: CommitLog,
    keeper: Keeper,
    effects: EffectHub,
    /// Counts installed snapshots.
    installed: watch::Sender<u64>,
}

impl StateMachine {
    pub fn new(env: Env, log: CommitLog, keeper: Keeper, effects: EffectHub, installed: watch::Sender<u64>) -> Self {
        Self { env, log, keeper, effects, installed }
    }

    /// The apply gate: returns once entry `index` cannot be lost here any more.
    async fn gate(&self, index: LogIndex) -> io::Result<()> {
        if self.log.durable() >= Some(index) {
            return Ok(());
        }
        if planted(Bug::ApplyBeforeDurable) || planted(Bug::LeaderCountsUnsynced) {
            return Ok(());
        }
        self.log.wait_durable(index).await
    }

    async fn apply_one(&self, entry: Entry) -> io::Result<(Applied, usize)> {
        let id = raft::from_raft(entry.id);
        self.gate(id.index).await?;
        let Some(span) = entry.place else {
            return Err(io::Error::other(format!("entry {id} was not read from the log")));
        };
        let place = EntryPlace { id, position: span.position, end: span.end };
        spec_event!("apply", index = id.index.0, term = id.term.0, sum = entry.payload.digest());
        let applied = match entry.payload {
            Payload::Blank => self.keeper.machine().apply_blank(&place).map(|()| (Applied::default(), 0)),
            Payload::Membership(membership) => {
                let bytes = membership::encode(&membership);
                self.keeper.machine().apply_membership(&place, &bytes).map(|()| (Applied::default(), bytes.len()))
            }
            Payload::Normal(batch) => {
                let len = batch.0.len();
                match MachineBatch::parse(&batch.0) {
                    // Reads the disk.
                    Ok(parsed) if parsed.has(CommandKind::Trim) => {
                        self.keeper.with_machine("machine.apply", move |machine| machine.apply(&place, &batch.0)).await
                    }
                    Ok(parsed) => self.keeper.machine().apply_parsed(&place, &parsed.with_crc(batch.0.crc())),
                    Err(error) => Err(MachineError::Batch { id: place.id, error }),
                }
                .map(|applied| (applied, len))
            }
        };
        applied.map_err(unapplicable)
    }
}

fn unapplicable(error: MachineError) -> io::Error {
    io::Error::other(error)
}

fn snapshot_of(snapshot: Snapshot) -> io::Result<RaftSnapshot> {
    let last_membership = match &snapshot.membership {
        None => StoredMembership::default(),
        Some(stored) => {
            let membership = membership::decode(stored.bytes.clone()).map_err(io::Error::other)?;
            StoredMembership::new(Some(raft::to_raft(stored.id)), membership)
        }
    };
    let meta = SnapshotMeta { last_log_id: Some(raft::to_raft(snapshot.mark)), last_membership };
    Ok(RaftSnapshot { meta, snapshot })
}

/// The membership as it must stand in a snapshot's head, for comparison with what stands inside.
pub(crate) fn meta_of(snapshot: &Snapshot) -> io::Result<SnapshotMeta> {
    snapshot_of(snapshot.clone()).map(|snapshot| snapshot.meta)
}

async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl RaftStateMachine<Group> for StateMachine {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let (applied, stored) = self.keeper.machine().applied();
        let membership = match stored {
            None => StoredMembership::default(),
            Some(stored) => {
                let membership = membership::decode(stored.bytes).map_err(io::Error::other)?;
                StoredMembership::new(Some(raft::to_raft(stored.id)), membership)
            }
        };
        Ok((applied.map(raft::to_raft), membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Group>>> + Unpin + Send,
    {
        self.keeper.wait_for_room().await;
        let mut turn = 0;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let id = entry.id;
            let (applied, bytes) = self.apply_one(entry).await?;
            if let Some(responder) = responder {
                spec_event!("answer", index = id.index, term = *id.leader_id);
                responder.send(Replies(applied.replies));
            }
            self.effects.publish(applied.effects);
            turn += bytes + 256;
            if turn >= TURN_BYTES {
                turn = 0;
                yield_now().await;
                self.keeper.wait_for_room().await;
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let there_is_one = self.keeper.view().snapshot_mark().is_some();
        (force || there_is_one).then(|| SnapshotBuilder { env: self.env.clone(), keeper: self.keeper.clone() })
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { env: self.env.clone(), keeper: self.keeper.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Snapshot) -> io::Result<()> {
        if meta.last_log_id.map(raft::from_raft) != Some(snapshot.mark) {
            return Err(io::Error::other("the snapshot is not what its head says"));
        }
        let (mark, end) = (snapshot.mark, snapshot.end);
        // The state first: a start that finds it, and a log that ends before it, resets the log again.
        spec_event!("install", index = mark.index.0, term = mark.term.0);
        self.keeper.install(snapshot).await?;
        spec_event!("installed", index = mark.index.0, term = mark.term.0);
        restart_log(&self.log, mark, end).await?;
        self.installed.send_modify(|count| *count += 1);
        self.effects.sweep();
        tracing::info!(%mark, position = %end, "replica.snapshot_installed");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        current_snapshot(&self.env, &self.keeper).await
    }
}

/// Makes the log continue behind `mark`, unless it has that very entry anyway.
pub(crate) async fn restart_log(
    log: &CommitLog,
    mark: timbermq_types::LogId,
    end: timbermq_types::LogPosition,
) -> io::Result<()> {
    if log.term_of(mark.index) == Some(mark.term) {
        return Ok(());
    }
    let (tx, rx) = tokio::sync::oneshot::channel();
    log.reset_to(
        mark,
        end,
        Box::new(move |result| {
            let _ = tx.send(result);
        }),
    )?;
    rx.await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")))?;
    spec_event!("reset_saved", index = mark.index.0);
    Ok(())
}

async fn current_snapshot(env: &Env, keeper: &Keeper) -> io::Result<Option<RaftSnapshot>> {
    if keeper.view().snapshot_mark().is_none() {
        return Ok(None);
    }
    let view = keeper.view().clone();
    let snapshot = env.blocking("machine.snapshot", move || view.current_snapshot()).await.map_err(unapplicable)?;
    snapshot.map(snapshot_of).transpose()
}

/// Gives the engine the snapshot that the last trim made.
pub(crate) struct SnapshotBuilder {
    env: Env,
    keeper: Keeper,
}

impl RaftSnapshotBuilder<Group> for SnapshotBuilder {
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let snapshot = current_snapshot(&self.env, &self.keeper).await?;
        snapshot.ok_or_else(|| {
            io::Error::other(
                "the log was purged, but the index has no snapshot: the index was lost or replaced by an older one",
            )
        })
    }
}

//! Old messages go: the leader decides when and how far, as commands in the log, and every replica then frees the space.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use timbermq_bugs::{Bug, planted};
use timbermq_commitlog::CommitLog;
use timbermq_env::Env;
use timbermq_machine::{Mark, MarkInfo, Proposal, Trim};
use timbermq_types::{LogPosition, UnixMillis};
use tokio::sync::{mpsc, watch};

use crate::config::{ReplicaConfig, Retention};
use crate::failure::Failure;
use crate::keeper::Keeper;
use crate::peer::network::Peers;
use crate::peer::suspicion::Raft;
use crate::proposer::Proposer;
use crate::race::{Either, race};
use crate::role::Role;

/// Longest time to ask a replica for its disk.
const STATUS_LIMIT: Duration = Duration::from_millis(500);

/// How often the log's end is looked at in the time between two looks at everything.
const LOOKS: u32 = 10;

/// Drives retention.
pub(crate) struct RetentionDriver {
    pub env: Env,
    pub config: ReplicaConfig,
    pub raft: Raft,
    pub log: CommitLog,
    pub keeper: Keeper,
    pub peers: Peers,
    pub proposer: Proposer,
    pub role: watch::Receiver<Role>,
    pub disk_used_ppm: Arc<AtomicU32>,
    pub failure: Failure,
}

impl RetentionDriver {
    /// Looks now and then until `stop` is closed.
    pub async fn run(self, stop: mpsc::Sender<()>) {
        loop {
            if let Either::Right(_) =
                race(due(&self.env, &self.config.retention, || self.log.end_position()), stop.closed()).await
            {
                return;
            }
            self.measure_disk().await;
            let role = *self.role.borrow();
            if role.is_leader && role.has_quorum {
                self.lead().await;
            }
            if let Err(error) = self.free().await {
                self.failure.report(format!("cannot free what retention removed: {error}"));
                return;
            }
        }
    }

    pub async fn measure_disk(&self) {
        let (env, dir) = (self.env.clone(), self.config.data_dir.clone());
        match self.env.blocking("disk.space", move || env.disk.space(&dir)).await {
            Ok(space) => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a ratio between 0 and 1
                let ppm = (space.used_ratio() * 1e6) as u32;
                self.disk_used_ppm.store(ppm, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "retention.disk_unknown"),
        }
    }

    /// The leader's part: a new mark when the log has grown enough, a trim when something is too old or too much.
    async fn lead(&self) {
        let view = self.keeper.view();
        let marks = view.marks();
        let end = view.applied_end();
        let last = marks.last().map(|mark| mark.end).max(Some(view.floor())).unwrap_or_default();
        let fullest = self.fullest_disk().await;
        let rules = Rules { retention: &self.config.retention, now: self.env.wall(), end, fullest };
        // Where the log is too young to have a mark, one is made as soon as space runs out, or nothing could ever go.
        let wants_mark = end.0.saturating_sub(last.0) >= self.config.retention.mark_bytes
            || (marks.is_empty() && rules.presses(view.floor()) && end > last);
        if wants_mark && let Err(error) = self.proposer.propose(Proposal::from(Mark {})).await {
            tracing::info!(%error, "retention.mark_failed");
            return;
        }
        // A log that grows by a mark in every round must be trimmed all the same.
        if let Some(to) = rules.trim(&marks, view.floor()) {
            tracing::info!(mark = %to.id, position = %to.end, "retention.trim");
            if let Err(error) = self.proposer.propose(Proposal::from(Trim { to: to.id.index })).await {
                tracing::info!(%error, "retention.trim_failed");
            }
        }
    }

    /// Used part of the fullest disk among the replicas that answer, in millionths.
    async fn fullest_disk(&self) -> u32 {
        let mut fullest = self.disk_used_ppm.load(Ordering::Relaxed);
        for (node, member) in crate::replica::members_of(&self.raft) {
            if node != self.config.node
                && let Ok(status) = self.peers.status(self.peers.book.target(node, &member), STATUS_LIMIT).await
            {
                fullest = fullest.max(status.disk_used_ppm);
            }
        }
        fullest
    }

    /// Every replica's part: what was trimmed leaves the log, once the index no longer needs it after a crash.
    async fn free(&self) -> std::io::Result<()> {
        let Some(mark) = self.keeper.view().snapshot_mark() else { return Ok(()) };
        if self.log.last_purged().is_some_and(|purged| purged.index >= mark.id.index) {
            return Ok(());
        }
        // Replay after a crash begins behind what is durable in the store, so that must not lie below the purge.
        if !planted(Bug::PurgeBeforeIndex) {
            self.keeper.flush(true).await?;
            self.keeper.keep_snapshot().await?;
        }
        let upto = self.peers.transfers.oldest().map_or(mark.id.index, |sending| sending.min(mark.id.index));
        if self.raft.trigger().snapshot().await.is_err() {
            return Ok(()); // stopping, or failed, which is told elsewhere
        }
        // The engine purges up to the snapshot it knows at most, and it gets to know it from a task of its own.
        let mut progress = self.raft.watch_snapshot_progress();
        let known = async {
            while progress.get().is_none_or(|id| id.index < mark.id.index.0) {
                if progress.changed().await.is_err() {
                    return;
                }
            }
        };
        self.env.timeout(Duration::from_secs(10), known).await;
        let _ = self.raft.trigger().purge_log(upto.0).await;
        Ok(())
    }
}

/// Returns when it is time to look: now and then, and before that when the log has grown by a mark. Otherwise a log that grows
/// fast would be freed in leaps, too many files at once to be used again.
async fn due(env: &Env, retention: &Retention, end: impl Fn() -> LogPosition) {
    let before = end();
    for _ in 0..LOOKS {
        env.sleep(retention.check_interval / LOOKS).await;
        if end().0.saturating_sub(before.0) >= retention.mark_bytes {
            return;
        }
    }
}

/// What must go.
struct Rules<'a> {
    retention: &'a Retention,
    now: UnixMillis,
    end: LogPosition,
    /// Used part of the fullest disk, in millionths.
    fullest: u32,
}

impl Rules<'_> {
    fn disk_is_full(&self) -> bool {
        f64::from(self.fullest) / 1e6 > self.retention.disk_watermark
    }

    fn too_much(&self, floor: LogPosition) -> bool {
        self.retention.bytes > 0 && self.end.0.saturating_sub(floor.0) > self.retention.bytes
    }

    /// Whether space must be freed regardless of age.
    fn presses(&self, floor: LogPosition) -> bool {
        self.disk_is_full() || self.too_much(floor)
    }

    /// The mark to trim to, if any: the newest that age or size asks for, one step when the disk is full.
    fn trim(&self, marks: &[MarkInfo], floor: LogPosition) -> Option<MarkInfo> {
        let age = u64::try_from(self.retention.age.as_millis()).unwrap_or(u64::MAX);
        let is_old = |mark: &MarkInfo| self.now.since(mark.at) > age;
        if planted(Bug::RetentionTooMuch) && marks.first().is_some_and(is_old) {
            return marks.last().copied();
        }
        let old = |mark: &&MarkInfo| is_old(mark);
        let excess = |mark: &&MarkInfo| {
            self.retention.bytes > 0 && self.end.0.saturating_sub(mark.end.0) >= self.retention.bytes
        };
        let mut to = marks.iter().filter(old).chain(marks.iter().filter(excess)).max_by_key(|mark| mark.end);
        if to.is_none() && self.presses(floor) {
            to = marks.first();
        }
        to.copied()
    }
}

#[cfg(test)]
mod tests {
    use timbermq_types::{LogId, LogIndex, Term};

    use super::*;

    fn mark(index: u64, end: u64, at: u64) -> MarkInfo {
        MarkInfo { id: LogId::new(Term(1), LogIndex(index)), end: LogPosition(end), at: UnixMillis(at) }
    }

    fn trimmed(retention: &Retention, fullest: u32) -> Option<u64> {
        let marks = [mark(10, 100, 1_000), mark(20, 200, 2_000), mark(30, 300, 3_000)];
        let rules = Rules { retention, now: UnixMillis(4_000), end: LogPosition(400), fullest };
        rules.trim(&marks, LogPosition(0)).map(|mark| mark.id.index.0)
    }

    #[test]
    fn a_log_that_has_grown_is_looked_at_before_the_time_is_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = timbermq_host::env_on(runtime.handle().clone());
        let retention =
            Retention { check_interval: Duration::from_millis(20), mark_bytes: 100, ..Retention::default() };
        let looks_until_due = |step: u64| {
            let looks = std::cell::Cell::new(0);
            let end = || LogPosition(1_000 + step * looks.replace(looks.get() + 1));
            runtime.block_on(due(&env, &retention, end));
            looks.get() - 1
        };
        assert_eq!(looks_until_due(0), u64::from(LOOKS));
        assert_eq!(looks_until_due(40), 3);
        assert_eq!(looks_until_due(100), 1);
    }

    #[test]
    fn age_and_size_take_the_newest_mark_they_allow_and_a_full_disk_takes_one_step() {
        let keep = Retention { age: Duration::from_secs(100), bytes: 0, disk_watermark: 0.9, ..Retention::default() };
        assert_eq!(trimmed(&keep, 100_000), None);
        let young = Retention { age: Duration::from_millis(1_500), ..keep.clone() };
        assert_eq!(trimmed(&young, 0), Some(20), "2000 is older than 1500 ms at 4000, 3000 is not");
        let small = Retention { bytes: 150, ..keep.clone() };
        assert_eq!(trimmed(&small, 0), Some(20), "200 bytes stay, at least the 150 allowed");
        let tiny = Retention { bytes: 350, ..keep.clone() };
        assert_eq!(trimmed(&tiny, 0), Some(10), "nothing leaves 350, but there is too much: the smallest step");
        assert_eq!(trimmed(&keep, 950_000), Some(10));
    }
}

//! The CommitLog as the engine's log.
//!
//! Nothing here waits for the disk on the engine's thread: appends go to the log's writer with a callback, and reads of
//! entries that are no longer in memory run where blocking is allowed.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::time::Duration;

use futures_util::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use timbermq_bugs::{Bug, planted};
use timbermq_commitlog::{CommitLog, Done, Placed, spec_event};
use timbermq_env::Env;
use timbermq_types::{LogId, LogIndex, NodeId};
use tokio::sync::{oneshot, watch};

use crate::membership;
use crate::raft::{self, Entry, Group, Payload, RaftLogId, RaftVote};

/// Bytes of one read for the state machine.
const APPLY_READ_BYTES: usize = 1 << 20;
/// The same where all of a range is held anyway, as when a start applies entries again: the entry that a read has no room
/// for any more is read again by the next.
const RANGE_READ_BYTES: usize = 8 << 20;
/// How long an append waits for a snapshot that it follows on to be installed.
const INSTALL_WAIT: Duration = Duration::from_secs(30);

/// The log of one replica. Clones read and write the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    env: Env,
    log: CommitLog,
    /// Whose log it is.
    node: NodeId,
    /// Most payload bytes of one read for replication.
    request_bytes: usize,
    /// Changes when a snapshot was installed and the log restarted behind it.
    installed: watch::Receiver<u64>,
}

impl LogStore {
    pub fn new(env: Env, log: CommitLog, node: NodeId, request_bytes: usize, installed: watch::Receiver<u64>) -> Self {
        Self { env, log, node, request_bytes, installed }
    }

    /// Whether this replica leads, as far as its own vote says.
    fn leads(&self) -> bool {
        self.log.vote().is_some_and(|vote| vote.committed && vote.node == Some(self.node))
    }

    /// The entry after `keep`.
    fn after(&self, keep: Option<LogId>) -> Option<LogId> {
        let index = keep.map_or(LogIndex(0), |keep| keep.index.next());
        self.log.term_of(index).map(|term| LogId::new(term, index))
    }

    /// As many entries of `[from, to)` as fit into `bytes`, at least one when there is one.
    async fn read(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<Placed>> {
        let (from, to) = (LogIndex(from), LogIndex(to));
        if self.log.is_cached(from) {
            return self.log.read(from, to, bytes);
        }
        let log = self.log.clone();
        self.env.blocking("raft.cold_read", move || log.read(from, to, bytes)).await
    }

    async fn entries(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<Entry>> {
        self.read(from, to, bytes).await?.into_iter().map(entry).collect()
    }

    /// The half-open range of indexes, clipped to what the log holds.
    fn clip(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let next = self.log.last().map_or(0, |last| last.index.0 + 1);
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => self.log.last_purged().map_or(0, |purged| purged.index.0 + 1),
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => next,
        };
        (from, to.min(next))
    }

    /// Waits until the log ends right before `index`, which it does not only while a snapshot is being installed: the
    /// engine hands the snapshot to the state machine and goes on.
    async fn wait_for_install(&mut self, index: u64) -> io::Result<()> {
        let log = self.log.clone();
        let next = || log.last().map_or(0, |last| last.index.0 + 1);
        if index <= next() {
            return Ok(());
        }
        tracing::info!(index, next = next(), "raft.append_waits_for_snapshot");
        let mut installed = self.installed.clone();
        let arrived = self.env.timeout(INSTALL_WAIT, installed.wait_for(|_| index <= next())).await;
        match arrived {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(io::Error::other("the replica is stopping")),
            None => {
                Err(io::Error::other(format!("entry {index} does not follow the log, whose next index is {}", next())))
            }
        }
    }
}

fn entry(placed: Placed) -> io::Result<Entry> {
    let id = placed.entry.id;
    Entry::from_placed(placed).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("entry {id}: {error}; a newer version wrote it"))
    })
}

/// A callback for the log, and what it says.
fn done() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (tx, rx) = oneshot::channel();
    let done = move |result| {
        // A receiver that is gone belongs to an engine that has stopped.
        let _ = tx.send(result);
    };
    (Box::new(done), rx)
}

async fn wait(rx: oneshot::Receiver<io::Result<()>>) -> io::Result<()> {
    rx.await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")))
}

impl RaftLogReader<Group> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (from, to) = self.clip(&range);
        // What is purged is not there; whoever needs it looks at the first entry returned.
        let mut from = self.log.last_purged().map_or(from, |purged| from.max(purged.index.0 + 1));
        let mut entries = Vec::new();
        while from < to {
            let more = self.entries(from, to, RANGE_READ_BYTES).await?;
            let Some(last) = more.last() else { break };
            from = last.id.index + 1;
            entries.extend(more);
        }
        Ok(entries)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = self.clip(&range);
        let start = (self.clone(), from, to, Vec::new().into_iter());
        futures_util::stream::unfold(start, |(store, mut from, to, mut ready)| async move {
            loop {
                if let Some(entry) = ready.next() {
                    return Some((Ok(entry), (store, from, to, ready)));
                }
                if from >= to {
                    return None;
                }
                match store.entries(from, to, APPLY_READ_BYTES).await {
                    Ok(entries) if entries.is_empty() => {
                        let error = io::Error::other(format!("entry {from} is not in the log"));
                        return Some((Err(error), (store, to, to, ready)));
                    }
                    Ok(entries) => {
                        from += entries.len() as u64;
                        ready = entries.into_iter();
                    }
                    Err(error) => return Some((Err(error), (store, to, to, ready))),
                }
            }
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.log.vote().and_then(raft::vote_from_log))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.entries(start, end, self.request_bytes).await
    }

    /// The last entry of each term within the range, from the log's table of terms.
    async fn get_key_log_ids(&mut self, range: RangeInclusive<RaftLogId>) -> io::Result<Vec<RaftLogId>> {
        let (first, last) = range.into_inner();
        let mut keys = Vec::new();
        let mut term = *first.leader_id;
        for start in self.log.term_starts() {
            if start.index.0 <= first.index || start.index.0 > last.index || start.term.0 == term {
                continue;
            }
            keys.push(raft::to_raft(timbermq_types::LogId::new(
                timbermq_types::Term(term),
                LogIndex(start.index.0 - 1),
            )));
            term = start.term.0;
        }
        keys.push(last);
        Ok(keys)
    }
}

impl RaftLogStorage<Group> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Group>> {
        Ok(LogState {
            last_purged_log_id: self.log.last_purged().map(raft::to_raft),
            last_log_id: self.log.last().map(raft::to_raft),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let (done, saved) = done();
        let (term, voted_for) = (vote.leader_id.term, vote.leader_id.voted_for);
        spec_event!("vote", term = term, voted_for = voted_for, committed = vote.committed);
        self.log.save_vote(raft::vote_to_log(vote), done);
        wait(saved).await?;
        spec_event!("vote_saved", term = term, voted_for = voted_for, committed = vote.committed);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        if let Some(id) = &committed {
            spec_event!("commit", index = id.index, term = *id.leader_id);
        }
        self.log.save_committed(committed.map(raft::from_raft));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        // The log clips it to what is durable: commitment may be known here before our own sync is done, and a
        // committed entry beyond the log's end would make the next start fail.
        Ok(self.log.committed().map(raft::to_raft))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Group>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        if let Some(first) = entries.first() {
            self.wait_for_install(first.id.index).await?;
        }
        for entry in &entries {
            if let Payload::Membership(membership) = &entry.payload {
                spec_event!("membership", index = entry.id.index, voters = membership::voters(membership).as_str());
            }
        }
        let mut entries: Vec<_> = entries.into_iter().map(Entry::into_log).collect();
        if planted(Bug::TruncateOffByOne) || planted(Bug::ConflictingSuffixKept) {
            let last = self.log.last();
            entries.retain(|entry| last.is_none_or(|last| entry.id.index > last.index));
        }
        let last = entries.last().map(|entry| entry.id);
        let done = move |result: io::Result<()>| {
            if let (Ok(()), Some(last)) = (&result, last) {
                spec_event!("ack", index = last.index.0, term = last.term.0);
            }
            callback.io_completed(result);
        };
        if planted(Bug::LeaderCountsUnsynced) && self.leads() {
            done(Ok(()));
            return self.log.append(entries, Box::new(|_| ()));
        }
        self.log.append(entries, Box::new(done))
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        let mut keep = last.map(raft::from_raft);
        let conflicting = self.after(keep);
        if planted(Bug::ConflictingSuffixKept) && conflicting.map(|id| id.term) == keep.map(|id| id.term) {
            return Ok(());
        }
        if planted(Bug::TruncateOffByOne) {
            keep = conflicting.or(keep);
        }
        let (done, cut) = done();
        match keep {
            Some(id) if !self.log.is_cached(id.index) => {
                let log = self.log.clone();
                self.env.blocking("raft.truncate", move || log.truncate_after(keep, done)).await?;
            }
            _ => self.log.truncate_after(keep, done)?,
        }
        wait(cut).await?;
        spec_event!("truncated", next = keep.map_or(0, |id| id.index.0 + 1));
        Ok(())
    }

    async fn purge(&mut self, id: RaftLogId) -> io::Result<()> {
        let (done, purged) = done();
        let (log, id) = (self.log.clone(), raft::from_raft(id));
        let news = log.last_purged().is_none_or(|purged| purged.index < id.index);
        // The log refuses to purge what it does not have, so a hole can never be purged over.
        self.env.blocking("raft.purge", move || log.purge(id, done)).await?;
        wait(purged).await?;
        if news {
            spec_event!("purged", next = id.index.0 + 1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use futures_util::StreamExt;
use openraft::StorageError;
use openraft::storage::{EntryResponder, RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use timbermq_commitlog::LogOptions;
use timbermq_types::{LogId, NodeId, Term};

use super::*;
use crate::membership::{GroupMember, Membership, NodeAddr};
use crate::raft::{Batch, Payload, Replies, SnapshotMeta, StoredMembership};

type Snapshot = openraft::Snapshot<openraft::vote::leader_id_std::CommittedLeaderId<u64>, u64, GroupMember, ()>;

/// The simplest state machine, so that the suite, which applies entries that are in no log, tests the log.
#[derive(Clone, Default)]
struct Plain {
    applied: Option<RaftLogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

impl RaftSnapshotBuilder<Group> for std::sync::Arc<std::sync::Mutex<Plain>> {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let mut plain = self.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: plain.applied, last_membership: plain.membership.clone() };
        plain.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<Group> for std::sync::Arc<std::sync::Mutex<Plain>> {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let plain = self.lock().unwrap();
        Ok((plain.applied, plain.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Group>>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let mut plain = self.lock().unwrap();
            plain.applied = Some(entry.id);
            if let Payload::Membership(membership) = entry.payload {
                plain.membership = StoredMembership::new(Some(entry.id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Replies::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> io::Result<()> {
        let mut plain = self.lock().unwrap();
        *plain =
            Plain { applied: meta.last_log_id, membership: meta.last_membership.clone(), snapshot: Some(meta.clone()) };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.lock().unwrap().snapshot.clone().map(|meta| Snapshot { meta, snapshot: () }))
    }
}

/// The suite begins some logs at index 1 or 2, and purges and cuts behind the end. The engine
/// itself does none of this and our log refuses it, so here the missing entries are written first.
struct Lenient(LogStore);

impl Lenient {
    async fn fill(&mut self, to: u64, term: u64) -> io::Result<()> {
        let next = self.0.log.last().map_or(0, |last| last.index.0 + 1);
        let from = self.0.log.last().map_or(term, |last| last.term.0);
        let missing = (next..to).map(|index| Entry { id: id(from, index), payload: Payload::Blank, place: None });
        self.0.blocking_append(missing).await.map_err(io::Error::other)
    }
}

impl RaftLogStorage<Group> for Lenient {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Group>> {
        self.0.get_log_state().await
    }
    async fn get_log_reader(&mut self) -> LogStore {
        self.0.clone()
    }
    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        self.0.save_vote(vote).await
    }
    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        self.0.save_committed(committed).await
    }
    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        self.0.read_committed().await
    }
    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Group>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let Some(first) = entries.first() {
            self.fill(first.id.index, *first.id.leader_id).await?;
        }
        self.0.append(entries, callback).await
    }
    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        if last.is_some_and(|last| self.0.log.last().is_none_or(|end| end.index.0 < last.index)) {
            return Ok(());
        }
        self.0.truncate_after(last).await
    }
    async fn purge(&mut self, id: RaftLogId) -> io::Result<()> {
        let here = raft::from_raft(id);
        if self.0.log.term_of(here.index) != Some(here.term) && self.0.log.last_purged() < Some(here) {
            let end = self.0.log.end_position();
            return crate::state_machine::restart_log(&self.0.log, here, end).await;
        }
        self.0.purge(id).await
    }
}

struct Stores;

fn open(dir: &std::path::Path, cache_bytes: usize, request_bytes: usize) -> LogStore {
    let env = timbermq_host::env();
    let options = LogOptions { group: "g".into(), cache_bytes, fill_ahead_bytes: 0, ..LogOptions::default() };
    let (log, _) = CommitLog::open(&env, dir, options).unwrap();
    LogStore::new(env, log, NodeId(1), request_bytes, watch::channel(0).1)
}

impl StoreBuilder<Group, Lenient, std::sync::Arc<std::sync::Mutex<Plain>>, tempfile::TempDir> for Stores {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, Lenient, std::sync::Arc<std::sync::Mutex<Plain>>), StorageError<Group>> {
        let dir = tempfile::tempdir().unwrap();
        // No cache, so that reads take the long way.
        let store = Lenient(open(dir.path(), 0, 1 << 20));
        Ok((dir, store, Default::default()))
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_engines_own_suite_for_logs_passes() {
    run(async {
        timbermq_env::enter(Some(std::sync::Arc::new(timbermq_host::env())));
        Suite::test_all(Stores).await.unwrap();
    });
}

fn id(term: u64, index: u64) -> RaftLogId {
    raft::to_raft(LogId::new(Term(term), LogIndex(index)))
}

fn entry(term: u64, index: u64, len: usize) -> Entry {
    Entry { id: id(term, index), payload: Payload::Normal(Batch(vec![7; len].into())), place: None }
}

#[test]
fn replication_reads_are_cut_by_bytes_and_never_empty() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), 1 << 20, 1000);
        store.blocking_append([entry(1, 0, 400), entry(1, 1, 400), entry(1, 2, 400), entry(1, 3, 5000)]).await.unwrap();
        let count = |entries: io::Result<Vec<Entry>>| entries.unwrap().len();
        assert_eq!(count(store.limited_get_log_entries(0, 4).await), 2);
        assert_eq!(count(store.limited_get_log_entries(2, 4).await), 1);
        assert_eq!(count(store.limited_get_log_entries(3, 4).await), 1, "longer than the limit, but one there must be");
        assert_eq!(count(store.try_get_log_entries(0..4).await), 4, "whole, whatever the limit");
        let streamed: Vec<_> = store.entries_stream(1..4).await.collect().await;
        assert_eq!(streamed.into_iter().map(|entry| entry.unwrap().id.index).collect::<Vec<_>>(), [1, 2, 3]);
    });
}

#[test]
fn an_append_behind_a_snapshot_waits_for_it_and_a_hole_is_refused() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (tx, rx) = watch::channel(0);
        let mut store = LogStore { installed: rx, ..open(dir.path(), 1 << 20, 1000) };
        store.blocking_append([entry(1, 0, 1)]).await.unwrap();
        let mut appending = Box::pin(async {
            let mut store = store.clone();
            store.blocking_append([entry(2, 8, 1)]).await
        });
        assert!(futures_util::poll!(appending.as_mut()).is_pending());
        crate::state_machine::restart_log(
            &store.log,
            LogId::new(Term(2), LogIndex(7)),
            timbermq_types::LogPosition(4096),
        )
        .await
        .unwrap();
        tx.send_modify(|count| *count += 1);
        appending.await.unwrap();
        assert_eq!(store.log.last(), Some(LogId::new(Term(2), LogIndex(8))));
        drop(tx);
        assert!(store.blocking_append([entry(2, 20, 1)]).await.is_err());
    });
}

#[test]
fn what_conflicts_is_gone_after_a_truncation_whatever_its_term() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), 1 << 20, 1000);
        store.blocking_append([entry(1, 0, 1), entry(1, 1, 1), entry(2, 2, 1), entry(2, 3, 1)]).await.unwrap();
        let terms = async |store: &mut LogStore| -> Vec<u64> {
            let entries = store.try_get_log_entries(..).await.unwrap();
            entries.iter().map(|entry| *entry.id.leader_id).collect()
        };
        // The entry that both have is of the same term as what conflicts, then of an older one.
        store.truncate_after(Some(id(2, 2))).await.unwrap();
        store.blocking_append([entry(3, 3, 1), entry(3, 4, 1)]).await.unwrap();
        assert_eq!(terms(&mut store).await, [1, 1, 2, 3, 3]);
        store.truncate_after(Some(id(1, 1))).await.unwrap();
        store.blocking_append([entry(4, 2, 1)]).await.unwrap();
        assert_eq!(terms(&mut store).await, [1, 1, 4]);
        store.truncate_after(None).await.unwrap();
        store.blocking_append([entry(5, 0, 1)]).await.unwrap();
        assert_eq!(terms(&mut store).await, [5]);
    });
}

#[test]
fn a_purge_beyond_the_log_is_refused() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), 1 << 20, 1000);
        store.blocking_append([entry(1, 0, 1), entry(1, 1, 1)]).await.unwrap();
        assert!(store.purge(id(1, 5)).await.is_err());
        assert!(store.purge(id(2, 1)).await.is_err(), "another entry than the one here");
        store.purge(id(1, 0)).await.unwrap();
        assert_eq!(store.get_log_state().await.unwrap().last_purged_log_id, Some(id(1, 0)));
    });
}

#[test]
fn a_membership_entry_comes_back_as_it_went_in() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), 0, 1000);
        let addr = NodeAddr { peer_addr: "a:1".into(), ..NodeAddr::default() };
        let nodes = BTreeMap::from([(3, GroupMember { addr, incarnation: 1 })]);
        let membership = Membership::new(vec![[3].into()], nodes).unwrap();
        let entry = Entry { id: id(1, 0), payload: Payload::Membership(membership.clone()), place: None };
        store.blocking_append([entry]).await.unwrap();
        let read = store.try_get_log_entries(0..1).await.unwrap();
        assert!(matches!(&read[0].payload, Payload::Membership(m) if *m == membership));
        assert!(read[0].place.is_some());
    });
}

//! Consumer offsets on their way into the log: merged, so that thousands of commits a second cost a few commands.

use std::collections::BTreeMap;
use std::sync::Mutex;

use timbermq_machine::OffsetCommit;
use timbermq_types::{GroupName, QueueId, QueueOffset, TopicName};
use tokio::sync::oneshot;

/// Most different queues that may wait; beyond it a commit is refused and the client repeats it.
const WAITING_MAX: usize = 200_000;

type Place = (GroupName, TopicName, QueueId);

/// One commit, or several of the same queue, waiting to be proposed.
struct Waiting {
    offset: QueueOffset,
    allow_lower: bool,
}

/// Commits that wait for the next proposal.
#[derive(Default)]
pub struct Commits {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<Place, Waiting>,
    told: Vec<oneshot::Sender<bool>>,
    /// Whether an earlier part of what those wait for was not stored.
    has_failed: bool,
}

/// What one proposal carries, and who waits for it.
pub struct Gathered {
    /// At most one commit a queue.
    pub commits: Vec<OffsetCommit>,
    told: Vec<oneshot::Sender<bool>>,
    is_last: bool,
}

impl Commits {
    /// Adds a commit. `false` when too many wait.
    pub fn add(
        &self,
        group: GroupName,
        topic: TopicName,
        queue: QueueId,
        offset: QueueOffset,
        allow_lower: bool,
    ) -> bool {
        let mut inner = self.lock();
        if inner.waiting.len() >= WAITING_MAX {
            return false;
        }
        inner
            .waiting
            .entry((group, topic, queue))
            .and_modify(|waiting| {
                // The last word counts when it may lower the offset; otherwise the highest does.
                if allow_lower {
                    *waiting = Waiting { offset, allow_lower };
                } else {
                    waiting.offset = waiting.offset.max(offset);
                }
            })
            .or_insert(Waiting { offset, allow_lower });
        true
    }

    /// A receiver that learns whether everything added so far got stored.
    pub fn settled(&self) -> oneshot::Receiver<bool> {
        let (tell, told) = oneshot::channel();
        let mut inner = self.lock();
        inner.told.push(tell);
        told
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.waiting.is_empty() && inner.told.is_empty()
    }

    /// Whether a commit of this queue waits.
    pub fn has(&self, group: &GroupName, topic: &TopicName, queue: QueueId) -> bool {
        self.lock().waiting.contains_key(&(group.clone(), topic.clone(), queue))
    }

    /// Takes up to `most` commits for one proposal. Those who wait are told only once nothing older is left behind.
    pub fn gather(&self, most: usize) -> Gathered {
        let mut inner = self.lock();
        let mut commits = Vec::with_capacity(inner.waiting.len().min(most));
        while commits.len() < most {
            let Some(((group, topic, queue), Waiting { offset, allow_lower })) = inner.waiting.pop_first() else {
                break;
            };
            commits.push(OffsetCommit { group, topic, queue, offset, allow_lower });
        }
        let is_last = inner.waiting.is_empty();
        let told = if is_last { std::mem::take(&mut inner.told) } else { Vec::new() };
        Gathered { commits, told, is_last }
    }

    /// Tells everybody who waits for `gathered` whether it, and all before it, is stored.
    pub fn done(&self, gathered: Gathered, stored: bool) {
        let mut inner = self.lock();
        inner.has_failed |= !stored;
        let has_failed = inner.has_failed;
        if gathered.is_last {
            inner.has_failed = false;
        }
        drop(inner);
        for waiter in gathered.told {
            // A client that went away does not need to know.
            let _ = waiter.send(!has_failed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while holding the commits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(commits: &Commits, queue: u32, offset: u64, allow_lower: bool) {
        let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("t").unwrap());
        assert!(commits.add(group, topic, QueueId(queue), QueueOffset(offset), allow_lower));
    }

    fn offsets(gathered: &Gathered) -> Vec<(u32, u64, bool)> {
        gathered.commits.iter().map(|c| (c.queue.0, c.offset.0, c.allow_lower)).collect()
    }

    #[test]
    fn commits_of_a_queue_are_merged_to_the_highest_or_the_last_that_may_lower() {
        let commits = Commits::default();
        add(&commits, 0, 5, false);
        add(&commits, 0, 3, false);
        add(&commits, 1, 5, false);
        add(&commits, 1, 2, true);
        add(&commits, 1, 4, false);
        assert_eq!(offsets(&commits.gather(10)), [(0, 5, false), (1, 4, true)]);
        assert!(commits.is_empty());
    }

    #[test]
    fn waiters_are_told_once_everything_before_them_is_stored() {
        let commits = Commits::default();
        add(&commits, 0, 1, false);
        add(&commits, 1, 1, false);
        let mut told = commits.settled();
        commits.done(commits.gather(1), true);
        assert!(told.try_recv().is_err(), "one commit is still waiting");
        commits.done(commits.gather(1), true);
        assert_eq!(told.try_recv(), Ok(true));
    }

    #[test]
    fn a_part_that_was_not_stored_counts_for_all_who_wait_and_for_nobody_later() {
        let commits = Commits::default();
        add(&commits, 0, 1, false);
        add(&commits, 1, 1, false);
        let mut told = commits.settled();
        commits.done(commits.gather(1), false);
        commits.done(commits.gather(1), true);
        assert_eq!(told.try_recv(), Ok(false));
        let mut told = commits.settled();
        commits.done(commits.gather(1), true);
        assert_eq!(told.try_recv(), Ok(true));
    }
}

//! Consumer offsets on their way into the log: merged, so that thousands of commits a second cost a few commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use timbermq_machine::OffsetCommit;
use timbermq_types::{GroupName, QueueId, QueueOffset, Term, TopicName};
use tokio::sync::oneshot;

/// Most different queues that may wait; beyond it a commit is refused and the client repeats it.
const WAITING_MAX: usize = 200_000;

type Place = (GroupName, TopicName, QueueId);

/// One commit, or several of the same queue, waiting to be proposed.
struct Waiting {
    offset: QueueOffset,
    /// The term in which it may lower the stored offset. In a later one, others may have been shown where the queue stands.
    lower_in: Option<Term>,
}

/// Commits that wait for the next proposal.
#[derive(Default)]
pub struct Commits {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<Place, Waiting>,
    /// Queues whose commits are proposed.
    under_way: BTreeSet<Place>,
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
    /// Adds a commit, which may lower the stored offset if it is proposed in the term `lower_in`. `false` when too many
    /// wait.
    pub fn add(
        &self,
        group: GroupName,
        topic: TopicName,
        queue: QueueId,
        offset: QueueOffset,
        lower_in: Option<Term>,
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
                if lower_in.is_some() {
                    *waiting = Waiting { offset, lower_in };
                } else {
                    waiting.offset = waiting.offset.max(offset);
                }
            })
            .or_insert(Waiting { offset, lower_in });
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

    /// Whether a commit of this queue waits, or is proposed and not known to be stored.
    pub fn has(&self, group: &GroupName, topic: &TopicName, queue: QueueId) -> bool {
        let (inner, place) = (self.lock(), (group.clone(), topic.clone(), queue));
        inner.waiting.contains_key(&place) || inner.under_way.contains(&place)
    }

    /// Takes up to `most` commits for one proposal in `term`. Those who wait are told only once nothing older is left
    /// behind.
    pub fn gather(&self, most: usize, term: Option<Term>) -> Gathered {
        let mut inner = self.lock();
        let mut commits = Vec::with_capacity(inner.waiting.len().min(most));
        while commits.len() < most {
            let Some((place, Waiting { offset, lower_in })) = inner.waiting.pop_first() else { break };
            let allow_lower = lower_in.is_some() && lower_in == term;
            inner.under_way.insert(place.clone());
            let (group, topic, queue) = place;
            commits.push(OffsetCommit { group, topic, queue, offset, allow_lower });
        }
        let is_last = inner.waiting.is_empty();
        let told = if is_last { std::mem::take(&mut inner.told) } else { Vec::new() };
        Gathered { commits, told, is_last }
    }

    /// Tells everybody who waits for `gathered` whether it, and all before it, is stored.
    pub fn done(&self, gathered: Gathered, stored: bool) {
        let mut inner = self.lock();
        inner.under_way.clear();
        inner.has_failed |= !stored;
        let has_failed = inner.has_failed;
        if gathered.is_last {
            // Who began to wait meanwhile may wait for this very part.
            inner.has_failed = !stored && !inner.told.is_empty();
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

    const TERM: Option<Term> = Some(Term(1));

    fn add(commits: &Commits, queue: u32, offset: u64, allow_lower: bool) {
        let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("t").unwrap());
        assert!(commits.add(group, topic, QueueId(queue), QueueOffset(offset), TERM.filter(|_| allow_lower)));
    }

    fn has(commits: &Commits, queue: u32) -> bool {
        commits.has(&GroupName::new("g").unwrap(), &TopicName::new("t").unwrap(), QueueId(queue))
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
        assert_eq!(offsets(&commits.gather(10, TERM)), [(0, 5, false), (1, 4, true)]);
        assert!(commits.is_empty());
    }

    #[test]
    fn waiters_are_told_once_everything_before_them_is_stored() {
        let commits = Commits::default();
        add(&commits, 0, 1, false);
        add(&commits, 1, 1, false);
        let mut told = commits.settled();
        commits.done(commits.gather(1, TERM), true);
        assert!(told.try_recv().is_err(), "one commit is still waiting");
        commits.done(commits.gather(1, TERM), true);
        assert_eq!(told.try_recv(), Ok(true));
    }

    #[test]
    fn a_part_that_was_not_stored_counts_for_all_who_wait_and_for_nobody_later() {
        let commits = Commits::default();
        add(&commits, 0, 1, false);
        add(&commits, 1, 1, false);
        let mut told = commits.settled();
        commits.done(commits.gather(1, TERM), false);
        commits.done(commits.gather(1, TERM), true);
        assert_eq!(told.try_recv(), Ok(false));
        let mut told = commits.settled();
        commits.done(commits.gather(1, TERM), true);
        assert_eq!(told.try_recv(), Ok(true));
    }

    #[test]
    fn a_commit_lowers_only_in_the_term_in_which_it_was_taken() {
        let commits = Commits::default();
        add(&commits, 0, 1, true);
        assert_eq!(offsets(&commits.gather(1, Some(Term(3)))), [(0, 1, false)]);
        add(&commits, 0, 1, true);
        assert_eq!(offsets(&commits.gather(1, None)), [(0, 1, false)]);
    }

    #[test]
    fn a_proposed_commit_is_still_on_its_way_and_who_waits_for_it_learns_that_it_failed() {
        let commits = Commits::default();
        add(&commits, 0, 1, true);
        let gathered = commits.gather(1, TERM);
        assert!(has(&commits, 0), "it may lower the offset at any moment");
        let mut told = commits.settled();
        commits.done(gathered, false);
        assert!(!has(&commits, 0));
        commits.done(commits.gather(1, TERM), true);
        assert_eq!(told.try_recv(), Ok(false));
    }
}

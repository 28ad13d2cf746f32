//! What was applied, for drivers that act on it.

use std::sync::{Arc, PoisonError, RwLock};

use timbermq_machine::Effect;
use tokio::sync::broadcast;

/// Applied entries a subscriber may be behind before it is told to look at everything instead.
const BACKLOG_ENTRIES: usize = 4096;

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Effects of one entry, in order.
    Effects(Arc<[Effect]>),
    /// Some effects were missed: the state itself says what there is to do.
    SweepAll,
}

/// A subscription to effects.
pub struct Effects(broadcast::Receiver<Notice>);

impl Effects {
    /// The next notice; `None` when the replica has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(notice) => Some(notice),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Notice::SweepAll),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Says whether a subscriber waits for messages.
type Waits = Box<dyn Fn() -> bool + Send + Sync>;

/// Where effects are published.
#[derive(Clone)]
pub(crate) struct EffectHub {
    notices: broadcast::Sender<Notice>,
    waits: Arc<RwLock<Vec<Waits>>>,
}

impl EffectHub {
    pub fn new() -> Self {
        Self { notices: broadcast::Sender::new(BACKLOG_ENTRIES), waits: Arc::default() }
    }

    pub fn subscribe(&self, waits: impl Fn() -> bool + Send + Sync + 'static) -> Effects {
        self.waits.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(waits));
        Effects(self.notices.subscribe())
    }

    /// Call it after the effects can be seen: who begins to wait then looks first.
    pub fn publish(&self, effects: Vec<Effect>) {
        // Every send has this effect, and on a follower nearly always nobody waits: to wake a thread for nothing would cost
        // as much as to apply a dozen messages.
        let is_only_for_waiting = effects.iter().all(|effect| matches!(effect, Effect::Arrived(_)));
        if !is_only_for_waiting || !effects.is_empty() && self.anybody_waits() {
            // Fails only when nobody subscribes.
            let _ = self.notices.send(Notice::Effects(effects.into()));
        }
    }

    fn anybody_waits(&self) -> bool {
        self.waits.read().unwrap_or_else(PoisonError::into_inner).iter().any(|waits| waits())
    }

    pub fn sweep(&self) {
        let _ = self.notices.send(Notice::SweepAll);
    }
}

#[cfg(test)]
mod tests {
    use timbermq_machine::Arrived;
    use timbermq_types::{NodeId, QueueId, QueueOffset, Term, TopicName, UnixMillis};

    use super::*;

    fn effect(term: u64) -> Vec<Effect> {
        vec![Effect::LeaderStarted { node: NodeId(1), term: Term(term) }]
    }

    #[test]
    fn a_subscriber_that_lags_is_told_to_sweep_and_goes_on() {
        let hub = EffectHub::new();
        let mut effects = hub.subscribe(|| false);
        for term in 0..BACKLOG_ENTRIES as u64 + 5 {
            hub.publish(effect(term));
        }
        timbermq_sync::block_on(async {
            assert_eq!(effects.next().await, Some(Notice::SweepAll));
            assert_eq!(effects.next().await, Some(Notice::Effects(effect(5).into())));
            drop(hub);
            while let Some(notice) = effects.next().await {
                assert_ne!(notice, Notice::SweepAll);
            }
        });
    }

    #[test]
    fn messages_that_arrive_are_told_to_whoever_waits_and_all_else_always() {
        let hub = EffectHub::new();
        let waits = Arc::new(timbermq_sync::Latch::new(false));
        let asked = Arc::clone(&waits);
        let mut effects = hub.subscribe(move || asked.is_set());
        let arrived = || {
            let (topic, queue) = (TopicName::new("t").unwrap(), QueueId(0));
            let (first, next) = (QueueOffset(0), QueueOffset(1));
            Effect::Arrived(Arrived { topic, queue, first, next, tags_codes: vec![0], at: UnixMillis(1) })
        };
        hub.publish(vec![]);
        hub.publish(vec![arrived()]);
        hub.publish([vec![arrived()], effect(1)].concat());
        waits.set();
        hub.publish(vec![arrived()]);
        drop(hub);
        timbermq_sync::block_on(async {
            let both = [vec![arrived()], effect(1)].concat();
            assert_eq!(effects.next().await, Some(Notice::Effects(both.into())));
            assert_eq!(effects.next().await, Some(Notice::Effects([arrived()].into())));
            assert_eq!(effects.next().await, None);
        });
    }
}

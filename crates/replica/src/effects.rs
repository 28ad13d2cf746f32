//! What was applied, for drivers that act on it.

use timbermq_machine::Effect;
use tokio::sync::broadcast;

/// Applied entries a subscriber may be behind before it is told to look at everything instead.
const BACKLOG_ENTRIES: usize = 4096;

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Effects of one entry, in order.
    Effects(std::sync::Arc<[Effect]>),
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

/// Where effects are published.
#[derive(Clone)]
pub(crate) struct EffectHub(broadcast::Sender<Notice>);

impl EffectHub {
    pub fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG_ENTRIES))
    }

    pub fn subscribe(&self) -> Effects {
        Effects(self.0.subscribe())
    }

    pub fn publish(&self, effects: Vec<Effect>) {
        if !effects.is_empty() && self.0.receiver_count() > 0 {
            // Fails only when the last subscriber has just left.
            let _ = self.0.send(Notice::Effects(effects.into()));
        }
    }

    pub fn sweep(&self) {
        let _ = self.0.send(Notice::SweepAll);
    }
}

#[cfg(test)]
mod tests {
    use timbermq_types::{NodeId, Term};

    use super::*;

    fn effect(term: u64) -> Vec<Effect> {
        vec![Effect::LeaderStarted { node: NodeId(1), term: Term(term) }]
    }

    #[test]
    fn a_subscriber_that_lags_is_told_to_sweep_and_goes_on() {
        let hub = EffectHub::new();
        let mut effects = hub.subscribe();
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
}

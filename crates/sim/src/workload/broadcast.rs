//! Members of a group in which each gets everything, and remembers by itself how far it is.

use std::time::Duration;

use timbermq_check::history::{Action, Consumed, Outcome};

use super::{Worker, found, queue, topic};

/// The group of the listeners.
const LISTENERS: &str = "listeners";

impl Worker {
    /// Starts this worker as a member that gets every message of the first topic from the beginning on.
    pub fn listen(self) {
        self.spawn("client.listen", self.clone().listening());
    }

    async fn listening(self) {
        let client = self.client(LISTENERS);
        let mut rng = self.rng();
        let topic = topic(0);
        let join = Action::Join {
            group: LISTENERS.into(),
            topic: topic.clone(),
            broadcast: true,
            tags: Vec::new(),
            from_first: true,
            lock_client: None,
        };
        self.recorder.done(&self.name, self.recorder.now(), Outcome::Ok, join);
        let mut next = vec![0i64; self.options.queues as usize];
        while !self.stopped() {
            let q = rng.below(u64::from(self.options.queues)) as usize;
            let at = queue(&topic, q as u32);
            let invoke = self.recorder.now();
            let suspend = Some(Duration::from_millis(rng.below(1500)));
            let answer = client.pull(&at, next[q], 32, suspend).await;
            if let Some(result) = self.note_pull(None, &at, next[q], &[], invoke, answer) {
                for message in &result.messages {
                    let action = Action::Deliver {
                        group: LISTENERS.into(),
                        topic: topic.clone(),
                        queue: q as u32,
                        found: found(message),
                        consumed: Consumed::Done,
                    };
                    self.recorder.done(&self.name, self.recorder.now(), Outcome::Ok, action);
                }
                next[q] = result.next;
            }
            self.pause(&mut rng).await;
        }
    }
}

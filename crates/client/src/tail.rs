//! Following a topic.

use std::collections::BTreeSet;
use std::time::Duration;

use timbermq_remoting::body::MessageQueue;
use timbermq_types::UnixMillis;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::client::Client;
use crate::error::ClientError;
use crate::message::Message;

/// How long a broker holds a pull that finds nothing.
const SUSPEND: Duration = Duration::from_secs(10);
/// How often new queues are looked for.
const RESCAN: Duration = Duration::from_secs(30);
/// Messages of one pull.
const PULL_MESSAGES: i32 = 32;
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Where following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailFrom {
    /// At the first message there is.
    Earliest,
    /// At the next message to come.
    Latest,
    /// At the first message stored at or after a time.
    Time(UnixMillis),
}

/// The messages of all queues of a topic as they come; in order within a queue. Dropping it ends the following.
///
/// No position is stored anywhere: this is for looking, not for consuming.
pub struct Tail {
    messages: Receiver<Result<Message, ClientError>>,
}

impl Tail {
    /// The next message, or what keeps a queue from being read; following goes on after an error. `None` never comes
    /// while the process runs.
    pub async fn next(&mut self) -> Option<Result<Message, ClientError>> {
        self.messages.recv().await
    }
}

impl Client {
    /// Follows all queues of a topic, also those that are added later (which are read from their beginning). At most
    /// `buffer` messages wait for [`Tail::next`].
    ///
    /// # Errors
    /// The topic has no route, or a queue's bounds cannot be learnt.
    pub async fn tail(&self, topic: &str, from: TailFrom, buffer: usize) -> Result<Tail, ClientError> {
        let (sender, messages) = mpsc::channel(buffer.max(1));
        let mut followed = BTreeSet::new();
        for queue in self.read_queues(topic).await? {
            let offset = match from {
                TailFrom::Earliest => self.min_offset(&queue).await?,
                TailFrom::Latest => self.max_offset(&queue).await?,
                TailFrom::Time(at) => self.search_offset(&queue, at).await?,
            };
            self.follow(queue.clone(), offset, sender.clone());
            followed.insert(queue);
        }
        let client = self.clone();
        let topic = topic.to_owned();
        self.shared.env.spawn("client.tail_rescan", async move {
            loop {
                tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    () = client.shared.env.sleep(RESCAN) => {}
                }
                for queue in client.read_queues(&topic).await.unwrap_or_default() {
                    if followed.insert(queue.clone()) {
                        client.follow(queue, 0, sender.clone());
                    }
                }
            }
        });
        Ok(Tail { messages })
    }

    fn follow(&self, queue: MessageQueue, offset: i64, sender: Sender<Result<Message, ClientError>>) {
        let client = self.clone();
        self.shared.env.spawn("client.tail", async move {
            let mut offset = offset;
            loop {
                let pulled = tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    pulled = client.pull(&queue, offset, PULL_MESSAGES, Some(SUSPEND)) => pulled,
                };
                let failed = pulled.is_err();
                let (next, items) = match pulled {
                    Ok(pulled) => (pulled.next, pulled.messages.into_iter().map(Ok).collect()),
                    Err(error) => (offset, vec![Err(error)]),
                };
                // A broker that answers at once that there is nothing must not make this loop spin.
                let idle = failed || (items.is_empty() && next == offset);
                offset = next;
                for item in items {
                    if sender.send(item).await.is_err() {
                        return;
                    }
                }
                if idle {
                    client.shared.env.sleep(if failed { PAUSE } else { client.config().retry_pause }).await;
                }
            }
        });
    }
}

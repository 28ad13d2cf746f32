//! What is in a topic already, over all its queues in the order of storing.

use std::collections::{BTreeMap, VecDeque};

use timbermq_client::{Client, ClientError, Message, MessageQueue, PullStatus};
use timbermq_types::UnixMillis;

/// Messages of one pull.
const PULL_MESSAGES: i32 = 32;

/// Where looking begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first message there is.
    Earliest,
    /// At the next one to come.
    Latest,
    /// At the first one stored at or after this time, in milliseconds since the epoch.
    Time(i64),
    /// So many before the next one to come.
    Last(u64),
}

/// One queue's part of the history.
struct Cursor {
    queue: MessageQueue,
    next: i64,
    end: i64,
    read: VecDeque<Message>,
}

/// The messages between a beginning and the present end of each queue. Holds one pull's messages a queue.
pub struct History {
    client: Client,
    cursors: Vec<Cursor>,
}

impl History {
    /// The history of `topic` from `from` on.
    ///
    /// # Errors
    /// The topic has no route, or a queue's bounds cannot be learnt.
    pub async fn open(client: &Client, topic: &str, from: From) -> Result<Self, ClientError> {
        let mut cursors = Vec::new();
        for queue in client.read_queues(topic).await? {
            let (min, end) = (client.min_offset(&queue).await?, client.max_offset(&queue).await?);
            let next = match from {
                From::Earliest => min,
                From::Latest => end,
                From::Time(at) => {
                    client.search_offset(&queue, UnixMillis(u64::try_from(at).unwrap_or(0))).await?.clamp(min, end)
                }
                // The last N of the topic are among the last N of each queue.
                From::Last(count) => end.saturating_sub(i64::try_from(count).unwrap_or(i64::MAX)).max(min),
            };
            cursors.push(Cursor { queue, next, end, read: VecDeque::new() });
        }
        Ok(Self { client: client.clone(), cursors })
    }

    /// The next offset after the history, by queue.
    pub fn ends(&self) -> BTreeMap<MessageQueue, i64> {
        self.cursors.iter().map(|cursor| (cursor.queue.clone(), cursor.end)).collect()
    }

    /// The message stored next; `None` at the end.
    ///
    /// # Errors
    /// A queue cannot be read.
    pub async fn next(&mut self) -> Result<Option<Message>, ClientError> {
        for cursor in &mut self.cursors {
            cursor.fill(&self.client).await?;
        }
        Ok(take_oldest(&mut self.cursors))
    }
}

fn take_oldest(cursors: &mut [Cursor]) -> Option<Message> {
    let oldest = cursors
        .iter_mut()
        .filter(|cursor| !cursor.read.is_empty())
        .min_by_key(|cursor| cursor.read.front().map(|message| (message.stored, message.position)));
    oldest?.read.pop_front()
}

impl Cursor {
    async fn fill(&mut self, client: &Client) -> Result<(), ClientError> {
        while self.read.is_empty() && self.next < self.end {
            let pulled = client.pull(&self.queue, self.next, PULL_MESSAGES, None).await?;
            // Answers that lead nowhere end the queue: what is missing here was removed meanwhile.
            if pulled.status == PullStatus::NothingNew || (pulled.messages.is_empty() && pulled.next <= self.next) {
                self.next = self.end;
                break;
            }
            self.next = pulled.next;
            self.read.extend(pulled.messages.into_iter().filter(|message| message.queue_offset < self.end));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::message;

    #[test]
    fn queues_are_merged_by_the_time_of_storing() {
        let cursor = |queue_id, times: &[u64]| Cursor {
            queue: MessageQueue::new("t", "b", queue_id),
            next: 0,
            end: 0,
            read: times.iter().map(|at| Message { stored: UnixMillis(*at), ..message(queue_id, 0, b"") }).collect(),
        };
        let mut cursors = [cursor(0, &[1, 4]), cursor(1, &[]), cursor(2, &[2, 3, 5])];
        let mut order = Vec::new();
        while let Some(message) = take_oldest(&mut cursors) {
            order.push((message.stored.0, message.queue_id));
        }
        assert_eq!(order, [(1, 0), (2, 2), (3, 2), (4, 0), (5, 2)]);
    }
}

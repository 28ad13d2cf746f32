//! Messages that a consumer hands back, and that come to it again.

use timbermq_check::history::{Action, Consumed, Outcome};
use timbermq_client::{Client, Message, RemotingCommand, RequestCode};
use timbermq_remoting::header::ConsumerSendMsgBackHeader;
use timbermq_types::{DLQ_PREFIX, RETRY_PREFIX};

use super::{Worker, found, outcome_of, queue, unsigned};
use crate::node::GROUP;
use crate::rng::Rng;

/// How often a message may be handed back before it goes to the dead letters.
const RECONSUME_MAX: u32 = 2;

/// What the consumers hand back to, which exists once they have.
pub(super) fn topics(group: &str) -> [String; 2] {
    [format!("{RETRY_PREFIX}{group}"), format!("{DLQ_PREFIX}{group}")]
}

impl Worker {
    /// Whether consumers hand messages back. Where retention runs, what they handed back may be trimmed before anybody sees
    /// it.
    pub(super) fn hands_back(&self) -> bool {
        !self.options.retains_less()
    }

    /// Consumes `message`: done, or handed back in so many of a thousand cases.
    pub(super) async fn consume_one(
        &self,
        client: &Client,
        group: &str,
        topic: &str,
        message: &Message,
        (rng, per_mille): (&mut Rng, u64),
    ) {
        let invoke = self.recorder.now();
        let is_back = self.hands_back() && rng.chance(per_mille);
        // A consumer whose hand-back was refused consumes the message after all.
        let consumed = match is_back && self.hand_back(client, group, message).await != Outcome::Fail {
            true => Consumed::Later,
            false => Consumed::Done,
        };
        let action = Action::Deliver {
            group: group.to_owned(),
            topic: topic.to_owned(),
            queue: message.queue_id as u32,
            found: found(message),
            consumed,
        };
        self.recorder.done(&self.name, invoke, Outcome::Ok, action);
    }

    async fn hand_back(&self, client: &Client, group: &str, message: &Message) -> Outcome {
        let header = ConsumerSendMsgBackHeader {
            offset: message.position,
            group: group.to_owned(),
            delay_level: 0,
            origin_msg_id: Some(message.message_id.clone()),
            origin_topic: Some(message.topic.clone()),
            unit_mode: false,
            max_reconsume_times: i32::try_from(RECONSUME_MAX).ok(),
            broker_name: None,
        };
        let request = RemotingCommand::request(RequestCode::CONSUMER_SEND_MSG_BACK).with_header(&header);
        let invoke = self.recorder.now();
        let answer = client.call_broker_once(GROUP, request).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let of = found(message);
        let action = Action::SendBack {
            group: group.to_owned(),
            message: of.message,
            reconsume: of.reconsume,
            max_reconsume: RECONSUME_MAX,
        };
        self.recorder.done(&self.name, invoke, outcome, action);
        outcome
    }

    /// Reads on from `next` in the group's retry topic, and consumes what is there.
    pub(super) async fn consume_again(&self, client: &Client, group: &str, next: &mut i64, rng: &mut Rng) {
        let [topic, _] = topics(group);
        let at = queue(&topic, 0);
        let invoke = self.recorder.now();
        let answer = client.pull(&at, *next, 16, None).await;
        let Some(result) = self.note_pull(Some(group), &at, *next, &[], invoke, answer) else { return };
        for message in &result.messages {
            self.consume_one(client, group, &topic, message, (rng, 400)).await;
        }
        *next = result.next;
        if !result.messages.is_empty() {
            self.store_progress(client, group, &at, unsigned(result.next)).await;
        }
    }
}

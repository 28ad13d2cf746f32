//! What can come of a request, and the one table from outcomes to response codes.
//!
//! Clients steer their retries by the code: every generation retries 14, 1, 17 and 16 on a send, none retries 13, and
//! only new ones retry 2. Codes 10, 11 and 12 mean "stored, but…" to clients and are never used.

use thiserror::Error;
use timbermq_machine::Refusal;
use timbermq_remoting::{HeaderError, RemotingCommand, RequestCode, ResponseCode};
use timbermq_types::NameError;

/// Prefix of the remark that tells "may be stored" apart from other system errors.
pub const UNKNOWN_OUTCOME: &str = "TMQ-UNKNOWN-OUTCOME";

/// Why a request was not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// This replica does not lead, and no leader is known or reachable. Nothing was proposed.
    #[error("the broker group has no reachable leader at the moment")]
    NoLeader,
    /// This replica leads but has not heard from a majority lately. Nothing was proposed.
    #[error("the broker group's leader cannot reach a majority at the moment")]
    NoQuorum,
    /// The broker is stopping. Nothing was proposed.
    #[error("the broker is stopping")]
    Stopping,
    /// Too much is under way. Nothing was proposed.
    #[error("the broker is busy: too many bytes of writes are under way")]
    Overloaded,
    /// The write was proposed and may be stored or not.
    #[error("{UNKNOWN_OUTCOME}: no majority answered in time; the write may be stored or not")]
    OutcomeUnknown,
    /// No such topic.
    #[error("topic[{0}] not exist, apply first please!")]
    TopicMissing(String),
    /// No such consumer group.
    #[error("subscription group [{0}] does not exist")]
    GroupMissing(String),
    /// The topic has no queue of this number. Clients are to try another queue.
    #[error("queueId[{queue}] is illegal, topic[{topic}] has {queues} queues")]
    QueueMissing {
        /// Topic.
        topic: String,
        /// Queue asked for.
        queue: i32,
        /// How many there are.
        queues: u32,
    },
    /// Forbidden by permission of broker, topic or group.
    #[error("{0}")]
    NotPermitted(String),
    /// A message that may not be stored.
    #[error("{0}")]
    MessageIllegal(String),
    /// An argument that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The header lacks something or cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Nothing of that kind is there.
    #[error("{0}")]
    NotFound(String),
    /// The group, or its subscription to this topic, is not known here (yet).
    #[error("the consumer's subscription not exist")]
    SubscriptionMissing,
    /// Nobody of the group is connected.
    #[error("the consumer group[{0}] not online")]
    ConsumerOffline(String),
    /// A connected client did not answer in time.
    #[error("the client did not answer in time")]
    ClientTimeout,
    /// Something failed that the client cannot change.
    #[error("{0}")]
    Internal(String),
    /// The request code is not served here.
    #[error(" request type {0} not supported")]
    Unsupported(i32),
}

impl Failure {
    /// The response code.
    #[must_use]
    pub fn code(&self) -> ResponseCode {
        match self {
            Failure::NoLeader | Failure::NoQuorum | Failure::Stopping => ResponseCode::SERVICE_NOT_AVAILABLE,
            Failure::Overloaded => ResponseCode::SYSTEM_BUSY,
            // Clients retry 1; a queue that is gone after a topic shrank is retried on another one.
            Failure::OutcomeUnknown | Failure::Internal(_) | Failure::QueueMissing { .. } | Failure::Header(_) => {
                ResponseCode::SYSTEM_ERROR
            }
            Failure::TopicMissing(_) => ResponseCode::TOPIC_NOT_EXIST,
            Failure::GroupMissing(_) => ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
            Failure::NotPermitted(_) => ResponseCode::NO_PERMISSION,
            Failure::MessageIllegal(_) => ResponseCode::MESSAGE_ILLEGAL,
            Failure::Invalid(_) => ResponseCode::INVALID_PARAMETER,
            Failure::NotFound(_) => ResponseCode::QUERY_NOT_FOUND,
            Failure::SubscriptionMissing => ResponseCode::SUBSCRIPTION_NOT_EXIST,
            Failure::ConsumerOffline(_) => ResponseCode::CONSUMER_NOT_ONLINE,
            Failure::ClientTimeout => ResponseCode::CONSUME_MSG_TIMEOUT,
            Failure::Unsupported(_) => ResponseCode::REQUEST_CODE_NOT_SUPPORTED,
        }
    }

    /// The whole response to `request`.
    #[must_use]
    pub fn response(&self, request: &RemotingCommand) -> RemotingCommand {
        request.respond(self.code()).with_remark(self.to_string())
    }

    /// What a refusal by the state machine means to whoever asked about `topic` and `queue`.
    #[must_use]
    pub fn refused(refusal: Refusal, topic: &str, queue: i32) -> Self {
        match refusal {
            Refusal::TopicMissing => Failure::TopicMissing(topic.to_owned()),
            Refusal::QueueOutOfRange => Failure::QueueMissing { topic: topic.to_owned(), queue, queues: 0 },
            Refusal::NotWritable => Failure::NotPermitted(format!("the topic[{topic}] sending message is forbidden")),
            Refusal::GroupMissing => Failure::GroupMissing(topic.to_owned()),
            Refusal::Malformed => Failure::MessageIllegal("the message is malformed".into()),
            Refusal::TooManyQueues => Failure::Invalid(format!("topic[{topic}] would have too many queues")),
        }
    }

    /// A request code that nobody here serves.
    #[must_use]
    pub fn unsupported(code: RequestCode) -> Self {
        Failure::Unsupported(code.0)
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Failure::Invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_stored_is_retried_by_every_client_and_half_success_does_not_exist() {
        for failure in [Failure::NoLeader, Failure::NoQuorum, Failure::Stopping] {
            assert_eq!(failure.code().0, 14);
        }
        assert_eq!(Failure::OutcomeUnknown.code().0, 1);
        assert!(Failure::OutcomeUnknown.to_string().starts_with(UNKNOWN_OUTCOME));
        assert_eq!(Failure::Overloaded.code().0, 2);
        assert_eq!(Failure::TopicMissing("t".into()).code().0, 17);
        assert_eq!(Failure::MessageIllegal(String::new()).code().0, 13);
        assert_eq!(Failure::NotPermitted(String::new()).code().0, 16);
        assert_eq!(Failure::QueueMissing { topic: "t".into(), queue: 9, queues: 4 }.code().0, 1);
    }
}

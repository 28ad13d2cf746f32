//! JSON bodies.
//!
//! Clients write and read the JSON of the fastjson library, which is wider than the standard: map keys may be bare
//! numbers and whole objects. [`JsonBody::from_json`] accepts both, [`JsonBody::to_json`] writes what clients of every
//! age read. Unknown keys are ignored, null and missing collections are empty.

mod connection;
mod dialect;
mod group;
mod heartbeat;
mod lock;
mod offset;
mod register;
mod relaxed;
mod route;
mod stats;
mod tolerant;
mod topic;

pub use connection::*;
pub use dialect::JsonDialect;
pub use group::*;
pub use heartbeat::*;
pub use lock::*;
pub use offset::*;
pub use register::*;
pub use route::*;
pub use stats::*;
pub use topic::*;

use serde::de::DeserializeOwned;

/// Longest JSON text read, in bytes: the longest frame.
pub const JSON_MAX_BYTES: usize = timbermq_types::limits::FRAME_BYTES_MAX;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Not JSON, or not of the expected shape.
    #[error("malformed JSON body: {0}")]
    Json(#[from] serde_json::Error),
    /// Not even the wider JSON that clients write.
    #[error("malformed JSON body at byte {at}: {reason}")]
    Malformed {
        /// Byte at which reading stopped.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Longer than the limit, compressed or not.
    #[error("a body of more than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// More objects and lists than a body of its length has.
    #[error("a body of {len} bytes with more than {max} objects and lists")]
    TooDense {
        /// Bytes of the body.
        len: usize,
        /// The limit for a body of this length.
        max: usize,
    },
    /// The zlib stream of a compressed registration is damaged.
    #[error("damaged compressed body: {0}")]
    Inflate(std::io::Error),
}

/// A body with a JSON form.
pub trait JsonBody: DeserializeOwned {
    /// Reads the body from standard JSON or fastjson's wider form.
    ///
    /// # Errors
    /// The text is malformed or has another shape.
    fn from_json(text: &[u8]) -> Result<Self, BodyError> {
        relaxed::read(text)
    }

    /// The compact text in the form that clients of every age read: numeric map keys bare, object keys as objects.
    fn to_json(&self) -> Vec<u8> {
        self.to_json_dialect(JsonDialect::Fastjson)
    }

    /// The compact text in a dialect.
    fn to_json_dialect(&self, dialect: JsonDialect) -> Vec<u8>;
}

/// Bodies whose text is what their fields say.
macro_rules! plain_bodies {
    ($($name:ident),* $(,)?) => {$(
        impl JsonBody for $name {
            fn to_json_dialect(&self, dialect: JsonDialect) -> Vec<u8> {
                dialect::write(self, dialect)
            }
        }
    )*};
}

plain_bodies!(
    BrokerData,
    BrokerMemberGroupBody,
    CheckClientConfigBody,
    ClusterInfo,
    ConsumerConnection,
    ConsumerList,
    DataVersion,
    GroupList,
    HeartbeatData,
    KvTable,
    LockBatchRequest,
    LockBatchResponse,
    ProducerConnection,
    ProducerTable,
    RegisterBrokerBody,
    SubscriptionData,
    SubscriptionGroupConfig,
    SubscriptionGroupList,
    SubscriptionGroupTable,
    TopicConfig,
    TopicConfigList,
    TopicConfigTable,
    TopicList,
    TopicRouteData,
);

#[cfg(test)]
mod tests;

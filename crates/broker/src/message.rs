//! From what a producer sends to the records that are stored.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use timbermq_record::{BatchLimits, Properties, RecordBuilder, for_each_batch_item, properties, property, sys_flag};
use timbermq_remoting::header::SendMessageHeader;
use timbermq_types::{QueueId, TopicName, limits};

use crate::outcome::Failure;

/// The region every message and every send response names.
pub const REGION: &str = "DefaultRegion";

/// What the broker knows and a producer does not say.
pub struct Origin<'a> {
    /// Where the producer connects from.
    pub born_host: SocketAddr,
    /// The address message ids name.
    pub store_host: SocketAddr,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Longest body (or batch body) accepted.
    pub body_bytes_max: usize,
}

/// Builds the records of a send to `queue` of `topic`: complete stored records, back to back, whose store time and offsets
/// are filled in later. `fresh_key` makes a unique id for a message that came without.
///
/// # Errors
/// [`Failure::MessageIllegal`] says which rule the message breaks; nothing is stored then.
pub fn draft(
    header: &SendMessageHeader,
    body: &Bytes,
    topic: &TopicName,
    queue: QueueId,
    origin: &Origin<'_>,
    mut fresh_key: impl FnMut() -> String,
) -> Result<Bytes, Failure> {
    if body.len() > origin.body_bytes_max {
        return Err(Failure::MessageIllegal(format!(
            "the message body is {} bytes, over the limit of {}",
            body.len(),
            origin.body_bytes_max
        )));
    }
    let found = Found::among(&header.properties);
    found.check_kind(header.sys_flag, topic)?;
    let mut records = BytesMut::with_capacity(body.len() + header.properties.len() + 512);
    let template = RecordBuilder {
        queue_id: i32::try_from(queue.0).map_err(|_| Failure::Invalid("queue number too large".into()))?,
        sys_flag: header.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6),
        born_timestamp_ms: header.born_timestamp,
        born_host: origin.born_host,
        store_host: origin.store_host,
        reconsume_times: header.reconsume_times,
        ..RecordBuilder::new(topic.as_str(), &[])
    };
    let mut store = |flag: i32, body: &[u8], text: &str, found: &Found<'_>| -> Result<(), Failure> {
        let text = found.complete(text, origin.cluster, &mut fresh_key)?;
        let record = RecordBuilder { flag, body, properties: &text, ..template };
        record.encode(&mut records).map(drop).map_err(illegal)
    };
    if header.batch {
        if topic.is_retry() || topic.as_str().len() > limits::TOPIC_CHARS_MAX {
            return Err(Failure::MessageIllegal(format!("a batch may not be sent to topic[{topic}]")));
        }
        let limits = BatchLimits {
            body_bytes_max: origin.body_bytes_max,
            messages_max: limits::BATCH_MESSAGES_MAX,
            properties_bytes_max: limits::PROPERTIES_BYTES_MAX,
        };
        let mut batch_error = None;
        let count = for_each_batch_item::<BatchFailure>(body, limits, |item| {
            let found = Found::among(item.properties);
            found.check_kind(sys_flag::TRANSACTION_NONE, topic)?;
            store(item.flag, item.body, item.properties, &found)?;
            Ok(())
        })
        .unwrap_or_else(|error| {
            batch_error = Some(error.0);
            0
        });
        if let Some(error) = batch_error {
            return Err(error);
        }
        if count == 0 {
            return Err(Failure::MessageIllegal("the batch holds no message".into()));
        }
    } else {
        store(header.flag, body, &header.properties, &found)?;
    }
    if records.len() + 1024 > limits::ENTRY_BYTES_MAX {
        return Err(Failure::MessageIllegal("the batch is too large once its messages are stored one by one".into()));
    }
    Ok(records.freeze())
}

struct BatchFailure(Failure);

impl From<timbermq_record::BatchError> for BatchFailure {
    fn from(error: timbermq_record::BatchError) -> Self {
        BatchFailure(Failure::MessageIllegal(error.to_string()))
    }
}

impl From<Failure> for BatchFailure {
    fn from(failure: Failure) -> Self {
        BatchFailure(failure)
    }
}

fn illegal(error: timbermq_record::RecordError) -> Failure {
    Failure::MessageIllegal(error.to_string())
}

/// What the broker looks at among a message's properties, found in one pass: this is done for every message.
#[derive(Default)]
struct Found<'a> {
    timed: bool,
    prepared: Option<&'a str>,
    delay: Option<&'a str>,
    wait: bool,
    pop_checkpoint: bool,
    unique_key: bool,
    cluster: bool,
    region: bool,
    trace: bool,
}

impl<'a> Found<'a> {
    fn among(text: &'a str) -> Self {
        let mut found = Self::default();
        for (name, value) in Properties::new(text).iter() {
            match name {
                property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => found.timed = true,
                // Of two with one name the last counts.
                property::TRANSACTION_PREPARED => found.prepared = Some(value),
                property::DELAY => found.delay = Some(value),
                property::WAIT => found.wait = true,
                property::POP_CHECKPOINT => found.pop_checkpoint = true,
                property::UNIQ_KEY => found.unique_key = true,
                property::CLUSTER => found.cluster = true,
                property::MSG_REGION => found.region = true,
                property::TRACE_ON => found.trace = true,
                _ => {}
            }
        }
        found
    }

    /// Refuses the kinds of message whose promise (later, or only after a commit) this broker cannot keep yet. Storing them
    /// as ordinary messages would deliver them too early, silently.
    fn check_kind(&self, sys_flag: i32, topic: &TopicName) -> Result<(), Failure> {
        let illegal =
            |kind: &str| Err(Failure::MessageIllegal(format!("{kind} messages are not supported by this broker")));
        if self.timed {
            return illegal("timed");
        }
        let is_prepared = self.prepared.is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if is_prepared || sys_flag & sys_flag::TRANSACTION_MASK != sys_flag::TRANSACTION_NONE {
            return illegal("transactional");
        }
        // Clients give what they send to a retry topic a level; it comes again at once, which is early but not wrong.
        if !topic.is_retry() && self.delay.is_some_and(|level| level.trim() != "0") {
            return illegal("delayed");
        }
        Ok(())
    }

    /// The stored properties: what the client gave (`text`), less what is only between client and broker, plus what brokers
    /// add.
    fn complete(&self, text: &str, cluster: &str, fresh_key: &mut impl FnMut() -> String) -> Result<String, Failure> {
        let mut stored = String::with_capacity(text.len() + 96);
        stored.push_str(text);
        for (name, is_there) in [(property::WAIT, self.wait), (property::POP_CHECKPOINT, self.pop_checkpoint)] {
            if is_there {
                properties::remove(&mut stored, name);
            }
        }
        let mut add = |name: &str, value: &str| {
            properties::append(&mut stored, name, value).map_err(|error| Failure::MessageIllegal(error.to_string()))
        };
        if !self.unique_key {
            add(property::UNIQ_KEY, &fresh_key())?;
        }
        let added = [
            (property::CLUSTER, cluster, self.cluster),
            (property::MSG_REGION, REGION, self.region),
            (property::TRACE_ON, "true", self.trace),
        ];
        for (name, value, is_there) in added {
            if !is_there {
                add(name, value)?;
            }
        }
        properties::check_len(&stored).map_err(|error| Failure::MessageIllegal(error.to_string()))?;
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbermq_record::{BatchItem, records};

    fn header(properties: &str, batch: bool) -> SendMessageHeader {
        SendMessageHeader {
            producer_group: "p".into(),
            topic: "t".into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: 1,
            sys_flag: sys_flag::COMPRESSED,
            born_timestamp: 5,
            flag: 7,
            properties: properties.into(),
            reconsume_times: 0,
            unit_mode: false,
            batch,
            max_reconsume_times: None,
            broker_name: None,
        }
    }

    fn make(header: &SendMessageHeader, body: &[u8]) -> Result<Bytes, Failure> {
        let origin = Origin {
            born_host: "10.1.2.3:4".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            cluster: "c",
            body_bytes_max: 1000,
        };
        let topic = TopicName::new(&header.topic).unwrap();
        draft(header, &Bytes::copy_from_slice(body), &topic, QueueId(1), &origin, || "FRESH".into())
    }

    fn text(items: &[(&str, &str)]) -> String {
        properties::encode(items.iter().copied()).unwrap()
    }

    #[test]
    fn a_message_is_stored_as_sent_with_what_the_broker_adds() {
        let properties = text(&[("TAGS", "A"), ("WAIT", "true"), ("UNIQ_KEY", "U")]);
        let draft = make(&header(&properties, false), b"body").unwrap();
        let record = records(&draft).next().unwrap().unwrap();
        assert_eq!((record.body(), record.topic(), record.queue_id(), record.flag()), (&b"body"[..], "t", 1, 7));
        assert_eq!(record.sys_flag(), sys_flag::COMPRESSED);
        let stored = record.properties();
        assert_eq!((stored.tag(), stored.unique_key(), stored.get("CLUSTER")), (Some("A"), Some("U"), Some("c")));
        assert!(!stored.contains("WAIT"));
        record.verify_crc().unwrap();
    }

    #[test]
    fn a_batch_becomes_single_records_with_a_key_each() {
        let mut body = BytesMut::new();
        for n in 0..3u8 {
            BatchItem { flag: i32::from(n), body: &[n], properties: "" }.encode(&mut body).unwrap();
        }
        let draft = make(&header("", true), &body).unwrap();
        let all: Vec<_> = records(&draft).map(Result::unwrap).collect();
        assert_eq!(all.iter().map(|r| r.body()[0]).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(all.iter().all(|r| r.properties().unique_key() == Some("FRESH")));
        assert!(matches!(make(&header("", true), &body[..body.len() - 1]), Err(Failure::MessageIllegal(_))));
        assert!(matches!(make(&header("", true), &[]), Err(Failure::MessageIllegal(_))));
    }

    #[test]
    fn what_would_be_delivered_too_early_or_is_too_large_is_refused() {
        for properties in [&[("DELAY", "3")][..], &[("TRAN_MSG", "true")], &[("TIMER_DELAY_MS", "9")]] {
            assert!(matches!(make(&header(&text(properties), false), b"x"), Err(Failure::MessageIllegal(_))));
        }
        let late = text(&[("DELAY", "3"), ("RETRY_TOPIC", "t")]);
        assert!(make(&header(&late, false), b"x").is_err());
        let retry = SendMessageHeader { topic: "%RETRY%g".into(), ..header(&late, false) };
        assert!(make(&retry, b"x").is_ok());
        assert!(matches!(make(&header("", false), &[0; 1001]), Err(Failure::MessageIllegal(_))));
        let long = text(&[("k", &"v".repeat(32_760))]);
        assert!(matches!(make(&header(&long, false), b"x"), Err(Failure::MessageIllegal(_))));
    }
}

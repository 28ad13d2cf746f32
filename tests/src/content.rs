//! What producers of all languages make of a message's number (`clients/PROTOCOL.md`), and how a reader checks it.

use timbermq_check::history::{Found, MessageId};
use timbermq_client::{Message, QueueChoice, SendRequest};

/// Bytes of a body, unless its beginning is longer.
const BODY_BYTES: usize = 200;

/// The tag of message `seq`.
#[must_use]
pub fn tag(seq: u64) -> &'static str {
    ["TagA", "TagB", "TagC"][usize::try_from(seq % 3).unwrap_or(0)]
}

/// The key of message `seq` of `pid`.
#[must_use]
pub fn key(pid: &str, seq: u64) -> String {
    format!("{pid}-{seq}")
}

/// The body of message `seq` of `pid`.
#[must_use]
pub fn body(pid: &str, seq: u64, bytes: usize) -> String {
    let mut body = format!("{pid}:{seq}:");
    let filler = char::from(b'a' + u8::try_from(seq % 26).unwrap_or(0));
    while body.len() < bytes {
        body.push(filler);
    }
    body
}

/// Message `seq` of `pid`, for a queue of a broker group; without a name, of the topic's first.
#[must_use]
pub fn request(topic: &str, broker_name: Option<&str>, queue: u32, pid: &str, seq: u64) -> SendRequest {
    let queue_id = i32::try_from(queue).unwrap_or(0);
    SendRequest {
        queue: QueueChoice::Queue { broker_name: broker_name.map(str::to_owned), queue_id },
        tags: Some(tag(seq).to_owned()),
        keys: vec![key(pid, seq)],
        properties: vec![("pid".into(), pid.into()), ("seq".into(), seq.to_string())],
        ..SendRequest::new(topic, body(pid, seq, BODY_BYTES))
    }
}

/// Which message was read, and whether content, key and tag are what its producer makes of its number.
#[must_use]
pub fn found(message: &Message) -> Found<String> {
    let property = |name: &str| message.properties.get(name).cloned().unwrap_or_default();
    let (pid, seq) = (property("pid"), property("seq").parse().unwrap_or(u64::MAX));
    let intact = message.body == body(&pid, seq, message.body.len()).as_bytes()
        && message.tags() == Some(tag(seq))
        && message.properties.get("KEYS") == Some(&key(&pid, seq));
    Found {
        intact,
        tag: message.tags().map(str::to_owned),
        store_ms: Some(message.stored.0),
        reconsume: u32::try_from(message.reconsume_times).unwrap_or(0),
        ..Found::new(
            u64::try_from(message.queue_offset).unwrap_or(u64::MAX),
            MessageId { producer: pid, seq, attempt: 0 },
        )
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bodies_are_as_every_driver_makes_them() {
        assert_eq!(super::body("p", 27, 10), "p:27:bbbbb");
        assert_eq!(super::body("p", 1, 2), "p:1:", "the prefix is never cut");
    }
}

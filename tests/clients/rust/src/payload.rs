//! What the messages of a producer look like.

use rocketmq_model::common::message::message_single::Message;

use crate::Result;

#[derive(Clone)]
pub struct Payload {
    pub topic: String,
    pub id: String,
    pub tags: Vec<String>,
    pub body_bytes: usize,
}

impl Payload {
    /// Message number `seq`, which the number fully determines.
    pub fn message(&self, seq: u32) -> Result<Message> {
        Ok(Message::builder()
            .topic(self.topic.as_str())
            .tags(self.tags[seq as usize % self.tags.len()].as_str())
            .key(format!("{}-{seq}", self.id))
            .raw_property("pid", self.id.as_str())?
            .raw_property("seq", seq.to_string())?
            .body_slice(&body(&self.id, seq, self.body_bytes))
            .build()?)
    }
}

/// `<id>:<seq>:` padded with a letter that depends on seq.
fn body(id: &str, seq: u32, size: usize) -> Vec<u8> {
    let mut body = format!("{id}:{seq}:").into_bytes();
    body.resize(body.len().max(size), filler(seq));
    body
}

fn filler(seq: u32) -> u8 {
    b'a' + (seq % 26) as u8
}

/// Whether a received body is what the producer made for pid and seq. Its length is the producer's choice.
pub fn body_matches(received: &[u8], pid: &str, seq: i64) -> bool {
    u32::try_from(seq).is_ok_and(|seq| received == body(pid, seq, received.len()))
}

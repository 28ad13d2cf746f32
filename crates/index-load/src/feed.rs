//! The messages: those of the sending benches, to queues that look random.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{EntryPlace, Proposal, PutTopic};
use timbermq_record::RecordBuilder;
use timbermq_types::{LogId, LogIndex, LogPosition, Term, TopicConfig, TopicName, UnixMillis};

/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 1024;
/// Messages of an entry: as many as a broker finds waiting together in the sending benches.
pub(crate) const TOGETHER: u64 = 64;
/// Queues of a topic.
const QUEUES_PER_TOPIC: u32 = 10;
/// Bytes of a frame of the log before its payload.
const FRAME_HEADER_BYTES: u64 = 40;
/// When the first message is stored.
const BEGIN: u64 = 1_700_000_000_000;
const HOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10911);

/// One entry of the log, as a replica gets it.
pub(crate) struct Fed {
    pub place: EntryPlace,
    pub payload: Bytes,
    /// CRC-32 of the payload: the log has computed it already.
    pub crc: u32,
    /// Of these messages.
    pub numbers: Range<u64>,
}

/// Makes the log.
pub(crate) struct Feed {
    topics: Vec<TopicName>,
    queues: u32,
    rate: u64,
    seed: u64,
    body: [u8; BODY_BYTES],
    next: u64,
    end: u64,
}

impl Feed {
    /// `rate` messages in a second of the log.
    pub fn new(queues: u32, rate: u64, seed: u64) -> Self {
        let topics = 0..queues.div_ceil(QUEUES_PER_TOPIC);
        let topics = topics.map(|number| TopicName::new(&format!("bench-{number}")).expect("a good name")).collect();
        let mut body = [0; BODY_BYTES];
        for (at, byte) in body.iter_mut().enumerate() {
            *byte = mixed(at as u64).to_le_bytes()[0];
        }
        Self { topics, queues, rate, seed, body, next: 0, end: 0 }
    }

    /// The entries that make the topics.
    pub fn topics(&mut self) -> Vec<Fed> {
        let topics = self.topics.clone();
        let make = |config| {
            let mut batch = BatchBuilder::new();
            batch.push(&PutTopic { config, if_absent: true }.into());
            self.fed(batch.seal(UnixMillis(BEGIN)), 0..0)
        };
        topics.into_iter().map(|name| TopicConfig::new(name, QUEUES_PER_TOPIC)).map(make).collect()
    }

    /// The entry of these messages.
    pub fn entry(&mut self, numbers: Range<u64>) -> Result<Fed> {
        let mut batch = BatchBuilder::new();
        let mut record = BytesMut::new();
        for number in numbers.clone() {
            let (topic, queue) = self.queue_of(number);
            let properties = format!("UNIQ_KEY\u{1}{}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}tag\u{2}", key_of(number));
            let builder = RecordBuilder {
                queue_id: queue.cast_signed(),
                born_timestamp_ms: self.at(number).0.cast_signed(),
                born_host: HOST,
                store_host: HOST,
                properties: &properties,
                ..RecordBuilder::new(topic.as_str(), &self.body)
            };
            builder.encode(&mut record)?;
            batch.push(&Proposal::send(record.split().freeze())?);
        }
        let payload = batch.seal(self.at(numbers.end - 1));
        Ok(self.fed(payload, numbers))
    }

    fn fed(&mut self, payload: Bytes, numbers: Range<u64>) -> Fed {
        let position = LogPosition(self.end + FRAME_HEADER_BYTES);
        let end = position.plus(payload.len() as u64);
        let place = EntryPlace { id: LogId::new(Term(1), LogIndex(self.next)), position, end };
        (self.next, self.end) = (self.next + 1, end.0);
        Fed { place, crc: crc32fast::hash(&payload), payload, numbers }
    }

    /// Where a message goes: each queue is as likely as any other, whatever came before.
    pub fn queue_of(&self, number: u64) -> (&TopicName, u32) {
        let queue = u32::try_from(self.drawn(number) % u64::from(self.queues)).expect("below a u32");
        (&self.topics[(queue / QUEUES_PER_TOPIC) as usize], queue % QUEUES_PER_TOPIC)
    }

    /// When a message is stored, but for the others of its entry.
    pub fn at(&self, number: u64) -> UnixMillis {
        UnixMillis(BEGIN + number * 1000 / self.rate)
    }

    /// A number that looks random, the same for the same `of`.
    pub fn drawn(&self, of: u64) -> u64 {
        mixed(mixed(self.seed) ^ of)
    }

    /// Messages in so long a time of the log, at least one.
    pub fn within(&self, time: std::time::Duration) -> u64 {
        u64::try_from(u128::from(self.rate) * time.as_millis() / 1000).unwrap_or(u64::MAX).max(1)
    }
}

/// The unique key of a message.
pub(crate) fn key_of(number: u64) -> String {
    format!("7F0000010BC418B4AAC2{number:012X}")
}

/// The output function of SplitMix64: neighbours have nothing in common.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn queues_are_drawn_evenly_and_again_the_same() {
        let [feed, same, other] = [7, 7, 8].map(|seed| Feed::new(25, 1_000, seed));
        let mut counts = BTreeMap::new();
        for number in 0..25_000 {
            *counts.entry(feed.queue_of(number)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 25);
        assert!(counts.values().all(|count| (800..1_200).contains(count)), "{counts:?}");
        assert!((0..100).all(|number| feed.queue_of(number) == same.queue_of(number)));
        assert!((0..100).any(|number| feed.queue_of(number) != other.queue_of(number)));
    }

    #[test]
    fn time_is_that_of_the_log() {
        let feed = Feed::new(1, 500, 1);
        assert_eq!(feed.at(1_500).0 - feed.at(0).0, 3_000);
        assert_eq!(feed.within(std::time::Duration::from_secs(2)), 1_000);
    }
}

//! A rolling digest of what was applied, to find replicas that differ. It detects accidents, it does not resist forgers.

use timbermq_types::LogId;

use crate::reply::Reply;

/// Digest so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(pub u64);

impl Digest {
    pub fn add(&mut self, value: u64) {
        let mut mixed = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^= mixed >> 32;
        mixed = mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        self.0 = mixed ^ (mixed >> 29);
    }

    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.add_sum(bytes.len(), crc32fast::hash(bytes));
    }

    fn add_sum(&mut self, len: usize, crc: u32) {
        self.add(len as u64);
        self.add(u64::from(crc));
    }

    pub fn add_entry(&mut self, id: LogId, payload: &[u8]) {
        self.add_batch(id, payload.len(), crc32fast::hash(payload));
    }

    /// An entry of so many bytes with this CRC-32.
    pub fn add_batch(&mut self, id: LogId, len: usize, crc: u32) {
        self.add(id.term.0);
        self.add(id.index.0);
        self.add_sum(len, crc);
    }

    pub fn add_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Sent { queue_offset, positions, at } => {
                self.add(1);
                self.add(queue_offset.0);
                self.add(positions.len() as u64);
                self.add(positions.first().map_or(0, |position| position.0));
                self.add(at.0);
            }
            Reply::Done => self.add(2),
            Reply::Topic(config) => {
                self.add(3);
                self.add_bytes(&crate::codec::encode(config.as_ref()));
            }
            Reply::Group(config) => {
                self.add(4);
                self.add_bytes(&crate::codec::encode(config.as_ref()));
            }
            Reply::Locked { granted } => {
                self.add(5);
                self.add(granted.len() as u64);
                for (topic, queue) in granted {
                    self.add_bytes(topic.as_str().as_bytes());
                    self.add(u64::from(queue.0));
                }
            }
            Reply::Refused(refusal) => {
                self.add(6);
                self.add(*refusal as u64);
            }
        }
    }
}

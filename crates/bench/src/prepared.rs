//! Frames that are encoded once by the codec, and of which only what differs between two sends is written again.

use bytes::{BufMut, BytesMut};
use timbermq_record::{BatchError, properties, property};
use timbermq_remoting::body::MessageQueue;
use timbermq_remoting::header::SendMessageHeader;
use timbermq_remoting::{FrameError, RemotingCommand, RequestCode, SerializeType};

use crate::body::Bodies;

/// Opaques are this and a number below [`TOKENS_MAX`], so that they all have ten digits.
const OPAQUE_BASE: i32 = 1_000_000_000;
/// How many messages can be told apart on a connection.
pub(crate) const TOKENS_MAX: usize = 1_000_000_000;
/// Stand for the opaque, the time and the number of the message until the frame is found to hold them once each.
const OPAQUE_MARK: i32 = 1_987_654_321;
const BORN_MARK: i64 = 1_234_567_890_123;
const KEY_MARK: &str = "F0E1D2C3B4A5";
/// Digits of a message's number in its unique key.
const KEY_DIGITS: usize = KEY_MARK.len();
/// Digits of a time in milliseconds, from 2001 to 2286.
const BORN_DIGITS: usize = 13;

/// Why a send cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The header is longer than a frame can say.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// No batch can be made of such messages.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A mark is not there exactly once: the topic's or the broker's name contains it.
    #[error("the header does not hold {0} exactly once")]
    Mark(&'static str),
}

/// A send request to one queue, without its body.
#[derive(Clone, Debug)]
pub(crate) struct PreparedSend {
    head: Vec<u8>,
    opaque: OpaqueAt,
    born_at: usize,
    /// `None` in a batch.
    key_at: Option<usize>,
}

/// What sends carry: a message's body, or several messages that are stored as one.
#[derive(Clone, Debug)]
pub(crate) struct Freight {
    bodies: Bodies,
    /// Where a batch holds the numbers in its messages' unique keys; of a single message that is in the header.
    keys_at: Vec<usize>,
    len: usize,
}

impl Freight {
    /// One message of `size` bytes a send, or `batch` of them; `client` are the first 20 digits of unique keys.
    ///
    /// # Errors
    /// There is no batch of such messages.
    pub(crate) fn new(size: usize, batch: u32, client: &str, seed: u64) -> Result<Self, PrepareError> {
        let bodies = Bodies::half_random(size, seed);
        if batch == 1 {
            return Ok(Self { bodies, keys_at: Vec::new(), len: size });
        }
        let mut bodies = bodies.batches(batch, &message_properties(&format!("{client}{KEY_MARK}")))?;
        let sample = bodies.next();
        let keys_at = all(sample, KEY_MARK.as_bytes());
        if keys_at.len() != batch as usize {
            return Err(PrepareError::Mark("the unique key of each message"));
        }
        let len = sample.len();
        Ok(Self { bodies, keys_at, len })
    }

    /// Bytes of the body of one send.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether sends are batches.
    pub(crate) fn is_batch(&self) -> bool {
        !self.keys_at.is_empty()
    }

    /// Messages of one send.
    pub(crate) fn messages(&self) -> u64 {
        self.keys_at.len().max(1) as u64
    }

    /// Appends the next body, whose messages have the numbers from `number` on.
    fn put(&mut self, number: u64, out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(self.bodies.next());
        for (number, at) in (number..).zip(&self.keys_at) {
            hexadecimal(&mut out[start + at..][..KEY_DIGITS], number);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum OpaqueAt {
    /// Ten decimal digits.
    Text(usize),
    /// Four bytes, the highest first.
    Binary(usize),
}

/// What differs between two sends to one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Particulars {
    /// The number by which the answer is known, below [`TOKENS_MAX`].
    pub(crate) token: u32,
    /// The client's time, in ms since 1970.
    pub(crate) born: u64,
    /// The message's number among all of this client; of a batch that of the first.
    pub(crate) number: u64,
}

impl PreparedSend {
    /// Encodes the header of a send of such `freight` to `queue`; `client` are the first 20 digits of unique keys.
    ///
    /// # Errors
    /// The header is too long, or holds one of the marks by itself.
    pub(crate) fn new(
        queue: &MessageQueue,
        producer_group: &str,
        client: &str,
        freight: &Freight,
        serialize: SerializeType,
    ) -> Result<Self, PrepareError> {
        let key = (!freight.is_batch()).then(|| format!("{client}{KEY_MARK}"));
        let mut command = command(queue, producer_group, key.as_deref(), BORN_MARK, serialize);
        command.opaque = OPAQUE_MARK;
        // The frame's length covers the body, which is not there yet.
        command.body = vec![0; freight.len()].into();
        let mut head = BytesMut::new();
        command.encode_head(&mut head)?;
        let opaque = match once(&head, OPAQUE_MARK.to_string().as_bytes()) {
            Some(at) => OpaqueAt::Text(at),
            None => OpaqueAt::Binary(once(&head, &OPAQUE_MARK.to_be_bytes()).ok_or(PrepareError::Mark("the opaque"))?),
        };
        let born_at = once(&head, BORN_MARK.to_string().as_bytes()).ok_or(PrepareError::Mark("the time"))?;
        let key_at = match key {
            Some(_) => Some(once(&head, KEY_MARK.as_bytes()).ok_or(PrepareError::Mark("the unique key"))?),
            None => None,
        };
        Ok(Self { head: head.to_vec(), opaque, born_at, key_at })
    }

    /// Appends the frame of one send, whose body is the next of the `freight` that was prepared for.
    pub(crate) fn put(&self, message: Particulars, freight: &mut Freight, out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(&self.head);
        let head = &mut out[start..];
        let opaque = OPAQUE_BASE + i32::try_from(message.token).unwrap_or(0);
        match self.opaque {
            OpaqueAt::Text(at) => decimal(&mut head[at..at + 10], opaque.unsigned_abs().into()),
            OpaqueAt::Binary(at) => head[at..at + 4].copy_from_slice(&opaque.to_be_bytes()),
        }
        decimal(&mut head[self.born_at..self.born_at + BORN_DIGITS], message.born);
        if let Some(at) = self.key_at {
            hexadecimal(&mut head[at..at + KEY_DIGITS], message.number);
        }
        freight.put(message.number, out);
    }
}

/// The number that an answer's opaque stands for.
pub(crate) fn token_of(opaque: i32) -> Option<u32> {
    opaque.checked_sub(OPAQUE_BASE).and_then(|token| u32::try_from(token).ok())
}

/// The properties that a client gives to each message.
fn message_properties(unique_key: &str) -> String {
    properties::encode([(property::UNIQ_KEY, unique_key), (property::WAIT, "true")]).unwrap_or_default()
}

/// The send that a client of this protocol makes; without a unique key that of a batch, whose messages have theirs in the body.
fn command(
    queue: &MessageQueue,
    producer_group: &str,
    unique_key: Option<&str>,
    born_timestamp: i64,
    serialize: SerializeType,
) -> RemotingCommand {
    let of_batch = || properties::encode([(property::WAIT, "true")]).unwrap_or_default();
    let header = SendMessageHeader {
        producer_group: producer_group.to_owned(),
        topic: queue.topic.clone(),
        default_topic: "TBW102".to_owned(),
        default_topic_queue_nums: 4,
        queue_id: queue.queue_id,
        sys_flag: 0,
        born_timestamp,
        flag: 0,
        properties: unique_key.map_or_else(of_batch, message_properties),
        reconsume_times: 0,
        unit_mode: false,
        batch: unique_key.is_none(),
        max_reconsume_times: None,
        broker_name: Some(queue.broker_name.clone()),
    };
    let code = if header.batch { RequestCode::SEND_BATCH_MESSAGE } else { RequestCode::SEND_MESSAGE_V2 };
    let mut command = RemotingCommand::request(code);
    header.encode_for(code, &mut command.ext);
    command.serialize = serialize;
    command
}

/// Where `needle` begins.
fn all(hay: &[u8], needle: &[u8]) -> Vec<usize> {
    hay.windows(needle.len()).enumerate().filter(|(_, part)| *part == needle).map(|(at, _)| at).collect()
}

/// Where `needle` begins, if it is there exactly once.
fn once(hay: &[u8], needle: &[u8]) -> Option<usize> {
    match all(hay, needle)[..] {
        [at] => Some(at),
        _ => None,
    }
}

fn decimal(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn hexadecimal(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number % 16) as usize];
        number /= 16;
    }
}

#[cfg(test)]
mod tests {
    use timbermq_remoting::FrameDecoder;

    use super::*;

    const CLIENT: &str = "7F0000011234DEADBEEF";

    fn queue() -> MessageQueue {
        MessageQueue::new("bench", "broker-a", 3)
    }

    #[test]
    fn a_prepared_frame_is_what_the_codec_writes() {
        for serialize in [SerializeType::Json, SerializeType::Binary] {
            let freight = Freight::new(5, 1, CLIENT, 3).unwrap();
            let prepared = PreparedSend::new(&queue(), "producers", CLIENT, &freight, serialize).unwrap();
            let mut out = BytesMut::new();
            for (token, number) in [(0u32, 0u64), (999_999_999, 0xffff_ffff_ffff), (17, 0xab)] {
                let (mut sent, mut expected) = (freight.clone(), freight.clone());
                prepared.put(Particulars { token, born: 1_700_000_000_123, number }, &mut sent, &mut out);
                let key = format!("{CLIENT}{number:012X}");
                let mut plain = command(&queue(), "producers", Some(&key), 1_700_000_000_123, serialize)
                    .with_body(expected.bodies.next().to_vec());
                plain.opaque = 1_000_000_000 + i32::try_from(token).unwrap();
                let mut expected = BytesMut::new();
                plain.encode(&mut expected).unwrap();
                assert_eq!(out, expected, "{serialize:?} {token}");
                let decoded = FrameDecoder::default().decode(&mut out).unwrap().unwrap();
                assert_eq!(decoded, plain);
                assert_eq!(token_of(decoded.opaque), Some(token));
                assert!(out.is_empty());
            }
        }
    }

    #[test]
    fn a_batch_has_its_messages_with_keys_of_their_own() {
        let mut freight = Freight::new(100, 3, CLIENT, 3).unwrap();
        assert_eq!((freight.messages(), freight.is_batch()), (3, true));
        let prepared = PreparedSend::new(&queue(), "producers", CLIENT, &freight, SerializeType::Json).unwrap();
        let mut out = BytesMut::new();
        let mut keys = std::collections::BTreeSet::new();
        for send in 0..4 {
            let particulars = Particulars { token: send, born: 1_700_000_000_123, number: u64::from(send) * 3 };
            prepared.put(particulars, &mut freight, &mut out);
            let decoded = FrameDecoder::default().decode(&mut out).unwrap().unwrap();
            assert_eq!(decoded.request_code(), RequestCode::SEND_BATCH_MESSAGE);
            let header = SendMessageHeader::decode_for(decoded.request_code(), &decoded.ext).unwrap();
            assert!(header.batch);
            for item in timbermq_record::batch_items(&decoded.body, timbermq_record::BatchLimits::default()) {
                let item = item.unwrap();
                assert_eq!(item.body.len(), 100);
                let properties = timbermq_record::Properties::new(item.properties);
                keys.insert(properties.unique_key().expect("each has one").to_owned());
            }
        }
        let expected: Vec<String> = (0..12).map(|number| format!("{CLIENT}{number:012X}")).collect();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), expected);
        assert!(out.is_empty());
    }

    #[test]
    fn a_batch_that_cannot_be_made_is_refused() {
        assert!(Freight::new(8 << 20, 2, CLIENT, 3).is_err());
    }

    #[test]
    fn a_name_that_holds_a_mark_is_refused() {
        let queue = MessageQueue::new("F0E1D2C3B4A5", "broker-a", 0);
        let freight = Freight::new(0, 1, CLIENT, 3).unwrap();
        let error = PreparedSend::new(&queue, "p", CLIENT, &freight, SerializeType::Json).unwrap_err();
        assert!(error.to_string().contains("unique key"), "{error}");
    }

    #[test]
    fn opaques_of_others_are_nobodys() {
        assert_eq!((token_of(7), token_of(-1), token_of(i32::MIN)), (None, None, None));
        assert_eq!(token_of(OPAQUE_BASE + 7), Some(7));
    }
}

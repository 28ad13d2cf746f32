//! Frames that are encoded once by the codec, and of which only what differs between two messages is written again.

use bytes::{BufMut, BytesMut};
use timbermq_record::{properties, property};
use timbermq_remoting::body::MessageQueue;
use timbermq_remoting::header::SendMessageHeader;
use timbermq_remoting::{FrameError, RemotingCommand, RequestCode, SerializeType};

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
    key_at: usize,
}

#[derive(Clone, Copy, Debug)]
enum OpaqueAt {
    /// Ten decimal digits.
    Text(usize),
    /// Four bytes, the highest first.
    Binary(usize),
}

/// What differs between two messages to one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Particulars {
    /// The number by which the answer is known, below [`TOKENS_MAX`].
    pub(crate) token: u32,
    /// The client's time, in ms since 1970.
    pub(crate) born: u64,
    /// The message's number among all of this client.
    pub(crate) number: u64,
}

impl PreparedSend {
    /// Encodes the header of a send of `body_len` bytes to `queue`; `client` are the first 20 digits of unique keys.
    ///
    /// # Errors
    /// The header is too long, or holds one of the marks by itself.
    pub(crate) fn new(
        queue: &MessageQueue,
        producer_group: &str,
        client: &str,
        body_len: usize,
        serialize: SerializeType,
    ) -> Result<Self, PrepareError> {
        let mut command = command(queue, producer_group, &format!("{client}{KEY_MARK}"), BORN_MARK, serialize);
        command.opaque = OPAQUE_MARK;
        // The frame's length covers the body, which is not there yet.
        command.body = vec![0; body_len].into();
        let mut head = BytesMut::new();
        command.encode_head(&mut head)?;
        let opaque = match once(&head, OPAQUE_MARK.to_string().as_bytes()) {
            Some(at) => OpaqueAt::Text(at),
            None => OpaqueAt::Binary(once(&head, &OPAQUE_MARK.to_be_bytes()).ok_or(PrepareError::Mark("the opaque"))?),
        };
        let born_at = once(&head, BORN_MARK.to_string().as_bytes()).ok_or(PrepareError::Mark("the time"))?;
        let key_at = once(&head, KEY_MARK.as_bytes()).ok_or(PrepareError::Mark("the unique key"))?;
        Ok(Self { head: head.to_vec(), opaque, born_at, key_at })
    }

    /// Appends the frame of one message. `body` has the length that was prepared for.
    pub(crate) fn put(&self, message: Particulars, body: &[u8], out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(&self.head);
        let head = &mut out[start..];
        let opaque = OPAQUE_BASE + i32::try_from(message.token).unwrap_or(0);
        match self.opaque {
            OpaqueAt::Text(at) => decimal(&mut head[at..at + 10], opaque.unsigned_abs().into()),
            OpaqueAt::Binary(at) => head[at..at + 4].copy_from_slice(&opaque.to_be_bytes()),
        }
        decimal(&mut head[self.born_at..self.born_at + BORN_DIGITS], message.born);
        hexadecimal(&mut head[self.key_at..self.key_at + KEY_DIGITS], message.number);
        out.put_slice(body);
    }
}

/// The number that an answer's opaque stands for.
pub(crate) fn token_of(opaque: i32) -> Option<u32> {
    opaque.checked_sub(OPAQUE_BASE).and_then(|token| u32::try_from(token).ok())
}

/// The send that a client of this protocol makes.
fn command(
    queue: &MessageQueue,
    producer_group: &str,
    unique_key: &str,
    born_timestamp: i64,
    serialize: SerializeType,
) -> RemotingCommand {
    let properties = [(property::UNIQ_KEY, unique_key), (property::WAIT, "true")];
    let header = SendMessageHeader {
        producer_group: producer_group.to_owned(),
        topic: queue.topic.clone(),
        default_topic: "TBW102".to_owned(),
        default_topic_queue_nums: 4,
        queue_id: queue.queue_id,
        sys_flag: 0,
        born_timestamp,
        flag: 0,
        properties: properties::encode(properties).unwrap_or_default(),
        reconsume_times: 0,
        unit_mode: false,
        batch: false,
        max_reconsume_times: None,
        broker_name: Some(queue.broker_name.clone()),
    };
    let mut command = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2);
    header.encode_for(RequestCode::SEND_MESSAGE_V2, &mut command.ext);
    command.serialize = serialize;
    command
}

/// Where `needle` begins, if it is there exactly once.
fn once(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let mut found = hay.windows(needle.len()).enumerate().filter(|(_, part)| *part == needle).map(|(at, _)| at);
    let first = found.next()?;
    found.next().is_none().then_some(first)
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
            let prepared = PreparedSend::new(&queue(), "producers", CLIENT, 5, serialize).unwrap();
            let mut out = BytesMut::new();
            for (token, number) in [(0u32, 0u64), (999_999_999, 0xffff_ffff_ffff), (17, 0xab)] {
                prepared.put(Particulars { token, born: 1_700_000_000_123, number }, b"hello", &mut out);
                let mut plain =
                    command(&queue(), "producers", &format!("{CLIENT}{number:012X}"), 1_700_000_000_123, serialize)
                        .with_body(&b"hello"[..]);
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
    fn a_name_that_holds_a_mark_is_refused() {
        let queue = MessageQueue::new("F0E1D2C3B4A5", "broker-a", 0);
        let error = PreparedSend::new(&queue, "p", CLIENT, 0, SerializeType::Json).unwrap_err();
        assert!(error.to_string().contains("unique key"), "{error}");
    }

    #[test]
    fn opaques_of_others_are_nobodys() {
        assert_eq!((token_of(7), token_of(-1), token_of(i32::MIN)), (None, None, None));
        assert_eq!(token_of(OPAQUE_BASE + 7), Some(7));
    }
}

//! Registration of a broker with a NameServer (103), plain and compressed.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::{BodyError, DataVersion, JsonBody, JsonDialect, TopicConfig, TopicConfigTable, dialect, relaxed, tolerant};
use crate::version::STATIC_TOPICS;

/// Longest inflated registration in bytes. A topic takes about a hundred bytes; a small stream may claim gigabytes.
pub const REGISTRATION_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Longest inflated registration in bytes, whatever the length of its stream.
const INFLATED_FREE_BYTES: usize = 1 << 20;
/// Bytes more for each of the stream. Topics that differ in a number only are compressed to a fortieth; zlib reaches a
/// thousandth, with which a frame of a few KiB would be inflated to the limit.
const INFLATED_RATIO_MAX: usize = 128;

/// Body of 103.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Legacy.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub filter_server_list: Vec<String>,
    /// The broker's topics.
    #[serde(rename = "topicConfigSerializeWrapper", deserialize_with = "tolerant::or_default")]
    pub topics: TopicConfigTable,
}

impl RegisterBrokerBody {
    /// The body as received: `compressed` and the version are those of the request header.
    ///
    /// Brokers of 5.3.3 send compressed bodies under a header that says they are not, so that the body is looked at, too.
    ///
    /// # Errors
    /// The body is malformed, damaged, or when inflated longer than [`REGISTRATION_MAX_BYTES`] or than its stream allows for.
    pub fn decode(body: &[u8], compressed: bool, version: i32) -> Result<Self, BodyError> {
        if compressed || is_zlib(body) { Self::from_compressed(body, version) } else { Self::from_json(body) }
    }

    /// Reads the compressed form; a broker of this version (of its request header) wrote it.
    ///
    /// # Errors
    /// As [`RegisterBrokerBody::decode`].
    pub fn from_compressed(body: &[u8], version: i32) -> Result<Self, BodyError> {
        let allowed = body.len().saturating_mul(INFLATED_RATIO_MAX).saturating_add(INFLATED_FREE_BYTES);
        let inflated = inflate(body, allowed.min(REGISTRATION_MAX_BYTES))?;
        let mut reader = Blocks { bytes: &inflated, at: 0 };
        let data_version: DataVersion = relaxed::read(reader.block()?)?;
        let mut topic_config_table = BTreeMap::new();
        for _ in 0..reader.count()? {
            let config = topic_from_line(reader.text_block()?).ok_or_else(|| reader.malformed("a malformed topic"))?;
            topic_config_table.insert(config.topic_name.clone(), config);
        }
        let filter_server_list = relaxed::read::<Option<_>>(reader.block()?)?.unwrap_or_default();
        if version >= STATIC_TOPICS {
            // Static topics are not kept; their blocks are walked so that a damaged body is noticed.
            for _ in 0..reader.count()? {
                reader.block()?;
            }
        }
        Ok(Self { filter_server_list, topics: TopicConfigTable { data_version, topic_config_table } })
    }

    /// The compressed form, as a broker of this version writes it.
    pub fn to_compressed(&self, version: i32) -> Vec<u8> {
        let mut plain = Vec::new();
        put_block(&mut plain, &self.topics.data_version.to_json());
        put_len(&mut plain, self.topics.topic_config_table.len());
        for config in self.topics.topic_config_table.values() {
            put_block(&mut plain, topic_to_line(config).as_bytes());
        }
        put_block(&mut plain, &dialect::write(&self.filter_server_list, JsonDialect::Fastjson));
        if version >= STATIC_TOPICS {
            put_len(&mut plain, 0);
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        let written = encoder.write_all(&plain).and_then(|()| encoder.finish());
        written.expect("compressing into memory cannot fail")
    }
}

/// CRC-32 of a body as the registration header carries it: without the top bit.
pub fn body_crc32(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7fff_ffff) as i32
}

/// Whether a body begins as a zlib stream does, which no JSON text does.
fn is_zlib(body: &[u8]) -> bool {
    body.first_chunk::<2>().is_some_and(|head| head[0] == 0x78 && u16::from_be_bytes(*head) % 31 == 0)
}

/// Inflates a zlib stream of at most `max` bytes.
fn inflate(stream: &[u8], max: usize) -> Result<Vec<u8>, BodyError> {
    let mut inflated = Vec::new();
    let limit = (max as u64).saturating_add(1);
    ZlibDecoder::new(stream).take(limit).read_to_end(&mut inflated).map_err(BodyError::Inflate)?;
    if inflated.len() > max { Err(BodyError::TooLarge { max }) } else { Ok(inflated) }
}

/// `name readQueues writeQueues perm filterType attributes`, the last as JSON.
fn topic_to_line(config: &TopicConfig) -> String {
    let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, topic_filter_type, .. } = config;
    let attributes = dialect::write(&config.attributes, JsonDialect::Fastjson);
    let attributes = String::from_utf8_lossy(&attributes);
    format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {topic_filter_type} {attributes}")
}

fn topic_from_line(line: &str) -> Option<TopicConfig> {
    let mut words = line.splitn(6, ' ');
    Some(TopicConfig {
        topic_name: words.next().filter(|name| !name.is_empty())?.to_owned(),
        read_queue_nums: words.next()?.parse().ok()?,
        write_queue_nums: words.next()?.parse().ok()?,
        perm: words.next()?.parse().ok()?,
        topic_filter_type: words.next()?.to_owned(),
        attributes: match words.next().map(str::trim) {
            None | Some("") => BTreeMap::new(),
            Some(json) => relaxed::read::<Option<_>>(json.as_bytes()).ok()?.unwrap_or_default(),
        },
        ..TopicConfig::default()
    })
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    // Our own registrations are far below 2 GiB; one that is not is refused by its own frame.
    out.extend_from_slice(&i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes());
}

fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    put_len(out, block.len());
    out.extend_from_slice(block);
}

/// Reads lengths and blocks of that length.
struct Blocks<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Blocks<'a> {
    fn malformed(&self, reason: &'static str) -> BodyError {
        BodyError::Malformed { at: self.at, reason }
    }

    fn count(&mut self) -> Result<usize, BodyError> {
        let word = self.bytes[self.at..].first_chunk::<4>().ok_or_else(|| self.malformed("a length is missing"))?;
        let count = usize::try_from(i32::from_be_bytes(*word)).map_err(|_| self.malformed("a negative length"))?;
        self.at += 4;
        Ok(count)
    }

    fn block(&mut self) -> Result<&'a [u8], BodyError> {
        let len = self.count()?;
        let block = self.bytes[self.at..].get(..len).ok_or_else(|| self.malformed("a block ends too early"))?;
        self.at += len;
        Ok(block)
    }

    fn text_block(&mut self) -> Result<&'a str, BodyError> {
        let block = self.block()?;
        std::str::from_utf8(block).map_err(|_| self.malformed("not UTF-8"))
    }
}

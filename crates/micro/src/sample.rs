//! The messages that everything is measured with: 1 KiB bodies, as the sending benches have them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use timbermq_record::RecordBuilder;

/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 1024;
/// Messages that a broker finds waiting together in the sending benches.
pub(crate) const BATCH: u32 = 64;
pub(crate) const TOPIC: &str = "bench";

const HOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10911);

/// A body whose first half looks random; the same for the same number.
pub(crate) fn body(number: u32) -> Vec<u8> {
    let mut state = u64::from(number) + 1;
    let mut body = vec![0; BODY_BYTES];
    for byte in &mut body[..BODY_BYTES / 2] {
        // Knuth's linear congruential generator: any will do that is the same everywhere.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    body
}

/// The properties of an ordinary message.
pub(crate) fn properties(number: u32) -> String {
    format!("UNIQ_KEY\u{1}7F0000010BC418B4AAC2{number:012X}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}tag\u{2}")
}

/// A stored record.
pub(crate) fn record(number: u32) -> Bytes {
    let (body, properties) = (body(number), properties(number));
    let mut bytes = BytesMut::new();
    builder(&body, &properties).encode(&mut bytes).expect("an ordinary message");
    bytes.freeze()
}

/// What a record is made of.
pub(crate) fn builder<'a>(body: &'a [u8], properties: &'a str) -> RecordBuilder<'a> {
    RecordBuilder {
        born_timestamp_ms: 1_700_000_000_000,
        born_host: HOST,
        store_host: HOST,
        properties,
        ..RecordBuilder::new(TOPIC, body)
    }
}

//! Writing records.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{BufMut, BytesMut};
use timbermq_types::limits::{BODY_BYTES_MAX, DERIVED_TOPIC_CHARS_MAX, PROPERTIES_BYTES_MAX};

use crate::layout::{MAGIC_V1, MAGIC_V2, RECORD_OVERHEAD, RecordError, TOPIC_V1_MAX, body_crc};
use crate::sys_flag::{BORN_HOST_V6, STORE_HOST_V6};

/// Everything a record is made of but its offsets, which are zero until it has a place (see [`crate::patch_offsets`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBuilder<'a> {
    /// Topic; up to 255 bytes, beyond 127 the record is one of version 2.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// The producer's own flag.
    pub flag: i32,
    /// Bits of [`crate::sys_flag`]; those of the hosts' address families are set from the hosts.
    pub sys_flag: i32,
    /// Time of the producer in ms.
    pub born_timestamp_ms: i64,
    /// Address of the producer. An IPv4 address mapped into IPv6 is stored as IPv4.
    pub born_host: SocketAddr,
    /// Time of the broker in ms.
    pub store_timestamp_ms: i64,
    /// Advertised address of the broker. An IPv4 address mapped into IPv6 is stored as IPv4.
    pub store_host: SocketAddr,
    /// How often consumption has failed.
    pub reconsume_times: i32,
    /// Of a committed transaction the physical offset of the half message, else 0.
    pub prepared_transaction_offset: i64,
    /// The body as it came.
    pub body: &'a [u8],
    /// Encoded properties, see [`crate::properties`].
    pub properties: &'a str,
}

impl<'a> RecordBuilder<'a> {
    /// A record of this topic and body with everything else zero or empty and hosts 0.0.0.0:0.
    pub fn new(topic: &'a str, body: &'a [u8]) -> Self {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self {
            topic,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            born_host: nowhere,
            store_timestamp_ms: 0,
            store_host: nowhere,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: "",
        }
    }

    /// Size of the encoded record in bytes.
    pub fn encoded_len(&self) -> usize {
        let v6_hosts = [self.born_host, self.store_host].iter().filter(|host| canonical(**host).is_ipv6()).count();
        let version_2 = usize::from(self.topic.len() > TOPIC_V1_MAX);
        RECORD_OVERHEAD + 12 * v6_hosts + version_2 + self.body.len() + self.topic.len() + self.properties.len()
    }

    /// Appends the record to `dst` and returns its size in bytes.
    ///
    /// # Errors
    /// A part is longer than a record may hold, or the topic is empty; `dst` is then left as it was.
    pub fn encode(&self, dst: &mut BytesMut) -> Result<usize, RecordError> {
        self.check()?;
        let (born_host, store_host) = (canonical(self.born_host), canonical(self.store_host));
        let version_2 = self.topic.len() > TOPIC_V1_MAX;
        let size = self.encoded_len();
        dst.reserve(size);
        // The parts have been checked: none of these lengths is cut by its cast.
        dst.put_u32(size as u32);
        dst.put_u32(if version_2 { MAGIC_V2 } else { MAGIC_V1 });
        dst.put_u32(body_crc(self.body));
        dst.put_i32(self.queue_id);
        dst.put_i32(self.flag);
        dst.put_i64(0);
        dst.put_i64(0);
        dst.put_i32(self.sys_flag_for(born_host, store_host));
        dst.put_i64(self.born_timestamp_ms);
        put_host(dst, born_host);
        dst.put_i64(self.store_timestamp_ms);
        put_host(dst, store_host);
        dst.put_i32(self.reconsume_times);
        dst.put_i64(self.prepared_transaction_offset);
        dst.put_u32(self.body.len() as u32);
        dst.put_slice(self.body);
        match version_2 {
            true => dst.put_u16(self.topic.len() as u16),
            false => dst.put_u8(self.topic.len() as u8),
        }
        dst.put_slice(self.topic.as_bytes());
        dst.put_u16(self.properties.len() as u16);
        dst.put_slice(self.properties.as_bytes());
        Ok(size)
    }

    fn check(&self) -> Result<(), RecordError> {
        if self.topic.is_empty() {
            return Err(RecordError::NoTopic);
        }
        let parts = [
            ("topic", self.topic.len(), DERIVED_TOPIC_CHARS_MAX),
            ("body", self.body.len(), BODY_BYTES_MAX),
            ("properties", self.properties.len(), PROPERTIES_BYTES_MAX),
        ];
        match parts.into_iter().find(|(_, size, max)| size > max) {
            Some((field, size, max)) => Err(RecordError::TooLong { field, size, max }),
            None => Ok(()),
        }
    }

    fn sys_flag_for(&self, born_host: SocketAddr, store_host: SocketAddr) -> i32 {
        let mut sys_flag = self.sys_flag & !(BORN_HOST_V6 | STORE_HOST_V6);
        if born_host.is_ipv6() {
            sys_flag |= BORN_HOST_V6;
        }
        if store_host.is_ipv6() {
            sys_flag |= STORE_HOST_V6;
        }
        sys_flag
    }
}

/// IPv4 where possible: clients older than 4.6 and C++ read no other hosts.
pub(crate) fn canonical(host: SocketAddr) -> SocketAddr {
    SocketAddr::new(host.ip().to_canonical(), host.port())
}

pub(crate) fn put_host(dst: &mut impl BufMut, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => dst.put_slice(&ip.octets()),
        IpAddr::V6(ip) => dst.put_slice(&ip.octets()),
    }
    dst.put_i32(i32::from(host.port()));
}

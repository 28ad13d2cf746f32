//! Records: layout against vectors made by hand, round trips, and bytes that are no records.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use proptest::prelude::*;
use timbermq_record::layout::{MAGIC_BLANK, RECORD_OVERHEAD};
use timbermq_record::{
    Record, RecordBuilder, RecordError, RecordMut, patch_offsets, patch_store, peek_len, records, sys_flag,
};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn sample<'a>() -> RecordBuilder<'a> {
    RecordBuilder {
        queue_id: 3,
        flag: 7,
        sys_flag: 0x305,
        born_timestamp_ms: 0x0102_0304_0506_0708,
        born_host: addr("10.0.0.5:50000"),
        store_timestamp_ms: 0x1112_1314_1516_1718,
        store_host: addr("10.0.0.1:10911"),
        reconsume_times: 2,
        prepared_transaction_offset: 9,
        properties: "TAGS\u{1}a\u{2}",
        ..RecordBuilder::new("T", b"123456789")
    }
}

fn encode(builder: &RecordBuilder<'_>) -> BytesMut {
    let mut bytes = BytesMut::new();
    assert_eq!(builder.encode(&mut bytes), Ok(bytes.len()));
    assert_eq!(builder.encoded_len(), bytes.len());
    bytes
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|char| char.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

#[test]
fn has_the_layout_consumers_read() {
    // The check value of CRC-32 over "123456789" is cbf43926; its top bit is cut off.
    let expected = hex("0000006c daa320a7 4bf43926 00000003 00000007 0000000000000000 0000000000000000 00000305 \
         0102030405060708 0a000005 0000c350 1112131415161718 0a000001 00002a9f 00000002 0000000000000009 \
         00000009 313233343536373839 01 54 0007 54414753016102");
    let bytes = encode(&sample());
    assert_eq!(bytes, expected);
    assert_eq!(bytes.len(), RECORD_OVERHEAD + 9 + 1 + 7);
}

#[test]
fn reads_what_it_wrote() {
    let bytes = encode(&sample());
    let record = Record::parse(&bytes).unwrap();
    assert_eq!((record.queue_id(), record.flag(), record.sys_flag()), (3, 7, 0x305));
    assert_eq!((record.queue_offset(), record.physical_offset()), (0, 0));
    assert_eq!(record.born_timestamp_ms(), 0x0102_0304_0506_0708);
    assert_eq!(record.store_timestamp_ms(), 0x1112_1314_1516_1718);
    assert_eq!((record.born_host(), record.store_host()), (addr("10.0.0.5:50000"), addr("10.0.0.1:10911")));
    assert_eq!((record.reconsume_times(), record.prepared_transaction_offset()), (2, 9));
    assert_eq!((record.topic(), record.body()), ("T", &b"123456789"[..]));
    assert_eq!((record.properties().tag(), record.properties().text()), (Some("a"), "TAGS\u{1}a\u{2}"));
    assert_eq!(record.bytes(), bytes);
    assert_eq!(record.verify_crc(), Ok(()));
    assert_eq!(record.total_size(), bytes.len());
}

#[test]
fn each_ipv6_host_takes_twelve_bytes_more() {
    let v4 = encode(&sample()).len();
    let v6 = addr("[fd00::1]:10911");
    for (born_host, store_host, flag) in [
        (v6, sample().store_host, sys_flag::BORN_HOST_V6),
        (sample().born_host, v6, sys_flag::STORE_HOST_V6),
        (v6, v6, sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6),
    ] {
        let bytes = encode(&RecordBuilder { born_host, store_host, ..sample() });
        assert_eq!(bytes.len(), v4 + 12 * flag.count_ones() as usize);
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.sys_flag(), 0x305 | flag);
        assert_eq!((record.born_host(), record.store_host()), (born_host, store_host));
        assert_eq!((record.reconsume_times(), record.body()), (2, &b"123456789"[..]));
    }
    let mapped = RecordBuilder { born_host: addr("[::ffff:10.0.0.5]:50000"), sys_flag: 0x315, ..sample() };
    assert_eq!(encode(&mapped), encode(&sample()), "a mapped IPv4 address is stored as IPv4, whatever the flag said");
}

#[test]
fn topics_above_127_bytes_make_version_2() {
    let (short, long) = ("x".repeat(127), "x".repeat(128));
    let (short, long) = (RecordBuilder { topic: &short, ..sample() }, RecordBuilder { topic: &long, ..sample() });
    let (v1, v2) = (encode(&short), encode(&long));
    assert_eq!((v1[7], v2[7]), (0xa7, 0xab));
    assert_eq!(v2.len(), v1.len() + 2, "one for the topic, one for its length");
    assert_eq!(Record::parse(&v1).unwrap().topic(), short.topic);
    assert_eq!(Record::parse(&v2).unwrap().topic(), long.topic);
}

#[test]
fn refuses_what_a_record_cannot_hold() {
    let (topic, properties, body) = ("x".repeat(256), "x".repeat(32_768), vec![0; 4 * 1024 * 1024 + 1]);
    let too_long = |field, size, max| Err(RecordError::TooLong { field, size, max });
    let mut dst = BytesMut::new();
    assert_eq!(RecordBuilder { topic: &topic, ..sample() }.encode(&mut dst), too_long("topic", 256, 255));
    assert_eq!(
        RecordBuilder { body: &body, ..sample() }.encode(&mut dst),
        too_long("body", body.len(), body.len() - 1)
    );
    let result = RecordBuilder { properties: &properties, ..sample() }.encode(&mut dst);
    assert_eq!(result, too_long("properties", 32_768, 32_767));
    assert_eq!(RecordBuilder { topic: "", ..sample() }.encode(&mut dst), Err(RecordError::NoTopic));
    assert!(dst.is_empty());
    encode(&RecordBuilder { topic: &topic[..255], properties: &properties[..32_767], body: &body[1..], ..sample() });
}

#[test]
fn refuses_damaged_records() {
    let good = encode(&sample());
    let damaged = |at: usize, bytes: &[u8]| {
        let mut record = good.clone();
        record[at..at + bytes.len()].copy_from_slice(bytes);
        Record::parse(&record).map(|_| ()).unwrap_err()
    };
    assert_eq!(damaged(4, &[0; 4]), RecordError::Magic(0));
    assert_eq!(damaged(4, &MAGIC_BLANK.to_be_bytes()), RecordError::Blank);
    assert_eq!(damaged(0, &90i32.to_be_bytes()), RecordError::Size { size: 90, parts: 91 });
    assert_eq!(damaged(0, &[0xff; 4]), RecordError::Size { size: -1, parts: 91 });
    assert_eq!(damaged(0, &107i32.to_be_bytes()), RecordError::Truncated { have: 107, need: 108 });
    assert_eq!(damaged(0, &109i32.to_be_bytes()), RecordError::Truncated { have: 108, need: 109 });
    assert_eq!(damaged(52, &[0, 1, 0, 0]), RecordError::Port(65_536));
    assert_eq!(damaged(84, &[0x80, 0, 0, 0]), RecordError::NegativeLength { field: "body" });
    assert!(matches!(damaged(84, &[0x7f, 0xff, 0xff, 0xff]), RecordError::Truncated { .. }));
    assert_eq!(damaged(97, &[0x80]), RecordError::NegativeLength { field: "topic" });
    assert_eq!(damaged(98, &[0xff]), RecordError::NotUtf8 { field: "topic" });
    assert_eq!(damaged(99, &[0xff]), RecordError::NegativeLength { field: "properties" });
    assert_eq!(damaged(101, &[0xff]), RecordError::NotUtf8 { field: "properties" });
    let mut shorter = good.clone();
    shorter[100] = 6;
    assert_eq!(Record::parse(&shorter), Err(RecordError::Size { size: 108, parts: 107 }));
    let mut flipped = good.clone();
    flipped[90] ^= 1;
    assert!(matches!(Record::parse(&flipped).unwrap().verify_crc(), Err(RecordError::Crc { .. })));
    let mut longer = good.clone();
    longer.extend_from_slice(b"x");
    assert_eq!(Record::parse(&longer), Err(RecordError::Trailing { extra: 1 }));
    assert_eq!(patch_offsets(&mut longer, 1, 2), Err(RecordError::Trailing { extra: 1 }));
    for end in 0..good.len() {
        assert!(matches!(Record::parse(&good[..end]), Err(RecordError::Truncated { .. })));
        assert!(RecordMut::new(&mut good.clone()[..end]).is_err());
    }
}

#[test]
fn a_record_too_short_for_its_ipv6_hosts_cannot_be_changed() {
    let mut bytes = encode(&RecordBuilder::new("T", b""));
    bytes[39] = 0x30;
    assert!(matches!(RecordMut::new(&mut bytes), Err(RecordError::Truncated { .. })));
}

#[test]
fn changes_fields_in_place() {
    for host in ["10.0.0.9:1", "[fd00::9]:1"] {
        let host = addr(host);
        let builder = RecordBuilder { born_host: host, store_host: host, ..sample() };
        let before = encode(&builder);
        let mut bytes = before.clone();
        patch_offsets(&mut bytes, 0x0a0b, 0x0c0d).unwrap();
        let other = if host.is_ipv4() { addr("10.9.9.9:2") } else { addr("[fd00::8]:2") };
        patch_store(&mut bytes, 77, other).unwrap();
        let mut record = RecordMut::new(&mut bytes).unwrap();
        record.set_queue_id(5).set_reconsume_times(6).set_prepared_transaction_offset(8).set_transaction(0x8);
        let record = Record::parse(&bytes).unwrap();
        assert_eq!((record.queue_offset(), record.physical_offset()), (0x0a0b, 0x0c0d));
        assert_eq!((record.store_timestamp_ms(), record.store_host()), (77, other));
        assert_eq!((record.queue_id(), record.reconsume_times()), (5, 6));
        assert_eq!(record.prepared_transaction_offset(), 8);
        assert_eq!(record.sys_flag() & 0xc, 0x8);
        assert_eq!(record.sys_flag() & !0x3c, 0x305 & !0x3c);
        let unchanged = Record::parse(&before).unwrap();
        assert_eq!((record.body(), record.topic()), (unchanged.body(), unchanged.topic()));
        assert_eq!((record.born_host(), record.properties_text()), (host, unchanged.properties_text()));
        let wrong = if host.is_ipv4() { addr("[fd00::8]:2") } else { addr("10.9.9.9:2") };
        assert_eq!(patch_store(&mut bytes, 78, wrong), Err(RecordError::HostFamily));
        assert_eq!(Record::parse(&bytes).unwrap().store_timestamp_ms(), 77, "nothing changed by a refused change");
    }
}

#[test]
fn records_stand_back_to_back() {
    let mut bytes = encode(&sample());
    let one = bytes.len();
    let mut second = encode(&RecordBuilder { queue_id: 4, ..sample() });
    bytes.unsplit(second.split());
    let queues: Result<Vec<_>, _> = records(&bytes).map(|record| record.map(|record| record.queue_id())).collect();
    assert_eq!(queues, Ok(vec![3, 4]));
    assert_eq!(peek_len(&bytes), Ok(Some(one)));
    assert_eq!(peek_len(&bytes[..7]), Ok(None));
    assert_eq!(records(&[]).count(), 0);
    let mut cut = records(&bytes[..2 * one - 1]);
    assert!(cut.next().unwrap().is_ok());
    assert_eq!(cut.next().unwrap(), Err(RecordError::Truncated { have: one - 1, need: one }));
    assert!(cut.next().is_none(), "nothing follows an error");
}

prop_compose! {
    fn any_host()(ip: IpAddr, port: u16) -> SocketAddr { SocketAddr::new(ip.to_canonical(), port) }
}

proptest! {
    #[test]
    fn round_trip(
        topic in "[a-zA-Z0-9_%-]{1,255}",
        body in prop::collection::vec(any::<u8>(), 0..200),
        properties in "\\PC{0,40}",
        (queue_id, flag, flags, reconsume_times) in any::<(i32, i32, i32, i32)>(),
        (born, stored, prepared) in any::<(i64, i64, i64)>(),
        born_host in any_host(),
        store_host in any_host(),
    ) {
        let builder = RecordBuilder {
            topic: &topic, queue_id, flag, sys_flag: flags, born_timestamp_ms: born, born_host,
            store_timestamp_ms: stored, store_host, reconsume_times, prepared_transaction_offset: prepared,
            body: &body, properties: &properties,
        };
        let bytes = encode(&builder);
        let record = Record::parse(&bytes).unwrap();
        prop_assert_eq!(record.verify_crc(), Ok(()));
        let read = RecordBuilder {
            topic: record.topic(), queue_id: record.queue_id(), flag: record.flag(), sys_flag: flags,
            born_timestamp_ms: record.born_timestamp_ms(), born_host: record.born_host(),
            store_timestamp_ms: record.store_timestamp_ms(), store_host: record.store_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            body: record.body(), properties: record.properties_text(),
        };
        prop_assert_eq!(read, builder);
        prop_assert_eq!(record.sys_flag() & !0x30, flags & !0x30);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for record in records(&bytes) { let _ = record; }
        let _ = RecordMut::new(&mut bytes.clone());
    }

    #[test]
    fn damaged_bytes_are_answered(changes in prop::collection::vec((0usize..200, any::<u8>()), 1..6), cut in prop_oneof![Just(0usize), 1usize..150]) {
        let mut bytes = encode(&RecordBuilder { born_host: addr("[fd00::1]:1"), ..sample() });
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        // Half of the cases are cut as well.
        if cut > 0 {
            bytes.truncate(cut);
        }
        if let Ok(record) = Record::parse(&bytes) {
            let _ = record.verify_crc();
            prop_assert_eq!(record.total_size(), bytes.len());
        }
        if let Ok(mut record) = RecordMut::new(&mut bytes) {
            record.set_store_timestamp(1).set_prepared_transaction_offset(1).set_reconsume_times(1);
            let _ = record.set_store_host(addr("[fd00::1]:1")).map(|_| ());
        }
    }
}

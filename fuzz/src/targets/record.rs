//! Records, batches, properties and message ids.

use bytes::BytesMut;
use timbermq_record::{
    BatchItem, BatchLimits, MessageId, Properties, Record, RecordBuilder, RecordMut, batch_items, for_each_batch_item,
    patch_offsets, patch_store, peek_len, properties as change, property, records, sys_flag, unique_key,
};

use super::input::Input;

/// Records back to back, as a pull returns them.
pub(super) fn record(input: &[u8]) {
    let mut rest = input;
    for record in records(input) {
        let alone = Record::parse_prefix(rest);
        let Ok(record) = record else {
            assert_eq!(alone.err(), record.err());
            assert!(Record::parse(rest).is_err());
            break;
        };
        let (alone, tail) = alone.expect("read a moment ago");
        assert_eq!(alone, record);
        assert_eq!(peek_len(rest), Ok(Some(record.total_size())));
        assert_eq!(record.bytes(), &rest[..record.total_size()]);
        rest = tail;
        check_record(&record);
    }
    let mut bytes = input.to_vec();
    if RecordMut::new(&mut bytes).is_err() {
        assert!(Record::parse(input).is_err(), "what can be read can be changed");
        assert!(patch_offsets(&mut bytes, 1, 2).is_err());
    }
    assert_eq!(bytes, input);
}

fn check_record(record: &Record<'_>) {
    let _ = record.verify_crc();
    check_properties(&record.properties());

    // Built anew from its parts it is the same, except for what a builder does not take.
    let builder = RecordBuilder {
        topic: record.topic(),
        queue_id: record.queue_id(),
        flag: record.flag(),
        sys_flag: record.sys_flag(),
        born_timestamp_ms: record.born_timestamp_ms(),
        born_host: record.born_host(),
        store_timestamp_ms: record.store_timestamp_ms(),
        store_host: record.store_host(),
        reconsume_times: record.reconsume_times(),
        prepared_transaction_offset: record.prepared_transaction_offset(),
        body: record.body(),
        properties: record.properties_text(),
    };
    let mut built = BytesMut::new();
    if builder.encode(&mut built).is_err() {
        assert!(built.is_empty());
        assert!(record.topic().is_empty() || record.topic().len() > 255, "{record:?}");
        return;
    }
    patch_offsets(&mut built, record.queue_offset(), record.physical_offset()).expect("a record of our own");
    let again = Record::parse(&built).expect("a record of our own");
    again.verify_crc().expect("a record of our own");
    assert_eq!(builder.encoded_len(), built.len());
    let parts = |record: &Record<'_>| {
        let hosts = [record.born_host(), record.store_host()].map(|host| (host.ip().to_canonical(), host.port()));
        let flag = record.sys_flag() & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        let times = (record.born_timestamp_ms(), record.store_timestamp_ms(), record.reconsume_times());
        let offsets = (record.queue_offset(), record.physical_offset(), record.prepared_transaction_offset());
        (hosts, flag, times, offsets, record.queue_id(), record.flag())
    };
    assert_eq!(parts(&again), parts(record));
    assert_eq!(
        (again.topic(), again.body(), again.properties_text()),
        (record.topic(), record.body(), record.properties_text())
    );

    // Changes in place change what they say and nothing else.
    let mut changed = record.bytes().to_vec();
    let mut patch = RecordMut::new(&mut changed).expect("what can be read can be changed");
    patch.set_queue_id(1).set_queue_offset(2).set_physical_offset(3).set_transaction(sys_flag::TRANSACTION_COMMIT);
    patch.set_store_timestamp(4).set_reconsume_times(5).set_prepared_transaction_offset(6);
    let after = Record::parse(&changed).expect("the parts that are read stayed as they were");
    assert_eq!((after.queue_id(), after.queue_offset(), after.physical_offset()), (1, 2, 3));
    assert_eq!((after.store_timestamp_ms(), after.reconsume_times(), after.prepared_transaction_offset()), (4, 5, 6));
    assert_eq!(sys_flag::transaction(after.sys_flag()), sys_flag::TRANSACTION_COMMIT);
    assert_eq!(
        (after.topic(), after.body(), after.properties_text(), after.born_host(), after.store_host()),
        (record.topic(), record.body(), record.properties_text(), record.born_host(), record.store_host())
    );
    let host = again.store_host();
    if patch_store(&mut changed, 9, host).is_ok() {
        let after = Record::parse(&changed).expect("the parts that are read stayed as they were");
        assert_eq!((after.store_timestamp_ms(), after.store_host()), (9, host));
    }
}

/// The first byte says how strict the limits are; the rest is the body.
pub(super) fn batch(input: &[u8]) {
    let mut input = Input::new(input);
    let limits = match input.flag() {
        true => BatchLimits { body_bytes_max: 512, messages_max: 3, properties_bytes_max: 40 },
        false => BatchLimits::default(),
    };
    let body = input.rest();
    let mut count = 0;
    let mut written = BytesMut::new();
    let mut ended = None;
    for item in batch_items(body, limits) {
        assert_eq!(ended, None, "nothing comes after an error");
        match item {
            Ok(item) => {
                assert!(item.properties.len() <= limits.properties_bytes_max);
                item.encode(&mut written).expect("it came within these limits");
                check_properties(&Properties::new(item.properties));
                count += 1;
            }
            Err(error) => ended = Some(error),
        }
    }
    assert!(count <= limits.messages_max);
    let handed = for_each_batch_item(body, limits, |_| Ok::<_, timbermq_record::BatchError>(()));
    match ended {
        None => {
            assert_eq!(handed, Ok(count));
            assert!(count > 0 && body.len() <= limits.body_bytes_max);
            let parts = |body| batch_items(body, limits).map(parts_of).collect::<Vec<_>>();
            assert_eq!(parts(&written), parts(body), "decoding undoes encoding");
            assert_eq!(written.len(), body.len());
        }
        Some(error) => assert_eq!(handed, Err(error)),
    }
}

fn parts_of(item: Result<BatchItem<'_>, timbermq_record::BatchError>) -> (i32, &[u8], &str) {
    let item = item.expect("read a moment ago");
    (item.flag, item.body, item.properties)
}

/// What holds for any string of properties.
fn check_properties(properties: &Properties<'_>) {
    let mut last = std::collections::BTreeMap::new();
    for (name, value) in properties.iter() {
        assert!(!name.is_empty() && !value.is_empty());
        last.insert(name, value);
    }
    for (name, value) in &last {
        assert_eq!(properties.get(name), Some(*value), "the last one counts");
    }
    assert_eq!(properties.tag(), last.get(property::TAGS).copied());
    assert_eq!(properties.unique_key(), last.get(property::UNIQ_KEY).copied());
    for key in properties.keys() {
        assert!(!key.is_empty() && !key.contains(' '));
    }
}

/// Up to a line break a string of properties; then one change to it a line: `name=value` sets, `-name` removes.
pub(super) fn properties(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let mut lines = input.split('\n');
    let mut text = lines.next().unwrap_or_default().to_owned();
    check_properties(&Properties::new(&text));
    let _ = change::check_len(&text);
    for line in lines {
        let before = text.clone();
        let others = |text: &str, name: &str| {
            let others = Properties::new(text);
            others
                .iter()
                .filter(|(other, _)| *other != name)
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect::<Vec<_>>()
        };
        if let Some(name) = line.strip_prefix('-') {
            let had = Properties::new(&text).contains(name);
            let removed = change::remove(&mut text, name);
            // An item without a value is no property, and goes with those of its name.
            assert!(removed || !had, "{before:?} - {name:?}");
            assert_eq!(removed, text != before);
            assert_eq!(Properties::new(&text).get(name), None);
            assert_eq!(others(&text, name), others(&before, name), "{before:?} - {name:?}");
        } else if let Some((name, value)) = line.split_once('=') {
            match change::set(&mut text, name, value) {
                Ok(()) => {
                    assert_eq!(Properties::new(&text).get(name), Some(value), "{before:?} + {line:?}");
                    assert_eq!(others(&text, name), others(&before, name), "{before:?} + {line:?}");
                }
                Err(_) => assert_eq!(text, before),
            }
        }
        check_properties(&Properties::new(&text));
    }
    // What is there can be written anew unless a value has a separator of ours in it.
    let list: Vec<_> = Properties::new(&text).iter().collect();
    if let Ok(written) = change::encode(list.iter().copied()) {
        assert_eq!(Properties::new(&written).iter().collect::<Vec<_>>(), list);
    }
}

/// A text that may be an id.
pub(super) fn message_id(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(id) = text.parse::<MessageId>() {
        assert!(id.to_string().eq_ignore_ascii_case(&text), "{id} from {text}");
        assert_eq!(id.to_string().parse(), Ok(id));
        let canonical = MessageId::new(id.store_host, id.physical_offset);
        assert_eq!(canonical.to_string().parse(), Ok(canonical));
    }
    let mut parts = Input::new(input);
    let ip = match parts.flag() {
        true => std::net::IpAddr::from(parts.take(16).try_into().unwrap_or([0; 16])),
        false => std::net::IpAddr::from(parts.take(4).try_into().unwrap_or([0; 4])),
    };
    let id = MessageId::new(std::net::SocketAddr::new(ip, parts.u16()), parts.u64().cast_signed());
    assert_eq!(id.to_string().parse(), Ok(id));
    let key = unique_key(ip, parts.u16(), parts.u32(), parts.u32(), parts.u16());
    assert!(matches!(key.len(), 32 | 56) && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
}

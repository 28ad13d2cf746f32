use proptest::prelude::*;

use super::*;

fn encode(items: &[BatchItem<'_>]) -> BytesMut {
    let mut body = BytesMut::new();
    for item in items {
        item.encode(&mut body).unwrap();
    }
    body
}

fn decode(body: &[u8]) -> Result<Vec<BatchItem<'_>>, BatchError> {
    batch_items(body, BatchLimits::default()).collect()
}

#[test]
fn has_the_layout_clients_write() {
    let body = encode(&[BatchItem { flag: 7, body: b"hi", properties: "a\u{1}b" }]);
    let expected = b"\0\0\0\x1b\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x02hi\0\x03a\x01b";
    assert_eq!(body, expected[..]);
    assert_eq!(body.len(), ITEM_OVERHEAD + 2 + 3);
}

#[test]
fn refuses_damaged_batches() {
    let good = encode(&[BatchItem { flag: 0, body: b"abc", properties: "k\u{1}v" }; 2]);
    assert_eq!(decode(&good).unwrap().len(), 2);
    assert_eq!(decode(b""), Err(BatchError::Empty));
    let item_len = good.len() / 2;
    for end in (1..good.len()).filter(|end| *end != item_len) {
        assert!(matches!(decode(&good[..end]), Err(BatchError::Malformed { .. })), "cut at {end}");
    }
    let damaged = |at: usize, byte: u8| {
        let mut body = good.clone();
        body[at] = byte;
        decode(&body).map(|items| items.len())
    };
    let malformed = |index, reason| Err(BatchError::Malformed { index, reason });
    assert_eq!(damaged(3, 99), malformed(0, "its size is not the sum of its parts"));
    assert_eq!(damaged(item_len + 16, 0x80), malformed(1, "its body has a negative length"));
    assert_eq!(damaged(item_len + 16, 0x7f), malformed(1, "it ends in its body"));
    assert_eq!(damaged(23, 0xff), malformed(0, "its properties have a negative length"));
    assert_eq!(damaged(25, 0xff), malformed(0, "its properties are not UTF-8"));
}

#[test]
fn keeps_to_its_limits() {
    let body = encode(&[BatchItem { flag: 0, body: b"abc", properties: "k\u{1}v" }; 3]);
    let with = |limits| batch_items(&body, limits).collect::<Result<Vec<_>, _>>().map(|items| items.len());
    let exact = BatchLimits { body_bytes_max: body.len(), messages_max: 3, properties_bytes_max: 3 };
    assert_eq!(with(exact), Ok(3));
    let max = body.len() - 1;
    assert_eq!(with(BatchLimits { body_bytes_max: max, ..exact }), Err(BatchError::TooLong { size: max + 1, max }));
    assert_eq!(with(BatchLimits { messages_max: 2, ..exact }), Err(BatchError::TooMany { max: 2 }));
    let too_long = BatchError::PropertiesTooLong { index: 0, size: 3, max: 2 };
    assert_eq!(with(BatchLimits { properties_bytes_max: 2, ..exact }), Err(too_long));
    let long = "x".repeat(32_768);
    let mut dst = BytesMut::new();
    let item = BatchItem { flag: 0, body: b"", properties: &long };
    assert!(matches!(item.encode(&mut dst), Err(BatchError::PropertiesTooLong { .. })));
    let body = vec![0; BODY_BYTES_MAX + 1];
    let item = BatchItem { flag: 0, body: &body, properties: "" };
    assert!(matches!(item.encode(&mut dst), Err(BatchError::TooLong { .. })));
    assert!(dst.is_empty());
    let largest = BatchItem { flag: 0, body: &body[1..], properties: &long[1..] };
    assert_eq!(largest.encode(&mut dst), Ok(()));
}

#[test]
fn hands_over_every_item_until_one_fails() {
    let body = encode(&[BatchItem { flag: 0, body: b"a", properties: "" }; 3]);
    let mut seen = 0;
    let all = for_each_batch_item::<BatchError>(&body, BatchLimits::default(), |_| {
        seen += 1;
        Ok(())
    });
    assert_eq!((all, seen), (Ok(3), 3));
    let stopped = for_each_batch_item(&body, BatchLimits::default(), |_| Err(BatchError::Empty));
    assert_eq!(stopped, Err(BatchError::Empty));
    let mut items = batch_items(&body[..body.len() - 1], BatchLimits::default());
    assert_eq!(items.by_ref().filter(Result::is_err).count(), 1);
    assert!(items.next().is_none(), "nothing follows an error");
}

proptest! {
    #[test]
    fn round_trip(items in prop::collection::vec((any::<i32>(), prop::collection::vec(any::<u8>(), 0..50), "\\PC{0,20}"), 1..8)) {
        let items: Vec<BatchItem<'_>> = items
            .iter()
            .map(|(flag, body, properties)| BatchItem { flag: *flag, body, properties })
            .collect();
        let body = encode(&items);
        prop_assert_eq!(decode(&body), Ok(items));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn damaged_bytes_are_answered(at in 0usize..64, byte: u8) {
        let mut body = encode(&[BatchItem { flag: 1, body: b"body", properties: "k\u{1}v" }; 2]);
        let at = at % body.len();
        body[at] = byte;
        let _ = decode(&body);
    }
}

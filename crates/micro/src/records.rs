//! Stored records and batch bodies.

use std::hint::black_box;

use bytes::BytesMut;
use timbermq_record::{BatchItem, BatchLimits, Record, for_each_batch_item, records};

use crate::sample::{self, BATCH};
use crate::{Call, Operation};

pub(crate) const OPERATIONS: [Operation; 4] = [
    Operation {
        name: "record-encode",
        unit: "record",
        units: 1,
        calls: 4000,
        prepare: || {
            let (body, properties) = (sample::body(0), sample::properties(0));
            let mut dst = BytesMut::with_capacity(4096);
            Ok(Box::new(move || {
                dst.clear();
                black_box(sample::builder(black_box(&body), black_box(&properties)).encode(&mut dst))
                    .expect("an ordinary message");
            }) as Call)
        },
    },
    Operation {
        name: "record-decode",
        unit: "record",
        units: 1,
        calls: 4000,
        prepare: || {
            let record = sample::record(0);
            Ok(Box::new(move || {
                let record = Record::parse(black_box(&record)).expect("a record");
                black_box(record.properties().unique_key());
                record.verify_crc().expect("undamaged");
            }) as Call)
        },
    },
    Operation {
        name: "record-scan",
        unit: "record",
        units: BATCH,
        calls: 100,
        prepare: || {
            let bytes = (0..BATCH).map(sample::record).collect::<Vec<_>>().concat();
            Ok(Box::new(move || {
                let seen = records(black_box(&bytes)).filter(|record| record.is_ok()).count();
                assert_eq!(black_box(seen), BATCH as usize);
            }) as Call)
        },
    },
    Operation {
        name: "batch-decode",
        unit: "message",
        units: BATCH,
        calls: 100,
        prepare: || {
            let mut batch = BytesMut::new();
            for number in 0..BATCH {
                let (body, properties) = (sample::body(number), sample::properties(number));
                BatchItem { flag: 0, body: &body, properties: &properties }.encode(&mut batch)?;
            }
            Ok(Box::new(move || {
                let mut bytes = 0;
                let each = |item: BatchItem<'_>| -> Result<(), timbermq_record::BatchError> {
                    bytes += item.body.len();
                    Ok(())
                };
                for_each_batch_item(black_box(&batch), BatchLimits::default(), each).expect("a batch");
                black_box(bytes);
            }) as Call)
        },
    },
];

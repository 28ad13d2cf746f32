//! Checksums: the protocol's over bodies, and the one that the skeleton takes.

use std::hint::black_box;

use crate::sample::body;
use crate::{Call, Operation};

pub(crate) const OPERATIONS: [Operation; 2] = [
    Operation {
        name: "crc32",
        unit: "KiB",
        units: 1,
        calls: 4000,
        prepare: || {
            let body = body(0);
            Ok(Box::new(move || {
                black_box(timbermq_record::body_crc(black_box(&body)));
            }) as Call)
        },
    },
    Operation {
        name: "crc32c",
        unit: "KiB",
        units: 1,
        calls: 4000,
        prepare: || {
            let body = body(0);
            Ok(Box::new(move || {
                black_box(crc32c::crc32c(black_box(&body)));
            }) as Call)
        },
    },
];

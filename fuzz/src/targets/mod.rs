//! The targets by where their bytes come from.

mod bodies;
mod config;
mod disk;
mod frames;
mod headers;
mod input;
mod log;
mod machine;
pub(crate) mod namesrv;
mod peer;
mod record;
mod snapshot;

use timbermq_types::limits::ENTRY_BYTES_MAX;

use crate::{Bound, Target};

/// For decoders that borrow from their input, with what a target builds to compare.
const SMALL: Bound = Bound { base: 16 << 10, per_byte: 64 };

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frame_stream",
        about: "remoting frames cut from a stream in pieces",
        memory: SMALL,
        run: frames::stream,
    },
    Target {
        name: "frame_header",
        about: "JSON and binary headers, against each other",
        memory: SMALL,
        run: frames::header,
    },
    Target {
        name: "typed_header",
        about: "typed headers of every code from ext fields",
        memory: SMALL,
        run: headers::typed,
    },
    Target {
        name: "json_body",
        about: "JSON bodies of every shape, standard and fastjson's",
        // A value of one byte can stand for a struct with a dozen collections.
        memory: Bound { base: 64 << 10, per_byte: 1024 },
        run: bodies::json,
    },
    Target {
        name: "registration",
        about: "bodies of broker registrations, compressed and plain",
        // The deflate format reaches a factor of about 1030; state of either direction of zlib takes some 300 KiB.
        memory: Bound { base: 1 << 20, per_byte: 8192 },
        run: bodies::registration,
    },
    Target { name: "tag_filter", about: "tag expressions of subscriptions", memory: SMALL, run: bodies::tag_filter },
    Target {
        name: "record",
        about: "stored message records, alone and back to back",
        memory: SMALL,
        run: record::record,
    },
    Target { name: "batch_body", about: "messages that a producer sends as one", memory: SMALL, run: record::batch },
    Target {
        name: "properties",
        about: "properties strings of messages, and changes to them",
        memory: SMALL,
        run: record::properties,
    },
    Target { name: "message_id", about: "offset message ids", memory: SMALL, run: record::message_id },
    Target {
        name: "namesrv",
        about: "requests to a NameServer, several against one table",
        memory: Bound { base: 2 << 20, per_byte: 8192 },
        run: namesrv::requests,
    },
    Target {
        name: "peer_stream",
        about: "frames between replicas cut from a stream in pieces",
        // Three bytes are a whole frame to send, which stands in two lists whose room doubles, 48 bytes in each.
        memory: Bound { base: 16 << 10, per_byte: 96 },
        run: peer::stream,
    },
    Target {
        name: "peer_message",
        about: "messages and handshakes between replicas",
        memory: SMALL,
        run: peer::message,
    },
    Target {
        name: "log_format",
        about: "frames, segment headers, seals and hard state behind their checksums",
        memory: SMALL,
        run: log::format,
    },
    Target {
        name: "log_recovery",
        about: "opening a CommitLog whose disk was damaged",
        // Scanning reads a MiB at once, from each of up to a dozen segments, and twice.
        memory: Bound { base: 32 << 20, per_byte: 64 << 10 },
        run: log::recovery,
    },
    Target {
        name: "machine_batch",
        about: "batches of commands as they come, applied",
        // A command's length prefix is believed up to the longest entry.
        memory: Bound { base: (10 << 20) + ENTRY_BYTES_MAX, per_byte: 1024 },
        run: machine::batch,
    },
    Target {
        name: "machine_apply",
        about: "well-formed commands with any content, applied, dumped and restarted",
        memory: Bound { base: 4 << 20, per_byte: 16 << 10 },
        run: machine::apply,
    },
    Target {
        name: "snapshot_dump",
        about: "dumps of the small state, installed and read from",
        memory: Bound { base: 4 << 20, per_byte: 4096 },
        run: snapshot::dump,
    },
    Target {
        name: "snapshot_file",
        about: "the replica's own small files: snapshot, identity, peers",
        memory: Bound { base: 64 << 10, per_byte: 64 },
        run: snapshot::files,
    },
    Target {
        name: "config",
        about: "TOML files, --set strings and variables of the environment",
        memory: Bound { base: 256 << 10, per_byte: 1024 },
        run: config::layers,
    },
];

//! Snapshots that say what no group can have come to.

use bytes::Bytes;
use timbermq_types::{GroupConfig, QueueId};

use super::support::*;
use crate::batch::BatchBuilder;
use crate::codec::ENVELOPE_BYTES;
use crate::key::{meta, single, table};
use crate::retention::{DumpWriter, rows};
use crate::{Mark, Proposal, PutGroup, PutTopic, Snapshot, SnapshotError, Trim};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The snapshot of a group with a topic, messages and keys.
fn snapshot() -> Snapshot {
    let mut bench = Bench::with_topic("t", 2);
    let message = Message { unique_key: "u".into(), ..Message::default() };
    bench.run(&[PutGroup { config: GroupConfig::new(group("g")), if_absent: false }.into()]);
    bench.run(&[send("t", 1, &[message])]);
    let mark = bench.run(&[Mark {}.into()]);
    let crate::Effect::Marked(mark) = mark.effects[0] else { panic!("{mark:?}") };
    bench.reply(Trim { to: mark.id.index });
    bench.machine.current_snapshot().unwrap().unwrap()
}

fn dump_of(rows: &Rows) -> Bytes {
    let mut dump = DumpWriter::new();
    rows.iter().for_each(|(key, value)| dump.row(key, value));
    dump.finish()
}

/// Overwrites bytes of the row that `key` begins, behind its envelope if it has one, and makes its checksum right.
fn overwrite(rows: &mut Rows, key: &[u8], at: usize, bytes: &[u8], envelope: bool) {
    let (_, value) = rows.iter_mut().find(|(found, _)| found.starts_with(key)).expect("such a row");
    let at = at + if envelope { ENVELOPE_BYTES } else { 0 };
    value[at..at + bytes.len()].copy_from_slice(bytes);
    if envelope {
        let crc = crc32fast::hash(&value[ENVELOPE_BYTES..]);
        value[6..ENVELOPE_BYTES].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn a_snapshot_with_impossible_content_is_refused_and_changes_nothing() {
    let good = snapshot();
    let good_rows: Rows = rows(&good.dump).unwrap().into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
    assert_eq!(Snapshot::from_dump(dump_of(&good_rows)).unwrap(), good);

    type Change = fn(&mut Rows);
    let changes: &[(&str, Change)] = &[
        ("an index beyond any log", |rows| overwrite(rows, &single(meta::APPLIED), 8, &[0xff; 8], false)),
        ("an end beyond any log", |rows| overwrite(rows, &single(meta::STATE), 16, &[0xff; 8], true)),
        ("as many changes of topics as can be counted", |rows| {
            overwrite(rows, &single(meta::TOPICS), 0, &[0xff; 8], true);
        }),
        ("as many queues as can be counted", |rows| overwrite(rows, &single(meta::QUEUES), 0, &[0xff; 4], true)),
        ("a queue that the count does not include", |rows| overwrite(rows, &[table::QUEUE], 0, &[9], false)),
        ("a queue at the end of all offsets", |rows| overwrite(rows, &[table::QUEUE], 4, &[0xff; 16], false)),
        ("a queue that is not empty", |rows| overwrite(rows, &[table::QUEUE], 4, &[0; 8], false)),
        ("a run with more than fits", |rows| overwrite(rows, &single(meta::KEY_INDEX), 4, &[0xff; 4], true)),
        ("as many runs as can be counted", |rows| overwrite(rows, &single(meta::KEY_INDEX), 0, &[0xff; 4], true)),
        ("a run that is not there yet", |rows| {
            let run = rows.iter_mut().find(|(key, _)| key[0] == table::RUN).expect("a run");
            run.0[1..].copy_from_slice(&[0xff; 4]);
        }),
        ("two queues of one number", |rows| {
            let (key, value) = rows.iter().find(|(key, _)| key[0] == table::QUEUE).cloned().expect("a queue");
            let mut other = key;
            *other.last_mut().expect("a queue number") += 1;
            rows.push((other, value));
        }),
        ("a topic under another's name", |rows| overwrite(rows, &[table::TOPIC], 8, b"u", true)),
        ("a topic of too many queues", |rows| overwrite(rows, &[table::TOPIC], 9, &[0xff; 4], true)),
        ("a group under another's name", |rows| overwrite(rows, &[table::GROUP], 8, b"h", true)),
        ("a row twice", |rows| rows.push(rows[0].clone())),
        ("a row that cannot be read", |rows| rows.push((vec![table::TOPIC, b'x', 0], b"nothing".to_vec()))),
        ("a row of a replica's own", |rows| rows.push((vec![table::BLOCK, 0], vec![]))),
    ];
    for (what, change) in changes {
        let mut bad = good_rows.clone();
        change(&mut bad);
        let dump = dump_of(&bad);
        assert!(Snapshot::from_dump(dump.clone()).is_err(), "{what}");

        let mut bench = Bench::with_topic("kept", 1);
        let before = bench.store.rows();
        let refused = bench.machine.install(&Snapshot { dump, ..good.clone() });
        assert!(matches!(refused, Err(crate::MachineError::Snapshot(_))), "{what}: {refused:?}");
        assert_eq!(bench.store.rows(), before, "{what}");
        bench.run(&[plain("kept", 0, 1)]);
        assert_eq!(bench.max("kept", 0), 1, "{what}: the machine goes on");
    }
}

#[test]
fn a_replica_goes_on_from_a_snapshot_it_read() {
    let good = snapshot();
    let (_, mut machine) = new_machine();
    machine.install(&good).unwrap();
    let mut builder = BatchBuilder::new();
    let config = timbermq_types::TopicConfig::new(topic("new"), 1);
    builder.push(&Proposal::from(PutTopic { config, if_absent: false }));
    builder.push(&plain("t", 0, 1));
    let place = crate::EntryPlace {
        id: timbermq_types::LogId::new(good.mark.term, good.mark.index.next()),
        position: good.end.plus(40),
        end: good.end.plus(400),
    };
    machine.apply(&place, &builder.seal(timbermq_types::UnixMillis(1))).unwrap();
    assert_eq!(machine.view().queue_bounds("t", QueueId(0)).max.0, 1);
    assert!(matches!(Snapshot::from_dump(Bytes::from_static(b"x")), Err(SnapshotError::Crc)));
}

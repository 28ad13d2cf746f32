//! What applying messages costs: 1 KiB messages with a unique key, spread over queues, on either store.
//!
//! `cargo run --release -p timbermq-index --example apply [messages] [queues] [messages per entry]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use timbermq_index::{IndexOptions, RocksStore};
use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{EntryPlace, Machine, MemoryStore, Proposal, PutTopic, Store};
use timbermq_types::{LogId, LogIndex, LogPosition, QueueId, QueueOffset, Term, TopicConfig, TopicName, UnixMillis};

const BODY_BYTES: usize = 1024;
const QUEUES_PER_TOPIC: u32 = 8;
/// Messages between two rotations: about a second of a busy broker.
const ROTATE_EVERY: usize = 50_000;

fn record(topic: &str, queue: u32, number: usize) -> Vec<u8> {
    let properties = format!("UNIQ_KEY\u{1}7F0000010BC418B4AAC2{number:012X}\u{2}TAGS\u{1}tag\u{2}WAIT\u{1}true\u{2}");
    let mut out = vec![0; 4];
    out.extend_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&queue.to_be_bytes());
    out.extend_from_slice(&[0; 68]);
    out.extend_from_slice(&(BODY_BYTES as u32).to_be_bytes());
    out.extend_from_slice(&[b'x'; BODY_BYTES]);
    out.push(topic.len() as u8);
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    out.extend_from_slice(properties.as_bytes());
    let size = out.len() as u32;
    out[..4].copy_from_slice(&size.to_be_bytes());
    out
}

struct Feed {
    next: u64,
    end: u64,
}

impl Feed {
    fn place(&mut self, length: usize) -> EntryPlace {
        let position = LogPosition(self.end + 40);
        let place =
            EntryPlace { id: LogId::new(Term(1), LogIndex(self.next)), position, end: position.plus(length as u64) };
        (self.next, self.end) = (self.next + 1, place.end.0);
        place
    }
}

fn measure(name: &str, store: Arc<dyn Store>, messages: usize, queues: u32, per_entry: usize) {
    let topics: Vec<String> = (0..queues.div_ceil(QUEUES_PER_TOPIC)).map(|n| format!("orders-{n:05}")).collect();
    let mut machine = Machine::open(Arc::clone(&store)).expect("an empty store opens");
    let mut feed = Feed { next: 0, end: 0 };
    for topic in &topics {
        let mut batch = BatchBuilder::new();
        let config = TopicConfig::new(TopicName::new(topic).expect("a valid name"), QUEUES_PER_TOPIC);
        batch.push(&PutTopic { config, if_absent: true }.into());
        let payload = batch.seal(UnixMillis(1));
        machine.apply(&feed.place(payload.len()), &payload).expect("applies");
    }
    let (mut propose, mut apply, mut rotate, mut write) =
        (Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut rotate_longest = Duration::ZERO;
    let mut done = 0;
    while done < messages {
        let count = per_entry.min(messages - done);
        let records: Vec<_> = (done..done + count)
            .map(|number| {
                let queue = number as u32 * 7 % queues;
                let (topic, queue) = (&topics[(queue / QUEUES_PER_TOPIC) as usize], queue % QUEUES_PER_TOPIC);
                record(topic, queue, number)
            })
            .collect();
        let start = Instant::now();
        let mut batch = BatchBuilder::new();
        for record in records {
            batch.push(&Proposal::send(record.into()).expect("a good record"));
        }
        let payload = batch.seal(UnixMillis(done as u64));
        propose += start.elapsed();
        let place = feed.place(payload.len());
        let start = Instant::now();
        machine.apply(&place, &payload).expect("applies");
        apply += start.elapsed();
        done += count;
        if done % ROTATE_EVERY < per_entry {
            let start = Instant::now();
            assert!(machine.rotate());
            rotate += start.elapsed();
            rotate_longest = rotate_longest.max(start.elapsed());
            let start = Instant::now();
            store.write_frozen(false).expect("writes");
            write += start.elapsed();
        }
    }
    let start = Instant::now();
    machine.rotate();
    store.write_frozen(true).expect("writes");
    let flush = start.elapsed();
    let each = |time: Duration| time.as_nanos() as f64 / messages as f64 / 1_000.0;
    println!(
        "{name}: per message propose {:.2} µs, apply {:.2} µs, rotate {:.2} µs (longest {:.1} ms), write {:.2} µs; last flush {:.0} ms",
        each(propose),
        each(apply),
        each(rotate),
        rotate_longest.as_secs_f64() * 1_000.0,
        each(write),
        flush.as_secs_f64() * 1_000.0,
    );
    let view = machine.view();
    let start = Instant::now();
    let mut rows = 0;
    for topic in &topics {
        rows += view.rows(topic, QueueId(0), QueueOffset(0), 32).expect("reads").len();
    }
    println!(
        "{name}: reading 32 rows {:.1} µs ({rows} rows)",
        start.elapsed().as_micros() as f64 / topics.len() as f64
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let messages = arguments.next().unwrap_or(200_000);
    let queues = arguments.next().unwrap_or(1_000) as u32;
    let per_entry = arguments.next().unwrap_or(100);
    measure("memory", Arc::new(MemoryStore::new()), messages, queues, per_entry);
    let dir = tempfile::tempdir().expect("a directory for the store");
    let store = RocksStore::open(dir.path(), IndexOptions::default()).expect("opens");
    measure("rocksdb", Arc::new(store), messages, queues, per_entry);
}

//! How fast a million operations are judged, and in how much memory:
//! `cargo run --release -p timbermq-check --example million`.
//!
//! 500 queues of one topic, 8 producers, readers that pull and store their progress, three replicas that are drained.

use std::process::ExitCode;
use std::time::Instant;

use timbermq_check::history::{Action, End, Found, History, MessageId, Operation, Outcome, PullStatus};
use timbermq_check::{Options, check};

const OPERATIONS: u64 = 1_000_000;
const QUEUES: u32 = 500;
const PRODUCERS: u64 = 8;

/// Peak resident memory of this process in bytes.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Seconds for which this process, which has one thread, had a processor; others may have kept it waiting.
#[allow(clippy::cast_precision_loss)] // nanoseconds of a short run
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).map_or(0.0, |ns| ns as f64 / 1e9)
}

#[derive(Clone, Copy, Default)]
struct Reader {
    next: u64,
    stored: Option<u64>,
    stage: u8,
}

fn build() -> History {
    let mut history = History::new();
    let (topic, group, run) = (history.name("orders"), history.name("readers"), history.name("million"));
    let nodes = ["1", "2", "3"].map(|node| history.name(node));
    let processes: Vec<_> = (0..PRODUCERS).map(|number| history.name(&format!("p{number}"))).collect();
    let readers: Vec<_> = (0..QUEUES).map(|queue| history.name(&format!("r{queue}"))).collect();
    let mut queues: Vec<Vec<Found>> = vec![Vec::new(); QUEUES as usize];
    let mut reading = vec![Reader::default(); QUEUES as usize];
    let mut seq = 0;
    history.push(Operation::new(run, 0, 1, Action::Run { id: run, replicas: nodes.to_vec() }));
    for number in 0..OPERATIONS {
        let now = 10 + number * 10;
        let queue = u32::try_from((number * 7 + number / 11) % u64::from(QUEUES)).unwrap_or(0);
        let index = queue as usize;
        let reader = &mut reading[index];
        // Half of the operations send, the others read, and store how far they got.
        let (process, outcome, action) = if number % 2 == 0 {
            let producer = processes[usize::try_from(seq % PRODUCERS).unwrap_or(0)];
            let message = MessageId { producer, seq: seq / PRODUCERS, attempt: 0 };
            seq += 1;
            let offset = queues[index].len() as u64;
            let is_unknown = seq % 50 == 0;
            queues[index].push(Found { store_ms: Some(now / 1_000), ..Found::new(offset, message) });
            let outcome = if is_unknown { Outcome::Unknown } else { Outcome::Ok };
            (producer, outcome, Action::send(topic, Some(queue), message, (!is_unknown).then_some(offset)))
        } else {
            let process = readers[index];
            let stage = reader.stage;
            reader.stage = (stage + 1) % 4;
            let action = match stage {
                0 => Action::QueryOffset { group, topic, queue, offset: reader.stored },
                1 => {
                    let from = reader.next;
                    let start = usize::try_from(from).unwrap_or(0);
                    let messages: Vec<Found> = queues[index][start..].iter().take(16).cloned().collect();
                    reader.next += messages.len() as u64;
                    Action::Pull {
                        group: Some(group),
                        topic,
                        queue,
                        from,
                        tags: vec![],
                        status: PullStatus::Read,
                        messages,
                        next: reader.next,
                        bounds: None,
                    }
                }
                2 => {
                    reader.stored = Some(reader.next);
                    Action::StoreOffset { group, topic, queue, offset: reader.next, reset: false }
                }
                _ => Action::Bound { topic, queue, end: End::Max, offset: queues[index].len() as u64 },
            };
            (process, Outcome::Ok, action)
        };
        // Each is under way while the next five begin.
        history.push(Operation { outcome, ..Operation::new(process, now, now + 55, action) });
    }
    let end = OPERATIONS * 10 + 1_000;
    for node in nodes {
        for (queue, messages) in queues.iter().enumerate() {
            let (queue, max) = (u32::try_from(queue).unwrap_or(0), messages.len() as u64);
            let drain =
                Action::Drain { pass: 0, topic, queue, min: 0, max, from: 0, to: max, messages: messages.clone() };
            history.push(Operation { node: Some(node), ..Operation::new(run, end, end + 10, drain) });
        }
    }
    history
}

fn main() -> ExitCode {
    let history = build();
    let before = peak();
    let (started, busy) = (Instant::now(), processor_seconds());
    let report = check(&history, &Options::default());
    let (seconds, busy) = (started.elapsed().as_secs_f64(), processor_seconds() - busy);
    let mebibytes = |bytes: Option<u64>| bytes.map_or(0, |bytes| bytes >> 20);
    println!("{report}");
    println!(
        "{} operations judged in {seconds:.1} s ({busy:.1} s of processor time); {} MiB with the history alone, {} MiB at the peak",
        history.len(),
        mebibytes(before),
        mebibytes(peak())
    );
    let value = serde_json::json!({
        "operations": history.len(),
        "seconds": (seconds * 10.0).round() / 10.0,
        "processor_seconds": (busy * 10.0).round() / 10.0,
        "history_mib": mebibytes(before),
        "peak_mib": mebibytes(peak()),
        "verdict": report.verdict(),
    });
    println!("{value}");
    if report.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Many messages in flight over a few connections.
//!
//! A *closed* loop keeps a window full: a message is sent when another was answered. It finds the highest throughput, and
//! its latencies say little, because a broker that stalls is spared. An *open* loop sends at a fixed rate whatever the
//! broker does, and latency is counted from the moment a message was due.

mod link;
mod pacer;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::clock::{Clock, nanos};
use crate::prepared::TOKENS_MAX;
use crate::schedule::{Schedule, share};
use crate::tally::{Span, Tally};
use crate::usage::{Snapshot, Usage, Watched};
use link::Link;
use pacer::Pacer;

/// How often connections look at the time when nothing happens.
const TICK: Duration = Duration::from_millis(10);
/// Pause before a lost connection is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The answer to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number the message was sent with.
    pub token: u32,
    /// 0: stored. Anything else is an error of the protocol.
    pub code: i32,
}

/// Where a load goes.
pub trait Endpoint {
    /// What writes and reads on one connection.
    type Sender: Sender;

    /// Makes connection `index`; called again when it was lost.
    fn connect(&self, index: usize) -> impl Future<Output = Result<(TcpStream, Self::Sender)>>;
}

/// When a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time now, in ms since 1970.
    pub born: u64,
    /// When the message was due, in µs since 1970.
    pub due: u64,
}

/// Frames of one connection.
pub trait Sender {
    /// Appends a message; its answer will be known by `token`.
    fn put(&mut self, token: u32, moment: Moment, out: &mut BytesMut);

    /// Takes the next answer off the front of what was received; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The bytes are none of the protocol's; the connection is given up.
    fn take(&mut self, received: &mut BytesMut) -> Result<Option<Answer>>;
}

/// What decides when a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Closed loop: always this many sends in flight, over all connections.
    Window(usize),
    /// Open loop.
    Rate {
        /// Sends a second, over all connections.
        per_second: u64,
        /// Most sends in flight; beyond it they are sent late, and their latency says so.
        in_flight_max: usize,
    },
}

impl Pace {
    fn in_flight_max(self) -> usize {
        match self {
            Self::Window(window) => window,
            Self::Rate { in_flight_max, .. } => in_flight_max,
        }
    }
}

/// How the load is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// When messages are sent.
    pub pace: Pace,
    /// Connections.
    pub connections: usize,
    /// Messages of a send, for the figures.
    pub batch: u32,
    /// Sends that are not measured, at the beginning.
    pub warmup: Duration,
    /// How long it is measured.
    pub time: Duration,
    /// A connection on which answers are due and nothing is heard for so long is given up; also how long the last answers
    /// are waited for.
    pub answer_max: Duration,
    /// Whether to show, once a second on stderr, how far it is.
    pub progress: bool,
    /// Whose costs are measured beside our own.
    pub watched: Watched,
}

/// What came of a load.
#[derive(Debug)]
pub struct Run {
    pub(crate) tally: Tally,
    /// How the load was made.
    pub options: Options,
    /// What it cost while it was measured.
    pub usage: Usage,
}

/// What all connections share.
struct Shared<E> {
    endpoint: E,
    clock: Clock,
    span: Span,
    options: Options,
    tally: RefCell<Tally>,
}

/// Which messages a connection may send.
#[derive(Clone, Copy, Debug)]
enum Supply {
    Unlimited,
    Scheduled(Schedule),
}

impl Supply {
    /// When the message to be sent now was due, if there is one that was due before `end`.
    fn take(&mut self, now: u64, end: u64) -> Option<u64> {
        match self {
            Self::Unlimited => (now < end).then_some(now),
            // What was due before the end is sent after it, too: to leave out who is late would flatter.
            Self::Scheduled(schedule) => schedule.take(now.min(end.saturating_sub(1))),
        }
    }

    /// How many messages due before `end` have not been sent.
    fn unsent(&self, end: u64) -> u64 {
        match self {
            Self::Unlimited => 0,
            Self::Scheduled(schedule) => schedule.left_before(end),
        }
    }
}

/// Makes a load. It lasts warm-up and time, and then as long as the last answers take, at most `answer_max`.
///
/// # Errors
/// The options do not fit together, or the first connections cannot be made. Whatever happens later is counted.
pub async fn run<E: Endpoint + 'static>(endpoint: E, options: Options) -> Result<Run> {
    let in_flight_max = options.pace.in_flight_max();
    ensure!(options.connections > 0, "a load needs a connection");
    ensure!(
        in_flight_max >= options.connections,
        "{} connections cannot share a window of {in_flight_max}",
        options.connections
    );
    ensure!(in_flight_max < TOKENS_MAX, "a window of {in_flight_max} is too large");
    ensure!(!matches!(options.pace, Pace::Rate { per_second: 0, .. }), "a rate of 0 sends nothing");
    let mut connected = Vec::new();
    for index in 0..options.connections {
        connected.push(endpoint.connect(index).await?);
    }
    let from = nanos(options.warmup);
    let span = Span { from, to: from + nanos(options.time) };
    let clock = Clock::start();
    let (pulse, pulses) = watch::channel(());
    let pulse = Arc::new(pulse);
    let shared = Rc::new(Shared { endpoint, clock, span, tally: RefCell::new(Tally::new(span)), options });
    let pacer = match shared.options.pace {
        Pace::Rate { per_second, .. } => {
            Some(Pacer::start(clock.start, per_second, span.to, Arc::clone(&pulse)).context("starting the pacer")?)
        }
        Pace::Window(_) => None,
    };
    let usage = LocalSet::new()
        .run_until(async {
            let ticker = tokio::task::spawn_local(tick(Arc::clone(&pulse)));
            let progress = tokio::task::spawn_local(progress(Rc::clone(&shared)));
            let usage = tokio::task::spawn_local(measure(Rc::clone(&shared)));
            let links: Vec<_> = connected
                .into_iter()
                .enumerate()
                .map(|(index, first)| tokio::task::spawn_local(live(Rc::clone(&shared), index, first, pulses.clone())))
                .collect();
            for link in links {
                link.await.context("a connection's task failed")?;
            }
            ticker.abort();
            progress.abort();
            // Aborted tasks still hold what they share until they are awaited.
            let _ = (ticker.await, progress.await);
            usage.await.context("the measuring task failed")
        })
        .await?;
    drop(pacer);
    let shared = Rc::into_inner(shared).context("a task still runs")?;
    Ok(Run { tally: shared.tally.into_inner(), options: shared.options, usage })
}

async fn tick(pulse: Arc<watch::Sender<()>>) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        pulse.send_replace(());
    }
}

/// What was used while it was measured.
async fn measure<E>(shared: Rc<Shared<E>>) -> Usage {
    let at = |nanos| tokio::time::Instant::from_std(shared.clock.start + Duration::from_nanos(nanos));
    tokio::time::sleep_until(at(shared.span.from)).await;
    let before = Snapshot::take(&shared.options.watched);
    tokio::time::sleep_until(at(shared.span.to)).await;
    Usage::between(&before, &Snapshot::take(&shared.options.watched))
}

async fn progress<E>(shared: Rc<Shared<E>>) {
    if !shared.options.progress {
        return;
    }
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    interval.tick().await;
    let mut last = shared.clock.now();
    loop {
        interval.tick().await;
        let now = shared.clock.now();
        let mut tally = shared.tally.borrow_mut();
        #[allow(clippy::cast_precision_loss)] // shown rounded
        let (rate, second) = (
            f64::from(shared.options.batch) * tally.lately.count() as f64 * 1e9 / (now - last).max(1) as f64,
            now as f64 / 1e9,
        );
        let stage = if now < shared.span.from { "warm-up" } else { "" };
        let errors = tally.errors_total() + tally.warmup_errors;
        let p99 = tally.lately.quantile_us(0.99);
        eprintln!("{second:6.1} s  {rate:9.0} msg/s  p99 {:8.2} ms  {errors} errors  {stage}", f64_of(p99) / 1e3);
        tally.lately.clear();
        last = now;
    }
}

#[allow(clippy::cast_precision_loss)] // at most 60 million
fn f64_of(us: u64) -> f64 {
    us as f64
}

/// One connection until the load ends, made again as often as it is lost.
async fn live<E: Endpoint>(
    shared: Rc<Shared<E>>,
    index: usize,
    first: (TcpStream, E::Sender),
    mut pulses: watch::Receiver<()>,
) {
    let connections = shared.options.connections;
    let window = share(shared.options.pace.in_flight_max(), index, connections);
    let mut supply = match shared.options.pace {
        Pace::Window(_) => Supply::Unlimited,
        Pace::Rate { per_second, .. } => Supply::Scheduled(Schedule::new(per_second, index, connections)),
    };
    let mut connected = Some(first);
    while shared.clock.now() < shared.span.to {
        let attempt = match connected.take() {
            Some(first) => Ok(first),
            None => {
                shared.tally.borrow_mut().reconnects += 1;
                shared.endpoint.connect(index).await
            }
        };
        let lost = match attempt {
            Ok((stream, sender)) => Link::new(stream, sender, window).drive(&shared, &mut supply, &mut pulses).await,
            Err(error) => Err(error),
        };
        if let Err(error) = lost {
            if shared.options.progress {
                eprintln!("connection {index}: {error:#}");
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
    shared.tally.borrow_mut().unsent += supply.unsent(shared.span.to);
}

#[cfg(test)]
mod tests;

//! The engine's runtime, over the ports: its clock, tasks and randomness are those of the world it runs in, so that a
//! simulation has them in its hand as well. Channels and locks are tokio's, which need no runtime.

use std::fmt;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::rt::{AsyncRuntime, Instant};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use timbermq_env::{BoxFuture, current};
use timbermq_types::Mono;
use tokio::sync::oneshot;

#[allow(deprecated, reason = "the new name is in a crate of its own that we would have to depend on")]
type Tokio = openraft::impls::TokioRuntime;

/// Runs the engine in the world of its thread; see [`timbermq_env::enter`].
#[derive(Debug)]
pub(crate) struct EngineRuntime;

/// A reading of the world's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EngineInstant(Mono);

impl Add<Duration> for EngineInstant {
    type Output = Self;

    fn add(self, d: Duration) -> Self {
        Self(self.0.plus(d))
    }
}

impl AddAssign<Duration> for EngineInstant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for EngineInstant {
    type Output = Self;

    fn sub(self, d: Duration) -> Self {
        Self(Mono(self.0.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))))
    }
}

impl SubAssign<Duration> for EngineInstant {
    fn sub_assign(&mut self, d: Duration) {
        *self = *self - d;
    }
}

impl Sub for EngineInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.since(earlier.0)
    }
}

impl Instant for EngineInstant {
    fn now() -> Self {
        Self(current(|env| env.mono()))
    }
}

/// The task ended without a value, because its world did.
#[derive(Debug)]
pub(crate) struct TaskLost;

impl fmt::Display for TaskLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was dropped before it ended")
    }
}

/// The value of a task. Dropping it lets the task run on.
pub(crate) struct TaskHandle<T>(oneshot::Receiver<T>);

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskLost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| TaskLost)
    }
}

/// A wait for a time.
pub(crate) struct Sleep(BoxFuture<'static, ()>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// Time was up first.
#[derive(Debug)]
pub(crate) struct TimeIsUp;

impl fmt::Display for TimeIsUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("time is up")
    }
}

/// A future with a limit.
pub(crate) struct Timeout<F> {
    future: Pin<Box<F>>,
    limit: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, TimeIsUp>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.limit).poll(cx).map(|()| Err(TimeIsUp))
    }
}

impl AsyncRuntime for EngineRuntime {
    type JoinError = TaskLost;
    type JoinHandle<T: Send + 'static> = TaskHandle<T>;
    type Sleep = Sleep;
    type Instant = EngineInstant;
    type TimeoutError = TimeIsUp;
    type Timeout<R, F: Future<Output = R> + Send> = Timeout<F>;
    type ThreadLocalRng = SmallRng;

    fn spawn<F>(future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        current(|env| {
            env.spawn("raft.engine", async move {
                // Nobody may be interested in the value.
                let _ = tx.send(future.await);
            });
        });
        TaskHandle(rx)
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep(current(|env| env.sleep(duration)))
    }

    fn sleep_until(deadline: EngineInstant) -> Sleep {
        Self::sleep(deadline - EngineInstant::now())
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), limit: Self::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: EngineInstant, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), limit: Self::sleep_until(deadline) }
    }

    /// A panic ends the process, so nobody is there to ask.
    fn is_panic(_lost: &TaskLost) -> bool {
        false
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(current(|env| env.entropy.next_u64()))
    }

    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn new(_threads: usize) -> Self {
        Self
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        timbermq_sync::block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let env = current(Clone::clone);
        async move { Ok(env.blocking("raft.blocking", work).await) }
    }
}

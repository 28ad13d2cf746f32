//! The world: one thread, virtual time, and every task of every host on it.
//!
//! Time stands still while something can run and then jumps to the next event. Which of several runnable tasks goes first is
//! drawn from the seed, so that one seed is one interleaving and many seeds are many. A host is a machine with one process:
//! a crash drops all its tasks at once, a pause leaves them where they are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use timbermq_env::{BoxFuture, Env};

use crate::rng::Rng;

/// Nanoseconds of virtual time since the beginning of the run.
pub type Nanos = u64;

/// A machine of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

/// What happens at a time.
enum Event {
    Timer(Arc<Timer>),
    Call(Box<dyn FnOnce(&World) + Send>),
}

struct Due {
    at: Nanos,
    seq: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// A wait for a time.
#[derive(Default)]
struct Timer {
    state: Mutex<TimerState>,
}

#[derive(Default)]
struct TimerState {
    fired: bool,
    waker: Option<Waker>,
}

/// Completes at its time.
pub struct Sleep {
    timer: Arc<Timer>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.timer.state);
        if state.fired {
            return Poll::Ready(());
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

struct Task {
    host: HostId,
    name: &'static str,
    /// Taken out while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    handle: Arc<TaskHandle>,
}

struct TaskHandle {
    id: u64,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskHandle {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.id);
        }
    }
}

/// How a host's clocks run.
#[derive(Clone, Copy, Debug)]
struct HostClock {
    /// When the rate was last changed, and what the monotonic clock said then.
    since: Nanos,
    mono: Nanos,
    /// Parts per million that the host's seconds are shorter than ours.
    drift_ppm: i64,
    /// Milliseconds the wall clock is ahead of the monotonic one's count from the common start.
    wall_offset_ms: i64,
}

struct Host {
    name: String,
    env: Option<Arc<Env>>,
    clock: HostClock,
    tasks: BTreeSet<u64>,
    paused: bool,
    /// Runnable tasks of a paused host.
    held: Vec<u64>,
    /// Counts the lives of its process.
    life: u64,
    alive: bool,
    rng: Rng,
}

struct State {
    now: Nanos,
    seq: u64,
    due: BinaryHeap<Reverse<Due>>,
    tasks: BTreeMap<u64, Task>,
    hosts: Vec<Host>,
    order: Rng,
    polls: u64,
    /// When the clock last moved on, and how many polls there had been.
    moved: (Nanos, u64),
    /// Running hash of what happened, in order.
    digest: u64,
}

thread_local! {
    /// Where the thread is in the world: time, and the host whose task it polls.
    static HERE: std::cell::RefCell<(Nanos, String)> = const { std::cell::RefCell::new((0, String::new())) };
}

/// Virtual time of the task that is being polled.
#[must_use]
pub fn now_here() -> Nanos {
    HERE.with(|here| here.borrow().0)
}

/// Virtual time and the name of the host whose task is being polled; of the run itself, `-`.
#[must_use]
pub fn here() -> (Nanos, String) {
    HERE.with(|here| here.borrow().clone())
}

/// The world. Clones are the same one.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    ready: Arc<Mutex<Vec<u64>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread: a poisoned lock is seen only while a panic ends the run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls at one moment after which it must be a loop.
const POLLS_MAX: u64 = 300_000;

/// Wall-clock time at which every run begins, in Unix milliseconds.
pub const EPOCH_MS: u64 = 1_750_000_000_000;

impl World {
    /// An empty world of the run `seed`; with `leak_order`, tasks run in an order that the seed does not decide.
    #[must_use]
    pub fn new(seed: u64, leak_order: bool) -> Self {
        let state = State {
            now: 0,
            seq: 0,
            due: BinaryHeap::new(),
            tasks: BTreeMap::new(),
            hosts: Vec::new(),
            order: Rng::new(if leak_order { u64::from(std::process::id()) } else { seed }, "order"),
            polls: 0,
            moved: (0, 0),
            digest: seed,
        };
        Self { state: Arc::new(Mutex::new(state)), ready: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Adds a machine whose process is not running.
    pub fn add_host(&self, name: &str, rng: Rng) -> HostId {
        let mut state = self.state();
        let clock = HostClock { since: 0, mono: 0, drift_ppm: 0, wall_offset_ms: 0 };
        state.hosts.push(Host {
            name: name.to_owned(),
            env: None,
            clock,
            tasks: BTreeSet::new(),
            paused: false,
            held: Vec::new(),
            life: 0,
            alive: false,
            rng,
        });
        HostId(state.hosts.len() - 1)
    }

    /// The name of a host.
    #[must_use]
    pub fn name(&self, host: HostId) -> String {
        self.state().hosts[host.0].name.clone()
    }

    /// Starts the process of `host`, with `env` as its world. Returns the number of this life.
    pub fn boot(&self, host: HostId, env: Env) -> u64 {
        let mut state = self.state();
        let host = &mut state.hosts[host.0];
        host.env = Some(Arc::new(env));
        host.life += 1;
        host.alive = true;
        host.paused = false;
        host.life
    }

    /// Ends the process of `host`: every task is dropped where it stands.
    pub fn kill(&self, host: HostId) {
        let (env, mut tasks) = {
            let mut state = self.state();
            let ids = std::mem::take(&mut state.hosts[host.0].tasks);
            let tasks: Vec<Task> = ids.iter().filter_map(|id| state.tasks.remove(id)).collect();
            let host = &mut state.hosts[host.0];
            host.alive = false;
            host.paused = false;
            host.held.clear();
            (host.env.clone(), tasks)
        };
        // What is dropped may ask its world for the time, and may start tasks, which come to nothing.
        let before = timbermq_env::enter(env);
        while let Some(task) = tasks.pop() {
            drop(task);
        }
        timbermq_env::enter(before);
        let mut state = self.state();
        state.hosts[host.0].env = None;
    }

    /// Whether the process of `host` is running (paused or not).
    #[must_use]
    pub fn is_alive(&self, host: HostId) -> bool {
        self.state().hosts[host.0].alive
    }

    /// The life the process of `host` is in.
    #[must_use]
    pub fn life(&self, host: HostId) -> u64 {
        self.state().hosts[host.0].life
    }

    /// Stops `host` where it stands, or lets it go on.
    pub fn set_paused(&self, host: HostId, paused: bool) {
        let held = {
            let mut state = self.state();
            let host = &mut state.hosts[host.0];
            host.paused = paused;
            if paused { Vec::new() } else { std::mem::take(&mut host.held) }
        };
        lock(&self.ready).extend(held);
    }

    /// Whether `host` is paused.
    #[must_use]
    pub fn is_paused(&self, host: HostId) -> bool {
        self.state().hosts[host.0].paused
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.state().now
    }

    /// Tasks polled so far.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.state().polls
    }

    /// A hash of everything that happened, in order.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.state().digest
    }

    /// Adds to the hash of what happened.
    pub fn note(&self, what: u64) {
        self.state().note(what);
    }

    /// Random bits of `host`.
    pub fn random(&self, host: HostId) -> u64 {
        self.state().hosts[host.0].rng.next_u64()
    }

    /// The monotonic clock of `host`, in its own nanoseconds.
    #[must_use]
    pub fn mono(&self, host: HostId) -> Nanos {
        let state = self.state();
        state.hosts[host.0].clock.mono(state.now)
    }

    /// The wall clock of `host`, in Unix milliseconds.
    #[must_use]
    pub fn wall_ms(&self, host: HostId) -> u64 {
        let state = self.state();
        let clock = &state.hosts[host.0].clock;
        (EPOCH_MS + clock.mono(state.now) / 1_000_000).saturating_add_signed(clock.wall_offset_ms)
    }

    /// Moves the wall clock of `host`.
    pub fn jump_wall(&self, host: HostId, by_ms: i64) {
        self.state().hosts[host.0].clock.wall_offset_ms += by_ms;
    }

    /// Sets the wall clock of `host` right again.
    pub fn set_wall_right(&self, host: HostId) {
        self.state().hosts[host.0].clock.wall_offset_ms = 0;
    }

    /// Lets the clocks of `host` run faster (or, negative, slower) from now on.
    pub fn set_drift(&self, host: HostId, ppm: i64) {
        let mut state = self.state();
        let now = state.now;
        let clock = &mut state.hosts[host.0].clock;
        *clock = HostClock { since: now, mono: clock.mono(now), drift_ppm: ppm, ..*clock };
    }

    /// Completes when the clock of `host` has advanced by `d`.
    #[must_use]
    pub fn sleep_on(&self, host: HostId, d: Duration) -> Sleep {
        let d = nanos(d);
        let mut state = self.state();
        let rate = 1_000_000 + state.hosts[host.0].clock.drift_ppm;
        if d == 0 {
            return state.sleep(0);
        }
        // Never early: who wakes up must read a clock that has advanced by all of `d`.
        let real = u64::try_from(i128::from(d) * 1_000_000 / i128::from(rate.max(1))).unwrap_or(u64::MAX);
        state.sleep(real.saturating_add(2))
    }

    /// Completes when `d` of virtual time has passed.
    #[must_use]
    pub fn sleep(&self, d: Duration) -> Sleep {
        self.state().sleep(nanos(d))
    }

    /// Calls `call` after `d` of virtual time, whatever happens to whom until then.
    pub fn after(&self, d: Duration, call: impl FnOnce(&World) + Send + 'static) {
        let mut state = self.state();
        let at = state.now.saturating_add(nanos(d));
        state.schedule(at, Event::Call(Box::new(call)));
    }

    /// Starts a task on `host`; comes to nothing when its process is not running.
    pub fn spawn(&self, host: HostId, name: &'static str, future: BoxFuture<'static, ()>) {
        let mut state = self.state();
        if !state.hosts[host.0].alive {
            drop(state);
            drop(future);
            return;
        }
        state.seq += 1;
        let id = state.seq;
        let handle = Arc::new(TaskHandle { id, queued: AtomicBool::new(true), ready: Arc::clone(&self.ready) });
        state.tasks.insert(id, Task { host, name, future: Some(future), handle });
        state.hosts[host.0].tasks.insert(id);
        lock(&self.ready).push(id);
    }

    /// Runs until `until`, or until nothing can happen any more. Returns whether there is more to come.
    pub fn run_until(&self, until: Nanos) -> bool {
        loop {
            self.run_ready();
            let event = {
                let mut state = self.state();
                match state.due.peek() {
                    None => {
                        state.now = state.now.max(until);
                        return false;
                    }
                    Some(Reverse(due)) if due.at > until => {
                        state.now = state.now.max(until);
                        return true;
                    }
                    Some(_) => {}
                }
                let Some(Reverse(due)) = state.due.pop() else { return false };
                state.now = state.now.max(due.at);
                due.event
            };
            match event {
                Event::Timer(timer) => {
                    let waker = {
                        let mut state = lock(&timer.state);
                        state.fired = true;
                        state.waker.take()
                    };
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                Event::Call(call) => call(self),
            }
        }
    }

    /// Polls whatever can run until nothing can.
    fn run_ready(&self) {
        loop {
            let (id, mut future, waker, env) = {
                let mut ready = lock(&self.ready);
                if ready.is_empty() {
                    return;
                }
                let mut state = self.state();
                let n = ready.len() as u64;
                let nth = if n == 1 { 0 } else { state.order.below(n) };
                let id = ready.swap_remove(usize::try_from(nth).unwrap_or(0));
                drop(ready);
                let Some(task) = state.tasks.get_mut(&id) else { continue };
                let host = task.host;
                if state.hosts[host.0].paused {
                    state.hosts[host.0].held.push(id);
                    continue;
                }
                let Some(task) = state.tasks.get_mut(&id) else { continue };
                task.handle.queued.store(false, Ordering::Relaxed);
                let Some(future) = task.future.take() else { continue };
                let waker = Waker::from(Arc::clone(&task.handle));
                let what_name = task.name;
                let what = name_hash(what_name);
                state.polls += 1;
                if state.moved.0 != state.now {
                    state.moved = (state.now, state.polls);
                }
                let host_name = &state.hosts[host.0].name;
                assert!(
                    state.polls - state.moved.1 < POLLS_MAX,
                    "time stands still: task {what_name} of {host_name} runs again and again"
                );
                state.note(id ^ what);
                let now = state.now;
                HERE.with(|here| {
                    let mut here = here.borrow_mut();
                    here.0 = now;
                    here.1.clear();
                    here.1.push_str(&state.hosts[host.0].name);
                });
                (id, future, waker, state.hosts[host.0].env.clone())
            };
            let before = timbermq_env::enter(env);
            let mut context = Context::from_waker(&waker);
            let done = future.as_mut().poll(&mut context).is_ready();
            let mut state = self.state();
            let gone = match state.tasks.get_mut(&id) {
                Some(task) if !done => {
                    task.future = Some(future);
                    None
                }
                Some(task) => {
                    let host = task.host;
                    state.hosts[host.0].tasks.remove(&id);
                    let task = state.tasks.remove(&id);
                    Some((future, task))
                }
                // Its host died while it ran.
                None => Some((future, None)),
            };
            drop(state);
            drop(gone);
            timbermq_env::enter(before);
            HERE.with(|here| {
                let mut here = here.borrow_mut();
                here.1.clear();
                here.1.push('-');
            });
        }
    }
}

fn name_hash(name: &str) -> u64 {
    name.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte))) << 32
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl HostClock {
    fn mono(&self, now: Nanos) -> Nanos {
        let passed = i128::from(now - self.since) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        self.mono + u64::try_from(passed).unwrap_or(0)
    }
}

impl State {
    fn note(&mut self, what: u64) {
        self.digest = (self.digest ^ what ^ self.now).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }

    fn schedule(&mut self, at: Nanos, event: Event) {
        self.seq += 1;
        let seq = self.seq;
        self.due.push(Reverse(Due { at, seq, event }));
    }

    fn sleep(&mut self, d: Nanos) -> Sleep {
        let timer = Arc::new(Timer::default());
        if d == 0 {
            lock(&timer.state).fired = true;
        } else {
            let at = self.now.saturating_add(d);
            self.schedule(at, Event::Timer(Arc::clone(&timer)));
        }
        Sleep { timer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T: Send + 'static>(world: &World, host: HostId, work: impl Future<Output = T> + Send + 'static) -> T {
        let slot = Arc::new(Mutex::new(None));
        let out = Arc::clone(&slot);
        world.spawn(host, "test", Box::pin(async move { *out.lock().unwrap() = Some(work.await) }));
        world.run_until(world.now() + 10_000_000_000);
        slot.lock().unwrap().take().unwrap()
    }

    fn alive(world: &World) -> HostId {
        let host = world.add_host("h", Rng::new(1, "h"));
        world.state().hosts[host.0].alive = true;
        host
    }

    #[test]
    fn nobody_wakes_up_early_by_a_clock_that_drifts() {
        for ppm in [-200_000, -1, 0, 1, 200_000, 333_333] {
            let world = World::new(1, false);
            let host = alive(&world);
            world.set_drift(host, ppm);
            for d in [1, 2, 3, 999, 1_000_003] {
                let (clock, before) = (world.clone(), world.mono(host));
                let wait = world.sleep_on(host, Duration::from_nanos(d));
                let after = run(&world, host, async move {
                    wait.await;
                    clock.mono(host)
                });
                assert!(after - before >= d, "{ppm} ppm: asked for {d}, slept {}", after - before);
            }
        }
    }

    #[test]
    fn a_kill_drops_every_task_and_a_pause_keeps_it() {
        let world = World::new(1, false);
        let host = alive(&world);
        let held = Arc::new(());
        for _ in 0..3 {
            let (mine, wait) = (Arc::clone(&held), world.sleep(Duration::from_secs(1)));
            world.spawn(
                host,
                "test",
                Box::pin(async move {
                    wait.await;
                    drop(mine);
                }),
            );
        }
        world.set_paused(host, true);
        world.run_until(2_000_000_000);
        assert_eq!(Arc::strong_count(&held), 4, "paused");
        world.set_paused(host, false);
        world.run_until(2_000_000_001);
        assert_eq!(Arc::strong_count(&held), 1, "went on");
        let mine = Arc::clone(&held);
        world.spawn(
            host,
            "test",
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(mine);
            }),
        );
        world.kill(host);
        assert_eq!(Arc::strong_count(&held), 1, "killed");
    }

    #[test]
    #[should_panic(expected = "time stands still")]
    fn a_loop_that_takes_no_time_is_seen() {
        let world = World::new(1, false);
        let host = alive(&world);
        world.spawn(
            host,
            "spin",
            Box::pin(std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            })),
        );
        world.run_until(1);
    }
}

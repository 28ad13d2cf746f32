//! What every specification offers, the list of all of them, and how stateright runs one.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{dedupe, delay, dispatch, group_role, log_store, membership, offsets, order_lock, transaction};

/// All specifications, in the order in which they run.
pub const SPECS: &[Spec] = &[
    log_store::SPEC,
    dispatch::SPEC,
    group_role::SPEC,
    membership::SPEC,
    offsets::SPEC,
    order_lock::SPEC,
    transaction::SPEC,
    delay::SPEC,
    dedupe::SPEC,
];

/// Longest time for a configuration that is to be explored completely.
const COMPLETE_LIMIT: Duration = Duration::from_secs(600);
/// States after whose generation every exploration ends, so that what it remembers fits into a few gigabytes of memory.
const GENERATED_MAX: usize = 100_000_000;

/// One specification. The functions run stateright; the TLA+ text of the same name runs in TLC.
pub struct Spec {
    /// Name on the command line.
    pub name: &'static str,
    /// What it asks, in one line.
    pub about: &'static str,
    /// Module `tla/<tla>.tla`, whose shared configuration is `tla/<tla>.cfg`. Its constant `Bug` is `"none"` there.
    pub tla: &'static str,
    /// Names of the seeded bugs, which are values of the TLA+ constant `Bug` as well. TLC must find the first of them too.
    pub bugs: &'static [&'static str],
    /// Explores the configuration shared with TLC until nothing is left.
    pub shared: fn() -> Count,
    /// Explores a larger configuration for as long as the limit allows.
    pub deep: fn(Limit) -> Count,
    /// Looks for a violation with a seeded bug; `None` when there is none, which is a failure of the specification.
    pub find: fn(bug: &'static str) -> Option<Counterexample>,
}

/// How far an exploration may go.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Time after which it ends.
    pub time: Duration,
    /// Threads that explore.
    pub threads: usize,
}

/// What an exploration met.
#[derive(Clone, Debug)]
pub struct Count {
    /// Distinct states.
    pub distinct: u64,
    /// States generated, repetitions included.
    pub generated: u64,
    /// Wall time it took.
    pub seconds: f64,
    /// Whether every reachable state was visited.
    pub complete: bool,
    /// Broken invariants, each with the actions that lead there.
    pub violations: Vec<String>,
    /// Actions that never fired. Anything here means that the specification says less than it seems to.
    pub silent: Vec<&'static str>,
}

/// A way to break an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The invariant.
    pub invariant: &'static str,
    /// What happened, in order.
    pub actions: Vec<String>,
}

/// A state machine to explore.
pub trait Specification: Send + Sync + 'static {
    /// All variables.
    type State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static;
    /// A step with its parameters.
    type Action: Copy + Debug + PartialEq + Send + Sync + 'static;

    /// Names of the actions, as in TLA+. At most 64.
    const ACTIONS: &'static [&'static str];

    /// Position of an action's name in [`ACTIONS`](Self::ACTIONS).
    fn position(action: Self::Action) -> usize;

    /// Where it starts.
    fn init(&self) -> Vec<Self::State>;

    /// Adds the actions that are enabled in `state`.
    fn actions(&self, state: &Self::State, enabled: &mut Vec<Self::Action>);

    /// The state after an enabled action.
    fn next(&self, state: &Self::State, action: Self::Action) -> Self::State;

    /// The invariant that does not hold in `state`, if any; its name begins with its number.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
}

/// Explores the states of `spec` within the limit; ends at the first violation.
pub fn explore<S: Specification>(spec: S, limit: Limit) -> Count {
    let fired = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let checker = Explored { spec, fired: Arc::clone(&fired) }
        .checker()
        .threads(limit.threads)
        .timeout(limit.time)
        .target_state_count(GENERATED_MAX)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let elapsed = started.elapsed();
    let violations: Vec<String> = checker
        .discoveries()
        .into_values()
        .map(|path| {
            let invariant = checker.model().spec.broken(path.last_state()).unwrap_or("none");
            format!("{invariant}: {:?}", path.into_actions())
        })
        .collect();
    let fired = fired.load(Ordering::Relaxed);
    let silent =
        S::ACTIONS.iter().enumerate().filter(|(at, _)| fired & (1 << at) == 0).map(|(_, name)| *name).collect();
    Count {
        distinct: checker.unique_state_count() as u64,
        generated: checker.state_count() as u64,
        seconds: elapsed.as_secs_f64(),
        complete: violations.is_empty() && elapsed < limit.time && checker.state_count() < GENERATED_MAX,
        violations,
        silent,
    }
}

/// Explores all states of a small configuration, on two threads.
pub fn explore_all<S: Specification>(spec: S) -> Count {
    explore(spec, Limit { time: COMPLETE_LIMIT, threads: 2 })
}

/// A way to break an invariant, found breadth first and so among the shortest.
pub fn counterexample<S: Specification>(spec: S) -> Option<Counterexample> {
    let checker = Explored { spec, fired: Arc::default() }
        .checker()
        .timeout(COMPLETE_LIMIT)
        .finish_when(HasDiscoveries::AnyFailures)
        // One thread: with more, which violation is met first is a matter of luck.
        .spawn_bfs()
        .join();
    let path = checker.discoveries().into_values().next()?;
    let invariant = checker.model().spec.broken(path.last_state())?;
    Some(Counterexample {
        invariant,
        actions: path.into_actions().iter().map(|action| format!("{action:?}")).collect(),
    })
}

/// A specification as stateright sees it.
struct Explored<S> {
    spec: S,
    /// A bit for each action that fired.
    fired: Arc<AtomicU64>,
}

impl<S: Specification> Model for Explored<S> {
    type State = S::State;
    type Action = S::Action;

    fn init_states(&self) -> Vec<S::State> {
        self.spec.init()
    }

    fn actions(&self, state: &S::State, actions: &mut Vec<S::Action>) {
        self.spec.actions(state, actions);
    }

    fn next_state(&self, state: &S::State, action: S::Action) -> Option<S::State> {
        let bit = 1 << S::position(action);
        // Written once only, or the threads would fight for the line.
        if self.fired.load(Ordering::Relaxed) & bit == 0 {
            self.fired.fetch_or(bit, Ordering::Relaxed);
        }
        Some(self.spec.next(state, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("invariants", |model, state| model.spec.broken(state).is_none())]
    }
}

/// Checks a specification as every one of them must be: complete, unbroken, every action fired, every seeded bug found.
///
/// # Panics
/// When it is not.
pub fn assert_sound(spec: &Spec) {
    let count = (spec.shared)();
    assert!(count.complete && count.violations.is_empty(), "{}: {count:?}", spec.name);
    assert!(count.silent.is_empty(), "{}: actions that never fire: {:?}", spec.name, count.silent);
    assert!(spec.bugs.len() >= 2, "{} has too few seeded bugs", spec.name);
    for bug in spec.bugs {
        assert!((spec.find)(bug).is_some(), "{}: seeded bug {bug} breaks nothing", spec.name);
    }
    assert_eq!(spec.bugs.iter().collect::<BTreeSet<_>>().len(), spec.bugs.len(), "{}: a bug twice", spec.name);
}

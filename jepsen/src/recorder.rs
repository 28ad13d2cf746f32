//! Where everybody writes down what they saw.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use timbermq_check::history::{Action, History, Micros, NEVER, Operation, Outcome};
use timbermq_client::ClientError;
use timbermq_tests::monotonic::now_us;

/// The history of a run that goes on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
    begin: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// An empty history that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { history: Arc::default(), begin: now_us() }
    }

    /// The history's clock: microseconds since its beginning.
    #[must_use]
    pub fn now(&self) -> Micros {
        now_us().saturating_sub(self.begin)
    }

    /// A time of the machine's monotonic clock in microseconds, as drivers of stock clients tell it, on the history's clock.
    #[must_use]
    pub fn of_monotonic(&self, time: u64) -> Micros {
        if time == NEVER { NEVER } else { time.saturating_sub(self.begin) }
    }

    /// The history so far.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an operation.
    pub fn push(&self, operation: Operation<String>) {
        self.history().push_named(operation);
    }

    /// Adds an operation of `process` that began at `invoke` and ends now.
    pub fn done(&self, process: &str, invoke: Micros, outcome: Outcome, action: Action<String>) {
        self.push(Operation { outcome, ..Operation::new(process.to_owned(), invoke, self.now(), action) });
    }

    /// Adds a fact about a node that happened now.
    pub fn fact(&self, node: &str, action: Action<String>) {
        let now = self.now();
        let operation = Operation::new("observer".to_owned(), now, now, action);
        self.push(Operation { node: Some(node.to_owned()), ..operation });
    }
}

/// How an answer counts: an error that may have happened is of unknown outcome for ever.
pub fn outcome<T>(answer: &Result<T, ClientError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(error) if error.is_unknown() => Outcome::Unknown,
        Err(_) => Outcome::Fail,
    }
}

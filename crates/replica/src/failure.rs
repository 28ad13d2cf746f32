//! The one way a replica dies: the first reason is kept, and whoever owns the process is told.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// Why a replica stopped. The process must end: what a failed replica holds in memory can no longer be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaFailure {
    /// What happened, for a person.
    pub message: Arc<str>,
}

impl fmt::Display for ReplicaFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the replica stopped: {}", self.message)
    }
}

impl std::error::Error for ReplicaFailure {}

/// Where a failure is reported and awaited.
#[derive(Clone)]
pub(crate) struct Failure(Arc<watch::Sender<Option<ReplicaFailure>>>);

impl Failure {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Reports a failure; only the first counts.
    pub fn report(&self, message: impl fmt::Display) {
        self.0.send_if_modified(|failure| {
            if failure.is_some() {
                return false;
            }
            let message: Arc<str> = message.to_string().into();
            tracing::error!(%message, "replica.failed");
            *failure = Some(ReplicaFailure { message });
            true
        });
    }

    pub fn watch(&self) -> watch::Receiver<Option<ReplicaFailure>> {
        self.0.subscribe()
    }

    /// The first failure, once there is one.
    pub async fn wait(&self) -> ReplicaFailure {
        let mut watch = self.watch();
        let failure = watch.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        // The sender lives in `self`, so the wait cannot end without a value.
        failure.unwrap_or_else(|| ReplicaFailure { message: "unknown".into() })
    }
}

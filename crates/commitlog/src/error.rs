//! Why a log cannot be opened, and why it stopped.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// What to do about a replica whose log cannot be trusted, said the same way everywhere.
const REJOIN: &str = "This replica must not vote with what is left. Move its data directory away and let it rejoin empty under a new node id; the other replicas have the data.";

/// Why a log was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// An option has no sense.
    #[error("log options: {0}")]
    Options(String),
    /// The disk failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory holds the log of another broker group.
    #[error("{} belongs to another broker group than {group:?}; check the data directory", path.display())]
    WrongGroup {
        /// The file that says so.
        path: PathBuf,
        /// The group that was asked for.
        group: String,
    },
    /// The hard state (vote, purge mark) is missing, unreadable or older than the log.
    #[error("hard state {}: {detail}. {REJOIN}", path.display())]
    HardState {
        /// The hard state file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Bytes that were durable are not what was written.
    #[error("damaged log: segment {} at byte {offset} (log position {position}, entry {index}): {detail}. {REJOIN}", path.display())]
    Damaged {
        /// The segment file.
        path: PathBuf,
        /// Byte offset in the file.
        offset: u64,
        /// Log position of that byte.
        position: u64,
        /// Index of the entry that should be there.
        index: u64,
        /// What is wrong.
        detail: String,
    },
    /// A segment is missing, doubled or does not fit its neighbours.
    #[error("segments of {} do not fit together: {detail}. {REJOIN}", dir.display())]
    Segments {
        /// The log directory.
        dir: PathBuf,
        /// What does not fit.
        detail: String,
    },
}

impl OpenError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io { operation, path, source }
    }
}

/// The first error that stopped a log. Nothing is written after it; the process must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFailure {
    /// What was being done.
    pub operation: &'static str,
    /// To which file.
    pub path: PathBuf,
    /// What the system said, with its error number.
    pub cause: Arc<str>,
    /// Kind of the error.
    pub kind: io::ErrorKind,
}

impl LogFailure {
    pub(crate) fn new(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        Self { operation, path: path.to_owned(), cause: Arc::from(error.to_string()), kind: error.kind() }
    }

    /// As an error for one caller.
    #[must_use]
    pub fn to_io(&self) -> io::Error {
        io::Error::new(self.kind, self.to_string())
    }
}

impl fmt::Display for LogFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log stopped: cannot {} {}: {}", self.operation, self.path.display(), self.cause)
    }
}

impl std::error::Error for LogFailure {}

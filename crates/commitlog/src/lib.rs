//! The CommitLog: segments, group fsync, recovery, truncation, retention.

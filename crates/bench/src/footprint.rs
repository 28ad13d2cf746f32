//! What one process holds and does, as the kernel counts it.

use std::fs;
use std::io;
use std::path::Path;

use crate::usage::{cpu_us_in, kib_in};

/// The counters of one process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// CPU time so far, in µs.
    pub cpu_us: u64,
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// The same with a page that several processes share counted in parts, in KiB.
    pub pss_kib: u64,
    /// How often its threads have been switched to something else so far: threads that have ended are forgotten.
    pub switches: u64,
    /// Bytes of dirtied pages so far: at least what it causes to be written, more where the file system keeps large pages.
    pub dirtied: u64,
}

impl Footprint {
    /// The counters of process `pid` now.
    ///
    /// # Errors
    /// It is gone, or belongs to somebody else; [`io::ErrorKind::InvalidData`] when the kernel says something unknown.
    pub fn of(pid: u32) -> io::Result<Self> {
        let dir = format!("/proc/{pid}");
        let read = |name: &str| fs::read_to_string(format!("{dir}/{name}"));
        let mut switches = 0;
        for task in fs::read_dir(format!("{dir}/task"))? {
            switches += switches_of(&task?.path()).unwrap_or(0);
        }
        let (stat, rollup, io) = (read("stat")?, read("smaps_rollup")?, read("io")?);
        let found = || {
            Some(Self {
                cpu_us: cpu_us_in(&stat)?,
                rss_kib: kib_in(&rollup, "Rss:")?,
                pss_kib: kib_in(&rollup, "Pss:")?,
                switches,
                dirtied: number_in(&io, "write_bytes:")?,
            })
        };
        found().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{dir} is not understood")))
    }
}

/// Both kinds of switches of one thread; nothing when it has just ended.
fn switches_of(task: &Path) -> Option<u64> {
    switches_in(&fs::read_to_string(task.join("status")).ok()?)
}

fn switches_in(status: &str) -> Option<u64> {
    Some(number_in(status, "voluntary_ctxt_switches:")? + number_in(status, "nonvoluntary_ctxt_switches:")?)
}

fn number_in(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_asked_and_a_missing_one_is_an_error() {
        let own = Footprint::of(std::process::id()).unwrap();
        assert!(own.rss_kib > 0 && own.pss_kib > 0 && own.pss_kib <= own.rss_kib);
        assert!(Footprint::of(0).is_err());
    }

    #[test]
    fn both_kinds_of_switches_count() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(switches_in(status), Some(10));
        assert_eq!(switches_in("Name:\tx\n"), None);
        assert_eq!(number_in("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n", "write_bytes:"), Some(4096));
    }
}

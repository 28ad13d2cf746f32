//! What this process has used so far.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// CPU time of all threads, those that have ended too, in µs.
pub(crate) fn process_cpu_us() -> f64 {
    us(ClockId::ProcessCPUTime)
}

/// CPU time of this thread, in µs.
pub(crate) fn thread_cpu_us() -> f64 {
    us(ClockId::ThreadCPUTime)
}

fn us(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    let seconds = Duration::from_secs(time.tv_sec.unsigned_abs()).as_secs_f64();
    seconds * 1e6 + Duration::from_nanos(time.tv_nsec.unsigned_abs()).as_secs_f64() * 1e6
}

/// Bytes that were given to files, whether or not they have reached the disk.
pub(crate) fn bytes_written() -> Result<u64> {
    number("/proc/self/io", "wchar:")
}

/// Resident memory, in bytes.
pub(crate) fn resident_bytes() -> Result<u64> {
    Ok(number("/proc/self/status", "VmRSS:")? * 1024)
}

fn number(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    number_in(&text, name).with_context(|| format!("{path} does not tell {name}"))
}

fn number_in(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Rounded to 1 / `parts`.
pub(crate) fn rounded(number: f64, parts: f64) -> Value {
    ((number * parts).round() / parts).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_uses_a_part_of_what_the_process_does() {
        let (thread, process) = (thread_cpu_us(), process_cpu_us());
        let burnt = std::thread::spawn(|| {
            while thread_cpu_us() < 2_000.0 {
                std::hint::spin_loop();
            }
            thread_cpu_us()
        });
        let burnt = burnt.join().unwrap();
        assert!(burnt >= 2_000.0 && process_cpu_us() - process >= 2_000.0);
        assert!(thread_cpu_us() >= thread);
    }

    #[test]
    fn numbers_are_found_behind_their_names() {
        assert_eq!(number_in("VmPeak:\t 9 kB\nVmRSS:\t   123 kB\n", "VmRSS:"), Some(123));
        assert_eq!(number_in("rchar: 1\n", "wchar:"), None);
        assert!(resident_bytes().unwrap() > 0 && bytes_written().is_ok());
    }
}

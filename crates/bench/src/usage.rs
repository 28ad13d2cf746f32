//! What a run cost: CPU and memory of processes, bytes that disks moved, and what else the machine was doing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Instant;

use rustix::param::clock_ticks_per_second;
use serde_json::{Value, json};

/// Bytes of a sector in the kernel's statistics, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// Whose costs are measured.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Processes of the servers.
    pub servers: Vec<u32>,
    /// A directory on the disk they read and write.
    pub dir: Option<PathBuf>,
    /// Process of the client; this one unless given.
    pub client: Option<u32>,
}

/// The counters of one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    at: Instant,
    /// Of each server; nothing where the process is gone.
    servers: Vec<Option<Process>>,
    client: Option<Process>,
    machine: Option<Machine>,
    disk: Option<Disk>,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    cpu_us: u64,
    rss_kib: u64,
}

/// Bytes that a disk has moved since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Disk {
    read: u64,
    written: u64,
}

/// CPU time of the whole machine since it was started, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Machine {
    busy: u64,
    idle: u64,
    steal: u64,
}

impl Snapshot {
    /// The counters now.
    pub fn take(watched: &Watched) -> Self {
        Self {
            at: Instant::now(),
            servers: watched.servers.iter().map(|pid| of_process(*pid)).collect(),
            client: of_process(watched.client.unwrap_or_else(process::id)),
            machine: fs::read_to_string("/proc/stat").ok().and_then(|text| machine_in(&text, tick_us())),
            disk: watched.dir.as_deref().and_then(disk_of),
        }
    }
}

/// What was used between two moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Time between the moments, in µs.
    pub elapsed_us: f64,
    /// CPU of all servers together, in µs; nothing if one of them is gone.
    pub servers_cpu_us: Option<f64>,
    /// CPU of the client, in µs.
    pub client_cpu_us: Option<f64>,
    /// Resident memory of each server at the end, in MB.
    pub servers_rss_mb: Vec<Option<f64>>,
    /// Resident memory of the client at the end, in MB.
    pub client_rss_mb: Option<f64>,
    /// Cores that were busy with anything else.
    pub others_cores: Option<f64>,
    /// Part of the time that the host gave to other machines, in percent.
    pub steal_percent: Option<f64>,
    /// Bytes that reached the watched disk, whoever wrote them.
    pub disk_bytes_written: Option<f64>,
    /// Bytes that came from the watched disk, whoever read them.
    pub disk_bytes_read: Option<f64>,
}

impl Usage {
    #[allow(clippy::cast_precision_loss)] // counters of one run
    /// What was used after `before` and before `after`.
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let elapsed_us = after.at.duration_since(before.at).as_secs_f64() * 1e6;
        let cpu = |a: Option<Process>, b: Option<Process>| Some(b?.cpu_us.saturating_sub(a?.cpu_us));
        let servers: Option<u64> = before.servers.iter().zip(&after.servers).map(|(a, b)| cpu(*a, *b)).sum();
        let client = cpu(before.client, after.client);
        let rss = |of: &Option<Process>| of.map(|process| process.rss_kib as f64 * 1024.0 / 1e6);
        let machine = before.machine.zip(after.machine).map(|(a, b)| Machine {
            busy: b.busy.saturating_sub(a.busy),
            idle: b.idle.saturating_sub(a.idle),
            steal: b.steal.saturating_sub(a.steal),
        });
        let moved = |bytes: fn(&Disk) -> u64| {
            let (before, after) = before.disk.as_ref().zip(after.disk.as_ref())?;
            Some(bytes(after).saturating_sub(bytes(before)) as f64)
        };
        let ours = servers.unwrap_or(0) + client.unwrap_or(0);
        Self {
            elapsed_us,
            servers_cpu_us: servers.filter(|_| !before.servers.is_empty()).map(|us| us as f64),
            client_cpu_us: client.map(|us| us as f64),
            servers_rss_mb: after.servers.iter().map(rss).collect(),
            client_rss_mb: rss(&after.client),
            others_cores: machine.map(|m| m.busy.saturating_sub(ours) as f64 / elapsed_us.max(1.0)),
            steal_percent: machine.map(|m| m.steal as f64 * 100.0 / ((m.busy + m.idle + m.steal) as f64).max(1.0)),
            disk_bytes_written: moved(|disk| disk.written),
            disk_bytes_read: moved(|disk| disk.read),
        }
    }
}

fn tick_us() -> u64 {
    1_000_000 / clock_ticks_per_second().max(1)
}

fn of_process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Process { cpu_us: cpu_us_in(&stat)?, rss_kib: kib_in(&status, "VmRSS:")? })
}

/// User and system time in µs, of a `/proc/PID/stat`.
pub(crate) fn cpu_us_in(stat: &str) -> Option<u64> {
    Some(cpu_ticks_in(stat)? * tick_us())
}

/// User and system time in ticks, of a `/proc/PID/stat`.
fn cpu_ticks_in(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything; the state follows the last one. The times are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// What stands behind `key`, in KiB.
pub(crate) fn kib_in(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn machine_in(stat: &str, tick_us: u64) -> Option<Machine> {
    let fields: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = fields[..] else { return None };
    Some(Machine {
        busy: (user + nice + system + irq + softirq) * tick_us,
        idle: (idle + iowait) * tick_us,
        steal: steal * tick_us,
    })
}

/// What the disk that holds `dir` has moved.
fn disk_of(dir: &Path) -> Option<Disk> {
    let device = fs::metadata(dir).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    disk_in(&fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?)
}

/// The third field is sectors read, the seventh sectors written. (What `/proc/PID/io` says counts whole folios for each
/// dirtied page.)
fn disk_in(stat: &str) -> Option<Disk> {
    let bytes = |field| Some(stat.split_whitespace().nth(field)?.parse::<u64>().ok()? * SECTOR_BYTES);
    Some(Disk { read: bytes(2)?, written: bytes(6)? })
}

/// The machine and how busy it is, for a report.
pub fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory_kib = value(&meminfo, "MemTotal").and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
    json!({
        "cpu": value(&cpuinfo, "model name"),
        "cores": std::thread::available_parallelism().map(std::num::NonZero::get).ok(),
        "memoryGiB": memory_kib.map(|kib| kib.div_ceil(1024 * 1024)),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

/// The load averages of 1, 5 and 15 minutes.
pub fn load() -> Vec<f64> {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).filter_map(|field| field.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 9 20 0 5 0 123 1000 200";
        assert_eq!(cpu_ticks_in(stat), Some(300));
        assert_eq!(cpu_ticks_in("42 (a"), None);
        assert_eq!(kib_in("Name:\tx\nVmRSS:\t   12345 kB\n", "VmRSS:"), Some(12_345));
    }

    #[test]
    fn the_machine_is_busy_idle_or_stolen() {
        let machine = machine_in("cpu  10 20 30 400 5 6 7 8 0 0\ncpu0 1 2 3\n", 10_000).unwrap();
        assert_eq!(machine, Machine { busy: 730_000, idle: 4_050_000, steal: 80_000 });
        assert_eq!(machine_in("intr 1", 1), None);
        assert_eq!(disk_in(" 1 2 30 4 5 6 700 8"), Some(Disk { read: 30 * 512, written: 700 * 512 }));
        assert_eq!(disk_in(" 1 2 30"), None);
    }

    #[test]
    fn usage_is_the_difference_and_a_process_that_is_gone_has_none() {
        let at = Instant::now();
        let used = |cpu_us, rss_kib| Some(Process { cpu_us, rss_kib });
        let machine = |busy, idle, steal| Some(Machine { busy, idle, steal });
        let before = Snapshot {
            at,
            servers: vec![used(100, 1), used(200, 1)],
            client: used(50, 1),
            machine: machine(1_000, 0, 0),
            disk: Some(Disk { read: 10, written: 1_000 }),
        };
        let mut after = Snapshot {
            at: at + std::time::Duration::from_micros(1_000),
            servers: vec![used(300, 1_000), used(500, 2_000)],
            client: used(150, 500),
            machine: machine(2_600, 300, 100),
            disk: Some(Disk { read: 30, written: 5_000 }),
        };
        let usage = Usage::between(&before, &after);
        assert_eq!((usage.servers_cpu_us, usage.client_cpu_us), (Some(500.0), Some(100.0)));
        assert_eq!(usage.others_cores, Some(1.0), "1600 µs busy, 600 of them ours, in 1000 µs");
        assert_eq!(usage.steal_percent, Some(5.0));
        assert_eq!((usage.disk_bytes_read, usage.disk_bytes_written), (Some(20.0), Some(4_000.0)));
        assert_eq!(usage.servers_rss_mb, [Some(1.024), Some(2.048)]);
        after.servers[1] = None;
        assert_eq!(Usage::between(&before, &after).servers_cpu_us, None);
    }

    #[test]
    fn this_process_and_this_machine_can_be_asked() {
        assert!(of_process(process::id()).is_some());
        assert_eq!(load().len(), 3);
        assert!(machine()["cores"].as_u64().is_some_and(|cores| cores > 0));
    }
}

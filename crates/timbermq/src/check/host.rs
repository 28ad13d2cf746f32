//! The clock and the limits of the host.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};
use timbermq_config::ServerSettings;
use timbermq_env::Env;

use super::Finding;
use super::disk::DataDir;
use crate::time;

/// 2026-01-01: no clock that was ever set shows less.
const EPOCH_MIN_MS: u64 = 1_767_225_600_000;
/// Clocks of one group may differ by about this much without anybody noticing.
const AHEAD_MAX: Duration = Duration::from_secs(2);
/// Files that are not connections: segments, index files, sockets to peers.
const FILES_BESIDE_CONNECTIONS: u64 = 1024;

pub(super) fn clock(env: &Env, data: &DataDir) -> Finding {
    const NAME: &str = "clock";
    let now = env.wall();
    let shown = time::utc(i64::try_from(now.0).unwrap_or(i64::MAX));
    if now.0 < EPOCH_MIN_MS {
        return Finding::fail(NAME, format!("the clock shows {shown}: it was never set"));
    }
    // Message times come from the clock; one that was set back shows in what was written before.
    match newest(&data.path.join("log")).and_then(|written| written.duration_since(SystemTime::now()).ok()) {
        Some(ahead) if ahead > AHEAD_MAX => {
            let ahead = humantime::format_duration(Duration::from_secs(ahead.as_secs()));
            Finding::warn(
                NAME,
                format!("{shown}, but the log was written {ahead} later than that: the clock was set back"),
            )
        }
        _ => Finding::ok(NAME, shown),
    }
}

fn newest(dir: &Path) -> Option<SystemTime> {
    fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok()).max()
}

pub(super) fn open_files(settings: &ServerSettings) -> Finding {
    const NAME: &str = "open files";
    let needed = settings.connections.saturating_add(FILES_BESIDE_CONNECTIONS);
    // The server raises its own limit to the hard one.
    let Some(limit) = getrlimit(Resource::Nofile).maximum else {
        return Finding::ok(NAME, "unlimited");
    };
    if limit < needed {
        let detail = format!("limit {limit}, but limits.connections = {} asks for {needed}", settings.connections);
        return Finding::warn(NAME, detail);
    }
    Finding::ok(NAME, format!("limit {limit}, needed {needed}"))
}

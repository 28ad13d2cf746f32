//! `timbermq dev kill`: a replica dies, and the clock runs.

use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::cli::Global;
use crate::dev::state::{DevState, ReplicaState};
use crate::dev::{status, watch};
use crate::failure::Failure;
use crate::output;
use crate::process;

/// Longest wait for another leader.
const TAKEOVER_MAX: Duration = Duration::from_secs(30);

/// Who is to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// Whoever leads.
    Leader,
    /// The replica of this number.
    Replica(u16),
}

impl FromStr for Victim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "leader" => Ok(Victim::Leader),
            _ => text.parse().map(Victim::Replica).map_err(|_| "write leader or the number of a replica".to_owned()),
        }
    }
}

/// Kills a replica and reports what came of it.
///
/// # Errors
/// No such replica runs, or nobody takes over.
pub fn run(global: &Global, port: u16, victim: Victim) -> Result<(), Failure> {
    crate::logging::start_quiet();
    let state = DevState::find(port)?;
    process::runtime()?.block_on(kill(global, &state, victim))
}

async fn kill(global: &Global, state: &DevState, victim: Victim) -> Result<(), Failure> {
    let session = status::session(state, watch::ASK_MAX);
    let leader = watch::registered(&session).await.remove(&0);
    let replica = choose(state, victim, leader.as_deref())?;
    let number = replica.number;
    let process = state
        .process(replica)
        .ok_or_else(|| Failure::failed(format!("replica {number} is not running at the moment")))?;
    let before = Instant::now();
    kill_process(process, Signal::KILL).map_err(|error| {
        Failure::failed(format!("cannot kill replica {number} (pid {}): {error}", process.as_raw_pid()))
    })?;
    let was_leader = leader.as_deref() == Some(&replica.address);
    eprintln!(
        "killed replica {number} (pid {}), {}",
        process.as_raw_pid(),
        if was_leader { "the leader" } else { "a follower" }
    );
    if !was_leader {
        let still = leader.as_deref().and_then(|address| state.at(address)).map(|replica| replica.number);
        let value = json!({"killed": number, "wasLeader": false, "leader": still});
        return output::either(global.output, &value, || match still {
            Some(leader) => format!("replica {leader} still leads"),
            None => "nobody leads".to_owned(),
        });
    }
    let Some(successor) = watch::takeover(&session, &replica.address, TAKEOVER_MAX).await else {
        return Err(Failure::failed(format!("nobody leads yet, {} s later", TAKEOVER_MAX.as_secs())));
    };
    let took = before.elapsed().as_millis();
    let next = state.at(&successor).map(|replica| replica.number);
    let value = json!({"killed": number, "wasLeader": true, "leader": next, "tookMs": u64::try_from(took).ok()});
    output::either(global.output, &value, || match next {
        Some(next) if next == number => format!("replica {next} was started again and leads again, after {took} ms"),
        Some(next) => format!("replica {next} leads now, after {took} ms"),
        None => format!("{successor} leads now, after {took} ms"),
    })
}

fn choose<'a>(state: &'a DevState, victim: Victim, leader: Option<&str>) -> Result<&'a ReplicaState, Failure> {
    match victim {
        Victim::Replica(number) => {
            state.replicas.iter().find(|replica| replica.number == number).ok_or_else(|| {
                Failure::Usage(format!("there is no replica {number}; there are {}", state.replicas.len()))
            })
        }
        Victim::Leader => leader
            .and_then(|address| state.at(address))
            .ok_or_else(|| Failure::failed("nobody leads at the moment; try again, or name a replica by its number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_are_read() {
        assert_eq!("leader".parse(), Ok(Victim::Leader));
        assert_eq!("2".parse(), Ok(Victim::Replica(2)));
        assert!("follower".parse::<Victim>().is_err());
    }
}

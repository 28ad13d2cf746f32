//! `timbermq dev status`, and the table of replicas that `timbermq dev` shows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::Global;
use crate::dev::state::DevState;
use crate::dev::watch;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::process;
use crate::session::Session;

/// Shows the running cluster.
///
/// # Errors
/// None is running, or it has no leader.
pub fn run(global: &Global, port: u16) -> Result<(), Failure> {
    crate::logging::start_quiet();
    let state = DevState::find(port)?;
    let registered = process::runtime()?.block_on(async { watch::registered(&session(&state, watch::ASK_MAX)).await });
    output::either(global.output, &value(&state, &registered), || table(&state, &registered))?;
    if registered.contains_key(&0) { Ok(()) } else { Err(Failure::failed("the cluster has no leader at the moment")) }
}

/// A session with the cluster's NameServer.
pub fn session(state: &DevState, timeout: Duration) -> Session {
    Session::new(&timbermq_host::env(), vec![state.namesrv.clone()], timeout)
}

/// One replica as it is now.
struct Line {
    number: u16,
    broker_id: Option<i64>,
    role: &'static str,
    address: String,
    pid: Option<i32>,
}

fn lines(state: &DevState, registered: &BTreeMap<i64, String>) -> Vec<Line> {
    let line = |replica: &crate::dev::state::ReplicaState| {
        let broker_id = registered.iter().find(|(_, address)| **address == replica.address).map(|(id, _)| *id);
        let pid = state.process(replica).and(replica.pid);
        let role = match (broker_id, pid) {
            (_, None) => "down",
            (Some(0), _) => "leader",
            (Some(_), _) => "follower",
            (None, _) => "starting",
        };
        Line { number: replica.number, broker_id, role, address: replica.address.clone(), pid }
    };
    state.replicas.iter().map(line).collect()
}

/// The table of replicas.
pub fn table(state: &DevState, registered: &BTreeMap<i64, String>) -> String {
    let mut rows = Rows::new(&["REPLICA", "BROKERID", "ROLE", "ADDRESS", "PID"]);
    for line in lines(state, registered) {
        rows.push([
            line.number.to_string(),
            line.broker_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            line.role.to_owned(),
            line.address,
            line.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        ]);
    }
    rows.render()
}

/// The same for programs.
pub fn value(state: &DevState, registered: &BTreeMap<i64, String>) -> Value {
    let replica = |line: Line| {
        json!({
            "replica": line.number,
            "brokerId": line.broker_id,
            "role": line.role,
            "address": line.address,
            "pid": line.pid,
        })
    };
    json!({
        "namesrv": state.namesrv,
        "dir": state.dir,
        "supervisor": state.supervisor,
        "replicas": lines(state, registered).into_iter().map(replica).collect::<Vec<_>>(),
    })
}

//! Traces of a replica group: what its replicas did, in order, checked against the specification of the group.
//!
//! A trace is a file of JSON lines, `{"node":1,"event":"append","index":5,"term":2,"sum":77}`. The code tells its steps as
//! `tracing` events with target `spec` (macro `timbermq_env::spec_event`); whoever records them adds the node and keeps them in
//! the order in which they happened in the whole group. Fields the table below does not name are ignored. Indexes count from
//! 0; a field `next` is the index after the last one.
//!
//! | event | fields | the step |
//! |---|---|---|
//! | `start`, `crash`, `wipe` | | told by the recorder: a process starts, loses power, loses its disk |
//! | `recovered_term` | `index`, `term` | the log was opened; a term starts here |
//! | `recovered` | `purged`, `purged_term`, `next`, `committed`, `vote_term`, `voted_for`, `vote_committed` | all terms were told; the log's bounds and the vote |
//! | `started` | `id`, `applied`, `applied_term` | the replica runs under this Raft id, with a state up to `applied` (exclusive) |
//! | `vote`, `vote_saved` | `term`, `voted_for`, `committed` | the vote is changed; it is durable |
//! | `membership` | `index`, `voters` | the entry about to be appended here is this membership, as `1,2,3` or `1,2,3;2,3,4` |
//! | `append` | `index`, `term`, `sum` | an entry is in the log in memory |
//! | `submit` | `index`, `term` | the entries up to here are handed to the log's writer as one operation |
//! | `synced` | `next` | everything before is synced |
//! | `durable` | `next` | everything before counts as durable |
//! | `ack` | `index`, `term` | an operation is acknowledged to the engine |
//! | `truncate`, `truncated` | `next` | everything from here on is dropped; no crash brings it back |
//! | `purge`, `purged` | `next` | everything before is no longer needed; that is durable |
//! | `install`, `installed` | `index`, `term` | the state is being, and was, replaced by a snapshot up to this entry |
//! | `reset`, `reset_saved` | `index`, `term`; `index` | the log is emptied and continues behind this entry; that is durable |
//! | `commit` | `index`, `term` | the engine takes entries up to this one as committed |
//! | `apply` | `index`, `term`, `sum` | an entry is applied |
//! | `answer` | `index`, `term` | whoever proposed the entry is answered |
//! | `became_leader` | `term` | the replica serves as leader: its first command of the term is applied |

pub mod acceptor;
pub mod mutate;
pub mod runs;
pub mod tally;
pub mod tla;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Most fields of an event.
pub const FIELDS_MAX: usize = 7;

/// A configuration of voters; more than one while a joint change is under way.
pub type Voters = Vec<BTreeSet<u64>>;

macro_rules! kinds {
    ($($kind:ident $name:literal [$($field:literal),*]),* $(,)?) => {
        /// What kind of step an event tells.
        #[allow(missing_docs)] // the module's table describes them
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($kind),* }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            /// The event's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name),* }
            }

            /// Names of the event's numbers, in the order of [`Event::values`].
            #[must_use]
            pub fn fields(self) -> &'static [&'static str] {
                match self { $(Kind::$kind => &[$($field),*]),* }
            }
        }
    };
}

kinds! {
    Start "start" [],
    Crash "crash" [],
    Wipe "wipe" [],
    RecoveredTerm "recovered_term" ["index", "term"],
    Recovered "recovered" ["purged", "purged_term", "next", "committed", "vote_term", "voted_for", "vote_committed"],
    Started "started" ["id", "applied", "applied_term"],
    Vote "vote" ["term", "voted_for", "committed"],
    VoteSaved "vote_saved" ["term", "voted_for", "committed"],
    Membership "membership" ["index"],
    Append "append" ["index", "term", "sum"],
    Submit "submit" ["index", "term"],
    Synced "synced" ["next"],
    Durable "durable" ["next"],
    Ack "ack" ["index", "term"],
    Truncate "truncate" ["next"],
    Truncated "truncated" ["next"],
    Purge "purge" ["next"],
    Purged "purged" ["next"],
    Install "install" ["index", "term"],
    Installed "installed" ["index", "term"],
    Reset "reset" ["index", "term"],
    ResetSaved "reset_saved" ["index"],
    Commit "commit" ["index", "term"],
    Apply "apply" ["index", "term", "sum"],
    Answer "answer" ["index", "term"],
    BecameLeader "became_leader" ["term"],
}

/// One step of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The process, as the recorder counts them; not the Raft id, which changes when a disk is replaced.
    pub node: u64,
    /// What happened.
    pub kind: Kind,
    /// The numbers [`Kind::fields`] names; 0 behind them.
    pub values: [u64; FIELDS_MAX],
    /// Of a `membership` only.
    pub voters: Option<Arc<Voters>>,
}

impl Event {
    /// Reads one line.
    ///
    /// # Errors
    /// Says what is missing or unknown.
    pub fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).context("no JSON object")?;
        let name = value["event"].as_str().context("no event")?;
        let kind =
            *Kind::ALL.iter().find(|kind| kind.name() == name).with_context(|| format!("unknown event {name}"))?;
        let mut values = [0; FIELDS_MAX];
        for (slot, field) in values.iter_mut().zip(kind.fields()) {
            let number = |value: &Value| value.as_u64().or(value.as_bool().map(u64::from));
            *slot = number(&value[field]).with_context(|| format!("{name} without a number {field}"))?;
        }
        let voters = match kind {
            Kind::Membership => Some(Arc::new(parse_voters(value["voters"].as_str().context("no voters")?)?)),
            _ => None,
        };
        Ok(Self { node: value["node"].as_u64().context("no node")?, kind, values, voters })
    }
}

fn parse_voters(text: &str) -> Result<Voters> {
    let ids = |config: &str| config.split(',').map(|id| id.parse().context("a voter is no number")).collect();
    text.split(';').map(ids).collect()
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} {}", self.node, self.kind.name())?;
        for (field, value) in self.kind.fields().iter().zip(self.values) {
            write!(f, " {field}={value}")?;
        }
        match &self.voters {
            Some(voters) => write!(f, " voters={voters:?}"),
            None => Ok(()),
        }
    }
}

/// Reads a trace.
///
/// # Errors
/// Names the file and the line that cannot be read.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

/// Reads the text of a trace.
///
/// # Errors
/// Names the line that cannot be read.
pub fn parse(text: &str) -> Result<Vec<Event>> {
    let events: Vec<Event> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| Event::parse(line).with_context(|| format!("line {}", at + 1)))
        .collect::<Result<_>>()?;
    if events.is_empty() {
        bail!("there are no events");
    }
    Ok(events)
}

#[cfg(test)]
mod tests;

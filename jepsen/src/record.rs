//! What is kept of a run, and how it is judged.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use timbermq_check::history::{FaultKind, History, Micros, Reader};
use timbermq_check::{Id, Verdict};

use crate::edn;
use crate::nemesis::{self, Nemesis};
use crate::system::{self, System};
use crate::workload::{self, Workload};

/// How long a request may stay without an answer. Microseconds.
const ANSWER_WITHIN: Micros = 20_000_000;
/// Fewest operations that must have succeeded for a run to say anything.
const OK_MIN: u64 = 100;

/// What a run is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Name of the system under test.
    #[serde(default = "product")]
    pub system: String,
    /// Names of the workloads.
    pub workloads: Vec<String>,
    /// Names of the nemeses.
    pub nemeses: Vec<String>,
    /// Replicas.
    pub nodes: usize,
    /// Seconds under load.
    pub seconds: u64,
    /// Operations a second.
    pub rate: u32,
    /// Clients of each workload.
    pub clients: u32,
    /// Seed.
    pub seed: u64,
    /// How many times longer than usual faults and the rests between them last.
    #[serde(default = "usual")]
    pub pace: u64,
    /// The binary under test, of the product.
    pub binary: PathBuf,
    /// The directory of the jars, of Apache RocketMQ, and their version.
    #[serde(default)]
    pub apache: Option<(PathBuf, String)>,
    /// Seeded bug in the replicas.
    pub bug: Option<String>,
    /// Further settings of the replicas.
    pub settings: Vec<String>,
    /// NameServers of a cluster that somebody else started; none for a cluster of the run's own.
    #[serde(default)]
    pub attached: Option<String>,
    /// Where everything that the run leaves goes.
    pub dir: PathBuf,
}

fn product() -> String {
    system::PRODUCT.name().to_owned()
}

const fn usual() -> u64 {
    1
}

impl Options {
    /// The system under test; the product if its name is not known any more.
    #[must_use]
    pub fn system(&self) -> &'static dyn System {
        system::named(&self.system).unwrap_or(system::PRODUCT)
    }

    /// The command that repeats the run.
    #[must_use]
    pub fn command(&self) -> String {
        if let Some(namesrv) = &self.attached {
            return format!(
                "timbermq-jepsen attach --namesrv {namesrv} --workload {} --time {} --rate {} --clients {} --seed {}",
                self.workloads.join(","),
                self.seconds,
                self.rate,
                self.clients,
                self.seed
            );
        }
        let mut command = "timbermq-jepsen run".to_owned();
        if !self.system().is_product() {
            command.push_str(&format!(" --system {}", self.system));
        }
        command.push_str(&format!(" --workload {}", self.workloads.join(",")));
        if !self.nemeses.is_empty() {
            command.push_str(&format!(" --nemesis {}", self.nemeses.join(",")));
        }
        command.push_str(&format!(
            " --nodes {} --time {} --rate {} --clients {} --seed {}",
            self.nodes, self.seconds, self.rate, self.clients, self.seed
        ));
        if self.pace != self.system().pace() {
            command.push_str(&format!(" --pace {}", self.pace));
        }
        if let Some(bug) = &self.bug {
            command.push_str(&format!(" --bug {bug}"));
        }
        for setting in &self.settings {
            command.push_str(&format!(" --set {setting}"));
        }
        command
    }

    /// The workloads.
    #[must_use]
    pub fn workloads(&self) -> Vec<&'static dyn Workload> {
        self.workloads.iter().filter_map(|name| workload::named(name)).collect()
    }

    /// The nemeses.
    #[must_use]
    pub fn nemeses(&self) -> Vec<&'static dyn Nemesis> {
        self.nemeses.iter().filter_map(|name| nemesis::named(name)).collect()
    }
}

/// A change of what a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in microseconds of the history.
    pub at: Micros,
    /// Which replica.
    pub node: String,
    /// Its role; none when it does not answer.
    pub role: Option<String>,
    /// Its term.
    pub term: u64,
}

/// What became of a fault that was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Which nemesis.
    pub nemesis: String,
    /// What it did; none when there was nothing to hit.
    pub detail: Option<String>,
    /// When it began and when it was taken back, in microseconds of the history.
    pub from: Micros,
    /// See `from`.
    pub to: Micros,
}

/// What is kept of a run beside its history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What it was to be.
    pub options: Options,
    /// What the replicas said of themselves.
    pub samples: Vec<Sample>,
    /// The faults.
    pub ledger: Vec<Ledger>,
    /// Begin and end of the load, in microseconds of the history.
    pub load: (Micros, Micros),
    /// What stopped the run before its end.
    pub broken: Option<String>,
}

/// A run with its history and what the checkers say of it.
#[derive(Debug)]
pub struct Finished {
    /// The run.
    pub record: Record,
    /// What everybody saw.
    pub history: History,
    /// What the checkers say.
    pub judged: timbermq_check::Report,
}

/// The file of a run's [`Record`].
pub const RECORD: &str = "run.json";
/// The file of its history.
const HISTORY: &str = "history.jsonl";

impl Finished {
    /// Has the checkers judge a run.
    #[must_use]
    pub fn judge(record: Record, history: History) -> Self {
        let system = record.options.system();
        // Of a cluster that somebody else started nobody knows what its processes do, and a slave of it may lag.
        let own: &[u8] = if record.options.attached.is_some() { &[30] } else { &[26, 30, 31] };
        let mut required: BTreeSet<Id> = own.iter().copied().map(Id::new).collect();
        for workload in record.options.workloads() {
            required.extend(workload.required().iter().copied().map(Id::new));
        }
        if record.ledger.iter().any(|fault| fault.nemesis == "power-all" && fault.detail.is_some()) {
            required.insert(Id::new(28));
        }
        let mut switched_off = BTreeSet::new();
        if let Some(promises) = system.promises() {
            required.retain(|id| promises.contains(&id.number()));
            let all = timbermq_check::INVARIANTS.iter().map(|invariant| invariant.id);
            switched_off.extend(all.filter(|id| !promises.contains(&id.number())));
        }
        let options = timbermq_check::Options {
            required,
            switched_off,
            recover_within: Micros::try_from(system.recovers_within().as_micros()).unwrap_or(Micros::MAX),
            answer_within: Some(ANSWER_WITHIN),
            ok_min: OK_MIN,
            ..timbermq_check::Options::default()
        };
        let judged = timbermq_check::check(&history, &options);
        Self { record, history, judged }
    }

    /// The verdict of the whole: a run that stopped before its end, or whose faults did not happen, is not valid.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if *self.judged.verdict() == Verdict::Invalid {
            return Verdict::Invalid;
        }
        if let Some(why) = &self.record.broken {
            return Verdict::Unknown(why.clone());
        }
        let struck: BTreeSet<&str> = self.faults().map(|fault| fault.nemesis.as_str()).collect();
        let planned: BTreeSet<&str> = self.record.ledger.iter().map(|fault| fault.nemesis.as_str()).collect();
        if let Some(missed) = planned.difference(&struck).next() {
            return Verdict::Unknown(format!("{missed} never had anything to hit"));
        }
        if struck.is_empty() && !self.record.options.nemeses.is_empty() {
            return Verdict::Unknown("the run was too short for a fault".to_owned());
        }
        self.judged.verdict().clone()
    }

    /// The faults that happened.
    pub fn faults(&self) -> impl Iterator<Item = &Ledger> {
        self.record.ledger.iter().filter(|fault| fault.detail.is_some())
    }

    /// How many faults were power cuts.
    #[must_use]
    pub fn power_cuts(&self) -> usize {
        let is_power =
            |fault: &&Ledger| nemesis::named(&fault.nemesis).is_some_and(|nemesis| nemesis.kind() == FaultKind::Power);
        self.faults().filter(is_power).count()
    }

    /// Writes what is kept of a run into its directory: the history as JSON lines and as EDN, and the rest.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self) -> Result<()> {
        let dir = &self.record.options.dir;
        let create = |name: &str| {
            let file = File::create(dir.join(name)).with_context(|| dir.join(name).display().to_string());
            file.map(BufWriter::new)
        };
        self.history.write_jsonl(create(HISTORY)?)?;
        edn::write(&self.history, &mut create("history.edn")?)?;
        serde_json::to_writer_pretty(create(RECORD)?, &self.record)?;
        Ok(())
    }

    /// Reads a run again that was kept in a directory, and judges it again.
    ///
    /// # Errors
    /// A file is missing or cannot be understood.
    pub fn read(dir: &Path) -> Result<Self> {
        let open = |name: &str| File::open(dir.join(name)).with_context(|| dir.join(name).display().to_string());
        let record: Record = serde_json::from_reader(BufReader::new(open(RECORD)?))?;
        let history = Reader::default().read(BufReader::new(open(HISTORY)?))?;
        Ok(Self::judge(record, history))
    }
}

/// The directory of a run that has none of its own.
#[must_use]
pub fn default_dir(seed: u64, base: &Path) -> PathBuf {
    base.join(format!("run-{seed}-{}", std::process::id()))
}

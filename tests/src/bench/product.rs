//! The product as the sending scenarios measure it: one group, of three unless told, whose log files have been used before.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Pace, SLACK, TOPIC, WARMUP, load, paced, serving};
use crate::cluster::{Cluster, Options};

/// Load before the first run: the files of a broker that has run for long have been used before, and are used again.
pub(super) const FILL: Duration = Duration::from_secs(30);
/// Messages in flight meanwhile.
const FILL_WINDOW: usize = 1024;

/// How the product begins.
#[derive(Clone, Debug)]
pub(super) struct Beginning<'a> {
    /// What an acknowledgement means, in the product's own words.
    pub durability: &'a str,
    /// Further settings.
    pub set: &'a [String],
    /// Bytes of a body.
    pub size: usize,
    /// Load before the first run.
    pub fill: Duration,
    /// What is planted in the replicas, whose build must be one that can have it.
    pub plant: Option<String>,
    /// How many replicas.
    pub replicas: usize,
    /// Nothing is removed, and files are not used again.
    pub keeps_all: bool,
}

impl<'a> Beginning<'a> {
    /// The usual one.
    pub(super) fn new(durability: &'a str, set: &'a [String], size: usize) -> Self {
        Self { durability, set, size, fill: FILL, plant: None, replicas: 3, keeps_all: false }
    }
}

/// Replicas that serve.
pub(super) struct Product {
    cluster: Cluster,
    /// What they were started with.
    pub settings: Vec<String>,
}

impl Product {
    /// Starts it with its data in `dir`, makes the topic, and fills the log by the bench's own program.
    ///
    /// # Errors
    /// It does not come to serve.
    pub(super) fn start(binary: &Path, bench: &Path, dir: PathBuf, beginning: &Beginning) -> Result<Self> {
        let product = Self::empty(binary, dir, beginning)?;
        eprintln!("filling the log");
        let pace =
            Pace { window: FILL_WINDOW, connections: 1, size: beginning.size, warmup: WARMUP, time: beginning.fill };
        paced(&mut load(bench, &product.namesrv(), TOPIC, &[]), &pace, SLACK)?;
        Ok(product)
    }

    /// Starts it with its data in `dir`, and makes the topic.
    ///
    /// # Errors
    /// It does not come to serve.
    pub(super) fn empty(binary: &Path, dir: PathBuf, beginning: &Beginning) -> Result<Self> {
        let Beginning { durability, set, plant, replicas, keeps_all, .. } = beginning;
        let mut settings = vec![format!("group.durability={durability}"), "log.segment_bytes=256MiB".to_owned()];
        if !keeps_all {
            // So that the disk does not fill, and segments are used again before the first run.
            settings.extend(["retention.bytes=512MiB", "retention.step_bytes=256MiB"].map(str::to_owned));
        }
        settings.extend(set.iter().cloned());
        let (plant, replicas) = (plant.clone(), *replicas);
        let options = Options { settings: settings.clone(), plant, replicas, ..Options::in_dir(dir) };
        let (cluster, admin) = serving(binary, &options)?;
        admin.create_topic(TOPIC, 1)?;
        Ok(Self { cluster, settings })
    }

    /// Address of its NameServer.
    pub(super) fn namesrv(&self) -> String {
        self.cluster.namesrv()
    }

    /// Processes of its replicas, all of which run.
    ///
    /// # Errors
    /// A replica has ended.
    pub(super) fn pids(&mut self) -> Result<Vec<u32>> {
        self.cluster.ensure_alive()?;
        Ok(self.cluster.pids())
    }

    /// A load on a topic of it, with its costs.
    ///
    /// # Errors
    /// A replica has ended.
    pub(super) fn load(&mut self, bench: &Path, topic: &str, dir: &Path) -> Result<Command> {
        let mut load = load(bench, &self.cluster.namesrv(), topic, &self.pids()?);
        load.arg("--dir").arg(dir);
        Ok(load)
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// A replica has ended before, or does not stop.
    pub(super) fn stop(mut self) -> Result<()> {
        self.cluster.ensure_alive()?;
        self.cluster.stop().context("stopping the cluster")
    }
}

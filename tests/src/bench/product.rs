//! The product as the sending scenarios measure it: one group, of three unless told, whose log files have been used before.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Pace, SLACK, TOPIC, WARMUP, load, load_on, paced};
use crate::admin::Admin;
use crate::cluster::{Cluster, Options};

/// Load before the first run: the files of a broker that has run for long have been used before, and are used again.
pub(super) const FILL: Duration = Duration::from_secs(30);
/// Messages in flight meanwhile.
const FILL_WINDOW: usize = 1024;

/// How the product begins.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    /// Load before the first run.
    pub fill: Duration,
    /// What is planted in the replicas, whose build must be one that can have it.
    pub plant: Option<String>,
    /// How many replicas.
    pub replicas: usize,
}

impl Default for Beginning {
    fn default() -> Self {
        Self { fill: FILL, plant: None, replicas: 3 }
    }
}

/// Replicas that serve.
pub(super) struct Product {
    cluster: Cluster,
    /// What they were started with.
    pub settings: Vec<String>,
}

impl Product {
    /// Starts it with a durability of its own words and further settings, makes the topic, and fills the log with bodies of
    /// `size` bytes by the bench's own program.
    ///
    /// # Errors
    /// It does not come to serve.
    pub(super) fn start(
        binary: &Path,
        bench: &Path,
        durability: &str,
        further: &[String],
        size: usize,
        dir: PathBuf,
    ) -> Result<Self> {
        Self::start_as(binary, bench, durability, further, size, dir, &Beginning::default())
    }

    /// The same with another beginning.
    ///
    /// # Errors
    /// It does not come to serve.
    pub(super) fn start_as(
        binary: &Path,
        bench: &Path,
        durability: &str,
        further: &[String],
        size: usize,
        dir: PathBuf,
        beginning: &Beginning,
    ) -> Result<Self> {
        let settings: Vec<String> = [
            format!("group.durability={durability}"),
            // So that the disk does not fill, and segments are used again before the first run.
            "log.segment_bytes=256MiB".to_owned(),
            "retention.bytes=512MiB".to_owned(),
            "retention.step_bytes=256MiB".to_owned(),
        ]
        .into_iter()
        .chain(further.iter().cloned())
        .collect();
        let plant = beginning.plant.clone();
        let replicas = beginning.replicas;
        let options = Options { settings: settings.clone(), plant, replicas, ..Options::in_dir(dir) };
        let cluster = Cluster::start(binary, &options)?;
        let admin = Admin::new(&cluster.namesrv())?;
        admin.wait_for_leader(Duration::from_secs(30)).context("the group did not elect a first leader")?;
        admin.create_topic(TOPIC, 1)?;
        eprintln!("filling the log");
        let pace = Pace { window: FILL_WINDOW, connections: 1, size, warmup: WARMUP, time: beginning.fill };
        paced(&mut load(bench, &cluster.namesrv(), &[]), &pace, SLACK)?;
        Ok(Self { cluster, settings })
    }

    /// Address of its NameServer.
    pub(super) fn namesrv(&self) -> String {
        self.cluster.namesrv()
    }

    /// A load on it, with its costs.
    ///
    /// # Errors
    /// A replica has ended.
    pub(super) fn load(&mut self, bench: &Path, dir: &Path) -> Result<Command> {
        self.load_on(bench, TOPIC, dir)
    }

    /// The same, on another topic.
    ///
    /// # Errors
    /// A replica has ended.
    pub(super) fn load_on(&mut self, bench: &Path, topic: &str, dir: &Path) -> Result<Command> {
        self.cluster.ensure_alive()?;
        let mut load = load_on(bench, &self.cluster.namesrv(), topic, &self.cluster.pids());
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

//! What other commands know of a running local cluster: a small file in the temporary directory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, geteuid};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Longest file that is read.
const BYTES_MAX: u64 = 64 * 1024;

/// A running local cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevState {
    /// The process that watches over the others.
    pub supervisor: i32,
    /// The NameServer's address.
    pub namesrv: String,
    /// Where everything is.
    pub dir: PathBuf,
    /// The replicas by number.
    pub replicas: Vec<ReplicaState>,
}

/// One replica of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// Its number, which is its node id.
    pub number: u16,
    /// Where clients reach it.
    pub address: String,
    /// Its process while it runs.
    pub pid: Option<i32>,
    /// Whether it has been started before.
    #[serde(default, skip)]
    pub restarted: bool,
}

/// The file of the cluster whose NameServer has this port.
pub fn path(port: u16) -> PathBuf {
    std::env::temp_dir().join(format!("timbermq-dev-{port}.json"))
}

impl DevState {
    /// The cluster whose NameServer has this port.
    ///
    /// # Errors
    /// None is running, or the file is not to be trusted.
    pub fn find(port: u16) -> Result<Self, Failure> {
        let path = path(port);
        let none = || {
            Failure::failed(format!(
                "no local cluster runs with its NameServer on port {port}; start one with: timbermq dev"
            ))
        };
        let state = match Self::read(&path) {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(none()),
            Err(error) => return Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
        };
        if arguments(state.supervisor).is_some_and(|arguments| arguments.iter().any(|argument| argument == "dev")) {
            Ok(state)
        } else {
            Err(none())
        }
    }

    fn read(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        // Anybody can leave a file in the temporary directory; it says whom to kill.
        if !metadata.is_file() || metadata.uid() != geteuid().as_raw() || metadata.len() > BYTES_MAX {
            return Err(io::Error::other("it is not a file that this user wrote"));
        }
        serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
    }

    /// Writes the file, in one step.
    ///
    /// # Errors
    /// The disk's, or the file belongs to somebody else.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension(format!("{}.new", self.supervisor));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        fs::rename(&new, path)
    }

    /// The process of a replica, when it runs and is really the one this cluster started.
    pub fn process(&self, replica: &ReplicaState) -> Option<Pid> {
        let pid = replica.pid?;
        let arguments = arguments(pid)?;
        let parent = self.supervisor.to_string();
        let ours = arguments.windows(2).any(|pair| pair[0] == "--die-with-parent" && pair[1] == parent);
        Pid::from_raw(pid).filter(|_| ours)
    }

    /// The replica at an address.
    pub fn at(&self, address: &str) -> Option<&ReplicaState> {
        self.replicas.iter().find(|replica| replica.address == address)
    }
}

/// The command line of a process; `None` when there is none.
fn arguments(pid: i32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|bytes| !bytes.is_empty())?;
    Some(bytes.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> DevState {
        let replica =
            |number, pid| ReplicaState { number, address: format!("127.0.0.1:{number}"), pid, restarted: false };
        DevState {
            supervisor: std::process::id().cast_signed(),
            namesrv: "127.0.0.1:9876".into(),
            dir: "/d".into(),
            replicas: vec![replica(1, Some(std::process::id().cast_signed())), replica(2, None)],
        }
    }

    #[test]
    fn what_is_written_reads_back_and_links_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        state().write(&path).unwrap();
        state().write(&path).unwrap();
        assert_eq!(DevState::read(&path).unwrap(), state());
        let link = dir.path().join("b.json");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(DevState::read(&link).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn a_process_that_the_cluster_did_not_start_is_not_named() {
        let state = state();
        assert_eq!(state.process(&state.replicas[0]), None, "this test is no replica");
        assert_eq!(state.process(&state.replicas[1]), None);
        assert_eq!(state.at("127.0.0.1:2").map(|replica| replica.number), Some(2));
    }
}

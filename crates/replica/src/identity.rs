//! Which replica a data directory belongs to.
//!
//! The file `identity` is written once, when the directory is first used. Its random *incarnation* tells a replica that
//! lost its directory from the one that its peers knew under the same node id.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use timbermq_env::{Disk, Env, OpenMode};
use timbermq_types::{NodeId, Slot};

use crate::wire::{Malformed, Reader, Writer};

const FILE: &str = "identity";
const FORMAT: u8 = 1;

/// Whose data directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub cluster: String,
    pub group: String,
    pub node: NodeId,
    pub slot: Slot,
    pub incarnation: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk failed.
    #[error("cannot read or write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{} is damaged ({problem}); this replica must come back with an empty directory under a new node id", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is a log but no identity.
    #[error("{} is missing although the log is not empty: part of the data directory was lost; this replica must come back with an empty directory under a new node id", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The directory belongs to another replica.
    #[error("{} belongs to {found}, but the configuration says {expected}; check the data directory", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

impl Identity {
    fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.u8(FORMAT).bytes(self.cluster.as_bytes()).bytes(self.group.as_bytes());
        out.u64(self.node.0).u32(self.slot.0).u64(self.incarnation);
        out.finish()
    }

    fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut from = Reader::new("identity", bytes);
        if from.u8()? != FORMAT {
            return Err(from.problem("its format is of another version of this program"));
        }
        let (cluster, group) = (from.string()?, from.string()?);
        let identity =
            Self { cluster, group, node: NodeId(from.u64()?), slot: Slot(from.u32()?), incarnation: from.u64()? };
        from.end()?;
        Ok(identity)
    }

    fn name(&self) -> String {
        format!("node {} (slot {}) of group {:?} in cluster {:?}", self.node, self.slot, self.group, self.cluster)
    }

    /// Reads the identity of `dir`, or creates it when nothing was ever written there. `wanted.incarnation` is taken only
    /// for a new one. Blocks.
    pub fn open(env: &Env, dir: &Path, wanted: &Identity, log_is_empty: bool) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        let failed = |source| IdentityError::Io { path: path.clone(), source };
        let Some(bytes) = read_checked(env, &path).map_err(failed)? else {
            if !log_is_empty {
                return Err(IdentityError::Missing { path });
            }
            env.disk.create_dir_all(dir).map_err(failed)?;
            write_checked(env, dir, FILE, &wanted.encode()).map_err(failed)?;
            tracing::info!(node = %wanted.node, incarnation = wanted.incarnation, "replica.identity_created");
            return Ok(wanted.clone());
        };
        let damaged = |problem: String| IdentityError::Damaged { path: path.clone(), problem };
        let bytes = bytes.map_err(|problem| damaged(problem.into()))?;
        let found = Self::decode(bytes).map_err(|error| damaged(error.to_string()))?;
        let same = Identity { incarnation: found.incarnation, ..wanted.clone() };
        if found != same {
            return Err(IdentityError::Other { path, found: found.name(), expected: wanted.name() });
        }
        Ok(found)
    }
}

/// A data directory that was used before has no log any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "data directory {} was used before, but its log is gone. This replica must not vote again under its node id: restore \
     the log, or let it rejoin with an empty data directory under a new node id", .0.display()
)]
pub struct LogGone(PathBuf);

/// Makes sure that the log of the data directory `dir`, in its subdirectory `log`, is there if it ever was. To be called
/// before the log is opened, which would begin a new one.
///
/// # Errors
/// It is gone. A replica's votes and acknowledgements are in its log: without it, the group would count on promises that
/// nobody remembers.
pub fn expect_log(disk: &dyn Disk, dir: &Path, log: &str) -> Result<(), LogGone> {
    let was_used = disk.open(&dir.join(FILE), OpenMode::Read).is_ok();
    let has_log = disk.list(&dir.join(log)).is_ok_and(|files| !files.is_empty());
    if was_used && !has_log { Err(LogGone(dir.to_owned())) } else { Ok(()) }
}

/// A small file `[crc u32][bytes]`: `None` when it is not there, the problem when it is damaged.
pub(crate) fn read_checked(env: &Env, path: &Path) -> io::Result<Option<Result<Bytes, &'static str>>> {
    let file = match env.disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if !(4..=1 << 20).contains(&len) {
        return Ok(Some(Err("its length makes no sense")));
    }
    let mut bytes = vec![0; len];
    if file.read_at(&mut bytes, 0)? != len {
        return Ok(Some(Err("it could not be read whole")));
    }
    let mut bytes = Bytes::from(bytes);
    let crc = bytes.split_to(4);
    if crc[..] != crc32fast::hash(&bytes).to_le_bytes() {
        return Ok(Some(Err("its CRC does not match")));
    }
    Ok(Some(Ok(bytes)))
}

/// Replaces such a file in one step, durably.
pub(crate) fn write_checked(env: &Env, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (new, path) = (dir.join(format!("{name}.new")), dir.join(name));
    let file = env.disk.open(&new, OpenMode::Create)?;
    let mut all = crc32fast::hash(bytes).to_le_bytes().to_vec();
    all.extend_from_slice(bytes);
    file.set_len(0)?;
    file.write_at(&all, 0)?;
    file.sync_data()?;
    drop(file);
    env.disk.rename(&new, &path)?;
    env.disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_directory_without_its_log_is_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let disk = timbermq_host::env_on(runtime.handle().clone()).disk;
        let dir = tempfile::tempdir().unwrap();
        let check = || expect_log(&*disk, dir.path(), "log");
        assert_eq!(check(), Ok(()), "a new directory");
        std::fs::write(dir.path().join(FILE), "x").unwrap();
        assert!(check().unwrap_err().to_string().contains("its log is gone"));
        std::fs::create_dir(dir.path().join("log")).unwrap();
        assert!(check().is_err(), "an empty log directory is no log");
        std::fs::write(dir.path().join("log").join("hardstate"), "x").unwrap();
        assert_eq!(check(), Ok(()));
    }
}

//! Names of files, and changes to them that no directory sync has made durable yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub(crate) enum NameChange {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

impl NameChange {
    /// The directory whose sync makes it durable.
    pub(crate) fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Create(path, _) | NameChange::Rename(_, path, _) | NameChange::Remove(path) => path.parent(),
        }
    }

    /// The file that must not be forgotten as long as this may happen.
    pub(crate) fn file(&self) -> Option<u64> {
        match self {
            NameChange::Create(_, id) | NameChange::Rename(_, _, id) => Some(*id),
            NameChange::Remove(_) => None,
        }
    }

    pub(crate) fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Create(path, id) => {
                names.insert(path.clone(), *id);
            }
            // A rename of what never came to be is nothing.
            NameChange::Rename(from, to, id) => {
                if names.get(from) == Some(id) {
                    names.remove(from);
                    names.insert(to.clone(), *id);
                }
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

//! What a disk may hold after a power cut.
//!
//! Only what was synced is certain: bytes and length of a file by a sync of the file, names by a sync of their directory.
//! Of the rest any sector, length and name may be there or not, each as of any moment since the last sync.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use crate::dice::Dice;
use crate::recording::{Naming, Node, Op, ROOT, Recording, overwrite, size};

/// A device writes these whole or not at all.
const SECTOR: u64 = 512;

/// Which part of what was not synced is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing of it.
    Nothing,
    /// All of it: the processes died, the system did not.
    Everything,
    /// All bytes, no names.
    Bytes,
    /// All names and lengths, no bytes: files that are full of zeros.
    Names,
    /// Names up to some moment, as a journal keeps them, and any sectors.
    Journal,
    /// Any names and any sectors.
    Anything,
}

impl Keep {
    pub const ALL: [Keep; 6] =
        [Keep::Nothing, Keep::Everything, Keep::Bytes, Keep::Names, Keep::Journal, Keep::Anything];
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Resize(u64),
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// What is on the disk for certain, and what may be.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<Node, File>,
    names: BTreeMap<Node, BTreeMap<String, Node>>,
    pending: Vec<Vec<Naming>>,
    dirs: BTreeSet<Node>,
}

fn resize(content: &mut Vec<u8>, length: u64) {
    content.resize(size(length), 0);
}

fn name(names: &mut BTreeMap<Node, BTreeMap<String, Node>>, namings: &[Naming]) {
    for (dir, name, node) in namings {
        let names = names.entry(*dir).or_default();
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

impl File {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { at, bytes } => overwrite(&mut self.durable, at, &bytes),
                Change::Resize(length) => resize(&mut self.durable, length),
            }
        }
    }

    fn image(&self, keep: Keep, share: u64, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.durable.clone();
        let mut longest = content.len();
        // A sector that was lost once stays as it was: what is on the disk is one of its states, in order.
        let mut lost = BTreeSet::new();
        let mut keeps = |sector: u64, dice: &mut Dice| match keep {
            Keep::Nothing | Keep::Names => false,
            Keep::Everything | Keep::Bytes => true,
            Keep::Journal | Keep::Anything => !lost.contains(&sector) && (dice.percent(share) || !lost.insert(sector)),
        };
        for change in &self.pending {
            match change {
                Change::Write { at, bytes } => {
                    let end = at + bytes.len() as u64;
                    let mut from = *at;
                    while from < end {
                        let to = end.min((from / SECTOR + 1) * SECTOR);
                        if keeps(from / SECTOR, dice) {
                            overwrite(&mut content, from, &bytes[size(from - at)..size(to - at)]);
                        }
                        from = to;
                    }
                    longest = longest.max(size(end));
                }
                // The length is in the node, not in a sector.
                Change::Resize(length) => {
                    if keeps(u64::MAX, dice) || keep == Keep::Names {
                        resize(&mut content, *length);
                        longest = size(*length);
                    }
                }
            }
        }
        // The length may be there without the bytes.
        if keep == Keep::Names || (matches!(keep, Keep::Journal | Keep::Anything) && dice.percent(50)) {
            content.resize(longest.max(content.len()), 0);
        }
        content
    }
}

impl Disk {
    pub fn new(recording: &Recording) -> Self {
        Self { dirs: recording.dirs.iter().copied().collect(), ..Self::default() }
    }

    /// Does what was done next.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { file, at, bytes } => {
                let change = Change::Write { at: *at, bytes: bytes.clone() };
                self.files.entry(*file).or_default().pending.push(change);
            }
            Op::Resize { file, length } => {
                self.files.entry(*file).or_default().pending.push(Change::Resize(*length));
            }
            Op::Names(namings) => self.pending.push(namings.clone()),
            Op::SyncFile(file) => self.files.entry(*file).or_default().sync(),
            Op::SyncDir(dir) => {
                let in_dir = |namings: &Vec<Naming>| namings.iter().any(|(of, _, _)| of == dir);
                let (synced, pending) = std::mem::take(&mut self.pending).into_iter().partition(in_dir);
                self.pending = pending;
                for namings in Vec::from_iter::<Vec<Vec<Naming>>>(synced) {
                    name(&mut self.names, &namings);
                }
            }
            Op::Note(_) => {}
        }
    }

    /// Writes one of the states that a power cut may leave now into the empty directory `target`.
    pub fn write_image(&self, keep: Keep, dice: &mut Dice, target: &Path) -> io::Result<()> {
        let share = [10, 50, 90][dice.below(3)];
        let mut names = self.names.clone();
        let journal = dice.below(self.pending.len() + 1);
        for (nth, namings) in self.pending.iter().enumerate() {
            let kept = match keep {
                Keep::Nothing | Keep::Bytes => false,
                Keep::Everything | Keep::Names => true,
                Keep::Journal => nth < journal,
                Keep::Anything => dice.percent(share),
            };
            if kept {
                name(&mut names, namings);
            }
        }
        self.write_dir(ROOT, &names, keep, share, dice, target)
    }

    fn write_dir(
        &self,
        dir: Node,
        names: &BTreeMap<Node, BTreeMap<String, Node>>,
        keep: Keep,
        share: u64,
        dice: &mut Dice,
        target: &Path,
    ) -> io::Result<()> {
        for (name, node) in names.get(&dir).into_iter().flatten() {
            let path = target.join(name);
            if self.dirs.contains(node) {
                fs::create_dir(&path)?;
                self.write_dir(*node, names, keep, share, dice, &path)?;
            } else {
                let content = self.files.get(node).map(|file| file.image(keep, share, dice));
                fs::write(&path, content.unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

//! Stored bits flip.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike, on};
use crate::cluster::Cluster;

/// One bit of one file of one replica flips, while it is down or while it runs. It must refuse to go on, or do without what is
/// damaged; it must not believe it. Later it gets the file back as from a copy, if it has left it as it was.
pub(super) struct BitFlip;

/// So many bytes before the end of what was written last are left alone: damage there cannot be told from a write that a
/// crash has torn, which is thrown away.
const TAIL: usize = 16 << 10;

/// How long a replica that was just started gets before a bit flips under it. It has nothing in memory then.
const STARTS: Duration = Duration::from_millis(1_200);

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flipped {
    file: PathBuf,
    inode: u64,
    at: usize,
    /// What stands there now.
    damaged: u8,
    bit: u8,
}

impl Nemesis for BitFlip {
    fn name(&self) -> &'static str {
        "bit-flip"
    }

    fn about(&self) -> &'static str {
        "a bit of one replica's log, index or hard state flips; later the file is restored"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Corruption
    }

    fn lasts(&self) -> (u64, u64) {
        (1_500, 6_000)
    }

    fn only_for_product(&self) -> Option<&'static str> {
        Some("it knows which file of TimberMQ has what, and what a damaged one makes it do")
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        // What is damaged must stay whole elsewhere.
        let whole = (0..cluster.nodes.len()).filter(|n| cluster.is_running(*n) && !cluster.is_paused(*n));
        let whole: Vec<usize> = whole.collect();
        if cluster.has_damage() || whole.is_empty() {
            return Ok(None);
        }
        let n = whole[dice.index(whole.len())];
        if cluster.kill(&[n])?.is_empty() {
            return Ok(None);
        }
        let is_live = dice.percent(50);
        if is_live {
            cluster.start_node(n)?;
            std::thread::sleep(STARTS);
        }
        let Some(flipped) = flip(&cluster.data_dir(n), dice)? else {
            cluster.start_node(n)?;
            return Ok(None);
        };
        let file = flipped.file.strip_prefix(cluster.data_dir(n)).unwrap_or(&flipped.file).display().to_string();
        let state = if is_live { "running" } else { "stopped" };
        let detail = format!("bit {} of byte {} of {file} flipped on the {state}", flipped.bit, flipped.at);
        cluster.damage(n, flipped)?;
        Ok(on(cluster, &detail, vec![n]))
    }

    fn heal(&self, cluster: &mut Cluster, strike: &Strike) -> Result<()> {
        strike.targets.iter().try_for_each(|n| cluster.restore(*n))
    }
}

/// The files of a data directory whose damage must be noticed.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (part, endings) in [("log", ["log", ""]), ("index", ["sst", "sst"])] {
        for entry in std::fs::read_dir(dir.join(part)).into_iter().flatten().flatten() {
            let path = entry.path();
            let ending = path.extension().map_or_else(String::new, |ending| ending.to_string_lossy().into_owned());
            if path.is_file() && endings.contains(&ending.as_str()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Flips a bit of one of the files of a data directory; none when there is nothing that can be damaged.
fn flip(dir: &Path, dice: &mut Dice) -> Result<Option<Flipped>> {
    let mut files = files(dir);
    dice.shuffle(&mut files);
    for file in files {
        let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
        // A segment is longer than what was written to it.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let room =
            if file.extension().is_some_and(|ending| ending == "log") { written.saturating_sub(TAIL) } else { written };
        if room > 0 {
            return Ok(Some(flip_in(&file, &bytes, dice.index(room), u8::try_from(dice.below(8)).unwrap_or(0))?));
        }
    }
    Ok(None)
}

fn flip_in(file: &Path, bytes: &[u8], at: usize, bit: u8) -> Result<Flipped> {
    use std::os::unix::fs::MetadataExt as _;
    let damaged = bytes[at] ^ (1 << bit);
    write_byte(file, at, damaged)?;
    Ok(Flipped { file: file.to_owned(), inode: std::fs::metadata(file)?.ino(), at, damaged, bit })
}

fn write_byte(file: &Path, at: usize, byte: u8) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().write(true).open(file)?;
    file.write_all_at(&[byte], at as u64)?;
    file.sync_all()?;
    Ok(())
}

impl Flipped {
    /// Flips the bit back, unless the file is another one by now, or says something else there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn restore(&self) -> Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let is_same = std::fs::metadata(&self.file).is_ok_and(|now| now.ino() == self.inode);
        if is_same && std::fs::read(&self.file)?.get(self.at) == Some(&self.damaged) {
            write_byte(&self.file, self.at, self.damaged ^ (1 << self.bit))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_flips_before_the_tail_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let file = dir.path().join("log/0.log");
        let mut whole = vec![7u8; TAIL + 100];
        whole.resize(2 * TAIL, 0);
        for seed in 0..50 {
            std::fs::write(&file, &whole).unwrap();
            let flipped = flip(dir.path(), &mut Dice::new(seed)).unwrap().unwrap();
            let damaged = std::fs::read(&file).unwrap();
            let wrong: Vec<usize> = (0..whole.len()).filter(|at| damaged[*at] != whole[*at]).collect();
            assert_eq!(wrong, [flipped.at]);
            assert!(flipped.at < 100);
            assert_eq!((damaged[flipped.at] ^ whole[flipped.at]).count_ones(), 1);
            flipped.restore().unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), whole);
        }
    }

    #[test]
    fn what_was_written_since_is_left_alone_and_an_empty_log_has_nothing_to_damage() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(flip(dir.path(), &mut Dice::new(1)).unwrap(), None);
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let file = dir.path().join("log/hardstate");
        std::fs::write(&file, [1, 2, 3]).unwrap();
        let flipped = flip(dir.path(), &mut Dice::new(1)).unwrap().unwrap();
        std::fs::write(&file, [9, 9, 9]).unwrap();
        flipped.restore().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), [9, 9, 9]);
    }
}

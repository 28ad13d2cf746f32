//! Every committed input once, without the engine: the corpora and what once failed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use timbermq_fuzz::{TARGETS, Target};

const FILES_MAX: usize = 60;
const FILE_BYTES_MAX: usize = 64 << 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of a directory by name; nothing when there is none.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    files.sort();
    files
}

fn names(dir: &str) -> Vec<String> {
    let name = |path: PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    files(&root().join(dir)).into_iter().map(name).collect()
}

fn replay(target: &Target, dir: &str) -> (usize, Vec<String>) {
    let files = files(&root().join(dir).join(target.name));
    let mut failed = Vec::new();
    for file in &files {
        let input = fs::read(file).expect("a readable file");
        if catch_unwind(AssertUnwindSafe(|| target.check(&input))).is_err() {
            failed.push(file.strip_prefix(root()).unwrap_or(file).display().to_string());
        }
    }
    (files.len(), failed)
}

#[test]
fn every_committed_input_is_answered() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let (inputs, wrong) = replay(target, "corpus");
        assert!(inputs > 0, "{} has no corpus", target.name);
        failed.extend(wrong);
        failed.extend(replay(target, "regressions").1);
        target.check(&[]);
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn corpora_are_small_and_belong_to_targets() {
    for dir in ["corpus", "regressions"] {
        for name in names(dir) {
            assert!(TARGETS.iter().any(|target| target.name == name), "{dir}/{name} is of no target");
            let files = files(&root().join(dir).join(&name));
            assert!(files.len() <= FILES_MAX, "{dir}/{name} has {} files", files.len());
            for file in files {
                let len = fs::metadata(&file).expect("a readable file").len() as usize;
                assert!(len <= FILE_BYTES_MAX, "{} has {len} bytes", file.display());
            }
        }
    }
}

#[test]
fn every_target_has_a_binary_of_its_name() {
    let mut binaries = names("fuzz_targets");
    let mut targets: Vec<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    binaries.sort();
    targets.sort();
    assert_eq!(binaries, targets);
    for name in binaries {
        let file = root().join("fuzz_targets").join(format!("{name}.rs"));
        let source = fs::read_to_string(file).expect("a readable file");
        assert!(source.contains(&format!("timbermq_fuzz::run(\"{name}\", input)")), "{name} runs another target");
    }
}

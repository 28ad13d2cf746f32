//! Seeded bugs are where they belong: in the product's code, each at a place or two, and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use timbermq_bugs::Bug;

/// A bug that needs more places than this is a second implementation.
const PLACES_MAX: usize = 6;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root exists")
}

/// Tracked Rust sources of the product: not the catalogue itself, not developer tasks, not tests.
fn product() -> Vec<(PathBuf, String)> {
    let output = Command::new("git").args(["ls-files", "-z", "crates"]).current_dir(root()).output().expect("git runs");
    let names = String::from_utf8(output.stdout).expect("tracked names are UTF-8");
    let is_product = |name: &&str| {
        let parts: Vec<&str> = name.split('/').collect();
        name.ends_with(".rs")
            && parts.get(2) == Some(&"src")
            && !["bugs", "sim", "xtask"].contains(&parts[1])
            && !parts.iter().any(|part| *part == "tests" || *part == "tests.rs")
    };
    let files = names.split_terminator('\0').filter(is_product);
    files.filter_map(|name| Some((PathBuf::from(name), fs::read_to_string(root().join(name)).ok()?))).collect()
}

#[test]
fn every_bug_is_planted_in_the_product_and_in_few_places() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in product() {
        for (number, line) in (1..).zip(text.lines()) {
            for (at, _) in line.match_indices("planted(Bug::") {
                let name: String =
                    line[at + "planted(Bug::".len()..].chars().take_while(|c| c.is_alphanumeric()).collect();
                places.entry(name).or_default().push(format!("{}:{number}", path.display()));
            }
        }
    }
    for bug in Bug::ALL {
        let variant = format!("{bug:?}");
        let found = places.remove(&variant).unwrap_or_default();
        assert!(!found.is_empty(), "{variant} is in the catalogue but planted nowhere");
        assert!(found.len() <= PLACES_MAX, "{variant} is in too many places: {found:?}");
    }
    assert!(places.is_empty(), "planted but not in the catalogue: {places:?}");
}

#[test]
fn only_the_switch_knows_how_a_bug_is_planted() {
    for (path, text) in product() {
        assert!(!text.contains("timbermq_bugs::plant("), "{} plants a bug of its own accord", path.display());
    }
}

//! Where memory orderings may be relied on: in one crate, where loom weakens each of them.

use std::fs;
use std::path::{Path, PathBuf};

/// The crate of the hand-made primitives.
const HOUSE: &str = "crates/sync/src";
const STRONG: &[&str] = &["Ordering::Acquire", "Ordering::Release", "Ordering::AcqRel", "Ordering::SeqCst", "fence("];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root exists")
}

/// The product's Rust sources, relative to the root.
fn sources() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = fs::read_dir(root.join("crates"))
        .expect("there are crates")
        .filter_map(|entry| Some(entry.ok()?.path().join("src")))
        .collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("tests") {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                found.push((path.strip_prefix(&root).expect("below the root").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "there are sources");
    found
}

/// Lines before the tests that name an ordering stronger than relaxed, or a fence.
fn strong_lines(text: &str) -> Vec<usize> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code = code.split("#[cfg(all(test").next().unwrap_or_default();
    let is_strong = |line: &str| !line.trim_start().starts_with("//") && STRONG.iter().any(|word| line.contains(word));
    (1..).zip(code.lines()).filter(|(_, line)| is_strong(line)).map(|(number, _)| number).collect()
}

#[test]
fn only_the_primitives_rely_on_orderings_and_each_under_a_name() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        // The macro that names them is the one place that spells them out.
        if path == Path::new(HOUSE).join("shim.rs") {
            continue;
        }
        found.extend(strong_lines(&text).into_iter().map(|line| format!("{}:{line}", path.display())));
    }
    assert!(found.is_empty(), "move what needs these to {HOUSE}, as order!(\"site\", …):\n{}", found.join("\n"));
}

#[test]
fn a_strong_ordering_is_seen() {
    let text = "a.load(Ordering::Relaxed);\n// Ordering::Acquire\nb.store(1, Ordering::Release);\nfence(x);\n\
                #[cfg(test)]\nmod tests { c.load(Ordering::SeqCst); }";
    assert_eq!(strong_lines(text), [3, 4]);
}

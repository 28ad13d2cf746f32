//! House rules that no compiler or linter keeps.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const LINES_MAX: usize = 900;
/// Names that say nothing about what is inside.
const DRAWERS: &[&str] = &["common", "helper", "helpers", "manager", "misc", "util", "utils"];
/// Directories that exist on one machine only. Spelt in pieces, because this file is checked too.
const PRIVATE_DIRS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const UNFINISHED: &str = concat!("to", "do!(");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root exists")
}

/// Tracked files that exist, relative to the root, with their contents.
fn tracked() -> Vec<(PathBuf, Vec<u8>)> {
    let root = root();
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(&root).output().expect("git runs");
    assert!(output.status.success(), "git ls-files failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("tracked names are UTF-8");
    let files: Vec<_> = names
        .split_terminator('\0')
        .filter_map(|name| Some((PathBuf::from(name), fs::read(root.join(name)).ok()?)))
        .collect();
    assert!(!files.is_empty(), "git tracks no file");
    files
}

fn tracked_rust() -> Vec<(PathBuf, String)> {
    tracked()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|(path, bytes)| (path, String::from_utf8(bytes).expect("Rust sources are UTF-8")))
        .collect()
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The numbers of the lines that name a private directory. Part of a longer path, as in a web address, does not count.
fn private_lines(text: &str) -> Vec<usize> {
    let names = |line: &str| {
        PRIVATE_DIRS.iter().any(|dir| {
            line.match_indices(dir).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-~}/".contains(c))
            })
        })
    };
    (1..).zip(text.lines()).filter(|(_, line)| names(line)).map(|(number, _)| number).collect()
}

/// The modules a file is or opens that have a drawer's name.
fn drawers(path: &Path, text: &str) -> Vec<String> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().trim_end_matches(".rs").to_owned()),
        _ => None,
    });
    let inline = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        Some(line.strip_prefix("mod ")?.trim_end_matches([';', '{', '}', ' ']).to_owned())
    });
    parts.chain(inline).filter(|name| DRAWERS.contains(&name.as_str())).collect()
}

/// Whether a crate root starts with a doc comment; attributes may come first.
fn is_documented(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!["));
    first.is_some_and(|line| line.strip_prefix("//!").is_some_and(|rest| !rest.trim().is_empty()))
}

/// The first column, without backticks, of every table headed `Dependency`.
fn listed_dependencies(markdown: &str) -> Vec<String> {
    let cell =
        |line: &str| line.trim().strip_prefix('|').map(|row| row.split('|').next().unwrap_or("").trim().to_owned());
    let mut listed = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        match cell(line) {
            None => inside = false,
            Some(head) if head.eq_ignore_ascii_case("dependency") => inside = true,
            Some(row) if inside && !row.trim_matches([':', '-']).is_empty() => {
                listed.push(row.strip_prefix('`').and_then(|row| row.strip_suffix('`')).unwrap_or(&row).to_owned());
            }
            Some(_) => {}
        }
    }
    listed
}

/// The keys of `[workspace.dependencies]` that come from a registry.
fn declared_dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().expect("Cargo.toml is TOML");
    let dependencies = manifest["workspace"]["dependencies"].as_table().expect("a table of dependencies");
    let external = dependencies.iter().filter(|(_, value)| value.get("path").is_none());
    external.map(|(name, _)| name.clone()).collect()
}

#[test]
fn no_file_names_a_directory_of_one_machine() {
    let mut found = Vec::new();
    for (path, bytes) in tracked() {
        let lines = private_lines(&String::from_utf8_lossy(&bytes));
        found.extend(lines.iter().map(|line| format!("{}:{line}: absolute path of one machine", path.display())));
    }
    assert_none(&found);
}

#[test]
fn no_module_is_a_drawer() {
    let mut found = Vec::new();
    for (path, text) in tracked_rust() {
        found.extend(drawers(&path, &text).iter().map(|name| format!("{}: a module called {name}", path.display())));
    }
    assert_none(&found);
}

#[test]
fn no_source_file_is_too_long() {
    let long = |(path, text): &(PathBuf, String)| {
        let lines = text.lines().count();
        (lines >= LINES_MAX).then(|| format!("{}: {lines} lines, the limit is below {LINES_MAX}", path.display()))
    };
    assert_none(&tracked_rust().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_unfinished() {
    let unfinished = tracked_rust().into_iter().filter(|(_, text)| text.contains(UNFINISHED));
    let found: Vec<String> = unfinished.map(|(path, _)| format!("{}: {UNFINISHED}…)", path.display())).collect();
    assert_none(&found);
}

#[test]
fn every_crate_says_what_it_is() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().expect("cargo metadata lists packages") {
        for target in package["targets"].as_array().into_iter().flatten() {
            let kind = target["kind"][0].as_str().unwrap_or_default();
            let source = target["src_path"].as_str().expect("a target has a source");
            if ["lib", "bin", "proc-macro"].contains(&kind)
                && !fs::read_to_string(source).is_ok_and(|text| is_documented(&text))
            {
                found.push(format!(
                    "{}: does not start with a doc comment",
                    source.replace(&*root().to_string_lossy(), "")
                ));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn architecture_lists_every_dependency() {
    let path = root().join("ARCHITECTURE.md");
    let markdown = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "cannot read ARCHITECTURE.md ({error}); it has to hold a table headed `Dependency` with a row for each one"
        )
    });
    let listed = listed_dependencies(&markdown);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace manifest is readable");
    let declared = declared_dependencies(&manifest);
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for name in listed {
        if !declared.contains(&name) {
            found.push(format!("ARCHITECTURE.md lists {name}, which [workspace.dependencies] does not have"));
        }
        if !seen.insert(name.clone()) {
            found.push(format!("ARCHITECTURE.md lists {name} twice"));
        }
    }
    found.extend(declared.difference(&seen).map(|name| format!("ARCHITECTURE.md does not say why {name} is needed")));
    assert_none(&found);
}

mod rules {
    use super::*;

    #[test]
    fn private_directories_are_found_by_line() {
        let dir = PRIVATE_DIRS[0];
        let text = format!("fine\nsee {dir}x\nhttps://example.org{dir}x\n$HOME{dir}\n\"{dir}\"\n");
        assert_eq!(private_lines(&text.replace("$HOME", "${HOME}")), [2, 5]);
    }

    #[test]
    fn drawers_are_found_as_file_directory_and_inline_module() {
        for (path, text) in [
            ("crates/a/src/utils.rs", ""),
            ("crates/a/tests/common/mod.rs", ""),
            ("crates/a/src/lib.rs", "pub(crate) mod helpers;"),
            ("crates/a/src/lib.rs", "    mod misc {"),
        ] {
            assert_eq!(drawers(Path::new(path), text).len(), 1, "{path} {text}");
        }
        assert!(drawers(Path::new("crates/a/src/commonplace.rs"), "mod utility;\n// mod utils is banned").is_empty());
    }

    #[test]
    fn a_crate_needs_words_at_its_top() {
        assert!(is_documented("#![no_std]\n\n//! Frames.\n"));
        assert!(!is_documented("//!\nuse std::fs;\n"));
        assert!(!is_documented("use std::fs;\n//! Late.\n"));
        assert!(!is_documented(""));
    }

    #[test]
    fn only_the_dependency_table_counts() {
        let markdown = "| layer | crate |\n|---|---|\n| 0 | `types` |\n\n| Dependency | Why |\n|:--|---|\n| `serde` | x |\n\
                        | `toml` | y |\n\n| other |\n|---|\n| `z` |\n";
        assert_eq!(listed_dependencies(markdown), ["serde", "toml"]);
    }

    #[test]
    fn path_dependencies_need_no_row() {
        let manifest =
            "[workspace.dependencies]\nserde = \"1\"\ntoml = { version = \"1\" }\nown = { path = \"own\" }\n";
        assert_eq!(declared_dependencies(manifest).into_iter().collect::<Vec<_>>(), ["serde", "toml"]);
    }
}

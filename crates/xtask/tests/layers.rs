//! The layer rule: a dependency points to a lower layer, and each heavyweight stays in its room.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

/// Dependencies that only the named packages may have, of whatever kind.
const ROOMS: &[(&str, &[&str])] = &[
    ("axum", &[]),
    ("bincode", &["timbermq-machine"]),
    (
        "clap",
        &["timbermq", "timbermq-bench", "timbermq-jepsen", "timbermq-model", "timbermq-sim", "timbermq-tests", "xtask"],
    ),
    ("openraft", &["timbermq-replica"]),
    ("rocksdb", &["timbermq-index"]),
    ("rustls", &[]),
];
/// What the layers up to and including this one must not need at run time.
const PURE_LAYER_MAX: u64 = 2;
const IMPURE: &[&str] = &["tokio"];

fn violations(packages: &[Value]) -> Vec<String> {
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let layer = |package: &Value| package["metadata"]["timbermq"]["layer"].as_u64();
    let layers: BTreeMap<String, Option<u64>> =
        packages.iter().map(|package| (name(package), layer(package))).collect();
    let mut found = Vec::new();
    for package in packages {
        let from = name(package);
        let Some(from_layer) = layer(package) else {
            found.push(format!("{from} has no layer in [package.metadata.timbermq]"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = name(dependency);
            // Cargo writes no kind for a normal dependency.
            let normal = dependency["kind"].is_null();
            if let Some(&Some(to_layer)) = layers.get(&to)
                && normal
                && to_layer >= from_layer
            {
                found.push(format!("{from} (layer {from_layer}) depends on {to} (layer {to_layer})"));
            }
            if let Some((_, rooms)) = ROOMS.iter().find(|(heavy, _)| *heavy == to)
                && !rooms.contains(&from.as_str())
            {
                found.push(format!("{from} depends on {to}, whose room is {rooms:?}"));
            }
            if normal && from_layer <= PURE_LAYER_MAX && IMPURE.contains(&to.as_str()) {
                found.push(format!(
                    "{from} (layer {from_layer}) depends on {to}, which is for layers above {PURE_LAYER_MAX}"
                ));
            }
        }
    }
    found
}

#[test]
fn workspace_keeps_the_layer_rule() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    assert!(packages.len() > 1, "cargo metadata lists one package only");
    let found = violations(packages);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn package(name: &str, layer: impl Into<Value>, dependencies: &[(&str, Value)]) -> Value {
    let dependencies: Vec<Value> =
        dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
    json!({"name": name, "metadata": {"timbermq": {"layer": layer.into()}}, "dependencies": dependencies})
}

#[test]
fn an_edge_goes_to_a_lower_layer_only() {
    let low = package("low", 1, &[]);
    let same = package("same", 1, &[("low", Value::Null)]);
    let above = package("above", 2, &[("low", Value::Null)]);
    let below = package("below", 0, &[("above", Value::Null)]);
    assert_eq!(violations(&[low.clone(), above.clone()]), Vec::<String>::new());
    assert_eq!(violations(&[low.clone(), same]), ["same (layer 1) depends on low (layer 1)"]);
    assert_eq!(violations(&[low, above, below]), ["below (layer 0) depends on above (layer 2)"]);
}

#[test]
fn tests_may_look_up() {
    let above = package("above", 5, &[]);
    let below = package("below", 1, &[("above", json!("dev")), ("tokio", json!("dev"))]);
    assert_eq!(violations(&[above, below]), Vec::<String>::new());
}

#[test]
fn every_package_has_a_layer() {
    assert_eq!(violations(&[package("lost", Value::Null, &[])]), ["lost has no layer in [package.metadata.timbermq]"]);
}

#[test]
fn heavyweights_stay_in_their_rooms() {
    assert_eq!(violations(&[package("timbermq-index", 3, &[("rocksdb", Value::Null)])]), Vec::<String>::new());
    for heavy in ["axum", "bincode", "clap", "openraft", "rocksdb", "rustls"] {
        for kind in [Value::Null, json!("dev"), json!("build")] {
            let found = violations(&[package("timbermq-broker", 5, &[(heavy, kind)])]);
            assert_eq!(found.len(), 1, "{heavy}: {found:?}");
        }
    }
}

#[test]
fn low_layers_know_no_runtime() {
    assert_eq!(violations(&[package("timbermq-machine", 2, &[("tokio", Value::Null)])]).len(), 1);
    assert_eq!(violations(&[package("timbermq-transport", 3, &[("tokio", Value::Null)])]), Vec::<String>::new());
}

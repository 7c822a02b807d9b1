//! Licences, bans and sources of everything that is built, from `cargo metadata`. `deny.toml`
//! says the same to people who have cargo-deny.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Licences that go with ours. A package may offer a choice; one of them has to be here.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that must not come into what is shipped by any way, and why. (Tests may bring in what
/// they like, as long as its licence fits.)
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-sys", "ring is the one crypto provider"),
    ("aws-lc-rs", "ring is the one crypto provider"),
    ("axum", "no header timeout"),
    ("chrono", "jiff formats our times"),
    ("opentelemetry", "prometheus-client and tracing are enough"),
    ("serde_yaml", "unmaintained: yaml_serde"),
    ("rustls-pemfile", "unmaintained: rustls-pki-types"),
    ("openmetrics-parser", "LGPL"),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--all-features",
        ])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn packages() -> Vec<Value> {
    let all = metadata()["packages"].as_array().expect("packages").clone();
    assert!(
        all.len() > 100,
        "only {} packages: the question was wrong",
        all.len()
    );
    all
}

/// Names of all packages that the binary is built from: normal and build dependencies.
fn shipped() -> BTreeSet<String> {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .expect("a resolved graph")
        .clone();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = names
        .iter()
        .filter(|(_, name)| **name == "upgrade-gate")
        .map(|(id, _)| *id)
        .collect();
    while let Some(id) = open.pop() {
        if !found.insert(id) {
            continue;
        }
        let node = nodes
            .iter()
            .find(|node| node["id"] == id)
            .expect("a node per package");
        for dependency in node["deps"].as_array().expect("dependencies") {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                open.extend(dependency["pkg"].as_str());
            }
        }
    }
    found
        .into_iter()
        .filter_map(|id| names.get(id))
        .map(|name| (*name).to_owned())
        .collect()
}

/// Whether an SPDX expression allows one of our licences for every part of it.
fn fits(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    flat.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn every_licence_fits() {
    let bad: Vec<_> = packages()
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(fits))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(bad.is_empty(), "licences that do not fit: {bad:#?}");
    assert!(!fits("LGPL-3.0") && !fits("MIT AND GPL-2.0") && fits("GPL-2.0 OR MIT"));
}

#[test]
fn nothing_banned_comes_in() {
    let shipped = shipped();
    assert!(
        shipped.len() > 80,
        "only {} packages: the question was wrong",
        shipped.len()
    );
    let bad: Vec<_> = BANNED
        .iter()
        .filter(|(name, _)| shipped.contains(*name))
        .collect();
    assert!(bad.is_empty(), "banned packages: {bad:?}");
}

#[test]
fn everything_comes_from_the_one_registry() {
    for package in packages() {
        match package["source"].as_str() {
            None => {
                let name = package["name"].as_str().unwrap_or_default();
                assert!(
                    ["upgrade-gate", "lab"].contains(&name),
                    "{name} is a path of its own"
                );
            }
            Some(source) => {
                assert!(
                    source.starts_with("registry+"),
                    "{}: {source}",
                    package["name"]
                );
            }
        }
    }
}

//! Who may use whom. The judging code is pure: an allow-list, not a list of what is forbidden.

use std::fs;
use std::path::{Path, PathBuf};

use upgrade_gate::kafka::NODE_CONFIG_KEYS;

/// Pure modules, and what each may use of this crate.
const PURE: &[(&str, &[&str])] = &[
    ("src/time.rs", &[]),
    ("src/evidence", &["evidence", "time"]),
    ("src/checks", &["checks", "evidence", "time"]),
    ("src/gate", &["gate", "checks", "evidence", "time"]),
];

/// What pure modules may use from outside: no clock, no I/O, no task, no random number, no map
/// whose order changes.
const OUTSIDE: &[&str] = &[
    "std::borrow",
    "std::cell",
    "std::cmp",
    "std::collections::",
    "std::error",
    "std::fmt",
    "std::hash",
    "std::iter",
    "std::mem",
    "std::ops",
    "std::slice",
    "std::sync::Arc",
    "std::time::Duration",
    "core::",
    "alloc::",
    "serde::",
    "thiserror",
    "super::",
];

/// Further arrows of the design: who must not be used by whom.
const NEVER: &[(&str, &[&str])] = &[
    (
        "src/kafka",
        &[
            "collect", "engine", "gate", "checks", "server", "store", "view", "config", "cli",
        ],
    ),
    (
        "src/jmx",
        &[
            "collect", "engine", "gate", "checks", "server", "store", "view", "config", "cli",
        ],
    ),
    (
        "src/collect",
        &[
            "engine", "gate", "checks", "server", "store", "view", "config", "cli",
        ],
    ),
    (
        "src/server",
        &["collect", "kafka", "jmx", "store", "config", "cli"],
    ),
    (
        "src/metrics",
        &["collect", "kafka", "jmx", "store", "config", "cli"],
    ),
    (
        "src/store",
        &[
            "engine", "collect", "kafka", "jmx", "server", "view", "config", "cli",
        ],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn rust_files(at: &Path, into: &mut Vec<PathBuf>) {
    if at.is_file() {
        into.push(at.to_path_buf());
        return;
    }
    for entry in fs::read_dir(at).unwrap_or_else(|e| panic!("{}: {e}", at.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() || path.extension().is_some_and(|e| e == "rs") {
            rust_files(&path, into);
        }
    }
}

/// The lines of a file before its tests begin; `#[cfg(test)]` items come last in a file.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]");
    lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(str::to_owned)
        .collect()
}

fn is_test_support(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    matches!(&*name, "samples.rs" | "scene.rs")
        || path.iter().any(|part| part == "tests" || part == "scene")
        || name.contains("tests")
}

/// Every path that starts with `crate::`, `std::` or the like, in `use` lines and elsewhere.
fn paths(line: &str) -> Vec<&str> {
    let starts = [
        "crate::",
        "std::",
        "core::",
        "tokio",
        "tracing::",
        "rustix::",
        "jiff::",
        "rand",
    ];
    let boundary = |at: usize| {
        at == 0 || !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
    };
    let mut found = Vec::new();
    for start in starts {
        for (at, _) in line.match_indices(start) {
            if boundary(at) {
                let end = line[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                found.push(&line[at..end.map_or(line.len(), |end| at + end)]);
            }
        }
    }
    found
}

#[test]
fn pure_modules_use_only_what_is_on_the_list() {
    let mut wrong = Vec::new();
    for (module, own) in PURE {
        let mut files = Vec::new();
        rust_files(&root().join(module), &mut files);
        assert!(!files.is_empty(), "{module} has moved");
        for file in files.iter().filter(|file| !is_test_support(file)) {
            for line in code(file) {
                for path in paths(&line) {
                    let good = match path.strip_prefix("crate::") {
                        Some(inner) => own.iter().any(|m| {
                            inner == *m || inner.starts_with(&format!("{m}::")) || inner.is_empty()
                        }),
                        None => OUTSIDE.iter().any(|allowed| path.starts_with(allowed)),
                    };
                    let hash_map = line.contains("HashMap") || line.contains("HashSet");
                    if !good || hash_map {
                        wrong.push(format!("{}: {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "pure modules use what they must not:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    for (module, forbidden) in NEVER {
        let mut files = Vec::new();
        rust_files(&root().join(module), &mut files);
        for file in files.iter().filter(|file| !is_test_support(file)) {
            for line in code(file) {
                for path in paths(&line) {
                    let Some(inner) = path.strip_prefix("crate::") else {
                        continue;
                    };
                    let first = inner.split("::").next().unwrap_or_default();
                    if forbidden.contains(&first) && !allowed_exception(module, inner) {
                        wrong.push(format!("{}: {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point the wrong way:\n{}",
        wrong.join("\n")
    );
}

/// Plain types of the pure modules may be used by everybody.
fn allowed_exception(module: &str, inner: &str) -> bool {
    let plain = [
        "gate::state",
        "gate::view",
        "gate::doc",
        "gate::machine",
        "checks::reason",
    ];
    matches!(module, "src/server" | "src/metrics" | "src/store")
        && plain.iter().any(|plain| inner.starts_with(plain))
}

#[test]
fn files_stay_small_enough_to_read() {
    let mut files = Vec::new();
    for folder in ["src", "lab/src"] {
        rust_files(&root().join(folder), &mut files);
    }
    let long: Vec<_> = files
        .iter()
        .map(|file| (fs::read_to_string(file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > 620)
        .map(|(lines, file)| format!("{} has {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "cut these: {long:#?}");
}

/// The texts of a file that are for its readers.
fn docs(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(str::trim_start);
    let docs = lines.filter(|line| line.starts_with("///") || line.starts_with("//!"));
    docs.fold(String::new(), |docs, line| docs + line + "\n")
}

/// Whether these name where something comes from: a KIP, Kafka's code, a page of the reference, a
/// measurement; or say that it is assumed.
fn names_a_source(docs: &str) -> bool {
    let of_kafka = |quoted: &str| {
        let mut parts = quoted.split('.');
        let class = parts.next().unwrap_or_default();
        let starts =
            |part: &str, fits: fn(&char) -> bool| part.chars().next().is_some_and(|c| fits(&c));
        let word = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let method = parts.next().unwrap_or_default();
        starts(class, char::is_ascii_uppercase)
            && starts(method, char::is_ascii_lowercase)
            && word(class)
            && word(method)
    };
    let kip = docs.split("KIP-").skip(1);
    let mut kip = kip.map(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let mut quoted = docs.split('`').skip(1).step_by(2);
    kip.any(|number| number)
        || [
            "kafka-lab.md",
            "kafka-jmx-metrics.md",
            "measured",
            "Assumed:",
        ]
        .iter()
        .any(|word| docs.contains(word))
        || quoted.any(of_kafka)
}

#[test]
fn a_source_is_a_kip_kafkas_code_the_reference_a_measurement_or_an_assumption() {
    for good in [
        "/// As KIP-966 has it.",
        "/// (`ReplicaManager.describeLogDirs`)",
        "//! Seen on the lab (kafka-lab.md, section 4).",
        "/// Assumed: nothing else happens.",
        "/// How long that takes is measured.",
    ] {
        assert!(names_a_source(good), "{good}");
    }
    for bad in [
        "/// Everything that can be asked.",
        "/// A KIP-less word.",
        "/// [`Cluster::advance`] and `spec.nodes`.",
        "/// Of `Cluster`, from version 3.5 on.",
    ] {
        assert!(!names_a_source(bad), "{bad}");
    }
}

#[test]
fn every_part_of_the_simulated_cluster_names_where_it_comes_from() {
    let mut files = Vec::new();
    rust_files(&root().join("src/model"), &mut files);
    assert!(files.len() > 30, "src/model has moved");
    let parts = files.iter().filter(|file| !is_test_support(file));
    let without: Vec<_> = parts.filter(|file| !names_a_source(&docs(file))).collect();
    assert!(
        without.is_empty(),
        "say where it comes from (a KIP, Kafka's code, the reference, a measurement), or `Assumed:`: \
         {without:#?}"
    );
}

/// A rule that rests on a setting nobody asks for rests on its default for ever.
#[test]
fn every_setting_that_is_read_is_asked_for() {
    // A feature of the cluster, no setting of a node.
    let features = ["metadata.version"];
    let is_setting = |text: &&str| {
        text.contains('.')
            && text
                .split('.')
                .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    let mut read = Vec::new();
    let pure = PURE.iter().map(|(module, _)| *module);
    for module in pure.chain(["src/collect/roster.rs"]) {
        let mut files = Vec::new();
        rust_files(&root().join(module), &mut files);
        for file in files.iter().filter(|file| !is_test_support(file)) {
            for line in code(file) {
                // What is between quotes is every second part.
                let quoted = line.split('"').skip(1).step_by(2);
                read.extend(quoted.filter(is_setting).map(str::to_owned));
            }
        }
    }
    assert!(read.iter().any(|key| key == "replica.lag.time.max.ms"));
    read.retain(|key| !features.contains(&key.as_str()));
    read.retain(|key| !NODE_CONFIG_KEYS.contains(&key.as_str()));
    assert!(read.is_empty(), "nobody asks for these: {read:?}");
}

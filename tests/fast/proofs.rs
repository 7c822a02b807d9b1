//! Every file under docs/proof holds what it says it proves.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// Proofs that have been made and have to stay. `restart` and `kill-zookeeper` are held to the same
/// rules as soon as they are there.
const MADE: &[&str] = &["kill", "situations"];

/// From a fault to the broker's name in the answer, milliseconds.
const NAMED: [(&str, f64); 3] = [("kill", 1_000.0), ("freeze", 2_000.0), ("stop", 2_000.0)];

/// What is aimed at for kill: said, not demanded.
const AIM: f64 = 100.0;

fn proofs() -> BTreeMap<String, Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/proof");
    let files = fs::read_dir(&folder).expect("docs/proof: made by `lab prove`");
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let proof = serde_json::from_slice(&fs::read(&path).unwrap());
            (
                name,
                proof.unwrap_or_else(|why| panic!("{}: {why}", path.display())),
            )
        })
        .collect()
}

/// A proof, when it has been made.
fn proof(name: &str) -> Option<Value> {
    let proof = proofs().remove(name);
    if proof.is_none() {
        println!("docs/proof/{name}.json is not made yet: run `lab prove {name}`");
    }
    proof
}

fn number(value: &Value, path: &str) -> f64 {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {path}: {value:#}"))
}

fn faults(proof: &Value) -> &serde_json::Map<String, Value> {
    let faults = proof["faults"].as_object().expect("faults");
    assert!(!faults.is_empty());
    faults
}

/// So often, and nothing said open that was not; no record lost or doubled.
fn holds(name: &str, proof: &Value, runs: f64) {
    for (fault, summary) in faults(proof) {
        assert!(
            number(summary, "/runs") >= runs,
            "{name} {fault}: too few runs"
        );
        assert_eq!(number(summary, "/false_opens"), 0.0, "{name} {fault}");
        assert_eq!(
            number(summary, "/named"),
            number(summary, "/runs"),
            "{name} {fault}"
        );
    }
    let cycles = proof["cycles"].as_array().expect("cycles");
    let told: f64 = faults(proof).values().map(|one| number(one, "/runs")).sum();
    assert_eq!(
        f64::from(u32::try_from(cycles.len()).unwrap()),
        told,
        "{name}"
    );
    for cycle in cycles {
        assert_eq!(number(cycle, "/false_opens"), 0.0, "{name}: {cycle:#}");
    }
    assert!(number(proof, "/load/acknowledged") > 0.0, "{name}");
    assert_eq!(number(proof, "/load/lost"), 0.0, "{name}");
    assert_eq!(number(proof, "/load/doubled"), 0.0, "{name}");
}

#[test]
fn every_proof_says_how_it_was_made() {
    let proofs = proofs();
    for name in MADE {
        assert!(
            proofs.contains_key(*name),
            "docs/proof/{name}.json is missing: run `lab prove {name}`"
        );
    }
    for (file, proof) in &proofs {
        for field in ["name", "command", "commit", "finished", "machine"] {
            let said = proof[field].as_str();
            assert!(said.is_some_and(|said| !said.is_empty()), "{file}: {field}");
        }
        assert_eq!(proof["name"].as_str(), Some(file.as_str()));
    }
}

#[test]
fn a_broker_that_dies_freezes_or_stops_is_named_in_time() {
    let Some(proof) = proof("kill") else { return };
    holds("kill", &proof, 20.0);
    for (fault, limit) in NAMED {
        if !faults(&proof).contains_key(fault) {
            println!("{fault}: not proven yet");
            continue;
        }
        let worst = number(&proof, &format!("/faults/{fault}/named_ms/max"));
        println!("{fault}: named after {worst} ms at worst, {limit} ms at most");
        assert!(worst <= limit, "{fault}: named after {worst} ms");
        if fault == "kill" {
            println!(
                "the aim is {AIM} ms: {}",
                if worst <= AIM { "met" } else { "missed" }
            );
        }
    }
}

#[test]
fn no_restart_opens_the_gate_before_every_isr_is_full() {
    if let Some(proof) = proof("restart") {
        holds("restart", &proof, 20.0);
        for (fault, _) in NAMED {
            assert!(faults(&proof).contains_key(fault), "restart: no {fault}");
        }
    }
    if let Some(proof) = proofs().get("kill-zookeeper") {
        holds("kill-zookeeper", proof, 5.0);
    }
}

#[test]
fn every_situation_is_as_expected() {
    let Some(proof) = proof("situations") else {
        return;
    };
    let rows = proof["rows"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    for name in [
        "without_rights",
        "mixed_releases",
        "html",
        "empty_page",
        "nan_page",
        "cut_page",
        "endless_page",
        "another_clusters_page",
        "exporter_dead",
        "memory",
        "another_cluster",
        "down_at_start_unnoticed",
        "down_at_start_fenced",
        "cut_off_from_the_quorum",
        "healed",
    ] {
        assert!(names.contains(&name), "no situation {name}");
    }
    for row in rows {
        assert_eq!(row["ok"], true, "{row:#}");
        assert_eq!(row["wrong_opens"], 0, "{row:#}");
    }
}

#[test]
fn ten_thousand_trials_without_a_false_open() {
    let Some(proof) = proof("simulate") else {
        return;
    };
    assert_eq!(proof["depth"].as_str(), Some("machine"));
    assert!(number(&proof, "/trials") >= 10_000.0);
    assert_eq!(number(&proof, "/false_opens"), 0.0);
    // Who never opens never lies.
    assert!(number(&proof, "/opened") >= 0.9 * number(&proof, "/trials"));
    assert!(number(&proof, "/needless/count") > 0.0);
    let rivals = proof["rivals"].as_array().expect("rivals");
    for rival in rivals {
        assert!(number(rival, "/false_opens_per_1000_steps") >= 0.0);
    }
}

//! Every file under docs/proof holds what it says it proves.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Proofs that have been made and have to stay. The others are held to the same rules as soon as
/// they are there.
const MADE: &[&str] = &[
    "attacks",
    "bench-check",
    "bench-jmx",
    "bench-metadata",
    "bench-what-if",
    "callers",
    "crashes",
    "curve",
    "fuzz",
    "kill",
    "kill-zookeeper",
    "openapi",
    "plan",
    "race",
    "restart",
    "roll",
    "security",
    "simulate",
    "simulate-drivers",
    "simulate-leases",
    "situations",
];

/// From a fault to the broker's name in the answer, milliseconds.
const NAMED: [(&str, f64); 3] = [("kill", 1_000.0), ("freeze", 2_000.0), ("stop", 2_000.0)];

/// What is aimed at for kill: said, not demanded.
const AIM: f64 = 100.0;

/// Everything between a node and a verdict.
const GATE: &[&str] = &[
    "src/checks",
    "src/collect",
    "src/engine",
    "src/evidence",
    "src/gate",
    "src/jmx",
    "src/kafka",
];

/// The simulated cluster, and what judges the gate there.
const SIMULATION: &[&str] = &["src/model", "lab/src/simulate"];

/// What each proof is about, in groups of paths: when that changes it is to be made anew.
const ABOUT: &[(&str, &[&[&str]])] = &[
    ("attacks", &[GATE, &["src/server"]]),
    ("bench-check", &[&["benches/check.rs", "src/server"]]),
    ("bench-jmx", &[&["benches/jmx.rs", "src/jmx"]]),
    (
        "bench-metadata",
        &[&[
            "benches/metadata.rs",
            "src/evidence/partitions.rs",
            "src/kafka",
        ]],
    ),
    (
        "bench-what-if",
        &[&["benches/what_if.rs", "src/checks", "src/evidence"]],
    ),
    ("callers", &[&["docs/recipes", "src/gate", "src/server"]]),
    ("crashes", &[&["src/gate", "src/store", "src/engine"]]),
    ("curve", &[GATE, SIMULATION]),
    (
        "fuzz",
        &[&[
            "fuzz/src",
            "src/config",
            "src/jmx",
            "src/kafka",
            "src/server",
        ]],
    ),
    ("kill", &[GATE]),
    ("kill-zookeeper", &[GATE]),
    ("openapi", &[&["src/server"]]),
    ("plan", &[GATE]),
    ("race", &[&["src/gate", "src/store", "src/engine"]]),
    ("restart", &[GATE]),
    ("roll", &[GATE]),
    ("sabotages", &[GATE, SIMULATION]),
    ("security", &[GATE, &["src/doctor", "src/files", "src/tls"]]),
    ("simulate", &[GATE, SIMULATION]),
    ("simulate-drivers", &[GATE, SIMULATION]),
    ("simulate-leases", &[GATE, SIMULATION]),
    ("situations", &[GATE]),
];

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
pub(crate) fn proof(name: &str) -> Option<Value> {
    let proof = proofs().remove(name);
    if proof.is_none() {
        println!("docs/proof/{name}.json is not made yet: docs/lab.md says how");
    }
    proof
}

/// Whether it was made of this commit, which did not have every row yet. Any other has to.
pub(crate) fn is_of(proof: &Value, commit: &str) -> bool {
    let it_is = proof["commit"] == commit;
    if it_is {
        let name = &proof["name"];
        println!("docs/proof/{name}.json lacks its newest rows: make it anew (docs/lab.md)");
    }
    it_is
}

pub(crate) fn number(value: &Value, path: &str) -> f64 {
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
            "docs/proof/{name}.json is missing: docs/lab.md says how to make it"
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

/// Every degraded mode, with a node killed and back.
const MODES: [&str; 12] = [
    "mode_kafka",
    "mode_kafka_broker_killed",
    "mode_kafka_broker_back",
    "mode_jmx",
    "mode_jmx_broker_killed",
    "mode_jmx_broker_back",
    "mode_via_brokers",
    "mode_via_brokers_controller_killed",
    "mode_via_brokers_controller_back",
    "mode_broker_pages",
    "mode_broker_pages_broker_killed",
    "mode_broker_pages_broker_back",
];

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
    let modes: Vec<_> = names
        .iter()
        .copied()
        .filter(|name| name.starts_with("mode_"))
        .collect();
    assert_eq!(modes, MODES);
    for row in rows {
        assert_eq!(row["ok"], true, "{row:#}");
        assert_eq!(row["wrong_opens"], 0, "{row:#}");
    }
}

/// A measured number: what is demanded, with room for a busy machine, and what is aimed at.
pub(crate) fn measured(
    what: &str,
    value: f64,
    fits: impl Fn(f64) -> bool,
    demanded: f64,
    aim: f64,
) {
    let met = if fits(aim) { "met" } else { "missed" };
    println!("{what}: {value}; the aim of {aim} is {met}");
    assert!(fits(demanded), "{what}: {value}, {demanded} demanded");
}

pub(crate) fn at_most(what: &str, value: f64, demanded: f64, aim: f64) {
    measured(what, value, |limit| value <= limit, demanded, aim);
}

#[test]
fn a_whole_roll_by_exec_loses_nothing_and_goes_one_at_a_time() {
    let Some(proof) = proof("roll") else { return };
    let steps = proof["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 6);
    assert!(steps.iter().all(|step| step["exit"] == 0));
    // The estimate comes from the nodes before: it lies between the shortest and the longest.
    let parts = ["/restart", "/kafka_not_back", "/gates_window"];
    let took = |step: &Value| parts.iter().map(|part| number(step, part)).sum::<f64>();
    // Of its kind: controllers have nothing to catch up.
    for kind in steps.chunks(3) {
        assert!(kind[0]["said_usually"].is_null(), "{:#}", kind[0]);
        for (index, step) in kind.iter().enumerate().skip(1) {
            let usually = number(step, "/said_usually");
            let before = || kind[..index].iter().map(took);
            let (least, most) = (
                before().fold(f64::MAX, f64::min),
                before().fold(0.0, f64::max),
            );
            let fits = usually >= least - 2.0 && usually <= most + 2.0;
            assert!(fits, "{usually} of {least} to {most}: {step:#}");
        }
    }
    for step in steps {
        let said = step["said"]["progress"].as_array().expect("a list");
        for words in ["down: N", "settling, N left"] {
            assert!(said.iter().any(|said| said == words), "{step:#}");
        }
    }
    assert_eq!(number(&proof, "/second/beside_the_first"), 0.0);
    assert!(number(&proof, "/second/asked") > 0.0);
    let in_the_window = number(&proof, "/second/asked_in_the_window");
    assert!(in_the_window >= 18.0, "three in each node's window");
    assert_eq!(number(&proof, "/second/beside_a_node_that_is_out"), 0.0);
    for story in ["broken_config", "killed_owner"] {
        assert_eq!(proof[story]["ok"], true, "{:#}", proof[story]);
    }
    assert!(number(&proof, "/load/acknowledged") > 0.0);
    assert_eq!(number(&proof, "/load/lost"), 0.0);
    assert_eq!(number(&proof, "/load/doubled"), 0.0);
}

/// A proof of hours would else name a commit that was made meanwhile, and that nobody ran.
#[test]
fn every_proof_takes_the_commit_when_it_begins() {
    let mut begun = 0;
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lab/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            assert!(!text.contains("header: Header::new("), "{path:?}");
            begun += text.matches("let header = Header::new(").count();
        }
    }
    assert!(begun >= 10, "{begun}");
}

/// Says which proofs are older than what they prove. They do not fail for it: making them takes
/// longer than a test may.
#[test]
fn every_proof_names_a_commit_and_what_it_is_about() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (name, proof) in proofs() {
        let about = ABOUT.iter().find(|(about, _)| *about == name);
        let (_, paths) = about.unwrap_or_else(|| panic!("{name}: say in ABOUT what it is about"));
        for path in paths.iter().copied().flatten() {
            assert!(
                root.join(path).exists(),
                "{name} is about {path}, which is gone"
            );
        }
        let commit = proof["commit"].as_str().expect("a commit");
        let clean = commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(clean, "{name}: made of {commit}, which nobody can look at");
        let changes = Command::new("git")
            .current_dir(&root)
            .args(["diff", "--name-only", commit, "--"])
            .args(paths.iter().copied().flatten())
            .output();
        // Without git, or without the history (a shallow clone), nothing can be said.
        let changes = changes.ok().filter(|output| output.status.success());
        let changed = changes.map_or(0, |output| {
            String::from_utf8_lossy(&output.stdout).lines().count()
        });
        if changed > 0 {
            println!(
                "docs/proof/{name}.json is out of date: {changed} files changed since {commit}"
            );
        }
    }
}

#[test]
fn the_recipes_restart_a_real_cluster_one_node_at_a_time() {
    let Some(proof) = proof("callers") else {
        return;
    };
    assert!(
        proof["ansible"]
            .as_str()
            .unwrap()
            .contains("ansible-playbook")
    );
    let callers = proof["callers"].as_object().unwrap();
    let names: Vec<_> = callers.keys().map(String::as_str).collect();
    assert_eq!(names, ["ansible", "jenkins", "rundeck"]);
    for (name, roll) in callers {
        assert_eq!(roll["ok"], true, "{name}");
        let restarts = roll["restarts"].as_array().unwrap();
        assert_eq!(restarts.len(), 6, "{name}");
        for restart in restarts {
            assert_eq!(restart["beside"], 0, "{name}: {restart}");
            assert_eq!(restart["isr_full"], true, "{name}: {restart}");
        }
    }
    assert!(number(&proof, "/load/acknowledged") > 1_000.0);
    assert_eq!(number(&proof, "/load/lost"), 0.0);
}

#[test]
fn nothing_is_granted_twice_or_lost_by_gates_that_are_killed() {
    for (name, rounds, wanted) in [("race", "/rounds", 300.0), ("crashes", "/kills", 1_000.0)] {
        let Some(proof) = proof(name) else { continue };
        assert!(number(&proof, rounds) >= wanted, "{name}");
        assert!(number(&proof, "/told_go") >= 200.0, "{name}");
        for none in ["/two_holders", "/lost", "/old_tokens"] {
            assert_eq!(number(&proof, none), 0.0, "{name}{none}");
        }
    }
    if let Some(race) = proof("race") {
        let killed = number(&race, "/killed_before_the_answer");
        assert!(killed >= number(&race, "/rounds") / 3.0);
        assert_eq!(number(&race, "/found_again"), killed);
        let told = number(&race, "/told_before_a_kill");
        assert!(told >= 50.0);
        assert_eq!(number(&race, "/held_after_the_restart"), told);
        // Killed beside a write of something else: not many, or it is not the grant that is raced.
        assert!(number(&race, "/other_writes") < killed);
    }
    if let Some(crashes) = proof("crashes") {
        assert!(number(&crashes, "/held_over_a_kill") >= 50.0);
    }
}

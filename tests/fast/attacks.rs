//! The real program among callers that mean no good, for a moment each; and the long proof of it.

use std::time::Duration;

use lab::prove::attacks::{Stand, callers, there_and_back};

use crate::proofs::{is_of, number, proof};

/// What an answer may take here, where the machine does much else meanwhile. The proof has the
/// real limit.
const PATIENCE_MS: f64 = 1_000.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_mean_no_good_do_not_keep_the_verdict_from_others() {
    let stand = Stand::start(|_| ()).await.unwrap();
    let rows = callers(&stand, Duration::from_secs(1)).await.unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        assert!(row.ok, "{row:#?}");
        assert!(row.worst_check_ms() < PATIENCE_MS, "{row:#?}");
        assert!(row.peak_memory < 256 << 20, "{row:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_the_wall_clock_shuts_the_gate_until_all_is_heard_anew() {
    let stand = Stand::start(|_| ()).await.unwrap();
    let row = there_and_back(&stand, -3600, Duration::from_secs(12)).await;
    let row = row.unwrap();
    // That nothing else shuts it meanwhile is for the proof, on a machine that does nothing else.
    for (noticed, again) in [
        ("noticed_s", "open_again_s"),
        ("back_noticed_s", "back_open_again_s"),
    ] {
        assert!(row.measured[noticed] < 5.0, "{row:#?}");
        assert!(row.measured[again] > 2.0, "{row:#?}");
    }
}

/// Every attack, in order.
const ATTACKS: [&str; 23] = [
    "slow headers",
    "slow bodies",
    "10,000 idle connections",
    "huge headers",
    "malformed HTTP",
    "a flood of requests",
    "a gzip bomb as a page",
    "an endless page",
    "a dripping page",
    "a redirect to another host",
    "a frame of 2 GB",
    "a short frame with a huge count",
    "an answer to another question",
    "a broker that never answers",
    CROWD,
    "no file descriptors left",
    "SIGSTOP for 60 s, while a broker dies",
    "stalled TLS handshakes",
    "the wall clock steps by +1 h and back",
    "the wall clock steps by -1 h and back",
    "the wall clock steps while an exporter hangs",
    "a lease runs while the wall clock steps by +1 h",
    "a lease runs while the wall clock steps by -1 h",
];
const CROWD: &str = "an answer that names 100000 brokers";
/// The proof of this commit knows no crowd, and counts memory and refusals from the gate's start.
const BEFORE_CROWDS: &str = "3b3315d7c108";

#[test]
fn the_attack_table_holds() {
    let Some(proof) = proof("attacks") else {
        return;
    };
    let rows = proof["rows"].as_array().expect("rows");
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    let all = ATTACKS.iter().copied();
    if is_of(&proof, BEFORE_CROWDS) {
        let all: Vec<_> = all.filter(|name| *name != CROWD).collect();
        assert_eq!(names, all);
    } else {
        assert_eq!(names, all.collect::<Vec<_>>());
        // Each row has its own peak, not the largest so far.
        let peak = |row: &serde_json::Value| number(row, "/peak_memory");
        let calmer = rows.windows(2).any(|two| peak(&two[1]) < peak(&two[0]));
        assert!(calmer, "peaks that only grow");
    }
    for row in rows {
        let name = row["name"].as_str().unwrap();
        assert_eq!(
            row["measured"].is_object(),
            name.contains("wall clock") || name == CROWD
        );
        assert_eq!(row["ok"], true, "{row:#}");
        assert!(number(row, "/peak_memory") < 512e6, "{row:#}");
        // A gate that is stopped answers when it goes on.
        let limit = number(&proof, "/limit_ms");
        assert!(number(row, "/worst_check_ms") <= limit, "{row:#}");
    }
}

#[test]
fn answers_are_what_the_openapi_document_says() {
    let Some(proof) = proof("openapi") else {
        return;
    };
    assert_eq!(number(&proof, "/server_errors"), 0.0);
    assert_eq!(proof["passed"], true);
    assert!(number(&proof, "/requests") >= 1000.0);
    assert!(proof["operations"].as_object().unwrap().len() >= 20);
}

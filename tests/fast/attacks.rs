//! The real program among callers that mean no good, for a moment each; and the long proof of it.

use std::time::Duration;

use lab::prove::attacks::{Stand, callers, there_and_back};

use crate::proofs::{number, proof};

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

#[test]
fn the_attack_table_holds() {
    let Some(proof) = proof("attacks") else {
        return;
    };
    let rows = proof["rows"].as_array().expect("rows");
    assert!(rows.len() >= 22, "{} rows", rows.len());
    let steps = rows.iter().filter(|row| row["measured"].is_object());
    assert_eq!(steps.count(), 5, "rows about the wall clock");
    for row in rows {
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

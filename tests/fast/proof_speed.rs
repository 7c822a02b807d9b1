//! The proofs `bench-*`: how fast, beside whom.

use serde_json::Value;

use crate::proofs::{at_most, measured, number, proof};

fn at_least(what: &str, value: f64, demanded: f64, aim: f64) {
    measured(what, value, |limit| value >= limit, demanded, aim);
}

/// How a benchmark was made, and that its spreads are spreads of many rounds.
fn well_made(proof: &Value, spreads: &[&str]) {
    assert!(
        proof["rustc"]
            .as_str()
            .is_some_and(|said| said.starts_with("rustc "))
    );
    assert!(
        proof["versions"]
            .as_object()
            .is_some_and(|all| !all.is_empty())
    );
    assert!(
        proof["machine"]
            .as_str()
            .is_some_and(|said| said.contains("load"))
    );
    for spread in spreads {
        let at = |name: &str| number(proof, &format!("{spread}/{name}"));
        assert!(at("count") >= 15.0, "{spread}: too few rounds");
        let in_order = [at("min"), at("median"), at("p90"), at("max")];
        assert!(
            in_order.is_sorted() && in_order[0] > 0.0,
            "{spread}: {in_order:?}"
        );
    }
}

#[test]
fn the_scanner_reads_the_wanted_names_fast() {
    let Some(proof) = proof("bench-jmx") else {
        return;
    };
    well_made(
        &proof,
        &[
            "/microseconds/wanted_names",
            "/microseconds/prometheus_parse",
        ],
    );
    assert!(number(&proof, "/page/bytes") > 900_000.0);
    assert!(number(&proof, "/page/values_read") > 10.0);
    let speed = number(&proof, "/gigabytes_per_second/wanted_names");
    at_least("GB/s for the wanted names", speed, 1.5, 3.0);
    at_least(
        "times prometheus-parse",
        number(&proof, "/peer_by_ours/wanted_names"),
        20.0,
        50.0,
    );
}

#[test]
fn metadata_of_50_000_partitions_is_read_fast_and_in_few_pieces() {
    let Some(proof) = proof("bench-metadata") else {
        return;
    };
    well_made(
        &proof,
        &["/microseconds/ours", "/microseconds/kafka_protocol"],
    );
    assert_eq!(number(&proof, "/frame/partitions"), 50_000.0);
    let allocations = number(&proof, "/memory/ours/allocations");
    assert!(allocations < 100.0, "{allocations} allocations");
    at_most(
        "us for 50,000 partitions",
        number(&proof, "/microseconds/ours/median"),
        3_000.0,
        1_500.0,
    );
    at_least(
        "times the crate's decoder",
        number(&proof, "/peer_by_ours"),
        2.0,
        5.0,
    );
}

#[test]
fn the_what_if_of_every_node_costs_one_pass() {
    let Some(proof) = proof("bench-what-if") else {
        return;
    };
    for (partitions, limit, aim) in [("50000", 4_000.0, 1_000.0), ("200000", 20_000.0, 5_000.0)] {
        let at = format!("/partitions/{partitions}");
        let works = ["healthy", "one_broker_down", "node_by_node", "snapshot"];
        let works = works.map(|work| format!("{at}/microseconds/{work}"));
        let works: Vec<_> = works.iter().map(String::as_str).collect();
        well_made(&proof, &works);
        let healthy = number(&proof, &format!("{at}/microseconds/healthy/median"));
        at_most(
            &format!("us for {partitions} partitions"),
            healthy,
            limit,
            aim,
        );
        // With one broker down every partition of its own is looked at more closely: the aim is said.
        let degraded = number(&proof, &format!("{at}/microseconds/one_broker_down/median"));
        at_most(
            &format!("us for {partitions} partitions with one broker down"),
            degraded,
            2.0 * limit,
            aim,
        );
        let peer = number(&proof, &format!("{at}/node_by_node_by_ours"));
        at_least("times one question per node", peer, 5.0, 20.0);
    }
}

#[test]
fn a_check_costs_little_more_than_a_bare_answer() {
    let Some(proof) = proof("bench-check") else {
        return;
    };
    for case in ["open", "closed"] {
        let spreads = ["check", "bare"].map(|who| {
            ["cpu_microseconds_per_request", "requests_per_second"]
                .map(|what| format!("/{case}/{what}/{who}"))
        });
        let spreads: Vec<&str> = spreads.iter().flatten().map(String::as_str).collect();
        well_made(&proof, &spreads);
        let ratio = number(&proof, &format!("/{case}/cpu_ratio/median"));
        at_most(&format!("{case}: CPU of a bare server's"), ratio, 1.35, 1.2);
    }
}

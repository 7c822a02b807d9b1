//! The proof `plan`: every row is as Kafka would have it, and could have failed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::proofs::{number, proof};

#[test]
fn the_plan_says_of_every_layout_what_stopping_does() {
    let Some(proof) = proof("plan") else { return };
    let rows = proof["rows"].as_array().expect("rows");
    for row in rows {
        assert_eq!(row["ok"], true, "{row:#}");
        // Once it was true, not even one answer said otherwise before the expected one came.
        if text_of(row, "expected").starts_with("may not stop") {
            assert!(number(row, "/answers") >= 3.0, "{row:#}");
            assert_eq!(row["wrong_opens"], 0, "{row:#}");
        }
    }
    let has = |situation: &str| rows.iter().any(|row| row["situation"] == situation);
    for situation in LAYOUTS.iter().chain(&FORESEEN) {
        assert!(has(situation), "no row {situation:?}");
    }
    for taken in TAKEN {
        for row in [
            "one that shares a partition with it",
            "one that shares none",
        ] {
            let row = format!("{taken}, {row}");
            assert!(has(&row), "no row {row}");
        }
    }
    assert!(has("a node that is proven back, beside it"));
}

/// Plan and `check` are one judgement: what both have to say stands here.
#[test]
fn the_plan_says_of_every_node_what_has_to_be_said() {
    let Some(proof) = proof("plan") else { return };
    let rows = proof["rows"].as_array().expect("rows");
    let says = |situation: &str, nodes: &str, wanted: &str| {
        let same = |row: &&Value| row["situation"] == situation && row["nodes"] == nodes;
        let row = rows.iter().find(same);
        let row = row.unwrap_or_else(|| panic!("no row {situation:?} {nodes}"));
        assert_eq!(text_of(row, "expected"), wanted, "{situation}");
        assert_eq!(text_of(row, "actual"), wanted, "{situation}");
    };
    let each = |nodes: &[u32], state: &str| {
        let all = nodes.iter().map(|node| (*node, state));
        format!("{:?}", all.collect::<BTreeMap<_, _>>())
    };
    let large = [1, 2, 3, 4, 101, 102, 103];
    let plan = "GET plan, 3 controllers, 4 brokers";
    let node = "every node as check says";
    says(&format!("{plan}: {node}"), "", &each(&large, "open"));
    for taken in TAKEN {
        let row = format!("{plan}: {taken}, {node}");
        says(&row, "", &each(&large, "closed"));
    }
    for cluster in ["3 combined nodes", "ZooKeeper, 3 brokers"] {
        let row = format!("GET plan, {cluster}: {node}");
        says(&row, "", &each(&[1, 2, 3], "open"));
    }
    let machine = format!("{plan}: a machine");
    says(&machine, "1,101", "open");
    says(&machine, "2,3", "closed");
}

fn text_of<'a>(row: &'a Value, field: &str) -> &'a str {
    let text = row[field].as_str();
    text.unwrap_or_else(|| panic!("no {field}: {row:#}"))
}

/// A node is given to somebody, and is not proven back.
const TAKEN: [&str; 2] = [
    "a node that is leased",
    "a node that is back and not proven yet",
];

/// What has to be in the table of `plan`.
const LAYOUTS: [&str; 24] = [
    "topic with 1 replicas, min ISR 1",
    "topic with 2 replicas, min ISR 1",
    "topic with 2 replicas, min ISR 2",
    "topic with 3 replicas, min ISR 2",
    "topic with 3 replicas, min ISR 3",
    "__consumer_offsets in one copy",
    "a failed log dir elsewhere",
    "a failed log dir on it",
    "the disk is replaced",
    "a running reassignment, its source",
    "a running reassignment, its target",
    "a running reassignment that does not touch it",
    "the reassignment is over",
    "a fenced broker elsewhere",
    "a fenced broker",
    "a leftover registration",
    "a new empty broker",
    "a new empty broker beside it",
    "the only controller",
    "one of two controllers",
    "one of three controllers",
    "two of three controllers",
    "one combined node",
    "two of three combined nodes",
];

/// The same: what really happens then.
const FORESEEN: [&str; 12] = [
    "GET plan, 3 controllers, 4 brokers: every node as check says",
    "GET plan, 3 controllers, 4 brokers: the order",
    "GET plan, 3 controllers, 4 brokers: a machine",
    "GET plan, 3 controllers, 4 brokers: who leads without it",
    "GET plan, 3 combined nodes: who leads without it",
    "GET plan, ZooKeeper, 3 brokers: the order",
    "GET plan, ZooKeeper, 3 brokers: who leads without it",
    "ZooKeeper: one of three brokers",
    "ZooKeeper: two of three brokers",
    "repair of a broker that is killed",
    "repair of a broker that lives, beside it",
    "repair of a broker that only the gate is cut off from, beside it",
];

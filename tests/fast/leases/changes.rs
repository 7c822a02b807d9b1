//! Changes of leases and holds over HTTP, and where they are shown.

use std::time::Duration;

use serde_json::json;
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::gate::lease::{Hold, LeaseId, Stage, Token};
use upgrade_gate::gate::question::{Change, Changed, Command, Refusal, Reply};
use upgrade_gate::gate::view::View;

use super::{GATE, answered, lease, owner, taken};
use crate::served::{START, open, serve};

#[tokio::test]
async fn changes_are_answered_once_they_are_durable() {
    let mut served = serve(open()).await;
    let lift = Change::Lift {
        node: None,
        by: owner("ann"),
    };
    let hold = Hold {
        author: owner("ann"),
        reason: String::from("disks"),
        since: START.wall,
        until: None,
    };
    for (method, target, reply, word) in [
        (
            "POST",
            "leases/3/renew?token=7&ttl=1h",
            Changed::Lease(Box::new(lease(Stage::Held))),
            "renewed",
        ),
        (
            "DELETE",
            "leases/3?by=ann&reason=x",
            Changed::Broken(LeaseId(3)),
            "broken",
        ),
        (
            "PUT",
            "hold?author=ann&reason=disks&ttl=2h",
            Changed::Hold(Some(hold.clone())),
            "held",
        ),
        ("DELETE", "hold?by=ann", Changed::Hold(None), "lifted"),
        (
            "PUT",
            "hold?author=ann&reason=disks&node=2",
            Changed::Hold(Some(hold)),
            "held",
        ),
        (
            "DELETE",
            "hold?by=ann&node=2",
            Changed::Hold(None),
            "lifted",
        ),
        (
            "DELETE",
            "nodes/2?by=ann",
            Changed::Retired(NodeId(2)),
            "retired",
        ),
    ] {
        let (command, got) = answered(&mut served, method, target, Reply::Changed(reply)).await;
        assert!(matches!(command, Command::Change(_)), "{command:?}");
        assert_eq!((got.status, &got.json()["changed"]), (200, &json!(word)));
        assert_eq!(got.header("upgrade-gate-state"), None);
        // Whoever holds a node, lifts that or retires it is told which.
        let node = (target.contains("node=2") || target.contains("nodes/2")).then_some(2);
        assert_eq!(got.json()["node"], json!(node), "{target}");
        if target == "hold?by=ann" {
            assert_eq!(command, Command::Change(lift.clone()));
        }
    }
}

#[tokio::test]
async fn a_change_that_is_refused_says_why() {
    let mut served = serve(open()).await;
    let lease = LeaseId(3);
    let why = String::from("it is registered");
    for (refusal, status) in [
        (Refusal::NoSuchLease(lease), 404),
        (
            Refusal::OldToken {
                lease,
                given: Token(1),
            },
            409,
        ),
        (
            Refusal::OfAnother {
                lease,
                owner: String::from("roll (token jenkins)"),
                by: owner("token rundeck"),
            },
            409,
        ),
        (
            Refusal::NotHeld {
                lease,
                stage: "expired",
            },
            409,
        ),
        (Refusal::NothingHeld, 409),
        (
            Refusal::NoSuchNodes {
                strangers: String::from("22"),
                known: String::from("1, 2, 3"),
            },
            400,
        ),
        (
            Refusal::GivenUp {
                owner: owner("ann"),
            },
            409,
        ),
        (
            Refusal::StillExpected {
                node: NodeId(2),
                why,
            },
            409,
        ),
        (Refusal::NotDurable(String::from("disk full")), 503),
        (Refusal::NotInForce(String::from("disk full")), 503),
    ] {
        let says = refusal.to_string();
        let target = "leases/3/renew?token=7";
        let (_, got) = answered(&mut served, "POST", target, Reply::Refused(refusal)).await;
        assert_eq!(got.status, status, "{says}");
        assert_eq!(got.json()["detail"], json!(says));
        // Whoever renews tells a lease that is no more from a gate that is not there.
        let gone = got.json()["title"] == "no such lease";
        assert_eq!(gone, status == 404, "{says}");
    }
}

#[tokio::test]
async fn documents_and_page_show_what_is_taken() {
    let served = serve(View::new(taken())).await;
    for target in [
        GATE.to_owned(),
        format!("{GATE}/plan"),
        format!("{GATE}/leases"),
    ] {
        let body = served.get(&target).await.json();
        let leases = body["leases"].as_array().unwrap();
        assert_eq!(leases.len(), 4, "{target}");
        assert_eq!(
            (&leases[0]["stage"], &leases[0]["token"]),
            (&json!("held"), &json!(7))
        );
        assert_eq!(leases[0]["unchanged_seconds"], 61.0);
        assert_eq!(leases[0]["usually_seconds"], 40.0);
        assert_eq!(leases[3]["owner"], json!(null));
        assert_eq!(body["hold"]["author"], "ann");
        assert_eq!(body["node_holds"]["2"]["reason"], "disks <i>");
    }
    let page = served.get("/").await;
    let text = page.text();
    assert!(text.contains("jenkins #4 &lt;b&gt;") && text.contains("disks &lt;i&gt;"));
    assert!(text.contains("2 of its replicas are out of sync") && text.contains("unannounced"));
    // A lease outlives the judgement; how far its nodes are does not.
    served.clock.advance(Duration::from_mins(1));
    let body = served.get(&format!("{GATE}/leases")).await.json();
    assert_eq!(
        (&body["expired"], &body["leases"][0]["progress"]),
        (&json!(true), &json!(null))
    );
}

//! A repair of one node that takes over a lease on several: what is answered is about the nodes asked
//! about, and names those of the lease beside them.

use std::collections::BTreeSet;

use serde_json::json;
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::gate::lease::{Action, End, Ended, Lease, LeaseId, Stage, Token};
use upgrade_gate::gate::parts::ViewParts;
use upgrade_gate::gate::question::Reply;
use upgrade_gate::gate::state::State;
use upgrade_gate::gate::view::View;

use super::{answered, lease, owner, taken, verdict};
use crate::served::{START, serve};

fn pair() -> BTreeSet<NodeId> {
    BTreeSet::from([NodeId(2), NodeId(102)])
}

fn larger(stage: Stage) -> Lease {
    Lease {
        owner: Some(owner("me")),
        nodes: pair(),
        action: Action::Repair,
        ..lease(stage)
    }
}

#[tokio::test]
async fn a_larger_lease_is_named_beside_the_nodes_asked_about() {
    let mut what: ViewParts = taken();
    what.leases.truncate(1);
    what.leases[0].lease = larger(Stage::Leaving);
    let mut served = serve(View::new(what)).await;
    let go = Reply::Go {
        lease: Box::new(larger(Stage::Held)),
        told: Some(2),
        evaluated: START,
    };
    let back = Reply::Over(Box::new(Ended {
        id: LeaseId(3),
        token: Token(7),
        owner: Some(owner("me")),
        nodes: pair(),
        how: End::ProvenBack,
        at: START.wall,
    }));
    for (target, reply, status) in [
        ("enter?node=2&owner=me&action=repair", go, 200),
        ("leave?node=2&owner=me", verdict(State::Closed), 503),
        ("leave?node=2&owner=me", back, 200),
    ] {
        let (_, got) = answered(&mut served, "POST", target, reply).await;
        let body = got.json();
        assert_eq!(got.status, status, "{target}");
        assert_eq!(body["nodes"], json!([2]), "{target}");
        assert_eq!(body["lease_nodes"], json!([2, 102]), "{target}");
        let told = target.starts_with("enter?").then(|| json!(2));
        assert_eq!(body.get("told"), told.as_ref(), "{target}");
    }
    let closed = verdict(State::Closed);
    let (_, got) = answered(&mut served, "POST", "enter?node=2&owner=me", closed).await;
    assert_eq!(got.json()["lease_nodes"], json!(null));
}

//! The history: its pages, its schema, and who is kept waiting by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::gate::doc::GateDoc;
use upgrade_gate::gate::event::{Event, What};
use upgrade_gate::gate::lease::{Action, End, LeaseId, Owner, Token};
use upgrade_gate::gate::state::{GateName, State};
use upgrade_gate::server::body::HistoryBody;
use upgrade_gate::server::{Limits, NoHistory};
use upgrade_gate::store::{MemoryStore, Store, Writer};

use crate::bodies::schema;
use crate::served::{START, Served, open, serve_with};

/// One event of each kind, with everything it can have.
fn every_event() -> Vec<Event> {
    let lease = LeaseId(3);
    let who = |name: &str| Owner::try_from(String::from(name)).unwrap();
    let nodes = BTreeSet::from([NodeId(1), NodeId(101)]);
    let later = START.wall.plus(Duration::from_mins(30));
    let codes = || vec![String::from("under_replicated")];
    let all = [
        What::Verdict {
            state: State::Closed,
            reasons: codes(),
        },
        What::Granted {
            lease,
            token: Token(7),
            owner: who("jenkins/roll #4711"),
            nodes: nodes.clone(),
            action: Action::Repair,
            taken_from: Some(who("ansible")),
        },
        What::Renewed {
            lease,
            expires_at: later,
            by: Some(who("token jenkins")),
        },
        What::Leaving { lease },
        What::Expired { lease },
        What::Unannounced {
            lease,
            nodes: nodes.clone(),
        },
        What::ProvenBack {
            lease,
            nodes,
            gone: true,
            seconds: 48,
        },
        What::Withdrawn {
            lease,
            reasons: codes(),
        },
        What::Broken {
            lease,
            by: who("ann"),
            reason: String::from("host is gone"),
        },
        What::Ended {
            lease,
            how: End::TakenOver { by: who("ann") },
        },
        What::HoldSet {
            node: Some(NodeId(2)),
            author: who("ann"),
            reason: String::from("disk swap"),
            until: Some(later),
        },
        What::HoldLifted {
            node: None,
            by: who("ann"),
        },
        What::Retired {
            node: NodeId(2),
            by: who("ann"),
            role: None,
        },
    ];
    let event = |(n, what)| Event {
        number: n,
        at: START.wall,
        what,
    };
    (1..).zip(all).map(event).collect()
}

/// A server whose history comes from a store's thread.
async fn serve_store(store: impl Store + 'static, limits: Limits) -> Served {
    let writer = Writer::spawn(Box::new(store)).unwrap();
    serve_with(open(), limits, |state| {
        state.history = upgrade_gate::app::serve::history(writer);
    })
    .await
}

fn filled() -> MemoryStore {
    let mut store = MemoryStore::default();
    let gate = GateName::default();
    let (revision, _) = store.load(&gate).unwrap();
    store.commit(&gate, revision, &GateDoc::default(), &every_event());
    store
}

#[tokio::test]
async fn every_kind_fits_the_schema_and_is_called_as_it_is_stored() {
    let served = serve_store(filled(), Limits::default()).await;
    let got = served.get("/api/v1/gates/default/history").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert_eq!(got.header("upgrade-gate-state"), None);
    let mut body = got.json();
    let schema = schema::<HistoryBody>();
    let errors: Vec<String> = schema.iter_errors(&body).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{body}");
    let entries = body["entries"].as_array().unwrap().clone();
    let kinds: BTreeSet<_> = entries.iter().map(|e| e["kind"].to_string()).collect();
    assert_eq!(kinds.len(), every_event().len(), "one of each kind");
    for (entry, event) in entries.iter().rev().zip(every_event()) {
        let stored = serde_json::to_value(&event).unwrap();
        assert_eq!(entry["kind"], stored["kind"]);
        assert_eq!(entry["number"], stored["number"]);
    }
    let granted = &entries[entries.len() - 2];
    assert_eq!(
        granted.to_string(),
        r#"{"action":"repair","at":"2026-11-18T11:06:40.000Z","kind":"granted","lease":3,"#
            .to_owned()
            + r#""nodes":[1,101],"number":2,"owner":"jenkins/roll #4711","taken_from":"ansible","#
            + r#""token":7}"#
    );
    body["entries"][0]["surprise"] = true.into();
    assert!(!schema.is_valid(&body), "the schema allows anything");
}

#[tokio::test]
async fn it_comes_in_pages() {
    let served = serve_store(filled(), Limits::default()).await;
    let mut seen = Vec::new();
    let mut next = String::from("/api/v1/gates/default/history?limit=5");
    loop {
        let page = served.get(&next).await.json();
        let numbers = page["entries"].as_array().unwrap();
        seen.extend(
            numbers
                .iter()
                .map(|entry| entry["number"].as_u64().unwrap()),
        );
        let Some(before) = page["next_before"].as_u64() else {
            break;
        };
        next = format!("/api/v1/gates/default/history?limit=5&before={before}");
    }
    let whole: Vec<u64> = (1..=13).rev().collect();
    assert_eq!(seen, whole);
    for (target, status) in [
        ("/api/v1/gates/other/history", 404),
        ("/api/v1/gates/default/history?limit=501", 400),
        ("/api/v1/gates/default/history?from=1", 400),
        ("/api/v1/gates/default/history/", 404),
    ] {
        assert_eq!(served.get(target).await.status, status, "{target}");
    }
    let post = served
        .send("POST", "/api/v1/gates/default/history", "", "")
        .await;
    assert_eq!(post.status, 405);
}

#[tokio::test]
async fn a_store_that_hangs_or_fails_is_a_503_and_check_does_not_notice() {
    let hangs = Arc::new(Notify::new());
    let limits = Limits {
        decide: Duration::from_millis(200),
        ..Limits::default()
    };
    let wait = Arc::clone(&hangs);
    let served = serve_with(open(), limits, |state| {
        state.history = Arc::new(move |gate, _, _| {
            let wait = Arc::clone(&wait);
            Box::pin(async move {
                wait.notified().await;
                Err(NoHistory::Failed(format!("{gate}'s store is damaged")))
            })
        });
    })
    .await;
    let (history, check) = tokio::join!(
        served.get("/api/v1/gates/default/history"),
        served.get("/api/v1/gates/default/check"),
    );
    assert_eq!(check.status, 200);
    assert_eq!(history.status, 503);
    assert_eq!(history.header("upgrade-gate-state"), Some("unknown"));
    assert!(
        history.text().contains("did not answer within"),
        "{}",
        history.text()
    );
    hangs.notify_one();
    let failed = served.get("/api/v1/gates/default/history").await;
    assert_eq!(failed.status, 503);
    assert!(
        failed.text().contains("default's store is damaged"),
        "{}",
        failed.text()
    );
}

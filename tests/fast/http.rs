//! The HTTP server over a raw socket: what it answers, and what it does not put up with.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::checks::reason::Reason;
use upgrade_gate::engine::handle::Ask;
use upgrade_gate::evidence::ids::{NodeId, Role};
use upgrade_gate::evidence::snapshot::ClusterKind;
use upgrade_gate::gate::question::{Answered, Command, Question, Repair, Reply};
use upgrade_gate::gate::state::State;
use upgrade_gate::gate::view::{Decision, View};
use upgrade_gate::server::Limits;

use crate::served::{
    Got, START, Served, VALID, closed, just_started, open, parts, raw, reason, serve, serve_with,
    unknown,
};

const CHECK: &str = "/api/v1/gates/default/check";
const DOCUMENT: &str = "/api/v1/gates/default";
const PLAN: &str = "/api/v1/gates/default/plan";

#[tokio::test]
async fn the_status_is_the_verdict() {
    for (view, state, status) in [
        (open(), "open", 200),
        (closed(), "closed", 503),
        (unknown(), "unknown", 503),
        (just_started(), "unknown", 503),
    ] {
        let served = serve(view).await;
        for method in ["GET", "POST", "HEAD"] {
            let got = served.send(method, CHECK, "", "").await;
            assert_eq!(got.status, status, "{method} {state}");
            assert_eq!(got.header("upgrade-gate-state"), Some(state));
            assert!(got.header("upgrade-gate-evaluated-at").is_some());
            assert_eq!(got.header("cache-control"), Some("no-store"));
            assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(got.header("content-type"), Some("application/json"));
            let retry: Option<u64> = got.header("retry-after").map(|it| it.parse().unwrap());
            assert_eq!(retry.is_some(), state != "open");
            assert!(retry.is_none_or(|seconds| (5..=15).contains(&seconds)));
        }
        for document in [DOCUMENT, PLAN] {
            let got = served.get(document).await;
            assert_eq!((got.status, &got.json()["state"]), (200, &state.into()));
            assert_eq!(got.header("upgrade-gate-state"), Some(state));
        }
    }
}

#[tokio::test]
async fn head_has_the_length_of_get_and_no_body() {
    let served = serve(closed()).await;
    for target in [
        CHECK,
        DOCUMENT,
        PLAN,
        "/",
        "/-/healthy",
        "/-/ready",
        "/nowhere",
    ] {
        let get = served.get(target).await;
        let head = served.send("HEAD", target, "", "").await;
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(head.header("content-length"), get.header("content-length"));
        assert_eq!(
            get.header("content-length"),
            Some(&*get.body.len().to_string())
        );
        assert!(head.body.is_empty(), "{target}");
    }
}

#[tokio::test]
async fn bodies_start_with_flat_values_in_a_fixed_order() {
    let served = serve(closed()).await;
    for target in [CHECK, DOCUMENT, PLAN] {
        let got = served.get(target).await;
        let head = r#"{"open":false,"state":"closed","gate":"default","advice":true,"reasons":["#;
        assert!(got.text().starts_with(head), "{}", got.text());
        let place = |key: &str| got.text().find(&format!("\"{key}\":")).unwrap();
        assert!(place("evaluated_at") < place("age_seconds"));
        assert!(place("age_seconds") < place("retry_after_seconds"));
    }
}

#[tokio::test]
async fn a_reason_explains_itself() {
    let served = serve(closed()).await;
    let body = served.get(CHECK).await.json();
    let why = &body["reasons"][0];
    assert_eq!(why["code"], "under_replicated");
    assert_eq!(why["severity"], "block");
    assert_eq!(why["node"], 2);
    assert_eq!(why["since_seconds"], 60.0);
    assert_eq!(why["source"], "kafka:1");
    assert_eq!(why["source_age_seconds"], 0.3);
    assert!(why.get("step").is_none(), "no source failed: {why}");
    assert_eq!(why["runbook"], "docs/reasons.md#under_replicated");
    assert_eq!(body["age_seconds"], 0.25);
    assert_eq!(body["since_seconds"], 90.0);
    assert_eq!(body["retry_after_seconds"], 15);
    let body = serve(unknown()).await.get(CHECK).await.json();
    // 45 s wanted, 38 s held, judged 0.25 s ago.
    assert_eq!(body["retry_after_seconds"], 7);
    assert_eq!(body["reasons"][0]["step"], "http_login");
}

#[tokio::test]
async fn plain_text_on_request() {
    let served = serve(closed()).await;
    let text = |target: &'static str| {
        let sent = served.send("GET", target, "Accept: text/plain\r\n", "");
        async { sent.await.text().to_owned() }
    };
    let seen =
        "orders-3: ISR [1, 3] of replicas [1, 2, 3] <b> (required: every replica in the ISR)";
    assert_eq!(
        text(CHECK).await,
        format!(
            "CLOSED under_replicated\n\
             [-]isr failed: under_replicated: node 2: {seen}\n\
             [+]zookeeper ok: not applicable: KRaft\n\
             [!]single_replica warning: cluster: {seen}\n"
        )
    );
    assert_eq!(text(DOCUMENT).await, text(CHECK).await);
    served.published.publish(Arc::new(open()));
    assert!(text(CHECK).await.starts_with("OPEN\n[+]isr ok\n"));
    served.published.publish(Arc::new(unknown()));
    assert!(text(CHECK).await.starts_with("UNKNOWN source_failed\n"));
}

#[tokio::test]
async fn a_view_past_its_end_is_unknown_everywhere() {
    let served = serve(open()).await;
    assert_eq!(served.get(CHECK).await.status, 200);
    served.clock.advance(VALID);
    assert_eq!(served.get(CHECK).await.status, 200);
    served.clock.advance(Duration::from_nanos(1));
    let got = served.get(CHECK).await;
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );
    assert_eq!(got.json()["reasons"][0]["code"], "view_expired");
    let got = served.get(&format!("{CHECK}?node=1")).await;
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );
    let body = served.get(DOCUMENT).await.json();
    assert_eq!(body["expired"], true);
    assert_eq!(body["facts"], serde_json::Value::Null);
    assert_eq!(body["nodes"][0]["may_stop"], "unknown");
    assert_eq!(
        served.get(PLAN).await.json()["nodes"][0]["may_stop"],
        "unknown"
    );
    let page = served.get("/").await;
    assert!(page.text().contains("UNKNOWN: too little is known"));
    assert!(!page.text().contains("<strong>yes</strong>"));
}

#[tokio::test]
async fn a_body_served_twice_never_says_less_than_its_age() {
    let served = serve(open()).await;
    let mut before = 0.0;
    for step in 0..40 {
        let body = served.get(CHECK).await.json();
        let age = body["age_seconds"].as_f64().unwrap();
        let truth = 0.25 + f64::from(step) * 0.033;
        assert!(
            age >= truth - 0.001 && age <= truth + 0.101,
            "{age} {truth}"
        );
        assert!(age >= before);
        before = age;
        served.clock.advance(Duration::from_millis(33));
    }
}

#[tokio::test]
async fn the_closed_status_can_be_chosen() {
    let served = serve(closed()).await;
    for status in [409, 412, 423, 425, 429, 503] {
        let got = served.get(&format!("{CHECK}?closed_status={status}")).await;
        assert_eq!(got.status, status);
        assert!(got.header("retry-after").is_some());
    }
    served.published.publish(Arc::new(open()));
    let got = served.get(&format!("{CHECK}?closed_status=423")).await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn what_is_mistyped_is_a_problem_and_never_a_verdict() {
    let served = serve(open()).await;
    for (method, target, status) in [
        ("GET", "/index.html", 404),
        ("GET", "/check", 404),
        ("GET", "//", 404),
        ("GET", "/api/v1/gates/default/check/", 404),
        ("GET", "/api/v1/gates/other/check", 404),
        ("GET", "/api/v1/gates/other", 404),
        ("POST", "/", 405),
        ("POST", "/metrics", 405),
        ("POST", DOCUMENT, 405),
        ("POST", PLAN, 405),
        ("DELETE", CHECK, 405),
        ("OPTIONS", CHECK, 405),
        ("GET", "/-/reload", 405),
        ("GET", "/api/v1/gates/default/check?nodes=1", 400),
        ("GET", "/api/v1/gates/default/check?node=1&node=2", 400),
        ("GET", "/api/v1/gates/default/check?node=", 400),
        ("GET", "/api/v1/gates/default/check?node=9", 400),
        ("GET", "/api/v1/gates/default/check?closed_status=200", 400),
        ("GET", "/api/v1/gates/default/check?wait=300", 400),
        ("GET", "/api/v1/gates?x=1", 400),
    ] {
        let got = served.send(method, target, "", "").await;
        assert_eq!(got.status, status, "{method} {target}");
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
        assert_eq!(got.header("allow").is_some(), status == 405);
        assert_eq!(got.header("upgrade-gate-state"), None);
        let body = got.json();
        assert_eq!(body["open"], false);
        assert_eq!(body["status"], status);
    }
    let problem = served.get("/api/v1/gates/default/check?nodes=1").await;
    assert!(problem.json()["detail"].as_str().unwrap().contains("nodes"));
}

#[tokio::test]
async fn one_node_is_answered_from_the_view() {
    let mut what = parts(vec![]);
    what.nodes[1].may_stop = State::Closed;
    what.nodes[1].reasons = vec![reason(Reason::WouldGoOffline, Subject::Node(NodeId(2)))];
    let served = serve(View::new(what)).await;
    assert_eq!(served.get(&format!("{CHECK}?node=1")).await.status, 200);
    let got = served.get(&format!("{CHECK}?node=2")).await;
    assert_eq!(got.status, 503);
    assert_eq!(got.json()["nodes"], serde_json::json!([2]));
    assert_eq!(got.json()["reasons"][0]["code"], "would_go_offline");
}

/// A node that nobody knows is a mistake only where the gate knows its nodes.
#[tokio::test]
async fn before_the_first_judgement_any_node_is_unknown() {
    let served = serve(just_started()).await;
    let got = served.get(&format!("{CHECK}?node=1")).await;
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );
    assert_eq!(got.json()["reasons"][0]["code"], "warming_up");
}

/// Takes one question and lets the caller wait for its answer.
async fn question(served: &mut Served) -> (Question, Ask) {
    let ask = timeout(Duration::from_secs(5), served.asks.recv()).await;
    let ask = ask.unwrap().unwrap();
    let Command::Decide(question) = ask.command.clone() else {
        panic!("{:?}", ask.command);
    };
    (question, ask)
}

fn decided(state: State, reasons: Vec<Reason>) -> Reply {
    let reasons = reasons.into_iter().map(|it| reason(it, Subject::Cluster));
    Reply::Verdict(Answered::Decided {
        decision: Decision {
            state,
            reasons: reasons.collect(),
        },
        evaluated: START,
    })
}

#[tokio::test]
async fn several_nodes_and_fresh_evidence_are_the_engines_to_answer() {
    let mut served = serve(open()).await;
    let address = served.address;
    let ask = |query: &str| {
        let request =
            format!("GET {CHECK}?{query} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
        tokio::spawn(async move { Got::parse(&raw(address, &request).await).unwrap() })
    };
    let pair = BTreeSet::from([NodeId(1), NodeId(101)]);

    let caller = ask("node=1,101");
    let (asked, engine) = question(&mut served).await;
    assert_eq!((&asked.nodes, asked.newer_than), (&pair, None));
    engine
        .reply
        .send(decided(State::Closed, vec![Reason::WouldLoseQuorum]))
        .unwrap();
    let got = caller.await.unwrap();
    assert_eq!(got.status, 503);
    assert_eq!(got.json()["nodes"], serde_json::json!([1, 101]));
    assert_eq!(got.json()["reasons"][0]["code"], "would_lose_quorum");

    let caller = ask("fresh=1");
    let (asked, engine) = question(&mut served).await;
    assert_eq!(asked.newer_than, Some(START.mono));
    engine.reply.send(decided(State::Open, vec![])).unwrap();
    assert_eq!(caller.await.unwrap().status, 200);

    // A repair is asked of the engine, always by newer evidence.
    let caller = ask("node=1&action=repair");
    let engine = served.asks.recv().await.unwrap();
    let repair = Repair {
        nodes: BTreeSet::from([NodeId(1)]),
        asked: START.mono,
    };
    assert_eq!(engine.command, Command::DecideRepair(repair));
    engine.reply.send(decided(State::Open, vec![])).unwrap();
    let got = caller.await.unwrap();
    assert_eq!(got.status, 200);
    assert_eq!(got.json()["action"], "repair");
    assert_eq!(got.json()["advice"], true);

    let caller = ask("node=1,101");
    let (_, engine) = question(&mut served).await;
    engine
        .reply
        .send(Reply::Verdict(Answered::NoSuchNodes(BTreeSet::from([
            NodeId(101),
        ]))))
        .unwrap();
    let got = caller.await.unwrap();
    assert_eq!(got.status, 400);
    assert!(got.json()["detail"].as_str().unwrap().contains("101"));

    // An open that was held up, by a stopped process say, is none.
    let caller = ask("fresh=1");
    let (_, engine) = question(&mut served).await;
    served.clock.advance(Duration::from_millis(1001));
    engine.reply.send(decided(State::Open, vec![])).unwrap();
    let got = caller.await.unwrap();
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );

    let caller = ask("fresh=1");
    let (_, engine) = question(&mut served).await;
    drop(engine);
    let got = caller.await.unwrap();
    assert_eq!(got.status, 503);
    assert_eq!(got.json()["reasons"][0]["code"], "engine_failed");
}

#[tokio::test]
async fn an_engine_that_does_not_answer_leaves_everything_unknown() {
    let limits = Limits {
        decide: Duration::from_millis(50),
        ..Limits::default()
    };
    let served = serve_with(open(), limits, |_| ()).await;
    let got = served
        .get(&format!("{CHECK}?fresh=1&closed_status=423"))
        .await;
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (423, Some("unknown"))
    );
    assert_eq!(got.json()["open"], false);
    assert_eq!(served.get(CHECK).await.status, 200);
}

#[tokio::test]
async fn health_readiness_and_the_page() {
    let served = serve(just_started()).await;
    assert_eq!(served.get("/-/healthy").await.status, 200);
    let got = served.get("/-/ready").await;
    assert_eq!(got.status, 503);
    let says = "upgrade-gate is not ready: a gate has not judged yet.\n";
    assert_eq!(got.text(), says, "and no name");
    served.published.publish(Arc::new(closed()));
    assert_eq!(served.get("/-/ready").await.status, 200);
    served.published.publish(Arc::new(just_started()));
    assert_eq!(served.get("/-/ready").await.status, 200);
    served.state.readiness.drain();
    assert_eq!(served.get("/-/ready").await.status, 503);

    served.published.publish(Arc::new(closed()));
    let page = served.get("/").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for words in [
        "CLOSED: do not stop any node",
        "since 2026-",
        "(90s)",
        "What to do:",
        "under_replicated",
        "http-equiv=\"refresh\" content=\"5\"",
        "<strong>no</strong>",
        "&lt;b&gt;",
        "/api/v1/gates/default/plan",
    ] {
        assert!(page.text().contains(words), "{words}");
    }
    assert!(!page.text().contains("<b>") && !page.text().contains("<script"));
    served.published.publish(Arc::new(open()));
    let page = served.get("/").await;
    assert!(page.text().contains("OPEN: the next node may go"));
    assert!(page.text().contains("<strong>yes</strong>"));
}

#[tokio::test]
async fn a_plan_advises_an_order_and_lists_structural_risks() {
    let served = serve(closed()).await;
    let plan = served.get(PLAN).await.json();
    assert_eq!(plan["order"], serde_json::json!([102, 103, 101, 1, 2, 3]));
    assert_eq!(plan["nodes"][2]["node"], 101);
    assert_eq!(plan["nodes"][2]["active_controller"], true);
    let because = "controllers first, the active controller last, then brokers";
    assert_eq!(plan["order_because"], because);
    let risks = plan["risks"].as_array().unwrap();
    assert_eq!(risks.len(), 1);
    assert_eq!(risks[0]["code"], "single_replica");
}

#[tokio::test]
async fn on_zookeeper_the_controller_is_the_last_of_the_brokers() {
    let mut what = parts(vec![]);
    what.cluster.kind = ClusterKind::ZooKeeper;
    what.cluster.controller = Some(NodeId(2));
    what.nodes.retain(|node| node.role == Role::BROKER);
    for node in &mut what.nodes {
        node.active_controller = node.node == NodeId(2);
    }
    let served = serve(View::new(what)).await;
    let plan = served.get(PLAN).await.json();
    assert_eq!(plan["order"], serde_json::json!([1, 3, 2]));
    let because = "brokers in the order of their ids, the controller last";
    assert_eq!(plan["order_because"], because);
}

#[tokio::test]
async fn reloading_is_off_until_enabled_and_never_a_browsers_to_ask() {
    let served = serve(open()).await;
    assert_eq!(
        served
            .send("POST", "/-/reload", "X-Upgrade-Gate: 1\r\n", "")
            .await
            .status,
        403
    );
    let served = serve_with(open(), Limits::default(), |state| {
        state.reload = Some(Arc::new(|| Box::pin(async { Ok(String::from("2 gates")) })));
    })
    .await;
    assert_eq!(served.send("POST", "/-/reload", "", "").await.status, 403);
    let got = served
        .send("PUT", "/-/reload", "X-Upgrade-Gate: 1\r\n", "")
        .await;
    assert_eq!((got.status, got.text()), (200, "2 gates\n"));
    let served = serve_with(open(), Limits::default(), |state| {
        state.reload = Some(Arc::new(|| Box::pin(async { Err(String::from("line 3")) })));
    })
    .await;
    let got = served
        .send("POST", "/-/reload", "X-Upgrade-Gate: 1\r\n", "")
        .await;
    // No other 5xx than the gate's own.
    let state = got.header("upgrade-gate-state");
    assert_eq!((got.status, state), (503, Some("unknown")));
    assert_eq!(got.header("retry-after"), Some("5"));
    assert_eq!(got.json()["detail"], "line 3");
}

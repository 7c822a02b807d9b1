//! `enter`, `leave` and the changes over HTTP; the test is the engine.

mod changes;
mod taken_over;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::checks::reason::Reason;
use upgrade_gate::clock::Clock;
use upgrade_gate::engine::handle::{Ask, Hosts};
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::gate::lease::{
    Action, End, Ended, Hold, Lease, LeaseId, Owner, Stage, StartTime, Token,
};
use upgrade_gate::gate::parts::{LeaseView, ViewParts};
use upgrade_gate::gate::question::{Answered, Changed, Command, Refusal, Reply};
use upgrade_gate::gate::state::State;
use upgrade_gate::gate::view::{Decision, View};
use upgrade_gate::server::Limits;
use upgrade_gate::server::body::{ChangedBody, CheckBody, EnterBody, LeaveBody, PlanBody};
use upgrade_gate::server::problem::ProblemBody;

use crate::bodies::schema;
use crate::served::{Got, START, Served, closed, open, parts, raw, reason, serve, serve_with};

const GATE: &str = "/api/v1/gates/default";
const MAY: &str = "X-Upgrade-Gate: 1\r\n";

pub(crate) fn owner(name: &str) -> Owner {
    Owner::try_from(name.to_owned()).unwrap()
}

pub(crate) fn lease(stage: Stage) -> Lease {
    Lease {
        id: LeaseId(3),
        token: Token(7),
        owner: (stage != Stage::Unannounced).then(|| owner("jenkins #4 <b>")),
        nodes: BTreeSet::from([NodeId(2)]),
        action: Action::Restart,
        stage,
        granted_at: START.wall,
        stage_since: START.wall,
        expires_at: START.wall.plus(Duration::from_mins(30)),
        starts: BTreeMap::from([(NodeId(2), StartTime(1))]),
        gone: BTreeSet::new(),
        retired: BTreeSet::new(),
        took_over: false,
    }
}

/// A view with a lease in each stage, a hold, and a held node.
pub(crate) fn taken() -> ViewParts {
    let view = |(stage, id): (Stage, u64)| LeaseView {
        lease: Lease {
            id: LeaseId(id),
            ..lease(stage)
        },
        progress: String::from("2 of its replicas are out of sync"),
        unchanged_for: Duration::from_secs(61),
        usually: Some(Duration::from_secs(40)),
    };
    let hold = Hold {
        author: owner("ann"),
        reason: String::from("disks <i>"),
        since: START.wall,
        until: Some(START.wall.plus(Duration::from_hours(1))),
    };
    ViewParts {
        leases: Stage::ALL.into_iter().zip(3..).map(view).collect(),
        hold: Some(hold.clone()),
        node_holds: BTreeMap::from([(NodeId(2), hold)]),
        ..parts(vec![reason(Reason::SlotTaken, Subject::Node(NodeId(2)))])
    }
}

pub(crate) fn go() -> Reply {
    Reply::Go {
        lease: Box::new(lease(Stage::Held)),
        told: Some(1),
        evaluated: START,
    }
}

fn over(how: End) -> Reply {
    Reply::Over(Box::new(Ended {
        id: LeaseId(3),
        token: Token(7),
        owner: Some(owner("me")),
        nodes: BTreeSet::from([NodeId(2)]),
        how,
        at: START.wall,
    }))
}

pub(crate) fn verdict(state: State) -> Reply {
    let reasons = match state {
        State::Open => Vec::new(),
        State::Closed | State::Unknown => vec![reason(Reason::SlotTaken, Subject::Cluster)],
    };
    Reply::Verdict(Answered::Decided {
        decision: Decision { state, reasons },
        evaluated: START,
    })
}

/// A caller that does not wait for its answer.
fn send(served: &Served, method: &str, target: &str) -> JoinHandle<Got> {
    let request = format!(
        "{method} {GATE}/{target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{MAY}\r\n"
    );
    let address = served.address;
    tokio::spawn(async move { Got::parse(&raw(address, &request).await).unwrap() })
}

pub(crate) async fn asked(served: &mut Served) -> Ask {
    let ask = timeout(Duration::from_secs(5), served.asks.recv()).await;
    ask.unwrap().unwrap()
}

/// One request, and the engine's answer to it. Whatever is answered fits its schema.
async fn answered(served: &mut Served, method: &str, target: &str, reply: Reply) -> (Command, Got) {
    let caller = send(served, method, target);
    let ask = asked(served).await;
    ask.reply.send(reply).unwrap();
    let got = caller.await.unwrap();
    let problem = got.header("content-type") == Some("application/problem+json");
    let schema = match &ask.command {
        _ if problem => schema::<ProblemBody<'static>>(),
        Command::DecideEach(_) => schema::<PlanBody>(),
        Command::Decide(_) | Command::DecideRepair(_) => schema::<CheckBody>(),
        Command::Enter(_) => schema::<EnterBody>(),
        Command::Leave { .. } => schema::<LeaveBody>(),
        Command::Change(_) => schema::<ChangedBody>(),
    };
    let body = got.json();
    let errors: Vec<String> = schema.iter_errors(&body).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{target}: {errors:?}\n{body}");
    (ask.command, got)
}

#[tokio::test]
async fn go_is_the_only_answer_of_enter_that_is_a_200() {
    let mut served = serve(open()).await;
    let enter = "enter?node=2&owner=me&ttl=30m";
    let (command, got) = answered(&mut served, "POST", enter, go()).await;
    let Command::Enter(entry) = command else {
        panic!("{command:?}");
    };
    assert_eq!((entry.owner, entry.asked), (owner("me"), START.mono));
    assert_eq!((entry.ttl.as_secs(), entry.action), (1800, Action::Restart));
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (200, Some("open"))
    );
    let body = got.json();
    let head = r#"{"open":true,"state":"open","gate":"default","advice":false,"reasons":[]"#;
    assert!(got.text().starts_with(head), "{}", got.text());
    assert_eq!((&body["lease"], &body["token"]), (&json!(3), &json!(7)));
    assert_eq!(body["told"], json!(1));
    assert!(body["expires_at"].is_string() && body["nodes"] == json!([2]));
    assert_eq!(
        body["usually_seconds"],
        json!(null),
        "nothing has returned yet"
    );

    let others = [
        verdict(State::Open),
        verdict(State::Closed),
        verdict(State::Unknown),
        over(End::ProvenBack),
        Reply::Changed(Changed::Hold(None)),
    ];
    for reply in others {
        let what = format!("{reply:?}");
        let target = format!("{enter}&closed_status=423");
        let (_, got) = answered(&mut served, "POST", &target, reply).await;
        let body = got.json();
        assert_eq!((got.status, &body["open"]), (423, &json!(false)), "{what}");
        assert_ne!(got.header("upgrade-gate-state"), Some("open"), "{what}");
        assert_eq!(
            (&body["lease"], &body["token"], &body["told"]),
            (&json!(null), &json!(null), &json!(null))
        );
        assert!(
            got.header("retry-after").is_some() && body["reasons"] != json!([]),
            "{what}"
        );
    }
    let strangers = Reply::Verdict(Answered::NoSuchNodes(BTreeSet::from([NodeId(2)])));
    assert_eq!(
        answered(&mut served, "POST", enter, strangers)
            .await
            .1
            .status,
        400
    );
    // An engine that has gone says nothing.
    let caller = send(&served, "POST", enter);
    drop(asked(&mut served).await);
    let got = caller.await.unwrap();
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );
}

#[tokio::test]
async fn enter_and_leave_say_how_long_it_usually_takes() {
    let mut what = taken();
    what.leases.truncate(1);
    what.leases[0].lease.owner = Some(owner("me"));
    let mut served = serve(View::new(what)).await;
    for (target, reply) in [
        ("enter?node=2&owner=me", go()),
        ("leave?node=2&owner=me", verdict(State::Closed)),
    ] {
        let (_, got) = answered(&mut served, "POST", target, reply).await;
        assert_eq!(got.json()["usually_seconds"], 40.0, "{target}");
    }
}

#[tokio::test]
async fn a_go_that_was_held_up_is_asked_for_again() {
    let mut served = serve(open()).await;
    let caller = send(&served, "POST", "enter?node=2&owner=me");
    let ask = asked(&mut served).await;
    served.clock.advance(Duration::from_millis(1001));
    ask.reply.send(go()).unwrap();
    let got = caller.await.unwrap();
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );
    assert_eq!(got.json()["token"], json!(null));
}

#[tokio::test]
async fn leave_is_a_200_once_the_nodes_are_back() {
    let mut what = taken();
    what.leases
        .retain(|view| view.lease.stage == Stage::Leaving);
    what.leases[0].lease.owner = Some(owner("me"));
    let mut served = serve(View::new(what)).await;
    let leave = "leave?node=2&owner=me";
    let (command, got) = answered(&mut served, "POST", leave, verdict(State::Closed)).await;
    assert!(matches!(command, Command::Leave { .. }));
    let body = got.json();
    assert_eq!(
        (got.status, &body["open"], &body["how"]),
        (503, &json!(false), &json!(null))
    );
    assert_eq!(body["progress"], "2 of its replicas are out of sync");
    assert_eq!(body["token"], 7);
    for (how, word) in [
        (End::ProvenBack, "proven_back"),
        (End::NeverGone, "never_gone"),
    ] {
        let (_, got) = answered(&mut served, "POST", leave, over(how)).await;
        let body = got.json();
        assert_eq!(
            (got.status, &body["open"], &body["how"]),
            (200, &json!(true), &json!(word))
        );
    }
    let by = owner("ann");
    let reason = String::from("wrong cluster");
    for (reply, named) in [
        (
            over(End::Broken {
                by: by.clone(),
                reason,
            }),
            "ann: wrong cluster",
        ),
        (over(End::TakenOver { by: by.clone() }), "ann"),
        (over(End::Withdrawn), "enter anew"),
        (over(End::Retired), "retired"),
        (
            Reply::Refused(Refusal::NotEntered { owner: owner("me") }),
            "enter first",
        ),
        (
            Reply::Refused(Refusal::NoSuchLease(LeaseId(3))),
            "no lease 3",
        ),
    ] {
        let (_, got) = answered(&mut served, "POST", leave, reply).await;
        assert_eq!(
            (got.status, got.header("upgrade-gate-state")),
            (409, None),
            "{named}"
        );
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
        let detail = got.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(named), "{detail}");
    }
    // Go and an open verdict are no answers to this.
    for reply in [go(), verdict(State::Open)] {
        let (_, got) = answered(&mut served, "POST", leave, reply).await;
        assert_eq!(
            (got.status, got.header("upgrade-gate-state")),
            (503, Some("unknown"))
        );
    }
}

#[tokio::test]
async fn text_on_request() {
    let mut served = serve(open()).await;
    let request = format!(
        "POST {GATE}/enter?node=2&owner=me HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Accept: text/plain\r\n{MAY}\r\n"
    );
    let address = served.address;
    let caller = tokio::spawn(async move { Got::parse(&raw(address, &request).await).unwrap() });
    asked(&mut served).await.reply.send(go()).unwrap();
    let got = caller.await.unwrap();
    assert!(
        got.text().starts_with("OPEN\nlease 3 token 7 until 20"),
        "{}",
        got.text()
    );
}

#[tokio::test]
async fn waiting_asks_again_when_a_view_says_something_new() {
    let mut served = serve(closed()).await;
    let caller = send(&served, "POST", "enter?node=2&owner=me&wait=20");
    let first = asked(&mut served).await;
    let moment = |command: &Command| match command {
        Command::Enter(entry) => entry.asked,
        other => panic!("{other:?}"),
    };
    served.clock.advance(Duration::from_millis(10));
    first.reply.send(verdict(State::Closed)).unwrap();
    // The same again, as the step that answers a question publishes it: nothing to ask about. After
    // two seconds without news it is asked all the same.
    let told = Instant::now();
    for _ in 0..50 {
        served.published.publish(Arc::new(closed()));
        sleep(Duration::from_millis(20)).await;
    }
    let early = usize::from(!served.asks.is_empty());
    assert!(early == 0 || told.elapsed() >= Duration::from_millis(1900));
    served.published.publish(Arc::new(open()));
    let second = asked(&mut served).await;
    // Evidence has to be newer than the request; not than each look, but than the last two seconds.
    assert_eq!(moment(&first.command), moment(&second.command));
    second.reply.send(verdict(State::Closed)).unwrap();
    served.clock.advance(Duration::from_secs(2));
    served.published.publish(Arc::new(closed()));
    let third = asked(&mut served).await;
    let since = moment(&third.command).since(moment(&first.command));
    assert!(since >= Duration::from_secs(2), "{since:?}");
    let mut anew = go();
    if let Reply::Go { evaluated, .. } = &mut anew {
        *evaluated = served.clock.now();
    }
    third.reply.send(anew).unwrap();
    assert_eq!(caller.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_gate_that_is_ending_tells_nobody_to_go() {
    let mut served = serve(open()).await;
    let caller = send(&served, "POST", "enter?node=2&owner=me");
    let leaving = send(&served, "POST", "leave?node=3&owner=me");
    let (mut entered, mut left) = (asked(&mut served).await, asked(&mut served).await);
    if matches!(left.command, Command::Enter(_)) {
        std::mem::swap(&mut entered, &mut left);
    }
    served.shutdown.cancel();
    let got = caller.await.unwrap();
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );
    assert!(got.text().contains("is ending"), "{}", got.text());
    assert!(got.header("retry-after").is_some());
    assert!(
        entered.reply.send(go()).is_err(),
        "nobody hears it any more"
    );
    // Who gives back is still answered.
    left.reply.send(over(End::ProvenBack)).unwrap();
    assert_eq!(leaving.await.unwrap().status, 200);
}

#[tokio::test]
async fn with_every_waiting_place_taken_the_answer_comes_at_once() {
    let limits = Limits {
        waiters: 0,
        ..Limits::default()
    };
    let mut served = serve_with(closed(), limits, |_| ()).await;
    let target = "enter?node=2&owner=me&wait=55";
    let (_, got) = answered(&mut served, "POST", target, verdict(State::Closed)).await;
    assert_eq!(got.status, 503);
}

#[tokio::test]
async fn one_owner_is_served_one_set_of_nodes_at_a_time() {
    let mut served = serve(closed()).await;
    let first = send(&served, "POST", "enter?node=2&owner=me&wait=1");
    let ask = asked(&mut served).await;
    let other = send(&served, "POST", "enter?node=3&owner=me");
    let nothing = timeout(Duration::from_millis(200), served.asks.recv()).await;
    assert!(nothing.is_err(), "the second has to wait for its turn");
    // Somebody else does not.
    let (_, got) = answered(&mut served, "POST", "enter?node=3&owner=you", go()).await;
    assert_eq!(got.status, 200);
    ask.reply.send(go()).unwrap();
    assert_eq!(first.await.unwrap().status, 200);
    asked(&mut served)
        .await
        .reply
        .send(verdict(State::Closed))
        .unwrap();
    assert_eq!(other.await.unwrap().status, 503);

    let first = send(&served, "POST", "enter?node=2&owner=me&wait=55");
    let ask = asked(&mut served).await;
    let told = send(&served, "POST", "enter?node=3&owner=me")
        .await
        .unwrap();
    assert_eq!(
        (told.status, told.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );
    assert!(
        told.text().contains("another request of me"),
        "{}",
        told.text()
    );
    drop(ask);
    first.abort();
}

#[tokio::test]
async fn a_machine_stands_for_its_nodes() {
    let hosts: Hosts = BTreeMap::from([(
        String::from("rack1-a"),
        BTreeSet::from([NodeId(1), NodeId(101)]),
    )]);
    let mut served = serve_with(open(), Limits::default(), |state| {
        let gates = state.gates.load();
        let gates = gates
            .iter()
            .map(|(name, gate)| (name.clone(), gate.clone().with_hosts(hosts.clone())));
        state.gates.store(Arc::new(gates.collect()));
    })
    .await;
    let pair = BTreeSet::from([NodeId(1), NodeId(101)]);
    let leave = "leave?host=rack1-a&owner=me";
    let (command, got) = answered(&mut served, "POST", leave, verdict(State::Closed)).await;
    assert!(matches!(command, Command::Leave { nodes, .. } if nodes == pair));
    assert_eq!(got.json()["hosts"], json!(["rack1-a"]));
    let (command, got) = answered(
        &mut served,
        "GET",
        "check?host=rack1-a",
        verdict(State::Closed),
    )
    .await;
    assert!(matches!(command, Command::Decide(question) if question.nodes == pair));
    assert_eq!(got.json()["nodes"], json!([1, 101]));
    let verdicts = match verdict(State::Closed) {
        Reply::Verdict(answered) => Reply::Verdicts(vec![answered]),
        other => other,
    };
    let (command, got) = answered(&mut served, "GET", "plan", verdicts).await;
    assert_eq!(
        command,
        Command::DecideEach(vec![pair]),
        "one question for all machines"
    );
    let host = &got.json()["hosts"]["rack1-a"];
    assert_eq!(host["nodes"], json!([1, 101]));
    assert_eq!(host["may_stop"], "closed");
    assert_eq!(got.header("upgrade-gate-state"), Some("open"));
    let typo = served.get(&format!("{GATE}/check?host=rack1-b")).await;
    assert_eq!(typo.status, 400);
    assert!(typo.text().contains("rack1-a"));
}

#[tokio::test]
async fn without_the_header_and_the_method_nothing_is_asked_of_the_engine() {
    let mut served = serve(open()).await;
    for (method, target, headers, status) in [
        ("POST", "enter?node=2&owner=me", "", 403),
        (
            "POST",
            "enter?node=2&owner=me",
            "X-Upgrade-Gate: yes\r\n",
            403,
        ),
        ("POST", "leave?node=2&owner=me", "", 403),
        ("POST", "leases/3/renew?token=7", "", 403),
        ("DELETE", "leases/3?by=a&reason=b", "", 403),
        ("PUT", "hold?author=a&reason=b", "", 403),
        ("DELETE", "hold?by=a", "", 403),
        ("DELETE", "nodes/2?by=a", "", 403),
        ("GET", "enter?node=2&owner=me", MAY, 405),
        ("HEAD", "enter?node=2&owner=me", MAY, 405),
        ("GET", "leave?node=2&owner=me", MAY, 405),
        ("PUT", "enter?node=2&owner=me", MAY, 405),
        ("GET", "hold", MAY, 405),
        ("POST", "enter?owner=me", MAY, 400),
        ("POST", "enter?node=2", MAY, 400),
        ("POST", "enter?node=2&owner=me&host=nowhere", MAY, 400),
        ("POST", "leases/x/renew?token=7", MAY, 404),
    ] {
        let got = served
            .send(method, &format!("{GATE}/{target}"), headers, "")
            .await;
        assert_eq!(got.status, status, "{method} {target}");
    }
    assert!(served.asks.try_recv().is_err());
}

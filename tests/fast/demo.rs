//! The demo, and a check without a gate: the real program against the simulated cluster.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use upgrade_gate::clock::SystemClock;
use upgrade_gate::gate::doc::{GateDoc, Revision, Stored};
use upgrade_gate::gate::lease::{Hold, Owner};
use upgrade_gate::gate::state::GateName;
use upgrade_gate::model::serve::Served;
use upgrade_gate::model::{Cluster, Release, Spec, TopicSpec};
use upgrade_gate::store::sqlite::Retention;
use upgrade_gate::store::{SqliteStore, Store};
use upgrade_gate::time::Timestamp;

async fn run(args: &[&str], within: Duration) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    command
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ended = timeout(within, command.spawn().unwrap().wait_with_output());
    ended.await.expect("it ends in time").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// When a line was written, in seconds since the start of the demo.
fn seconds(line: &str) -> f64 {
    let (time, _) = line.trim_start().split_once("s ").unwrap();
    time.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_opens_soon_closes_at_the_fault_and_ends_well() {
    let ended = run(&["demo", "--fast"], Duration::from_secs(150)).await;
    let out = text(&ended.stdout);
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{out}\n{}",
        text(&ended.stderr)
    );
    assert!(!out.contains('\u{1b}'), "colour only on a terminal");
    assert!(out.contains("The window is 1 s"), "{out}");

    let lines: Vec<&str> = out.lines().collect();
    let find = |what: &str| {
        let found = lines.iter().position(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no line with {what:?}:\n{out}"))
    };
    let open = lines[find("  OPEN ")];
    assert!(seconds(open) < 10.0, "{open}");

    // After the kill the gate is closed and names the node, while the simple rule says go on.
    let fault = find("  FAULT ");
    let after = &lines[fault..];
    assert!(lines[fault].contains("kill -9 of broker 3"), "{out}");
    let closed = after
        .iter()
        .find(|line| line.contains("  CLOSED "))
        .unwrap();
    assert!(closed.contains("node 3"), "{closed}");
    let named = after
        .iter()
        .find(|line| line.contains("named node 3"))
        .unwrap();
    assert!(seconds(named) - seconds(lines[fault]) < 2.0, "{named}");
    let naive = after.iter().find(|line| line.contains("  naive ")).unwrap();
    assert!(naive.contains("says go on; WRONG"), "{naive}");

    // It stays so until the broker is started again.
    let again = find("broker 3 is started again");
    assert!(
        !lines[fault..again]
            .iter()
            .any(|line| line.contains("  OPEN ")),
        "{out}"
    );
    assert_eq!(out.matches("SIGTERM to ").count(), 6, "{out}");
    // Every node is taken and given back, and the tokens grow.
    assert_eq!(out.matches(": proven_back after ").count(), 6, "{out}");
    for token in 1..=6 {
        assert!(out.contains(&format!(" token {token}, after ")), "{out}");
    }
    assert!(out.contains("6 nodes went from 3.9 to 4.3"), "{out}");
}

/// The data folder of a gate that ann holds.
fn held() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let keep = Retention {
        age: Duration::from_secs(3600),
        entries: 10,
    };
    let clock = Arc::new(SystemClock);
    let mut store = SqliteStore::open(folder.path(), keep, clock).unwrap();
    let hold = Hold {
        author: Owner::try_from(String::from("ann")).unwrap(),
        reason: String::from("disks"),
        since: Timestamp::default(),
        until: None,
    };
    let doc = GateDoc {
        hold: Some(hold),
        ..GateDoc::default()
    };
    let stored = store.commit(&GateName::default(), Revision(0), &doc, &[]);
    assert_eq!(stored, Stored::Written(Revision(1)));
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_without_a_gate_opens_on_health_and_names_what_died() {
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec = spec.topics(vec![TopicSpec::new("orders", 6, 3).rate(5)]);
    spec.start_wall_ms = jiff::Timestamp::now().as_millisecond();
    let served = Served::start(Cluster::new(spec).unwrap()).await.unwrap();
    let bootstrap = served.bootstrap();
    let check = |more: &[&'static str]| {
        let mut args = vec!["check", "--bootstrap", &bootstrap];
        args.extend(["--mode", "kafka", "--window", "1s"]);
        args.extend(more);
        let args: Vec<String> = args.into_iter().map(String::from).collect();
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            run(&args, Duration::from_secs(60)).await
        }
    };

    let healthy = check(&["--node", "2", "--timeout", "40s"]).await;
    let progress = text(&healthy.stderr);
    assert_eq!(healthy.status.code(), Some(0), "{progress}");
    assert_eq!(text(&healthy.stdout), "open\n");
    assert!(progress.contains("settling"), "{progress}");

    // It knows of no gate, and says so; of one whose folder it is given it keeps the holds.
    assert!(
        progress.contains("leases and holds are not known"),
        "{progress}"
    );
    let folder = held();
    let path: &'static str = String::leak(folder.path().display().to_string());
    let said = check(&["--timeout", "10s", "--data-dir", path]).await;
    assert_eq!(said.status.code(), Some(1), "{}", text(&said.stderr));
    let told = text(&said.stderr);
    assert!(
        told.contains("hold") && !told.contains("leases and holds are not"),
        "{told}"
    );

    served.operate(|cluster| cluster.kill(3)).unwrap();
    let (said, json) = tokio::join!(
        check(&["--timeout", "5s"]),
        check(&["--timeout", "5s", "--json", "--node", "2"])
    );
    assert_eq!(said.status.code(), Some(1), "{}", text(&said.stderr));
    assert_eq!(text(&said.stdout), "closed\n");
    assert!(
        text(&said.stderr).contains(" node 3: "),
        "{}",
        text(&said.stderr)
    );

    assert_eq!(json.status.code(), Some(1), "{}", text(&json.stderr));
    let body: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&body["open"], &body["state"]),
        (&false.into(), &"closed".into())
    );
    assert_eq!(
        (&body["gate"], &body["nodes"]),
        (&"default".into(), &vec![2].into())
    );
    let reasons = body["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|reason| reason["node"] == 3), "{body:#}");
    served.shutdown().await;
}

//! `doctor` of the real program in front of the simulated cluster; `trouble`: what it names as wrong or
//! at risk.

mod trouble;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use upgrade_gate::checks::blind_spots;
use upgrade_gate::clock::SystemClock;
use upgrade_gate::doctor::guarantee::LIMITS;
use upgrade_gate::evidence::ids::{NodeId, Role};
use upgrade_gate::gate::doc::{GateDoc, Revision, Stored};
use upgrade_gate::gate::state::GateName;
use upgrade_gate::model::serve::Served;
use upgrade_gate::model::{Cluster, Release, Spec, TopicSpec};
use upgrade_gate::store::sqlite::Retention;
use upgrade_gate::store::{SqliteStore, Store};

async fn cluster() -> Served {
    with_topic(TopicSpec::new("orders", 6, 3)).await
}

async fn with_topic(topic: TopicSpec) -> Served {
    let mut spec = Spec::kraft(3, 3, Release::V3_9).topics(vec![topic.rate(5)]);
    spec.start_wall_ms = jiff::Timestamp::now().as_millisecond();
    Served::start(Cluster::new(spec).unwrap()).await.unwrap()
}

/// A configuration with the exporters of some nodes, and what else is given.
fn config(cluster: &Served, exporters: &[i32], kafka: &str, more: &str) -> String {
    let bootstrap = cluster.bootstrap();
    let mut text =
        format!("gates:\n  default:\n    kafka: {{bootstrap: \"{bootstrap}\"{kafka}}}\n");
    text.push_str(more);
    let targets = cluster.jmx().into_iter();
    let targets: Vec<_> = targets.filter(|(id, _)| exporters.contains(id)).collect();
    if !targets.is_empty() {
        text.push_str("    jmx:\n      targets:\n");
    }
    for (node, url) in targets {
        writeln!(text, "        {node}: {url}").unwrap();
    }
    text
}

async fn doctor(config: String, args: &[&str]) -> Output {
    doctor_with(config, args, &[]).await
}

async fn doctor_with(config: String, args: &[&str], environment: &[(&str, &Path)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.yaml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    command.arg("doctor").arg(&file).args(args);
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.envs(environment.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    let reports: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{text}"));
    reports[0].clone()
}

fn ids(list: &Value, key: &str) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|it| it[key].as_str().unwrap().to_owned())
        .collect()
}

const ALL: [i32; 6] = [1, 2, 3, 101, 102, 103];

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_cluster_passes_and_every_node_is_described() {
    let cluster = cluster().await;
    let output = doctor(config(&cluster, &ALL, "", ""), &["--json"]).await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["ok"], true);
    assert_eq!(report["state"], "open");
    assert_eq!(report["cluster"]["kind"], "kraft");
    let nodes = report["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 6);
    for node in nodes {
        assert_eq!(node["release"], "3.9", "{node:#}");
        assert_eq!(node["identity"], "proved", "{node:#}");
        assert!(node["advertised"].is_string());
        let versions = &node["versions"]["Ok"];
        assert_eq!(versions["ApiVersions"]["spoken"], 4, "{node:#}");
        let broker = node["role"] == "broker";
        assert_eq!(versions["Metadata"]["spoken"].is_i64(), broker, "{node:#}");
        assert_eq!(node["page"]["failed"], Value::Null);
        assert_eq!(node["page"]["missing"], serde_json::json!([]), "{node:#}");
        let found = node["page"]["found"].as_array().unwrap();
        let name = if broker {
            "UnderReplicatedPartitions"
        } else {
            "ActiveControllerCount"
        };
        assert!(
            found.iter().any(|it| it.as_str().unwrap().contains(name)),
            "{node:#}"
        );
    }
    let facts = report["facts"].as_array().unwrap();
    let links = facts.iter().find(|fact| fact["fact"] == "link").unwrap();
    assert_eq!(links["told_by"], serde_json::json!(ALL));
    assert_eq!(links["required"], "kafka+jmx, kafka");
    assert!(report["window"]["required_seconds"].as_f64().unwrap() >= 6.0);
    assert!(ids(&report["blind_spots"], "id").is_empty());
    let settings = report["window"]["settings"].as_array().unwrap();
    // The session of every node, the lag of brokers.
    assert_eq!(settings.len(), 6 + 3, "{settings:#?}");
    for row in settings {
        assert_eq!(row["read"], true, "{row:#}");
    }
    assert!(report["window"]["metadata_interval_ms"].as_u64().unwrap() >= 500);
    assert_eq!(report["store"]["standing"], "none");
    let guarantee = &report["guarantee"];
    assert_eq!(guarantee["name"], "all-healthy");
    assert_eq!(
        ids(&guarantee["limits"], "id"),
        [
            "consumers",
            "restart_of_the_gate",
            "after_the_answer",
            "who_does_not_ask"
        ]
    );
    assert_eq!(within(&report, "a node's process ends"), 0);
    assert_eq!(
        within(&report, "a node freezes, or its machine or network goes"),
        1_500
    );
    let text = doctor(config(&cluster, &ALL, "", ""), &[]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.starts_with("gate default: no problem found\n"),
        "{text}"
    );
    assert!(text.contains("identity proved"), "{text}");
    assert!(
        text.contains("replica.lag.time.max.ms: 30000 ms, read from 1, 2, 3\n"),
        "{text}"
    );
    assert!(
        text.contains("\nguarantee: all-healthy, mode kafka+jmx\n"),
        "{text}"
    );
    assert!(
        text.contains("a node's process ends: at once, by its connection"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_what_to_do() {
    let cluster = cluster().await;
    cluster.operate(|cluster| cluster.kill(2)).unwrap();
    let args = ["--json", "--timeout", "6s"];
    let output = doctor(config(&cluster, &[1, 2, 3, 101], "", ""), &args).await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(report["ok"], false);
    assert_ne!(report["state"], "open");
    let problems = report["problems"].as_array().unwrap();
    let named = |code: &str| problems.iter().find(|it| it["code"] == code);
    // The listeners of a simulated node stay, so that it may look frozen.
    let dead = named("node_unreachable").or_else(|| named("node_frozen"));
    let dead = dead.unwrap_or_else(|| panic!("{report:#}"));
    assert!(dead["what"].as_str().unwrap().contains("node 2"), "{dead}");
    assert!(!dead["hint"].as_str().unwrap().is_empty());
    assert!(named("settling").is_none(), "{problems:#?}");
}

/// How soon something is noticed, as the report says it, in milliseconds.
fn within(report: &Value, what: &str) -> u64 {
    let rows = report["guarantee"]["noticed"].as_array().unwrap();
    let row = rows.iter().find(|row| row["what"] == what).unwrap();
    row["within_ms"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_alone_are_enough_for_a_word_on_the_whole() {
    let cluster = cluster().await;
    let targets: serde_json::Map<_, _> = cluster
        .jmx()
        .into_iter()
        .map(|(node, url)| (node.to_string(), Value::from(url)))
        .collect();
    let role = |id: i32| if id < 100 { "broker" } else { "controller" };
    let nodes: serde_json::Map<_, _> = ALL
        .into_iter()
        .map(|id| (id.to_string(), Value::from(role(id))))
        .collect();
    let gate = serde_json::json!({"mode": "jmx", "nodes": nodes, "jmx": {"targets": targets}});
    let config = serde_json::json!({"gates": {"default": gate}}).to_string();
    let output = doctor(config, &["--json"]).await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["state"], "open", "{report:#}");
    assert_eq!(ids(&report["blind_spots"], "id"), ["no_protocol"]);
    assert_eq!(standings(&report), ["not_needed"; 5]);
    assert_eq!(report["window"]["metadata_interval_ms"], Value::Null);
    let settings = report["window"]["settings"].as_array().unwrap();
    assert!(
        settings.iter().all(|row| row["read"] == false),
        "{settings:#?}"
    );
    let limits = ids(&report["guarantee"]["limits"], "id");
    for id in ["no_protocol", "no_leases", "assumed_settings"] {
        assert!(limits.iter().any(|it| it == id), "{limits:?}");
    }
    // A page is asked for every 5 s at best, and may take 10 s.
    assert!(within(&report, "a node's process ends") >= 5_000);
    assert!(within(&report, "a node freezes, or its machine or network goes") >= 15_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_from_what_is_stored() {
    let cluster = cluster().await;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = format!("data_dir: {}\n", folder.path().display());
    let config = data_dir + &config(&cluster, &ALL, "", "");
    let keep = Retention {
        age: Duration::from_secs(60),
        entries: 10,
    };
    let mut doc = GateDoc::default();
    doc.known_nodes.insert(NodeId(9), Role::BROKER);
    let mut store = SqliteStore::open(folder.path(), keep, Arc::new(SystemClock)).unwrap();
    let stored = store.commit(&GateName::default(), Revision(0), &doc, &[]);
    assert_eq!(stored, Stored::Written(Revision(1)));
    let args = ["--json", "--timeout", "5s"];
    // A gate is at work in it.
    let output = doctor(config.clone(), &args).await;
    let seen = report(&output);
    assert_eq!(output.status.code(), Some(1), "{seen:#}");
    assert_ne!(seen["state"], "open");
    let problems = seen["problems"].as_array().unwrap();
    let named = problems
        .iter()
        .any(|it| it["what"].as_str().unwrap().contains("node 9"));
    assert!(named, "{problems:#?}");
    assert_eq!(seen["store"]["standing"], "readable");
    assert_eq!(seen["store"]["known_nodes"], serde_json::json!([9]));
    assert!(seen["store"]["used_by"].is_string(), "{:#}", seen["store"]);
    drop(store);
    std::fs::write(folder.path().join("upgrade-gate.db"), "x".repeat(5_000)).unwrap();
    let output = doctor(config, &["--timeout", "1s"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("store_unavailable: "), "{text}");
    assert!(
        text.contains("is damaged (file is not a database)"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_of_several_can_be_asked_for_by_any_name() {
    let gate = "{mode: kafka, kafka: {bootstrap: \"127.0.0.1:1\"}}";
    let both = format!("gates: {{default: {gate}, eu: {gate}}}\n");
    let one = format!("gates: {{eu: {gate}}}\n");
    let args = ["--json", "--timeout", "300ms", "--gate"];
    for (config, wanted, found) in [
        (&both, "default", &["default"][..]),
        (&both, "eu", &["eu"]),
        (&one, "eu", &["eu"]),
    ] {
        let output = doctor(config.clone(), &[&args[..], &[wanted]].concat()).await;
        let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(ids(&reports, "gate"), found);
    }
    let all = doctor(both, &args[..3]).await;
    let reports: Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(ids(&reports, "gate"), ["default", "eu"]);
    let none = doctor(one, &[&args[..], &["default"]].concat()).await;
    let text = String::from_utf8(none.stderr).unwrap();
    assert_eq!(none.status.code(), Some(2), "{text}");
    assert!(
        text.contains("no gate is called default; there are: eu"),
        "{text}"
    );
}

/// What stands of each right, in the order of the table.
fn standings(report: &Value) -> Vec<&str> {
    let rows = report["rights"].as_array().unwrap().iter();
    rows.map(|row| row["standing"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_with_the_command_that_grants_it() {
    let cluster = cluster().await;
    let groups = "    policy: {groups: [orders-app]}\n";
    let args = ["--json", "--timeout", "6s"];
    for (hide, row, command, code) in [
        (
            Cluster::hide_cluster as fn(&mut Cluster, bool),
            ["missing", "missing", "unknown", "have", "have"],
            "--operation Describe --cluster",
            "evidence_incomplete",
        ),
        (
            Cluster::hide_topics,
            ["have", "have", "missing", "unknown", "have"],
            "--operation Describe --topic '*'",
            "topics_hidden",
        ),
    ] {
        cluster.operate(|cluster| hide(cluster, true));
        let output = doctor(config(&cluster, &ALL, "", groups), &args).await;
        let report = report(&output);
        assert_eq!(output.status.code(), Some(1), "{report:#}");
        assert_eq!(standings(&report), row, "{report:#}");
        let problems = report["problems"].as_array().unwrap();
        let of_right = |it: &&Value| it["hint"].as_str().unwrap().ends_with(command);
        let named = problems.iter().find(of_right);
        let named = named.unwrap_or_else(|| panic!("{problems:#?}"));
        assert_eq!(named["code"], code);
        let text = doctor(config(&cluster, &ALL, "", groups), &args[1..]).await;
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("  MISSING: Describe on "), "{text}");
        assert!(
            text.contains(&format!("--allow-principal 'User:...' {command}")),
            "{text}"
        );
        cluster.operate(|cluster| hide(cluster, false));
    }
    let output = doctor(config(&cluster, &ALL, "", ""), &args).await;
    let report = report(&output);
    let all = ["have", "have", "have", "have", "not_needed"];
    assert_eq!(standings(&report), all, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_is_a_problem() {
    let cluster = cluster().await;
    let folder = "data_dir: /proc/nowhere\n";
    let output = doctor(
        folder.to_owned() + &config(&cluster, &ALL, "", ""),
        &["--json"],
    )
    .await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(ids(&report["problems"], "code"), ["store_unavailable"]);
    assert_eq!(report["store"]["standing"], "unwritable");
}

#[tokio::test(flavor = "multi_thread")]
async fn degraded_modes_open_and_say_what_they_do_not_see() {
    let cluster = cluster().await;
    for (exporters, kafka, more, blind) in [
        (&[][..], "", "    mode: kafka\n", &["no_pages"][..]),
        (
            &[1, 2, 3][..],
            ", via_brokers: true",
            "",
            &["remote_controllers", "no_controller_pages"],
        ),
        // A provider's cluster: a bootstrap address, and nothing else.
        (
            &[],
            ", via_brokers: true",
            "    mode: kafka\n",
            &["no_pages", "remote_controllers"],
        ),
        (&[1, 2, 3], "", "", &["no_controller_pages"]),
        (
            &[1, 101, 102, 103],
            "",
            "    policy: {window: 3s, degraded: warn}\n",
            &["missing_pages", "fixed_window", "degraded_warns"],
        ),
    ] {
        let output = doctor(config(&cluster, exporters, kafka, more), &["--json"]).await;
        let report = report(&output);
        assert_eq!(output.status.code(), Some(0), "{blind:?}: {report:#}");
        assert_eq!(ids(&report["blind_spots"], "id"), blind);
        let optional = ids(&report["blind_spots"], "optional");
        assert!(optional.iter().all(|it| !it.is_empty()), "{report:#}");
        assert_eq!(report["state"], "open", "{report:#}");
    }
}

#[test]
fn the_docs_name_every_blind_spot_and_limit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/degraded.md")).unwrap();
    let modes = "| you have | set | required | optional | lost |";
    assert!(page.contains(modes), "docs/degraded.md lacks\n{modes}");
    for spot in blind_spots::ALL {
        let row = format!(
            "| `{}` | {} | {} | {} |",
            spot.id, spot.unseen, spot.instead, spot.optional
        );
        assert!(page.contains(&row), "docs/degraded.md lacks\n{row}");
    }
    for (id, what) in LIMITS {
        let row = format!("| `{id}` | {what} |");
        assert!(page.contains(&row), "docs/degraded.md lacks\n{row}");
    }
}

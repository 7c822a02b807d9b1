//! `doctor` of the real program in front of the simulated cluster.

use std::fmt::Write as _;
use std::process::{Command, Output};

use serde_json::Value;
use upgrade_gate::checks::blind_spots;
use upgrade_gate::model::serve::Served;
use upgrade_gate::model::{Cluster, Release, Spec, TopicSpec};

async fn cluster() -> Served {
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec = spec.topics(vec![TopicSpec::new("orders", 6, 3).rate(5)]);
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
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.yaml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    command.arg("doctor").arg(&file).args(args);
    command.env_clear().env("PATH", "/usr/bin:/bin");
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
    }
    let facts = report["facts"].as_array().unwrap();
    let links = facts.iter().find(|fact| fact["fact"] == "link").unwrap();
    assert_eq!(links["told_by"], serde_json::json!(ALL));
    assert!(report["window"]["required_seconds"].as_f64().unwrap() >= 6.0);
    assert!(ids(&report["blind_spots"], "id").is_empty());
    let text = doctor(config(&cluster, &ALL, "", ""), &[]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.starts_with("gate default: no problem found\n"),
        "{text}"
    );
    assert!(text.contains("identity proved"), "{text}");
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
        assert_eq!(report["state"], "open", "{report:#}");
    }
}

#[test]
fn the_docs_name_every_blind_spot() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/degraded.md")).unwrap();
    for spot in blind_spots::ALL {
        let row = format!("| `{}` | {} | {} |", spot.id, spot.unseen, spot.instead);
        assert!(page.contains(&row), "docs/degraded.md lacks\n{row}");
    }
}

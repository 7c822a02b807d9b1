//! What lacks, what is at risk, and what is readable on the way.

use std::time::Duration;

use lab::prove::exporter::{self, Exporter, Page};
use serde_json::Value;
use upgrade_gate::model::TopicSpec;

use super::{ALL, cluster, config, doctor, doctor_with, ids, report, with_topic};

/// A page without a fact that is needed, a node that is dialled elsewhere than it says, a partition
/// with one copy.
#[tokio::test(flavor = "multi_thread")]
async fn what_lacks_and_what_is_at_risk_is_named_with_every_node_up() {
    let cluster = with_topic(TopicSpec::new("single", 3, 1)).await;
    let real = cluster.jmx()[&1].clone();
    let port = real.split(['/', ':']).find_map(|part| part.parse().ok());
    let page = lab::http::get(
        port.unwrap(),
        "/metrics",
        exporter::TEXT,
        Duration::from_secs(5),
    );
    let page = String::from_utf8(page.await.unwrap().to_vec()).unwrap();
    let lines = page
        .lines()
        .filter(|line| !line.to_lowercase().contains("leadercount"));
    let page: String = lines.flat_map(|line| [line, "\n"]).collect();
    let lacking = Exporter::start(Page::Whole(exporter::TEXT, page.into()))
        .await
        .unwrap();
    let at = cluster.brokers()[&1];
    let elsewhere = format!("localhost:{}", at.port());
    let map = format!(", address_map: {{1: \"{elsewhere}\"}}");
    let config = config(&cluster, &ALL, &map, "").replace(&real, &lacking.url());

    let output = doctor(config, &["--json", "--timeout", "6s"]).await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let problems = report["problems"].to_string();
    assert!(
        problems.contains("node 1: its JMX page lacks"),
        "{problems}"
    );
    assert!(problems.contains("LeaderCount"), "{problems}");
    let nodes = report["nodes"].as_array().unwrap();
    let one = nodes.iter().find(|node| node["node"] == 1).unwrap();
    assert_eq!(one["advertised"], at.to_string(), "{one:#}");
    assert_eq!(one["dialled"], elsewhere, "{one:#}");
    let warnings = report["warnings"].as_array().unwrap();
    let risk = warnings.iter().find(|it| it["code"] == "single_replica");
    assert!(risk.is_some(), "{warnings:#?}");
}

/// A password on its way to Kafka, and one on its way to an exporter; SCRAM and TLS show none.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_cross_the_network_readable_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "canary-hunter2").unwrap();
    let secret = secret.display();
    let with = |mechanism: &str, scheme: &str| {
        format!(
            "gates:\n  default:\n    kafka:\n      bootstrap: 127.0.0.1:1\n      \
             security.protocol: SASL_PLAINTEXT\n      sasl: {{mechanism: {mechanism}, username: gate, \
             password_file: {secret}}}\n    jmx:\n      basic_auth: {{username: gate, password_file: \
             {secret}}}\n      targets: {{1: \"{scheme}://0.0.0.0:1/metrics\"}}\n"
        )
    };
    for (config, warned) in [
        (
            with("PLAIN", "http"),
            &["to Kafka readable", "to http://0.0.0.0:1/metrics"][..],
        ),
        (with("SCRAM-SHA-512", "https"), &[]),
    ] {
        let output = doctor(config, &["--json", "--timeout", "3s"]).await;
        let report = report(&output);
        let warnings = report["warnings"].as_array().unwrap();
        let readable: Vec<_> = warnings
            .iter()
            .filter_map(|it| {
                it["what"]
                    .as_str()
                    .filter(|what| what.contains("crosses the network"))
            })
            .collect();
        assert_eq!(readable.len(), warned.len(), "{report:#}");
        for (said, words) in readable.iter().zip(warned) {
            assert!(said.contains(words), "{said}");
        }
        assert!(!report.to_string().contains("canary"));
    }
}

/// The clock of this machine is set while it looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_meanwhile_is_a_problem() {
    let cluster = cluster().await;
    let folder = tempfile::tempdir().unwrap();
    let wall = folder.path().join("wall");
    let seam = [("STEP_UPGRADE_GATE", wall.as_path())];
    let looks = doctor_with(
        config(&cluster, &ALL, "", ""),
        &["--json", "--timeout", "8s"],
        &seam,
    );
    let steps = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        std::fs::write(&wall, "3600000000000").unwrap();
    };
    let (output, ()) = tokio::join!(looks, steps);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let problems = report["problems"].as_array().unwrap();
    let set = problems.iter().find(|it| it["code"] == "clock_jumped");
    let set = set.unwrap_or_else(|| panic!("{problems:#?}"));
    assert!(
        set["what"].as_str().unwrap().contains("the wall clock"),
        "{set}"
    );
    assert!(report["clock"]["drift_ms"].as_i64().unwrap() > 3_000_000);
}

/// One gate's missing password is that gate's problem, and the others are looked at all the same.
#[tokio::test]
async fn a_gate_whose_files_cannot_be_used_is_reported_beside_the_others() {
    let at = "bootstrap: \"127.0.0.1:1\"";
    let login = "security.protocol: SASL_PLAINTEXT, sasl.mechanism: SCRAM-SHA-512, \
                 sasl.username: gate, sasl.password_file: /nonexistent/password";
    let config = format!(
        "gates:\n  a: {{mode: kafka, kafka: {{{at}, {login}}}}}\n  b: {{mode: kafka, kafka: {{{at}}}}}\n"
    );
    let output = doctor(config.clone(), &["--json", "--timeout", "300ms"]).await;
    assert_eq!(output.status.code(), Some(1));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ids(&reports, "gate"), ["a", "b"]);
    let (a, b) = (&reports[0], &reports[1]);
    assert_eq!(a["ok"], false);
    assert_eq!(a["state"], "unknown");
    assert_eq!(ids(&a["problems"], "code"), ["source_failed"]);
    let what = a["problems"][0]["what"].as_str().unwrap();
    assert!(what.contains("/nonexistent/password"), "{what}");
    let others = b["problems"].to_string();
    assert!(others != "[]" && !others.contains("password"), "{others}");
    let text = doctor(config, &["--timeout", "300ms"]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("gate a: 1 problem\n"), "{text}");
    assert!(text.contains("\ngate b: "), "{text}");
}

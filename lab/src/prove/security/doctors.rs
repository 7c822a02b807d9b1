//! `upgrade-gate doctor` as a principal that lacks one right after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::sleep;

use super::Row;
use super::place::{Place, grant};
use super::ways::Way;
use crate::cluster::Cluster;
use crate::principals::{Acl, LEAST};
use crate::prove::gate::program;
use crate::prove::watch::seconds;

/// Whose rights they are: the principal of password and token.
const PRINCIPAL: &str = "User:gate";
/// Until every broker knows that a right is gone.
const SPREADS: Duration = Duration::from_secs(2);

/// How the report calls the rights of [`LEAST`], what the command that grants one ends with, and what
/// `doctor` ends with where it is missing.
const NAMES: [(&str, &str, &str, &str, i32); 5] = [
    (
        "doctor_without_cluster_describe",
        "Describe",
        "Cluster kafka-cluster",
        "--operation Describe --cluster",
        1,
    ),
    (
        "doctor_without_cluster_configs",
        "DescribeConfigs",
        "Cluster kafka-cluster",
        "--operation DescribeConfigs --cluster",
        1,
    ),
    (
        "doctor_without_topic_describe",
        "Describe",
        "Topic *",
        "--operation Describe --topic '*'",
        1,
    ),
    (
        "doctor_without_topic_configs",
        "DescribeConfigs",
        "Topic *",
        "--operation DescribeConfigs --topic '*'",
        1,
    ),
    (
        "doctor_without_group_describe",
        "Describe",
        "Group *",
        "--operation Describe --group '*'",
        // Lag is named, not judged.
        0,
    ),
];

/// One right after the other is taken away, asked about, and given back; then none is missing.
pub(super) async fn run(place: &Place, cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    let config = place.config(cluster, "doctor", "SECURE", Way::Scram512, None)?;
    for (acl, (case, operation, resource, command, code)) in LEAST.into_iter().zip(NAMES) {
        without(cluster, acl).await?;
        let heard = ask(&config).await?;
        let grant_it = format!("--add --allow-principal '{PRINCIPAL}' {command}");
        let missing = |row: &&Value| row["standing"] == "missing";
        let missing: Vec<&Value> = heard.rights().filter(missing).collect();
        let alone = matches!(missing.as_slice(), [row]
            if row["operation"] == operation && row["resource"] == resource
            && row["grant"].as_str().is_some_and(|text| text.ends_with(&grant_it)));
        let ok = alone && heard.codes == [Some(code); 2] && heard.text.contains(&grant_it);
        let expected =
            format!("exit code {code}, in text and JSON; just this right is missing: {command}");
        rows.push(heard.row(cluster, case, &expected, ok));
        grant(cluster).await?;
    }
    sleep(SPREADS).await;
    let heard = ask(&config).await?;
    let standings: Vec<_> = heard.rights().map(|row| row["standing"].as_str()).collect();
    let all = [Some("have"); 5];
    let ok = heard.codes == [Some(0); 2] && standings == all;
    let expected = "exit code 0, in text and JSON; every right is there";
    rows.push(heard.row(cluster, "doctor_with_all_rights", expected, ok));
    Ok(())
}

async fn without(cluster: &Cluster, acl: Acl) -> Result<()> {
    cluster.revoke(PRINCIPAL, acl).await?;
    sleep(SPREADS).await;
    Ok(())
}

/// What it said.
struct Heard {
    report: Value,
    text: String,
    /// Exit codes: of the text and of the JSON.
    codes: [Option<i32>; 2],
    took: Duration,
}

async fn ask(config: &str) -> Result<Heard> {
    let began = Instant::now();
    let run = |args: &[&str]| {
        let mut command = Command::new(program()?);
        let command = command
            .args(["doctor", config, "--timeout", "10s"])
            .args(args);
        anyhow::Ok(command.kill_on_drop(true).output())
    };
    let (text, json) = tokio::join!(run(&[])?, run(&["--json"])?);
    let (text, json) = (text?, json?);
    let reports: Value = serde_json::from_slice(&json.stdout).context("read what doctor prints")?;
    Ok(Heard {
        report: reports[0].clone(),
        text: String::from_utf8(text.stdout)?,
        codes: [text.status.code(), json.status.code()],
        took: began.elapsed(),
    })
}

impl Heard {
    fn rights(&self) -> impl Iterator<Item = &Value> {
        self.report["rights"].as_array().into_iter().flatten()
    }

    fn row(&self, cluster: &Cluster, case: &'static str, expected: &str, ok: bool) -> Row {
        let problems = self.report["problems"].as_array().into_iter().flatten();
        let problems: Vec<&Value> = problems.collect();
        let codes = problems.iter().filter_map(|it| it["code"].as_str());
        let first = problems.first().map(|it| &it["what"]);
        let row = Row {
            release: cluster.spec().release.to_string(),
            way: Way::Scram512.name(),
            protocol: "SASL_SSL",
            case,
            expected: expected.to_owned(),
            state: self.report["state"].as_str().unwrap_or_default().to_owned(),
            codes: codes.map(str::to_owned).collect(),
            step: None,
            said: first.and_then(Value::as_str).unwrap_or_default().to_owned(),
            seconds: Some(seconds(self.took)),
            wrong_opens: 0,
            ok,
        };
        println!(
            "{} {}: {} {} {}",
            row.release, row.case, row.ok, row.state, row.said
        );
        if !ok {
            println!("{}", self.text);
        }
        row
    }
}

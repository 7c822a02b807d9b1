//! Polls a gate through a situation, and makes a row of what was seen.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::gate::{Answer, Gate};
use crate::cluster::Cluster;

/// How often the gate is asked.
const PACE: Duration = Duration::from_millis(100);
/// How long a healthy cluster may take to open the gate, a restart included.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// One situation and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// What has to be seen.
    pub(super) expected: String,
    /// The gate's state when it was seen, else its last one.
    pub(super) state: String,
    /// What kept the gate shut then.
    pub(super) codes: Vec<String>,
    /// From the beginning of the situation until it was seen.
    pub(super) seconds: Option<f64>,
    /// Answers `open` that should not have been.
    pub(super) wrong_opens: usize,
    pub(super) ok: bool,
    pub(super) note: String,
}

/// The gate's window: these are about what is seen, not about how long it has to be well.
pub(super) const WINDOW: &str = "3s";

/// A configuration file's content in front of a cluster; the controllers are named, since a
/// broker's own way to them may be cut.
pub(super) fn config(cluster: &Cluster) -> Value {
    let controllers: serde_json::Map<String, Value> = cluster
        .controllers()
        .split(',')
        .filter_map(|text| text.split_once('@'))
        .map(|(id, address)| (id.to_owned(), json!(address)))
        .collect();
    let bootstrap: Vec<_> = cluster.bootstrap().split(',').map(str::to_owned).collect();
    json!({"gates": {"default": {
        "kafka": {"bootstrap": bootstrap, "controllers": controllers},
        "jmx": {"template": cluster.jmx_template()},
        "policy": {"window": WINDOW},
    }}})
}

/// The same with a window of the gate's own and leases that last: for whole restarts.
pub(super) fn config_of_roll(cluster: &Cluster) -> Value {
    let mut settings = config(cluster);
    settings["data_dir"] = json!(cluster.dir().join("gate"));
    if let Some(policy) = settings["gates"]["default"]["policy"].as_object_mut() {
        policy.remove("window");
    }
    settings
}

/// Starts a gate with this file.
pub(super) async fn start(cluster: &Cluster, config: &Value) -> Result<Gate> {
    let path = cluster.dir().join("gate.json");
    std::fs::write(&path, serde_json::to_vec_pretty(config)?).context("write gate.json")?;
    Gate::start(&[path.display().to_string()]).await
}

/// What polling has seen.
pub(super) struct Watched {
    /// The first answer that was wanted, and when.
    pub(super) found: Option<(Duration, Answer)>,
    pub(super) last: Option<Answer>,
    /// The first answer that was not open: when, and its codes.
    first_shut: Option<(Duration, Vec<String>)>,
    /// When each open answer came.
    open_at: Vec<Duration>,
}

impl Watched {
    /// Open answers.
    pub(super) fn opens(&self) -> usize {
        self.open_at.len()
    }

    /// Those after the first answer that was not open.
    pub(super) fn reopened(&self) -> usize {
        let shut = self.shut().unwrap_or(Duration::MAX);
        self.open_at.iter().filter(|at| **at > shut).count()
    }

    /// Those after the wanted answer, or later than this.
    pub(super) fn opens_after(&self, latest: Duration) -> usize {
        let found = self.found.as_ref().map_or(latest, |(at, _)| *at);
        let late = |at: &&Duration| **at > found.min(latest);
        self.open_at.iter().filter(late).count()
    }

    /// When the first answer came that was not open.
    pub(super) fn shut(&self) -> Option<Duration> {
        self.first_shut.as_ref().map(|(at, _)| *at)
    }

    pub(super) fn row(self, name: &str, expected: impl Into<String>, wrong_opens: usize) -> Row {
        let seconds = self.found.as_ref().map(|(at, _)| seconds(*at));
        let found = self.found.map(|(_, answer)| answer);
        let said = found.or(self.last);
        let (state, codes, mut note) = said.map_or_else(Default::default, |answer| {
            (answer.state.clone(), answer.codes(), observed(&answer))
        });
        // Shut by something else before that.
        if let (Some((at, codes)), Some(found)) = (self.first_shut, seconds)
            && at.as_secs_f64() + 1.0 < found
        {
            let codes = codes.join(", ");
            note += &format!("; first shut after {:.1} s: {codes}", at.as_secs_f64());
        }
        let row = Row {
            name: name.to_owned(),
            expected: expected.into(),
            state,
            codes,
            seconds,
            wrong_opens,
            ok: seconds.is_some() && wrong_opens == 0,
            note,
        };
        tracing::info!(
            name,
            ok = row.ok,
            state = row.state,
            codes = ?row.codes,
            seconds = row.seconds,
            wrong_opens,
            note = row.note,
            "situation"
        );
        row
    }
}

/// Asks until the wanted answer came (for `limit` at most), then for `stay` more.
pub(super) async fn watch(
    gate: &Gate,
    limit: Duration,
    stay: Duration,
    wanted: impl Fn(&Answer) -> bool,
) -> Watched {
    let start = Instant::now();
    let mut watched = Watched {
        found: None,
        last: None,
        first_shut: None,
        open_at: Vec::new(),
    };
    let mut end = start + limit;
    while Instant::now() < end {
        // No answer is no open; what is wanted has to be said.
        if let Ok(answer) = gate.check("").await {
            let at = start.elapsed();
            if answer.is_open() {
                watched.open_at.push(at);
            } else {
                watched
                    .first_shut
                    .get_or_insert_with(|| (at, answer.codes()));
            }
            if watched.found.is_none() && wanted(&answer) {
                watched.found = Some((at, answer.clone()));
                end = Instant::now() + stay;
            }
            watched.last = Some(answer);
        }
        sleep(PACE).await;
    }
    watched
}

/// What was seen for each code that keeps the gate shut, the beginning of the first of each.
fn observed(answer: &Answer) -> String {
    let told = answer.codes().into_iter().filter_map(|code| {
        let first = answer.reasons.iter().find(|reason| reason.code == code)?;
        let seen: String = first.observed.chars().take(160).collect();
        Some(format!("{code}: {seen}"))
    });
    told.collect::<Vec<_>>().join("; ")
}

pub(super) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Shut, and one of these is among the reasons.
pub(super) fn one_of<'a>(codes: &'a [&'a str]) -> impl Fn(&Answer) -> bool + 'a {
    move |answer| {
        !answer.is_open()
            && answer
                .codes()
                .iter()
                .any(|code| codes.contains(&code.as_str()))
    }
}

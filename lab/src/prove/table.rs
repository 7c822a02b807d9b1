//! How the rows of the proof `plan` are made.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::gate::{Answer, Gate};
use super::watch::{PATIENCE, config, seconds, start};
use crate::cluster::Cluster;
use crate::spec::{Layout, NodeId};

/// Between two questions.
pub(super) const PACE: Duration = Duration::from_millis(200);
/// How long a wrong answer has to stay away once the expected one came.
const STAYS: Duration = Duration::from_secs(2);

/// A machine: its name, its nodes, and what has to be said of stopping it.
pub(super) type Machine = (&'static str, [NodeId; 2], &'static str);

/// The second may not go, whatever each of its nodes may: with three replicas it holds two of some.
const MACHINES: [Machine; 2] = [("a", [1, 101], "open"), ("b", [2, 3], "closed")];

/// The machines of the largest cluster; the others have none.
pub(super) fn machines(cluster: &Cluster) -> &'static [Machine] {
    match cluster.spec().layout {
        Layout::KraftSeparate { controllers: 3, .. } => &MACHINES,
        Layout::KraftSeparate { .. } | Layout::KraftCombined { .. } | Layout::ZooKeeper { .. } => {
            &[]
        }
    }
}

/// What has to be said of stopping some nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// They may go, without a word.
    Free,
    /// They may go, with this warning.
    Warns(&'static str),
    /// They may not go, for this reason among others.
    Shut(&'static str),
    /// They may not go, for this reason alone.
    ShutOnly(&'static str),
}

impl Expected {
    /// Whether an `open` would be wrong.
    const fn is_shut(self) -> bool {
        match self {
            Self::Shut(_) | Self::ShutOnly(_) => true,
            Self::Free | Self::Warns(_) => false,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Free => String::from("may stop, nothing to warn of"),
            Self::Warns(code) => format!("may stop, warns {code}"),
            Self::Shut(code) => format!("may not stop: {code}"),
            Self::ShutOnly(code) => format!("may not stop: {code} alone"),
        }
    }

    fn is_met(self, answer: &Answer) -> bool {
        let warns = |code: &str| {
            let mut reasons = answer.reasons.iter();
            reasons.any(|reason| reason.severity == "warn" && reason.code == code)
        };
        match self {
            Self::Free => answer.is_open() && !RISKS.iter().any(|code| warns(code)),
            Self::Warns(code) => answer.is_open() && warns(code),
            Self::Shut(code) => !answer.is_open() && answer.codes().iter().any(|c| c == code),
            Self::ShutOnly(code) => !answer.is_open() && answer.codes() == [code],
        }
    }
}

/// Warnings that a row "nothing to warn of" must not have.
const RISKS: [&str; 6] = [
    "single_replica",
    "no_spare_replica",
    "last_copy_by_design",
    "internal_topic_at_risk",
    "single_voter",
    "two_voters",
];

/// One question, and what was said.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    cluster: String,
    situation: String,
    /// The nodes asked about, as in `?node=`.
    nodes: String,
    expected: String,
    /// The state, and every code with its severity.
    actual: String,
    seconds: f64,
    /// Answers that were heard; none where two things are compared.
    answers: usize,
    /// Those that said `open` although stopping them is wrong; none where it is not, or where two
    /// things are compared.
    wrong_opens: Option<usize>,
    pub(super) ok: bool,
}

/// What was heard in one row so far; times are since it began.
#[derive(Debug, Default)]
struct Heard {
    answers: usize,
    /// Those that said `open`, asked once the gate has to know better.
    opens: usize,
    /// Since when every answer was the expected one.
    met: Option<Duration>,
    /// Whether that was long enough.
    stayed: bool,
}

impl Heard {
    /// `known`: from when on the gate has to know; `asked`, `now`: when this was asked, and answered.
    fn take(&mut self, expected: Expected, answer: &Answer, [known, asked, now]: [Duration; 3]) {
        self.answers += 1;
        self.opens += usize::from(asked >= known && answer.is_open());
        self.met = expected.is_met(answer).then(|| self.met.unwrap_or(now));
        self.stayed = self
            .met
            .is_some_and(|since| now.saturating_sub(since) >= STAYS);
    }

    /// Opens that must not be; `None`: all may be.
    fn wrong_opens(&self, expected: Expected) -> Option<usize> {
        expected.is_shut().then_some(self.opens)
    }
}

/// A gate in front of a cluster, and the rows that are made there.
pub(super) struct Table<'a> {
    cluster: &'a Cluster,
    gate: Gate,
    name: &'static str,
    rows: &'a mut Vec<Row>,
}

impl<'a> Table<'a> {
    /// Starts the gate.
    pub(super) async fn of(
        cluster: &'a Cluster,
        name: &'static str,
        rows: &'a mut Vec<Row>,
    ) -> Result<Self> {
        let mut settings = config(cluster);
        // Combined nodes answer at their brokers' listeners; with ZooKeeper there are none.
        let without = matches!(
            cluster.spec().layout,
            Layout::KraftCombined { .. } | Layout::ZooKeeper { .. }
        );
        if without && let Some(kafka) = settings["gates"]["default"]["kafka"].as_object_mut() {
            kafka.remove("controllers");
        }
        let machines = machines(cluster).iter();
        let hosts: Map<String, Value> = machines
            .map(|(host, nodes, _)| ((*host).to_owned(), json!(nodes)))
            .collect();
        if !hosts.is_empty() {
            settings["gates"]["default"]["hosts"] = Value::Object(hosts);
        }
        let gate = start(cluster, &settings).await?;
        Ok(Self {
            cluster,
            gate,
            name,
            rows,
        })
    }

    pub(super) const fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// A row of two things that have to be the same.
    pub(super) fn compared(&mut self, name: &str, nodes: &str, expected: String, actual: String) {
        let ok = expected == actual;
        tracing::info!(ok, name, nodes, expected, actual, "row");
        self.rows.push(Row {
            cluster: self.name.to_owned(),
            situation: name.to_owned(),
            nodes: nodes.to_owned(),
            expected,
            actual,
            seconds: 0.0,
            answers: 0,
            wrong_opens: None,
            ok,
        });
    }

    /// Asks until the expected answer came and stayed. What is asked about has been so for longer than
    /// the gate may need to see it: an `open` that must not be is wrong from the first answer on.
    pub(super) async fn row(
        &mut self,
        situation: &str,
        nodes: &str,
        expected: Expected,
    ) -> Result<()> {
        self.row_once_known(Duration::ZERO, situation, nodes, expected)
            .await
    }

    /// The same of what has just come about: so long the gate may need to see it.
    pub(super) async fn row_once_known(
        &mut self,
        known: Duration,
        situation: &str,
        nodes: &str,
        expected: Expected,
    ) -> Result<()> {
        let begun = Instant::now();
        let query = format!("?node={nodes}");
        let mut heard = Heard::default();
        let mut last = None;
        while !heard.stayed && begun.elapsed() < PATIENCE {
            let asked = begun.elapsed();
            // An answer that is none (a 400 while the gate does not know the node) is not it.
            if let Ok(answer) = self.gate.check(&query).await {
                heard.take(expected, &answer, [known, asked, begun.elapsed()]);
                last = Some(answer);
            }
            if !heard.stayed {
                sleep(PACE).await;
            }
        }
        let wrong_opens = heard.wrong_opens(expected);
        let row = Row {
            cluster: self.name.to_owned(),
            situation: situation.to_owned(),
            nodes: nodes.to_owned(),
            expected: expected.words(),
            actual: last.as_ref().map(describe).unwrap_or_default(),
            seconds: seconds(begun.elapsed()),
            answers: heard.answers,
            wrong_opens,
            ok: heard.stayed && wrong_opens.unwrap_or(0) == 0,
        };
        tracing::info!(
            ok = row.ok,
            situation,
            nodes,
            expected = row.expected,
            actual = row.actual,
            seconds = row.seconds,
            answers = row.answers,
            wrong_opens,
            "row"
        );
        self.rows.push(row);
        Ok(())
    }

    /// A topic, one row about its leader, and the topic's end.
    pub(super) async fn topic(
        &mut self,
        (replication, min_isr): (i16, u8),
        expected: Expected,
    ) -> Result<()> {
        let name = format!("rf{replication}-m{min_isr}");
        let min = min_isr.to_string();
        self.cluster
            .create_topic(&name, 3, replication, &[("min.insync.replicas", &min)])
            .await?;
        let leader = self.leader(&name).await?;
        let situation = format!("topic with {replication} replicas, min ISR {min_isr}");
        self.row(&situation, &leader.to_string(), expected).await?;
        self.cluster.delete_topic(&name).await?;
        Ok(())
    }

    /// The leader of its first partition that has one.
    pub(super) async fn leader(&self, topic: &str) -> Result<NodeId> {
        let from = self.cluster.serving_brokers().next();
        let from = from.context("find a broker that serves")?.id();
        let seen = self.cluster.metadata(from).await?;
        let leader = seen.topic(topic).find_map(|partition| partition.leader);
        leader.with_context(|| format!("find a leader of {topic}"))
    }
}

fn describe(answer: &Answer) -> String {
    let mut codes: Vec<_> = answer
        .reasons
        .iter()
        .map(|reason| format!("{} {}", reason.severity, reason.code))
        .collect();
    codes.sort();
    codes.dedup();
    format!("{}: {}", answer.state, codes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::gate::Reason;

    fn answer(status: u16, state: &str, severity: &str, code: &str) -> Answer {
        Answer {
            status,
            state: state.to_owned(),
            since: None,
            reasons: vec![Reason {
                code: code.to_owned(),
                severity: severity.to_owned(),
                node: None,
                observed: String::new(),
                step: None,
            }],
        }
    }

    /// Asked once a second, and answered at once.
    fn heard(expected: Expected, known: u64, answers: &[Answer]) -> Heard {
        let mut heard = Heard::default();
        for (at, answer) in (0..).zip(answers) {
            let at = Duration::from_secs(at);
            heard.take(expected, answer, [Duration::from_secs(known), at, at]);
        }
        heard
    }

    #[test]
    fn an_open_before_the_expected_answer_is_counted() {
        let shut = Expected::Shut("would_lose_quorum");
        let open = answer(200, "open", "warn", "single_replica");
        let closed = answer(503, "closed", "block", "would_lose_quorum");
        let late = [&open, &open, &closed, &closed, &closed].map(Clone::clone);
        let told = heard(shut, 0, &late);
        assert!(told.stayed);
        assert_eq!((told.answers, told.wrong_opens(shut)), (5, Some(2)));
        // So long the gate may need to see it.
        assert_eq!(heard(shut, 1, &late).wrong_opens(shut), Some(1));
        assert_eq!(heard(shut, 2, &late).wrong_opens(shut), Some(0));
        let free = Expected::Warns("single_replica");
        assert_eq!(heard(free, 0, &late).wrong_opens(free), None);
    }

    #[test]
    fn what_does_not_stay_is_not_met() {
        let shut = Expected::Shut("would_lose_quorum");
        let closed = answer(503, "closed", "block", "would_lose_quorum");
        let other = answer(503, "closed", "block", "offline");
        let unsteady = [&closed, &closed, &other, &closed, &closed].map(Clone::clone);
        assert!(!heard(shut, 0, &unsteady).stayed);
        let steady = [&other, &closed, &closed, &closed].map(Clone::clone);
        assert!(heard(shut, 0, &steady).stayed);
    }
}

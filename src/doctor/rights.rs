//! Which rights at the cluster's authorizer the gate has, by what it was answered. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Patient;
use super::report::Problem;
use crate::checks::reason::Reason;
use crate::evidence::facts::{Facts, Identity, LogDirFacts, METADATA_LOG};
use crate::evidence::known::Known;
use crate::evidence::partitions::PartitionTable;
use crate::evidence::report::{FailureClass, Report, SourceFailure};
use crate::evidence::snapshot::Reports;
use crate::kafka::Credentials;
use crate::kafka::rights::{
    CLUSTER_CONFIGS, CLUSTER_DESCRIBE, GROUP_DESCRIBE, RIGHTS, Resource, Right, TOPIC_CONFIGS,
    TOPIC_DESCRIBE,
};

/// One right, and whether the gate has it.
#[derive(Debug, Serialize)]
pub struct RightRow {
    /// Kafka's name of the operation.
    pub operation: &'static str,
    /// What it is on.
    pub resource: Resource,
    /// The requests that want it.
    pub requests: Vec<&'static str>,
    /// Whether the gate has it.
    pub standing: Standing,
    /// Nodes that refused something for want of it.
    pub refused_by: BTreeSet<i32>,
    /// What the gate cannot know without it.
    pub lost: &'static str,
    /// How to grant it; null unless it is missing.
    pub grant: Option<String>,
}

/// Whether the gate has a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Something that wants it was answered, and nothing refused. Without an authorizer, too.
    Have,
    /// Something was refused for want of it.
    Missing,
    /// Nothing that was answered shows it: nobody was reached, or there is nothing to see it by.
    Unknown,
    /// This gate asks nothing that wants it.
    NotNeeded,
}

impl Standing {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Have => "have",
            Self::Missing => "MISSING",
            Self::Unknown => "not known",
            Self::NotNeeded => "not needed",
        }
    }
}

/// Every right of [`RIGHTS`], in its order.
pub fn rights(patient: &Patient, reports: &Reports) -> Vec<RightRow> {
    RIGHTS
        .iter()
        .map(|right| row(*right, patient, reports))
        .collect()
}

/// What a missing right is for the verdict; `None` where it only warns, or is not missing.
pub fn problem(row: &RightRow) -> Option<Problem> {
    match row.resource {
        Resource::Cluster => said(row, Reason::EvidenceIncomplete),
        Resource::Topic => said(row, Reason::TopicsHidden),
        Resource::Group => None,
    }
}

/// What a missing right only warns of.
pub fn warning(row: &RightRow) -> Option<Problem> {
    match row.resource {
        Resource::Cluster | Resource::Topic => None,
        Resource::Group => said(row, Reason::GroupUnknown),
    }
}

fn said(row: &RightRow, code: Reason) -> Option<Problem> {
    let grant = row.grant.as_ref()?;
    let nodes: Vec<_> = row.refused_by.iter().map(ToString::to_string).collect();
    Some(Problem {
        code: code.code(),
        what: format!(
            "the right {} on {} is missing (nodes {}): not seen are {}",
            row.operation,
            row.resource.as_str(),
            nodes.join(", "),
            row.lost
        ),
        step: None,
        hint: format!("grant it: {grant}"),
    })
}

fn row(right: Right, patient: &Patient, reports: &Reports) -> RightRow {
    let mut refused_by = BTreeSet::new();
    let mut answered = false;
    for report in reports.values() {
        match shows(right, report) {
            Some(true) => answered = true,
            Some(false) => refused_by.extend(report.source.node().map(|node| node.0)),
            None => {}
        }
    }
    if right == TOPIC_DESCRIBE {
        let seen = Topics::of(reports);
        refused_by.extend(seen.hidden_on());
        answered = seen.are_all_seen();
    }
    let standing = match &patient.settings.kafka {
        None => Standing::NotNeeded,
        Some(_) if right == GROUP_DESCRIBE && patient.settings.policy.groups.is_empty() => {
            Standing::NotNeeded
        }
        Some(_) if !refused_by.is_empty() => Standing::Missing,
        Some(_) if answered => Standing::Have,
        Some(_) => Standing::Unknown,
    };
    RightRow {
        operation: right.operation,
        resource: right.resource,
        requests: right.apis.iter().map(|api| api.name).collect(),
        standing,
        refused_by,
        lost: right.lost,
        grant: (standing == Standing::Missing).then(|| grant(right, patient)),
    }
}

fn grant(right: Right, patient: &Patient) -> String {
    let kafka = patient.settings.kafka.as_ref();
    let bootstrap = kafka.and_then(|kafka| kafka.bootstrap.first());
    let bootstrap = bootstrap.map_or_else(|| String::from("..."), ToString::to_string);
    let user = match kafka.and_then(|kafka| kafka.login.as_ref()) {
        Some(Credentials::Plain { username, .. } | Credentials::Scram { username, .. }) => username,
        // The brokers' rules make the principal of a token or certificate.
        Some(Credentials::Token { .. }) | None => "...",
    };
    right.grant(&bootstrap, user)
}

/// Whether a report shows that the gate has a right, or has not.
fn shows(right: Right, report: &Report) -> Option<bool> {
    let facts = match &report.facts {
        Ok(facts) => facts,
        Err(failure) => return is_for_want_of(right, failure).then_some(false),
    };
    match (right, facts) {
        (CLUSTER_DESCRIBE, Facts::LogDirs(dirs)) => Some(dirs.readable),
        (CLUSTER_DESCRIBE, Facts::Quorum(_) | Facts::Moves(_))
        | (CLUSTER_CONFIGS, Facts::NodeConfigs(_)) => Some(true),
        (CLUSTER_CONFIGS, Facts::Link(link)) => match &link.identity {
            Identity::Proved => Some(true),
            Identity::Unproven(why) => why.contains(&right.to_string()).then_some(false),
        },
        (TOPIC_CONFIGS, Facts::TopicConfigs(configs)) => {
            match (
                configs.hidden.is_empty(),
                configs.min_insync_replicas.is_empty(),
            ) {
                (false, _) => Some(false),
                (true, false) => Some(true),
                (true, true) => None,
            }
        }
        (TOPIC_DESCRIBE, Facts::LogEnds(ends)) => {
            let hidden = |end: &Known<i64>| *end == Known::Hidden;
            let mut rows = ends.rows.iter();
            rows.any(|row| hidden(&row.leader_end) || hidden(&row.own_end))
                .then_some(false)
        }
        (GROUP_DESCRIBE, Facts::Groups(table)) => {
            let of = |wanted: fn(&Known<Vec<_>>) -> bool| {
                table.groups.iter().any(|group| wanted(&group.partitions))
            };
            let (hidden, known) = (
                of(|it| matches!(it, Known::Hidden)),
                of(|it| matches!(it, Known::Is(_))),
            );
            (hidden || known).then_some(!hidden)
        }
        _ => None,
    }
}

fn is_for_want_of(right: Right, failure: &SourceFailure) -> bool {
    failure.class == FailureClass::Authorization && failure.detail.contains(&right.to_string())
}

/// Topics as brokers host them, and as Metadata shows them: it leaves out what we may not see, and
/// says nothing of it.
struct Topics<'a> {
    shown: BTreeSet<&'a str>,
    hosted: BTreeMap<i32, &'a LogDirFacts>,
}

impl<'a> Topics<'a> {
    fn of(reports: &'a Reports) -> Self {
        let mut topics = Self {
            shown: BTreeSet::new(),
            hosted: BTreeMap::new(),
        };
        for report in reports.values() {
            match (&report.facts, report.source.node()) {
                (Ok(Facts::Partitions(table)), _) => topics.shown.extend(names(table)),
                (Ok(Facts::LogDirs(dirs)), Some(node)) => {
                    topics.hosted.insert(node.0, dirs);
                }
                _ => {}
            }
        }
        topics
    }

    /// Nodes with topics that Metadata does not show.
    fn hidden_on(&self) -> impl Iterator<Item = i32> {
        let hides = |dirs: &LogDirFacts| {
            let mut names = dirs.hosted.iter().map(|(name, _)| &**name);
            names.any(|name| name != METADATA_LOG && !self.shown.contains(name))
        };
        let hosted = self.hosted.iter();
        hosted.filter_map(move |(node, dirs)| hides(dirs).then_some(*node))
    }

    /// Whether topics are shown, and we see what is hosted to compare them with.
    fn are_all_seen(&self) -> bool {
        let readable = !self.hosted.is_empty() && self.hosted.values().all(|dirs| dirs.readable);
        !self.shown.is_empty() && readable
    }
}

fn names(table: &PartitionTable) -> impl Iterator<Item = &str> {
    table.topics().map(|topic| topic.name())
}

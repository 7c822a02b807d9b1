//! The closed table of checks, and the judgement of one snapshot by all of them.

use std::collections::BTreeMap;

use crate::evidence::ids::NodeId;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;

use super::barred::Doubt;
use super::finding::{Finding, Judged};
use super::needs::{Need, unmet};
use super::reason::Reason;
use super::{
    broker_state, controller, evidence, fetchers, groups, heartbeat, identity, jmx_view, kind,
    leadership, log_dirs, metadata, moves, nodes, partitions, progress, quorum, release, topics,
    unclean, what_if,
};

#[cfg(test)]
use super::samples::{self, Samples};

/// One check.
pub struct CheckRow {
    /// Its name in the API and the docs.
    pub id: &'static str,
    /// What it shows when it is proved, one line.
    pub title: &'static str,
    /// What it can find. Reasons for evidence that is not there (`needs`) are not repeated.
    pub reasons: &'static [Reason],
    /// Evidence without which it proves nothing.
    pub needs: &'static [Need],
    /// The check itself. Ask through [`CheckRow::judge`], which looks at `needs` first.
    pub run: fn(&Snapshot<'_>) -> Judged,
    /// Clusters on which it must find each of its reasons.
    #[cfg(test)]
    pub sample: fn() -> Samples,
}

impl CheckRow {
    /// What it says about this snapshot. Without its evidence it is never proved.
    pub fn judge(&self, snapshot: &Snapshot<'_>) -> Judged {
        self.complete(snapshot, (self.run)(snapshot))
    }

    fn complete(&self, snapshot: &Snapshot<'_>, judged: Judged) -> Judged {
        let mut findings = unmet(snapshot, self.needs);
        if findings.is_empty() {
            return judged;
        }
        for finding in judged.findings() {
            if !findings.contains(finding) {
                findings.push(finding.clone());
            }
        }
        Judged::from_findings(findings)
    }
}

/// The row that holds every node's what-if.
pub const WHAT_IF: &str = "what_if";

macro_rules! table {
    ($($module:ident::$run:ident $id:literal, $title:literal, $sample:ident;)+) => {
        /// Every check there is.
        pub const TABLE: &[CheckRow] = &[$(CheckRow {
            id: $id,
            title: $title,
            reasons: $module::REASONS,
            needs: $module::NEEDS,
            run: $module::$run,
            #[cfg(test)]
            sample: samples::$sample,
        },)+];
    };
}

table! {
    evidence::run "evidence", "every source that is needed has answered in time and in full", evidence;
    kind::run "metadata_kind", "it shows whether the cluster runs on KRaft or ZooKeeper", kind;
    release::run "release", "every node runs a release that this gate can judge", release;
    identity::run "identity", "every source belongs to the node and the cluster it stands for", identity;
    nodes::run "nodes", "every expected node is registered, unfenced and answers", nodes_row;
    controller::run "active_controller", "there is exactly one active controller", controller;
    quorum::run "quorum", "every voter of the quorum is caught up", quorum;
    partitions::run "partitions", "every partition has a leader and a full ISR", partitions;
    topics::run "topics_visible", "every partition that brokers host can be seen", topics;
    progress::run "replica_progress", "every in-sync follower has reached its leader's end", progress;
    jmx_view::run "jmx_view", "the JMX pages show no trouble and agree with the protocol", jmx_view;
    broker_state::run "broker_state", "every broker says it is running", broker_state;
    heartbeat::run "heartbeats", "the active controller hears every broker", heartbeat;
    metadata::run "metadata", "every node has the active controller's metadata, without errors", metadata;
    fetchers::run "fetchers", "no broker has given up following partitions", fetchers;
    log_dirs::run "log_dirs", "every log directory is online", log_dirs;
    moves::run "moves", "running reassignments are known", moves;
    leadership::run "leadership", "leadership is quiet", leadership;
    unclean::run "unclean_elections", "no unclean election happened since the gate watches", unclean;
    groups::run "groups", "the named groups can be read", groups;
    what_if::run "what_if", "every expected node may stop", what_if;
}

/// What all checks say about one snapshot.
pub struct Evaluation {
    /// Each row of the table with its answer.
    pub rows: Vec<(&'static CheckRow, Judged)>,
    /// The what-if of every expected node.
    pub nodes: BTreeMap<NodeId, Judged>,
    /// Whether the log ends of this snapshot show that every in-sync replica has reached its
    /// leader: only then may the window be shortened.
    pub progress_proven: bool,
}

impl Evaluation {
    /// Whether every row is proved or does not apply.
    pub fn allows_open(&self) -> bool {
        self.rows.iter().all(|(_, judged)| judged.allows_open())
    }

    /// Judges once more what stopping each node would do: another node counts as down.
    pub fn reconsider(&mut self, with_leases: &Snapshot<'_>) {
        self.nodes = what_if::every_node(with_leases);
        self.judge_what_ifs(|row, nodes| row.complete(with_leases, what_if::all(nodes)));
    }

    /// Adds what speaks against stopping one node.
    pub fn speak_against(&mut self, node: NodeId, finding: &Finding) {
        let Some(judged) = self.nodes.get_mut(&node) else {
            return;
        };
        let mut findings: Vec<_> = judged.findings().into_iter().cloned().collect();
        findings.push(finding.clone());
        *judged = Judged::from_findings(findings);
        self.judge_what_ifs(|_, nodes| what_if::all(nodes));
    }

    fn judge_what_ifs(&mut self, judge: impl Fn(&CheckRow, &BTreeMap<NodeId, Judged>) -> Judged) {
        for (row, judged) in &mut self.rows {
            if row.id == WHAT_IF {
                *judged = judge(row, &self.nodes);
            }
        }
    }

    /// All findings, the most severe first, each once however many rows have it.
    pub fn findings(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = Vec::new();
        for finding in self.rows.iter().flat_map(|(_, judged)| judged.findings()) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.reason.cmp(&b.reason)));
        findings
    }
}

/// Judges a snapshot by every row of the table. `with_leases` is the same moment with every leased
/// node counting as down: what stopping another node would do is judged on that.
pub fn evaluate(snapshot: &Snapshot<'_>, with_leases: &Snapshot<'_>) -> Evaluation {
    let nodes = what_if::every_node(with_leases);
    let doubt = Doubt::of(snapshot);
    let rows: Vec<_> = TABLE
        .iter()
        .map(|row| {
            // The nodes' answers are there already; walking the partitions again costs as much
            // as all other rows together.
            let judged = if row.id == WHAT_IF {
                row.complete(with_leases, what_if::all(&nodes))
            } else {
                doubt.judge(|snapshot| row.judge(snapshot))
            };
            (row, judged)
        })
        .collect();
    let progress_proven = snapshot.policy.mode.kafka()
        && rows
            .iter()
            .any(|(row, judged)| row.id == "replica_progress" && judged.allows_open());
    Evaluation {
        rows,
        nodes,
        progress_proven,
    }
}

/// Kinds of fact that some row needs.
pub fn needed_kinds() -> impl Iterator<Item = FactKind> {
    FactKind::ALL.into_iter().filter(|kind| {
        TABLE
            .iter()
            .any(|row| row.needs.iter().any(|need| need.kinds().contains(kind)))
    })
}

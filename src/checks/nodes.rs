//! Every expected node is there: registered, unfenced, a voter where it has a vote, and it
//! answers. A connection that closes is the fastest death notice there is; the survivors' tables
//! need 9-15 s (reference `kafka-lab.md` 5).

use std::collections::BTreeSet;

use crate::evidence::facts::QuorumMember;
use crate::evidence::ids::NodeId;
use crate::evidence::jmx::Metric;
use crate::evidence::report::{FactKind, FailureClass, Sign, SourceId};
use crate::evidence::snapshot::{Absent, ClusterKind, Expected, Origin, Snapshot};
use crate::evidence::voters::{self, Remote};
use crate::time::Human;

use super::finding::{Finding, Judged, Subject};
use super::needs::{Need, absent, asked, step, words};
use super::reason::{Reason, Severity};
use super::{gauges, jmx_sums};

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Link),
    Need::Required(FactKind::Cluster),
    Need::Required(FactKind::Quorum),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::NodeMissing,
    Reason::NodeFenced,
    Reason::NodeUnreachable,
    Reason::NodeFrozen,
    Reason::LeftoverRegistration,
    Reason::EvidenceStale,
    Reason::EvidenceIncomplete,
];

/// What is wanted where there are brokers that nobody named.
const TARGETS: &str = "no broker but the expected ones: add the others to nodes and jmx.targets";

/// Judges every expected node.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    let mut findings = Vec::new();
    if !snapshot.policy.mode.kafka() {
        findings.extend(counted(snapshot));
    }
    let leftovers = leftovers(snapshot);
    for (node, expected) in &snapshot.expected {
        if leftovers.contains(node) {
            findings.push(Finding::new(
                Reason::LeftoverRegistration,
                Subject::Node(*node),
                "registered, fenced, holds nothing, never answered",
                "no registration that nobody uses",
            ));
            continue;
        }
        findings.extend(silent(snapshot, *node));
        findings.extend(unheard(snapshot, *node));
        if snapshot.policy.mode.kafka() {
            findings.extend(unregistered(snapshot, *node, expected));
            findings.extend(not_voting(snapshot, *node, expected));
        }
    }
    Judged::from_findings(findings)
}

/// Fenced registrations that nothing depends on: no partition, no vote, not configured, and no
/// word from them since the gate began to watch.
pub(crate) fn leftovers(snapshot: &Snapshot<'_>) -> BTreeSet<NodeId> {
    if snapshot.merged.sources.is_empty() || !snapshot.merged.outdated.is_empty() {
        return BTreeSet::new();
    }
    let needed = [Origin::Configured, Origin::Voter, Origin::Assigned];
    let unused = snapshot.expected.iter().filter(|(node, expected)| {
        !expected.role.controller
            && !needed
                .iter()
                .any(|origin| expected.because.contains(origin))
            && !snapshot.memory.heard.contains(node)
            && snapshot.link(**node).is_err()
    });
    unused
        .map(|(node, _)| *node)
        .filter(|node| registration(snapshot, *node) == Some(Registration::Fenced))
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Registration {
    Unfenced,
    Missing,
    Fenced,
}

/// The worst that any fresh answer says of a broker's registration; "fenced" tells more than "not
/// listed", which is all that releases before DescribeCluster v2 can say. `None` when nobody
/// answers.
fn registration(snapshot: &Snapshot<'_>, node: NodeId) -> Option<Registration> {
    let answers = snapshot.clusters().filter_map(|(_, read)| read.ok());
    answers
        .map(|read| {
            let broker = read.facts.brokers.iter().find(|broker| broker.node == node);
            match broker.map(|broker| broker.fenced) {
                None => Registration::Missing,
                Some(true) => Registration::Fenced,
                Some(false) => Registration::Unfenced,
            }
        })
        .max()
}

fn unregistered(snapshot: &Snapshot<'_>, node: NodeId, expected: &Expected) -> Option<Finding> {
    if !expected.role.broker {
        return None;
    }
    let (reason, observed) = match registration(snapshot, node)? {
        Registration::Unfenced => return None,
        Registration::Missing => (Reason::NodeMissing, "not registered with the controller"),
        Registration::Fenced => (Reason::NodeFenced, "registered and fenced"),
    };
    let subject = Subject::Node(node);
    Some(Finding::new(
        reason,
        subject,
        observed,
        "registered and unfenced",
    ))
}

fn not_voting(snapshot: &Snapshot<'_>, node: NodeId, expected: &Expected) -> Option<Finding> {
    if !expected.role.controller || snapshot.kind == ClusterKind::ZooKeeper {
        return None;
    }
    let quorum = voters::newest(snapshot)?;
    let is = |members: &[QuorumMember]| members.iter().any(|member| member.node == node);
    if is(&quorum.facts.voters) {
        return None;
    }
    let observed = if is(&quorum.facts.observers) {
        "an observer of the quorum, without a vote"
    } else {
        "not among the voters"
    };
    Some(
        Finding::new(
            Reason::NodeMissing,
            Subject::Node(node),
            observed,
            "a voter of the quorum",
        )
        .from_source(quorum.report.source.clone(), quorum.report.asked),
    )
}

/// A node that does not accept connections, or keeps them open and says nothing.
fn silent(snapshot: &Snapshot<'_>, node: NodeId) -> Option<Finding> {
    let (source, kind) = if snapshot.policy.mode.kafka() {
        (SourceId::Kafka(node), FactKind::Link)
    } else {
        (SourceId::Jmx(node), FactKind::Jmx)
    };
    let absent = absent(snapshot, &source, kind)?;
    let reason = match &absent {
        // Nothing heard yet is the `evidence` row's to say: it is no sign of death.
        Absent::Missing => return None,
        // When every source is stale it is us who were starved, not all nodes that froze.
        Absent::Stale { .. }
            if asked(snapshot, kind)
                .iter()
                .all(|source| is_stale(snapshot, source, kind)) =>
        {
            return None;
        }
        Absent::Stale { .. } => Reason::NodeFrozen,
        Absent::Failed(failure) => of_failure(failure.class)?,
    };
    let finding = Finding::new(
        reason,
        Subject::Node(node),
        words(&absent),
        "an open connection that answers",
    )
    .stopped_at(step(&absent));
    Some(match snapshot.newest(&source, kind) {
        Some(report) => finding.from_source(source, report.asked),
        None => finding,
    })
}

/// A controller that is not asked itself, and of which the quorum tells nothing good. That nobody
/// tells at all is the `evidence` row's.
fn unheard(snapshot: &Snapshot<'_>, node: NodeId) -> Option<Finding> {
    if !snapshot.is_remote(node) {
        return None;
    }
    let (reason, observed) = match voters::remote(snapshot, node) {
        Remote::CaughtUp(_) | Remote::Untold => return None,
        Remote::Behind(behind) => (
            Reason::NodeUnreachable,
            format!("caught up {} ago, by the quorum's leader", Human(behind)),
        ),
        Remote::Old(age) => (
            Reason::EvidenceStale,
            format!("the newest word of the quorum is {} old", Human(age)),
        ),
    };
    let required = "caught up with the quorum's leader, by its newest word";
    Some(Finding::new(
        reason,
        Subject::Node(node),
        observed,
        required,
    ))
}

fn is_stale(snapshot: &Snapshot<'_>, source: &SourceId, kind: FactKind) -> bool {
    matches!(absent(snapshot, source, kind), Some(Absent::Stale { .. }))
}

/// What a failed connection says about the node; `None` where it says nothing, and the `evidence`
/// row names the failure.
const fn of_failure(class: FailureClass) -> Option<Reason> {
    match class.sign() {
        Sign::Ended | Sign::OutOfReach => Some(Reason::NodeUnreachable),
        Sign::Silent => Some(Reason::NodeFrozen),
        Sign::Nothing => None,
    }
}

/// Mode `jmx`: the controllers count the registered brokers; nobody names them.
fn counted(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let brokers = u64::try_from(snapshot.brokers().count()).unwrap_or(u64::MAX);
    let largest = |metric| {
        gauges::counts(snapshot, metric)
            .map(|(_, count)| count)
            .max()
    };
    let Some(active) = largest(Metric::ActiveBrokerCount) else {
        // Before KIP-748 (3.1) no node counts them, and rules files drop the count.
        return led_elsewhere(snapshot).into_iter().collect();
    };
    let fenced = largest(Metric::FencedBrokerCount).unwrap_or_default();
    let observed = format!("{active} brokers active, {fenced} fenced, {brokers} expected");
    let found = |reason: Reason, severity: Severity, required: &str| {
        Finding::new(reason, Subject::Cluster, observed, required).at(severity)
    };
    let every = "every expected broker active";
    if active > brokers {
        // Of the others nothing is seen: what they lead may be short of anything.
        vec![found(
            Reason::EvidenceIncomplete,
            Severity::Unknown,
            TARGETS,
        )]
    } else if active < brokers && fenced > 0 {
        vec![found(Reason::NodeFenced, Severity::Block, every)]
    } else if active < brokers {
        vec![found(Reason::NodeMissing, Severity::Block, every)]
    } else if fenced > 0 {
        // Who is fenced may be an expected one, and one that is not expected active in its place.
        let leftover = found(Reason::LeftoverRegistration, Severity::Warn, every);
        std::iter::once(leftover)
            .chain(led_elsewhere(snapshot))
            .collect()
    } else {
        Vec::new()
    }
}

/// Mode `jmx`: fewer partitions are led by the expected brokers than there are. The others are led by
/// brokers of which nothing is seen, or by nobody. A broker that leads nothing is told of by those whom
/// it follows. Pages are made at different moments, so a move of leaders may show here as well, until
/// all pages are of after it.
fn led_elsewhere(snapshot: &Snapshot<'_>) -> Option<Finding> {
    let totals = jmx_sums::totals(snapshot);
    // Where no controller tells how many there are, or some broker's page not what it leads, the rows
    // about controllers and about evidence say so.
    let partitions = jmx_sums::count(&totals.partitions)?;
    let complete = totals.leaders.missing.is_empty();
    let led = jmx_sums::count(&totals.leaders).filter(|_| complete)?;
    (led < partitions).then(|| {
        let observed =
            format!("the expected brokers lead {led} of {partitions} partitions by the JMX pages");
        let reason = Reason::EvidenceIncomplete;
        Finding::new(reason, Subject::Cluster, observed, TARGETS)
            .of_many(jmx_sums::names(&totals.leaders))
    })
}

//! Every voter of the quorum is caught up with its leader.

use std::time::Duration;

use crate::evidence::facts::{QuorumFacts, QuorumMember};
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{ClusterKind, Read, Snapshot};
use crate::evidence::voters::{self, SLACK};
use crate::time::Human;

use super::finding::{Finding, Judged, Subject};
use super::needs::Need;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[Need::Required(FactKind::Quorum)];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::QuorumDegraded,
    Reason::VoterDirectoryChanged,
    Reason::SingleVoter,
    Reason::TwoVoters,
    Reason::MetadataKindUnknown,
];

/// Judges the newest answer.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.kafka() {
        return Judged::NotApplicable("mode jmx does not read the quorum");
    }
    if snapshot.kind == ClusterKind::ZooKeeper {
        return Judged::NotApplicable("the cluster keeps its metadata in ZooKeeper");
    }
    let Some(quorum) = voters::newest(snapshot) else {
        return Judged::from_findings(vec![Finding::new(
            Reason::MetadataKindUnknown,
            Subject::Cluster,
            "no quorum answers, and no broker says that it uses ZooKeeper",
            "a quorum, or zookeeper.connect in a broker's configuration",
        )]);
    };
    let mut findings = Vec::new();
    for voter in &quorum.facts.voters {
        let observed = match voters::behind(quorum.facts, voter) {
            Some(behind) if behind <= SLACK => continue,
            Some(behind) => format!("{} behind the leader", Human(behind)),
            None => unseen(quorum.facts, voter),
        };
        let required = format!("caught up within {}", Human(SLACK));
        findings.push(
            Finding::new(
                Reason::QuorumDegraded,
                Subject::Node(voter.node),
                observed,
                required,
            )
            .from_source(quorum.report.source.clone(), quorum.report.asked),
        );
        findings.extend(with_another_directory(&quorum, voter));
    }
    let few = match quorum.facts.voters.len() {
        // A quorum without voters is none: the answer is not one.
        0 => Some(Reason::QuorumDegraded),
        // So it is with every voter up: the what-if weighs it (`policy.structural`) against them.
        1 => Some(Reason::SingleVoter),
        2 => Some(Reason::TwoVoters),
        _ => None,
    };
    findings.extend(few.map(|reason| {
        let observed = format!("{} voters", quorum.facts.voters.len());
        Finding::new(reason, Subject::Cluster, observed, "three voters or more")
    }));
    Judged::from_findings(findings)
}

/// A vote belongs to a node id and a directory id together (KIP-853). A controller whose disk was
/// formatted or exchanged fetches as an observer, and its vote stays unheard for ever. An observer
/// is listed for minutes after its last fetch, so only one that has fetched since counts.
fn with_another_directory(quorum: &Read<'_, QuorumFacts>, voter: &QuorumMember) -> Option<Finding> {
    let vote = voter.directory?;
    let mut observers = quorum.facts.observers.iter();
    let runs = observers.find_map(|observer| {
        let other = observer.directory.filter(|directory| *directory != vote)?;
        let newer = observer.last_fetch_ms > voter.last_fetch_ms;
        (observer.node == voter.node && newer).then_some(other)
    })?;
    Some(
        Finding::new(
            Reason::VoterDirectoryChanged,
            Subject::Node(voter.node),
            format!("it runs with directory {runs}"),
            format!("directory {vote}, which has its vote"),
        )
        .from_source(quorum.report.source.clone(), quorum.report.asked),
    )
}

fn unseen(facts: &QuorumFacts, voter: &QuorumMember) -> String {
    if voter.log_end_offset < 0 {
        String::from("not heard by the leader")
    } else if let Some(ahead) = voters::ahead(facts, voter) {
        set_back(ahead)
    } else {
        String::from("not yet seen caught up by a leader")
    }
}

/// For a member that had caught up so long after its leader's present time.
pub(super) fn set_back(ahead: Duration) -> String {
    format!(
        "last caught up {} after its leader's own clock: the leader's clock was set back",
        Human(ahead)
    )
}

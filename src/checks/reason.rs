//! The closed list of reasons. API codes, metric labels, alerts, docs and the page all come from
//! this one table. Append only: a code never changes its meaning and never goes away.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a finding does to the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Named, and changes nothing.
    Warn,
    /// Makes the verdict `unknown` where nothing makes it `closed`.
    Unknown,
    /// Makes the verdict `closed`.
    Block,
}

impl Severity {
    /// `warn`, `unknown`, `block`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Block => "block",
        }
    }
}

/// Whether a reason goes away when the cluster heals, or waits for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clears {
    /// Wait.
    ByItself,
    /// Somebody has to do what the hint says.
    NeedsPerson,
}

/// What a reason is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// The gate or the cluster as a whole.
    Cluster,
    /// One node.
    Node,
    /// Partitions of topics.
    Partitions,
    /// A consumer group.
    Group,
    /// A source of evidence.
    Source,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct ReasonRow {
    /// The code in the API, the `reason` label, and the anchor in `docs/reasons.md`.
    pub code: &'static str,
    /// What it does to the verdict. A class of risk (structural, degraded) may be set otherwise
    /// by the policy.
    pub severity: Severity,
    /// Whether waiting helps.
    pub clears: Clears,
    /// What it is about.
    pub subject: SubjectKind,
    /// What it means, one sentence.
    pub meaning: &'static str,
    /// What to do, one sentence for three in the morning.
    pub hint: &'static str,
}

macro_rules! reasons {
    ($($variant:ident = $code:literal, $severity:ident, $clears:ident, $subject:ident,
       $meaning:literal, $hint:literal;)+) => {
        /// Why the gate is not open, or what it warns of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)+
        }

        impl Reason {
            /// Every reason there is, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its row of the table.
            pub const fn row(self) -> ReasonRow {
                match self {
                    $(Self::$variant => ReasonRow {
                        code: $code,
                        severity: Severity::$severity,
                        clears: Clears::$clears,
                        subject: SubjectKind::$subject,
                        meaning: $meaning,
                        hint: $hint,
                    },)+
                }
            }
        }
    };
}

reasons! {
    // The gate itself.
    WarmingUp = "warming_up", Unknown, ByItself, Cluster,
        "The gate has just started and has not yet heard from every source it needs.",
        "Wait a few seconds; if it stays, look at the sources that are named beside it.";
    ClockJumped = "clock_jumped", Unknown, ByItself, Cluster,
        "The wall clock was set by more than a second; all evidence was thrown away.",
        "Wait one window; if it comes again, mend time synchronisation on the gate's machine.";
    Settling = "settling", Block, ByItself, Cluster,
        "The cluster looks healthy, but not yet for the whole window.",
        "Wait for the time shown; one bad fact starts the window again.";
    Hold = "hold", Block, NeedsPerson, Cluster,
        "Somebody closed the gate by hand.",
        "Ask the author of the hold, then lift it.";
    NodeHold = "node_hold", Block, NeedsPerson, Node,
        "Somebody closed the gate for this node by hand.",
        "Ask the author of the hold, then lift it; other nodes are not concerned.";
    SlotTaken = "slot_taken", Block, ByItself, Node,
        "A node is out, by a lease or without one, and not yet proven back.",
        "Wait for its return; who holds it, and what its return waits for, is shown beside it.";
    NoProgress = "no_progress", Warn, NeedsPerson, Node,
        "A node that is out has come no nearer to being back for 10 minutes.",
        "Look at the node's log; if it cannot start, repair it through the gate (action=repair).";
    RegistrationStalled = "registration_stalled", Warn, ByItself, Node,
        "A broker is back so soon that Kafka refuses it until its old session ends.",
        "Wait for the session timeout of the brokers (9 s by default); nothing is wrong.";
    EngineFailed = "engine_failed", Unknown, ByItself, Cluster,
        "The gate's own judging stopped; it is being restarted.",
        "Look at the gate's log; report it with the lines around the failure.";
    ViewExpired = "view_expired", Unknown, ByItself, Cluster,
        "The last judgement is too old to be true now: the gate was stopped, frozen or starved.",
        "Look whether the gate's process gets CPU time and whether it was suspended.";
    StoreUnavailable = "store_unavailable", Warn, NeedsPerson, Cluster,
        "The gate cannot keep what it must remember, and gives no lease; where it could not read it at its start, it knows nothing and is unknown.",
        "Look at the data folder: free space, rights, and the gate's log; docs/store.md says what to do for each cause.";
    // Evidence.
    NoNodesKnown = "no_nodes_known", Unknown, NeedsPerson, Cluster,
        "No bootstrap address has answered, so no node of the cluster is known.",
        "Check the bootstrap addresses, the network and the rights of the gate.";
    EvidenceMissing = "evidence_missing", Unknown, ByItself, Source,
        "A source that is needed has not said anything yet.",
        "Check that the source is reachable from the gate.";
    EvidenceStale = "evidence_stale", Unknown, ByItself, Source,
        "The newest word of a source is too old to count.",
        "Check the source and the load of the gate's machine.";
    SourceFailed = "source_failed", Unknown, ByItself, Source,
        "A source that is needed answers with a failure.",
        "Read the failure; it names the address and the step.";
    EvidenceIncomplete = "evidence_incomplete", Unknown, ByItself, Source,
        "A source answered, but left out something that is needed.",
        "Look at what is named: an exporter's rules file may drop it, or a right is missing.";
    SourcesDisagree = "sources_disagree", Unknown, ByItself, Cluster,
        "Two sources tell the same fact differently, and not just for a moment.",
        "Compare the two sources named; one is behind or is somebody else's.";
    WrongNode = "wrong_node", Unknown, NeedsPerson, Source,
        "A source belongs to another node than the one it is configured for.",
        "Correct the address of this source in the configuration.";
    WrongCluster = "wrong_cluster", Unknown, NeedsPerson, Source,
        "A source belongs to another cluster.",
        "Correct the address of this source in the configuration.";
    IdentityUnproven = "identity_unproven", Warn, NeedsPerson, Source,
        "A source cannot show which node it is; it counts only against health.",
        "Grant DescribeConfigs on the cluster, or let the exporter's page carry the node id.";
    TopicsHidden = "topics_hidden", Unknown, NeedsPerson, Cluster,
        "The brokers host partitions that the gate is not allowed to see.",
        "Grant the gate's principal Describe on all topics and on the cluster.";
    GateThrottled = "gate_throttled", Unknown, ByItself, Source,
        "A broker throttles the gate's requests.",
        "Raise the request quota of the gate's principal.";
    // Nodes.
    NodeMissing = "node_missing", Block, ByItself, Node,
        "An expected node is not registered in the cluster.",
        "Start the node; if it is gone for good, move its partitions and retire it.";
    NodeFenced = "node_fenced", Block, ByItself, Node,
        "A broker is registered but fenced: it takes part in nothing.",
        "Look at the broker's log; it has no session with the active controller.";
    NodeUnreachable = "node_unreachable", Block, ByItself, Node,
        "A node does not accept or keep connections.",
        "Look whether its process runs and whether the network lets the gate through.";
    NodeFrozen = "node_frozen", Block, ByItself, Node,
        "A node keeps its connection open and does not answer.",
        "Look at the node: stopped process, long pause, full disk, or a cut network.";
    NodeRestarted = "node_restarted", Block, ByItself, Node,
        "A node has restarted and has not yet been whole for a window since.",
        "Wait; nothing to do.";
    LeftoverRegistration = "leftover_registration", Warn, NeedsPerson, Node,
        "A fenced registration holds nothing and has not been seen since the gate started.",
        "If the broker is gone for good, unregister it and retire the node.";
    BrokerNotRunning = "broker_not_running", Block, ByItself, Node,
        "A broker's own state is not RUNNING.",
        "Wait for it to start or to stop; look at its log if it stays.";
    BrokerRecovering = "broker_recovering", Block, ByItself, Node,
        "A broker is recovering its logs after an unclean stop.",
        "Wait; the number of logs left is shown.";
    HeartbeatLate = "heartbeat_late", Block, ByItself, Node,
        "The active controller has not heard from a broker for longer than a heartbeat takes.",
        "Look at the broker: it is frozen, starved or cut off from the controllers.";
    MetadataLagging = "metadata_lagging", Block, ByItself, Node,
        "A node's metadata is behind the active controller's.",
        "Look at the node's connection to the controllers and at its load.";
    MetadataErrors = "metadata_errors", Block, NeedsPerson, Node,
        "A node failed to load or apply metadata records since it started.",
        "Read its log before going on; a restart of this node may be needed.";
    LogDirFailed = "log_dir_failed", Block, NeedsPerson, Node,
        "A log directory of a broker is offline.",
        "Mend the disk and restart the broker through the gate.";
    FetcherFailed = "fetcher_failed", Block, NeedsPerson, Node,
        "A broker has given up following some partitions, or a fetcher thread died.",
        "Read the broker's log; restarting this broker usually mends it.";
    ZooKeeperDisconnected = "zookeeper_disconnected", Block, ByItself, Node,
        "A broker has lost its connection with ZooKeeper: without ZooKeeper nobody elects leaders or changes an ISR.",
        "Stop nothing; look at the ZooKeeper ensemble first, then at the broker's way to it.";
    // Partitions.
    OfflinePartitions = "offline_partitions", Block, ByItself, Partitions,
        "Partitions have no leader.",
        "Bring back the brokers that hold them.";
    UnderMinIsr = "under_min_isr", Block, ByItself, Partitions,
        "Partitions have fewer in-sync replicas than min.insync.replicas: writes with acks=all fail.",
        "Bring back or speed up the missing replicas.";
    UnderReplicated = "under_replicated", Block, ByItself, Partitions,
        "Partitions miss replicas in their ISR.",
        "Wait for the replicas to catch up; look at the brokers that are named.";
    ReplicaBehind = "replica_behind", Block, ByItself, Partitions,
        "In-sync replicas did not reach in time what their leaders had.",
        "Look at the load and the disks of the brokers that are named.";
    Reassigning = "reassigning", Warn, ByItself, Partitions,
        "Partitions are being reassigned.",
        "Let the reassignment end before restarting brokers that it touches.";
    LeftoverThrottle = "leftover_throttle", Warn, NeedsPerson, Node,
        "A replication throttle is set while nothing is being reassigned.",
        "Remove it: it slows every catch-up after a restart.";
    LeadershipMoving = "leadership_moving", Block, ByItself, Partitions,
        "Leadership has just moved.",
        "Wait for the quiet time shown.";
    UncleanElection = "unclean_election", Warn, NeedsPerson, Cluster,
        "An unclean leader election happened while the gate watched: records may be lost.",
        "Find out which partitions before going on.";
    NoPartitions = "no_partitions", Warn, ByItself, Cluster,
        "The cluster has no partitions at all.",
        "Nothing to do if it is new; else check that this is the cluster you mean.";
    // Quorum.
    NoActiveController = "no_active_controller", Block, ByItself, Cluster,
        "There is no active controller.",
        "Wait for an election; if none comes, look at the controllers.";
    ManyActiveControllers = "many_active_controllers", Block, ByItself, Cluster,
        "More than one node says it is the active controller.",
        "Wait for the hand-over to end; if it stays, look for a cut network.";
    QuorumDegraded = "quorum_degraded", Block, ByItself, Node,
        "A voter of the quorum is behind or not heard.",
        "Bring the controller back and let it catch up.";
    VoterDirectoryChanged = "voter_directory_changed", Block, NeedsPerson, Node,
        "A controller runs with another directory than the one that has its vote: it only observes.",
        "Remove the old voter and add the new one (kafka-metadata-quorum.sh), or mount the right disk.";
    // What-if.
    WouldGoOffline = "would_go_offline", Block, ByItself, Node,
        "Stopping this node now takes partitions offline.",
        "Bring the other replicas of the partitions named into sync first.";
    WouldLoseMinIsr = "would_lose_min_isr", Block, ByItself, Node,
        "Stopping this node now takes partitions under min.insync.replicas.",
        "Bring the other replicas of the partitions named into sync first.";
    WouldLeaveLastCopy = "would_leave_last_copy", Block, ByItself, Node,
        "Stopping this node now leaves one in-sync copy of partitions that are made for more.",
        "Bring the other replicas of the partitions named into sync first.";
    WouldStopReassignment = "would_stop_reassignment", Block, ByItself, Node,
        "This node takes part in a running reassignment.",
        "Let the reassignment end, or cancel it.";
    WouldLoseQuorum = "would_lose_quorum", Block, ByItself, Node,
        "Stopping this node now leaves no majority of caught-up voters.",
        "Bring the other controllers back first.";
    // Structural risks: they exist with every node up.
    SingleReplica = "single_replica", Warn, NeedsPerson, Partitions,
        "Partitions have one replica: they are offline while its broker restarts.",
        "Raise the replication factor, or accept the outage of these topics.";
    NoSpareReplica = "no_spare_replica", Warn, NeedsPerson, Partitions,
        "Partitions have no more replicas than min.insync.replicas: writes fail during each restart.",
        "Raise the replication factor or lower min.insync.replicas.";
    LastCopyByDesign = "last_copy_by_design", Warn, NeedsPerson, Partitions,
        "Partitions have two replicas: one copy is left during each restart.",
        "Raise the replication factor to three.";
    InternalTopicAtRisk = "internal_topic_at_risk", Warn, NeedsPerson, Partitions,
        "Kafka's own topics lack spare replicas: groups or transactions stop during each restart.",
        "Raise the replication factor of the internal topics named.";
    SingleVoter = "single_voter", Warn, NeedsPerson, Cluster,
        "The quorum has one voter: no metadata changes while it restarts.",
        "Run three controllers.";
    TwoVoters = "two_voters", Warn, NeedsPerson, Cluster,
        "The quorum has two voters: any restart stops metadata changes.",
        "Run three controllers.";
    LeadersImbalanced = "leaders_imbalanced", Warn, ByItself, Cluster,
        "Leaders are not on their preferred replicas.",
        "Nothing to do for safety; a preferred leader election evens the load.";
    // Groups.
    GroupUnknown = "group_unknown", Warn, NeedsPerson, Group,
        "The offsets of a named group cannot be read.",
        "Check its name and the gate's rights on it.";
    GroupLagging = "group_lagging", Warn, ByItself, Group,
        "A named group is behind.",
        "Look at its consumers.";
    // Limits of what this mode can say.
    NoWhatIf = "no_what_if", Warn, NeedsPerson, Cluster,
        "In this mode there is no what-if per partition: only the state of the whole is judged.",
        "Let the gate read the Kafka protocol (brokers from 2.8) for a what-if per node.";
    ReleaseUnknown = "release_unknown", Warn, ByItself, Node,
        "A node's release cannot be told.",
        "Nothing to do for safety; look at what the node is.";
    UnsupportedRelease = "unsupported_release", Unknown, NeedsPerson, Node,
        "A node runs a release below the ones this gate can judge.",
        "Use mode jmx below 2.8 (ZooKeeper) or 3.3 (KRaft).";
    MetadataKindUnknown = "metadata_kind_unknown", Unknown, ByItself, Cluster,
        "It does not show whether the cluster runs on KRaft or ZooKeeper, or it shows both.",
        "Wait for the end of a migration; check the gate's right to DescribeConfigs.";
}

impl Reason {
    /// The code in the API and the metrics.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The reason of a code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_fit_for_labels() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for code in codes {
            assert!(
                code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{code}"
            );
            assert_eq!(Reason::from_code(code).map(Reason::code), Some(code));
            let shown = Reason::from_code(code).map(|reason| reason.to_string());
            assert_eq!(shown.as_deref(), Some(code));
        }
    }

    #[test]
    fn a_severity_is_one_word_everywhere() {
        for severity in [Severity::Warn, Severity::Unknown, Severity::Block] {
            let sent = serde_json::to_value(severity).unwrap();
            assert_eq!(sent, severity.as_str());
        }
    }

    #[test]
    fn severities_that_the_laws_fix() {
        let severity = |reason: Reason| reason.row().severity;
        assert_eq!(severity(Reason::WarmingUp), Severity::Unknown);
        assert_eq!(severity(Reason::ClockJumped), Severity::Unknown);
        assert_eq!(severity(Reason::Settling), Severity::Block);
        assert_eq!(severity(Reason::Hold), Severity::Block);
    }

    #[test]
    fn every_row_says_what_it_means_and_what_to_do() {
        for reason in Reason::ALL {
            let row = reason.row();
            assert!(
                row.meaning.ends_with('.') && row.hint.ends_with('.'),
                "{}",
                row.code
            );
        }
    }
}

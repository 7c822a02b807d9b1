//! Gates broken on purpose, to see that the oracle notices. All of them are made around the
//! gate: what it is told, which policy it has, which clock it reads and how its view is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::collect::board::Slot;
use upgrade_gate::evidence::facts::Facts;
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::evidence::jmx::{JmxFacts, Metric};
use upgrade_gate::evidence::partitions::{Builder, Partition, PartitionTable};
use upgrade_gate::evidence::policy::{Mode, Policy};
use upgrade_gate::evidence::report::{FactKind, FailureClass, Report, SourceId};
use upgrade_gate::gate::lease::{End, Ended, Lease, LeaseId, Owner, Stage, Token};
use upgrade_gate::gate::question::{Answered, Command, Question, Reply, Ticket};
use upgrade_gate::gate::state::State;
use upgrade_gate::time::{Mono, Now};

use super::drill::Episode;
use super::plan::{Kind, Slant};

/// How often what is covered up is said again.
const AGAIN: Duration = Duration::from_millis(400);
/// For how long a debounce keeps bad news to itself.
const DEBOUNCE: Duration = Duration::from_secs(5);

/// A way to break a gate.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
pub enum Sabotage {
    /// Nothing is broken.
    None,
    /// It opens as soon as it sees nothing bad.
    NoWindow,
    /// Every failure is covered by the last good answer.
    LastKnown,
    /// A page that cannot be had, or a link that is lost, is covered by the last good one.
    LastPageAndLink,
    /// What cannot be read counts as zero: a page without complaints.
    MissingAsZero,
    /// Evidence counts however old it is; only refusals and ends are noticed.
    StaleAllowed,
    /// A replica is in sync if any broker says so.
    UnionOfIsrs,
    /// The first broker's metadata stands for everybody's.
    OneTable,
    /// Whoever answers at a node's address is that node.
    IdentityUnchecked,
    /// Who is not in the brokers' metadata is not missed.
    NodesFromMetadata,
    /// Ages are measured by the wall clock.
    WallClock,
    /// What was said last is said for ever.
    NoExpiry,
    /// What it has granted counts for nothing: every entry is judged for itself.
    OwnGrants,
    /// Bad news counts after five seconds, and until then the gate stays open.
    OpenDebounce,
}

impl Sabotage {
    /// Every way.
    pub const ALL: [Self; 13] = [
        Self::NoWindow,
        Self::LastKnown,
        Self::LastPageAndLink,
        Self::MissingAsZero,
        Self::StaleAllowed,
        Self::UnionOfIsrs,
        Self::OneTable,
        Self::IdentityUnchecked,
        Self::NodesFromMetadata,
        Self::WallClock,
        Self::NoExpiry,
        Self::OwnGrants,
        Self::OpenDebounce,
    ];
}

impl Sabotage {
    /// Trials that a gate broken like this does not survive, where most would not show it: several
    /// sources tell of the same thing, and it takes certain accidents to leave only the broken one.
    pub fn slant(self) -> Slant {
        let accidents = |episodes| Slant {
            kind: Some(Kind::Accidents),
            episodes,
            ..Slant::default()
        };
        match self {
            Self::StaleAllowed => accidents(&[Episode::Freeze, Episode::GateCut]),
            Self::UnionOfIsrs | Self::OneTable => Slant {
                mode: Some(Mode::Kafka),
                idle: true,
                kraft: true,
                ..accidents(&[Episode::OldIsr])
            },
            // The last node's address leads to another one.
            Self::IdentityUnchecked => Slant {
                last: true,
                ..accidents(&[Episode::Down, Episode::Flap])
            },
            Self::NodesFromMetadata => accidents(&[Episode::Down, Episode::TwoDown, Episode::Flap]),
            Self::WallClock => accidents(&[Episode::BlindClock]),
            Self::NoExpiry => accidents(&[Episode::GateStops]),
            Self::OwnGrants => Slant {
                kind: Some(Kind::Leases),
                ..Slant::default()
            },
            Self::None
            | Self::NoWindow
            | Self::LastKnown
            | Self::LastPageAndLink
            | Self::MissingAsZero
            | Self::OpenDebounce => Slant::default(),
        }
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Breaks a gate.
#[derive(Debug)]
pub struct Saboteur {
    kind: Sabotage,
    good: BTreeMap<Slot, Report>,
    failing: BTreeMap<Slot, Mono>,
    /// Entries and leaves that were made plain questions of.
    asked: BTreeMap<Ticket, Command>,
    given: BTreeMap<Owner, LeaseId>,
}

impl Saboteur {
    /// Who breaks it in this way.
    pub const fn new(kind: Sabotage) -> Self {
        Self {
            kind,
            good: BTreeMap::new(),
            failing: BTreeMap::new(),
            asked: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// Its policy.
    pub fn policy(&self, mut policy: Policy) -> Policy {
        if self.kind == Sabotage::NoWindow {
            policy.window = Some(Duration::ZERO);
        }
        policy
    }

    /// Its clock.
    pub fn now(&self, now: Now) -> Now {
        if self.kind != Sabotage::WallClock {
            return now;
        }
        // As if boottime had been derived from the wall: both step together.
        let nanos = u64::try_from(now.wall.as_nanos()).unwrap_or_default();
        Now {
            mono: Mono::from_nanos(nanos),
            wall: now.wall,
        }
    }

    /// When its view is read.
    pub fn read_at(&self, now: Mono, published: Mono) -> Mono {
        if self.kind == Sabotage::NoExpiry {
            published
        } else {
            now
        }
    }

    /// What it is asked: without grants of its own, an entry is a question like any other.
    pub fn command(&mut self, ticket: Ticket, command: Command) -> Command {
        if self.kind != Sabotage::OwnGrants {
            return command;
        }
        let question = match &command {
            Command::Enter(entry) => Question {
                nodes: entry.nodes.clone(),
                newer_than: Some(entry.asked),
            },
            Command::Leave { nodes, .. } => Question {
                nodes: nodes.clone(),
                newer_than: None,
            },
            Command::Decide(_) | Command::DecideEach(_) | Command::Change(_) => return command,
        };
        self.asked.insert(ticket, command);
        Command::Decide(question)
    }

    fn give(&mut self, owner: &Owner, id: LeaseId) -> LeaseId {
        self.given.insert(owner.clone(), id);
        id
    }

    /// What its answer is taken for.
    pub fn reply(&mut self, now: Now, ticket: Ticket, reply: Reply) -> Reply {
        let Some(asked) = self.asked.remove(&ticket) else {
            return reply;
        };
        let open = matches!(
            &reply,
            Reply::Verdict(Answered::Decided { decision, .. }) if decision.state == State::Open
        );
        if !open {
            return reply;
        }
        match asked {
            Command::Enter(entry) => Reply::Go {
                evaluated: now,
                lease: Box::new(Lease {
                    id: self.give(&entry.owner, LeaseId(ticket.0)),
                    token: Token(ticket.0 + 1),
                    owner: Some(entry.owner),
                    nodes: entry.nodes,
                    action: entry.action,
                    stage: Stage::Held,
                    granted_at: now.wall,
                    stage_since: now.wall,
                    expires_at: now.wall.plus(entry.ttl),
                    starts: BTreeMap::new(),
                    gone: BTreeSet::new(),
                    retired: BTreeSet::new(),
                }),
            },
            Command::Leave { owner, nodes } => Reply::Over(Box::new(Ended {
                id: self.given.get(&owner).copied().unwrap_or_default(),
                token: Token(0),
                owner: Some(owner),
                nodes,
                how: End::ProvenBack,
                at: now.wall,
            })),
            Command::Decide(_) | Command::DecideEach(_) | Command::Change(_) => reply,
        }
    }

    /// What it is told.
    pub fn reports(
        &mut self,
        real: Now,
        reports: Vec<Report>,
        dropped: Vec<Slot>,
    ) -> (Vec<Report>, Vec<Slot>) {
        if matches!(
            self.kind,
            Sabotage::None | Sabotage::NoWindow | Sabotage::NoExpiry | Sabotage::OwnGrants
        ) {
            return (reports, dropped);
        }
        if self.kind == Sabotage::WallClock {
            let shift = |report: Report| self.by_wall(real, report);
            return (reports.into_iter().map(shift).collect(), dropped);
        }
        for slot in &dropped {
            self.good.remove(slot);
            self.failing.remove(slot);
        }
        let now = real.mono;
        let mut told = Vec::new();
        for report in reports {
            let slot = (report.source.clone(), report.kind);
            if report.facts.is_ok() {
                self.good.insert(slot.clone(), report.clone());
                self.failing.remove(&slot);
            } else {
                self.failing.entry(slot).or_insert(report.seen);
            }
            told.extend(self.twist(now, report));
        }
        self.repeat(now, &mut told);
        (told, dropped)
    }

    /// A report whose times come from the wall clock.
    fn by_wall(&self, real: Now, mut report: Report) -> Report {
        let ago = |at: Mono| real.mono.since(at);
        let now = self.now(real).mono;
        report.asked = now.minus(ago(report.asked));
        report.seen = now.minus(ago(report.seen));
        report
    }

    fn covered(&self, report: &Report, now: Mono) -> Option<Report> {
        let good = self.good.get(&(report.source.clone(), report.kind))?;
        Some(Report {
            asked: report.asked,
            seen: now,
            ..good.clone()
        })
    }

    fn twist(&self, now: Mono, report: Report) -> Option<Report> {
        let Err(failure) = &report.facts else {
            return Some(self.twist_good(report));
        };
        let cover = match self.kind {
            Sabotage::LastKnown | Sabotage::MissingAsZero => true,
            Sabotage::LastPageAndLink => {
                matches!(report.kind, FactKind::Link | FactKind::Jmx)
            }
            Sabotage::StaleAllowed => matches!(
                failure.class,
                FailureClass::Timeout | FailureClass::ConnectTimeout
            ),
            Sabotage::OpenDebounce => {
                let since = self.failing.get(&(report.source.clone(), report.kind));
                since.is_some_and(|since| now.since(*since) < DEBOUNCE)
            }
            Sabotage::NodesFromMetadata => !self.is_in_metadata(&report.source),
            Sabotage::IdentityUnchecked => self.answered_by_another(&report),
            Sabotage::None
            | Sabotage::NoWindow
            | Sabotage::UnionOfIsrs
            | Sabotage::OneTable
            | Sabotage::WallClock
            | Sabotage::NoExpiry
            | Sabotage::OwnGrants => false,
        };
        if !cover {
            return Some(report);
        }
        let mut report = self.covered(&report, now).unwrap_or(report);
        if let (Sabotage::MissingAsZero, Ok(Facts::Jmx(page))) = (self.kind, &report.facts) {
            report.facts = Ok(Facts::Jmx(Arc::new(without_complaints(page))));
        }
        Some(report)
    }

    fn twist_good(&self, mut report: Report) -> Report {
        if let Ok(Facts::Partitions(table)) = &report.facts {
            let mut others = self.good.iter().filter(|((source, kind), _)| {
                *kind == FactKind::Partitions && *source != report.source
            });
            let other = others.find_map(|(_, other)| match &other.facts {
                Ok(Facts::Partitions(table)) => Some((other.source.clone(), Arc::clone(table))),
                Ok(_) | Err(_) => None,
            });
            match (self.kind, other) {
                (Sabotage::UnionOfIsrs, Some((_, other))) => {
                    report.facts = Ok(Facts::Partitions(Arc::new(union(table, &other))));
                }
                (Sabotage::OneTable, Some((source, other))) if source < report.source => {
                    report.facts = Ok(Facts::Partitions(other));
                }
                _ => {}
            }
        }
        report
    }

    /// Says again what would otherwise grow old.
    fn repeat(&self, now: Mono, told: &mut Vec<Report>) {
        let covers = match self.kind {
            Sabotage::StaleAllowed | Sabotage::OpenDebounce | Sabotage::LastKnown => true,
            Sabotage::MissingAsZero | Sabotage::LastPageAndLink => true,
            Sabotage::None
            | Sabotage::NoWindow
            | Sabotage::UnionOfIsrs
            | Sabotage::OneTable
            | Sabotage::IdentityUnchecked
            | Sabotage::NodesFromMetadata
            | Sabotage::WallClock
            | Sabotage::NoExpiry
            | Sabotage::OwnGrants => false,
        };
        if !covers {
            return;
        }
        let said: BTreeSet<Slot> = told.iter().map(|r| (r.source.clone(), r.kind)).collect();
        for (slot, good) in &self.good {
            let old = now.since(good.asked) > AGAIN;
            let refused = self.failing.contains_key(slot);
            let hides = match self.kind {
                Sabotage::StaleAllowed => !refused,
                Sabotage::LastPageAndLink => matches!(slot.1, FactKind::Link | FactKind::Jmx),
                Sabotage::OpenDebounce => !refused && now.since(good.asked) < DEBOUNCE,
                _ => true,
            };
            if old && hides && !said.contains(slot) {
                told.push(Report {
                    asked: now,
                    seen: now,
                    ..good.clone()
                });
            }
        }
    }

    /// Whether the brokers' newest lists of brokers have it.
    fn is_in_metadata(&self, source: &SourceId) -> bool {
        let Some(node) = source.node() else {
            return true;
        };
        let lists = self.good.values().filter_map(|report| match &report.facts {
            Ok(Facts::Cluster(cluster)) => Some(&cluster.brokers),
            Ok(_) | Err(_) => None,
        });
        let mut alive = lists.flatten().filter(|broker| !broker.fenced);
        alive.any(|broker| broker.node == node)
    }

    /// As if the address of this node, or its exporter's, led to another one that is up: the
    /// last node's do.
    fn answered_by_another(&self, report: &Report) -> bool {
        let last = self
            .good
            .keys()
            .filter_map(|(source, _)| source.node())
            .max();
        let wrong = matches!(report.kind, FactKind::Link | FactKind::Jmx);
        wrong && report.source.node() == last
    }
}

/// The page with everything bad at zero, as `or vector(0)` makes it.
fn without_complaints(page: &JmxFacts) -> JmxFacts {
    let mut page = page.clone();
    for (metric, value) in &mut page.values {
        if matches!(
            metric,
            Metric::UnderReplicatedPartitions
                | Metric::UnderMinIsrPartitionCount
                | Metric::OfflinePartitionsCount
                | Metric::OfflineReplicaCount
                | Metric::OfflineLogDirectoryCount
                | Metric::FencedBrokerCount
                | Metric::FetcherFailedPartitions
                | Metric::FetcherDeadThreads
        ) {
            *value = 0.0;
        }
    }
    page
}

/// The first table with the ISR members, and without the offline replicas, of either; the second
/// one's rows where they are of the same epoch.
fn union(table: &PartitionTable, other: &PartitionTable) -> PartitionTable {
    let mut builder = Builder::with_room(8, table.len());
    for topic in table.topics() {
        builder.topic(topic.id(), topic.name(), topic.is_internal(), topic.error());
        let twin = other.topics().find(|other| other.name() == topic.name());
        for partition in topic.partitions() {
            let row = twin.and_then(|twin| {
                let mut rows = twin.partitions();
                rows.find(|row| row.index == partition.index)
            });
            let (isr, leader) = match row {
                Some(row) => {
                    let mut isr: Vec<NodeId> = partition.isr.to_vec();
                    isr.extend(row.isr.iter().filter(|id| !partition.isr.contains(id)));
                    (isr, partition.leader.or(row.leader))
                }
                None => (partition.isr.to_vec(), partition.leader),
            };
            builder.partition(Partition {
                isr: &isr,
                leader,
                offline: &[],
                ..partition
            });
        }
    }
    builder.finish()
}

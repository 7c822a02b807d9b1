//! Breaks a gate from outside: what it is told, which policy it has, which clock it reads, what it
//! is asked and how its view is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::collect::board::Slot;
use upgrade_gate::evidence::facts::{Facts, Identity, QuorumFacts};
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::evidence::jmx::{JmxFacts, Metric};
use upgrade_gate::evidence::known::Known;
use upgrade_gate::evidence::partitions::{Builder, Partition, PartitionTable};
use upgrade_gate::evidence::policy::Policy;
use upgrade_gate::evidence::report::{FactKind, FailureClass, Report, SourceId};
use upgrade_gate::gate::lease::{End, Ended, Lease, LeaseId, Owner, Stage, Token};
use upgrade_gate::gate::question::{Answered, Change, Changed, Command, Question, Reply, Ticket};
use upgrade_gate::gate::state::State;
use upgrade_gate::time::{Mono, Now};

use super::sabotage::Sabotage;

/// How often what is covered up is said again.
pub(super) const AGAIN: Duration = Duration::from_millis(400);
/// For how long a debounce keeps bad news to itself.
const DEBOUNCE: Duration = Duration::from_secs(5);
/// How often a node that is to be forgotten is tried to be retired.
const RETIRE: Duration = Duration::from_secs(2);

/// Breaks a gate.
#[derive(Debug)]
pub struct Saboteur {
    kind: Sabotage,
    good: BTreeMap<Slot, Report>,
    failing: BTreeMap<Slot, Mono>,
    /// Who metadata has listed since this gate began.
    listed_once: BTreeSet<NodeId>,
    retire_at: Mono,
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
            listed_once: BTreeSet::new(),
            retire_at: Mono::from_nanos(0),
            asked: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// Its policy.
    pub fn policy(&self, mut policy: Policy) -> Policy {
        if self.kind == Sabotage::NoWindow {
            policy.window = Some(Duration::ZERO);
        }
        if self.kind == Sabotage::NodesFromMetadata && policy.mode.kafka() {
            policy.expected.clear();
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

    /// What it is asked: without grants of its own, an entry is a question like any other; where who
    /// leaves is believed, his lease is broken for him.
    pub fn command(&mut self, ticket: Ticket, command: Command) -> Command {
        let instead = match self.kind {
            Sabotage::OwnGrants => as_question(&command),
            Sabotage::LeaveIsProof => self.as_break(&command),
            _ => None,
        };
        let Some(instead) = instead else {
            return command;
        };
        self.asked.insert(ticket, command);
        instead
    }

    /// The end of a lease that this gate has said "go" of; one of before it knows nothing of.
    fn as_break(&self, command: &Command) -> Option<Command> {
        let Command::Leave { owner, .. } = command else {
            return None;
        };
        let lease = *self.given.get(owner)?;
        Some(Command::Change(Change::Break {
            lease,
            by: owner.clone(),
            reason: String::from("who has it says that it has finished"),
        }))
    }

    fn give(&mut self, owner: &Owner, id: LeaseId) -> LeaseId {
        self.given.insert(owner.clone(), id);
        id
    }

    /// What its answer is taken for.
    pub fn reply(&mut self, now: Now, ticket: Ticket, reply: Reply) -> Reply {
        if let (Sabotage::LeaveIsProof, Reply::Go { lease, .. }) = (self.kind, &reply)
            && let Some(owner) = &lease.owner
        {
            self.given.insert(owner.clone(), lease.id);
        }
        let Some(asked) = self.asked.remove(&ticket) else {
            return reply;
        };
        if self.kind == Sabotage::LeaveIsProof {
            return as_over(now, asked, reply);
        }
        let open = matches!(
            &reply,
            Reply::Verdict(Answered::Decided { decision, .. }) if decision.state == State::Open
        );
        if !open {
            return reply;
        }
        match asked {
            Command::Enter(entry) => Reply::Go {
                told: Some(1),
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
                    took_over: false,
                }),
            },
            Command::Leave { owner, nodes, .. } => Reply::Over(Box::new(Ended {
                id: self.given.get(&owner).copied().unwrap_or_default(),
                token: Token(0),
                owner: Some(owner),
                nodes,
                how: End::ProvenBack,
                at: now.wall,
            })),
            Command::Decide(_)
            | Command::DecideRepair(_)
            | Command::DecideEach(_)
            | Command::Change(_) => reply,
        }
    }

    /// What it is told.
    pub fn reports(
        &mut self,
        real: Now,
        reports: Vec<Report>,
        dropped: Vec<Slot>,
    ) -> (Vec<Report>, Vec<Slot>) {
        if self.kind == Sabotage::WallClock {
            let shift = |report: Report| self.by_wall(real, report);
            return (reports.into_iter().map(shift).collect(), dropped);
        }
        if self.kind.control() == Sabotage::None {
            return (reports, dropped);
        }
        for slot in &dropped {
            self.good.remove(slot);
            self.failing.remove(slot);
        }
        let now = real.mono;
        let (mut told, mut dropped) = (Vec::new(), dropped);
        for report in reports {
            let slot = (report.source.clone(), report.kind);
            let report = without_offsets(report);
            if report.facts.is_ok() {
                self.good.insert(slot.clone(), report.clone());
                self.failing.remove(&slot);
            } else {
                self.failing.entry(slot.clone()).or_insert(report.seen);
            }
            if self.is_forgotten(&report.source) {
                dropped.push(slot);
            } else {
                told.push(self.twist(now, report));
            }
        }
        self.repeat(now, &mut told);
        (told, dropped)
    }

    /// What somebody does about nodes that are to be forgotten.
    pub fn changes(&mut self, now: Mono) -> Vec<Change> {
        if self.kind != Sabotage::NodesFromMetadata || now < self.retire_at {
            return Vec::new();
        }
        let Some(listed) = self.listed() else {
            return Vec::new();
        };
        self.retire_at = now.plus(RETIRE);
        let gone = self.listed_once.difference(&listed).copied();
        let by = Owner::try_from(String::from("nobody")).expect("a sound name");
        let retire = |node| Change::Retire {
            node,
            by: by.clone(),
        };
        let changes = gone.map(retire).collect();
        self.listed_once.extend(listed);
        changes
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

    fn twist(&self, now: Mono, report: Report) -> Report {
        let Err(failure) = &report.facts else {
            return self.twist_good(report);
        };
        let cover = match self.kind {
            Sabotage::LastKnown => true,
            Sabotage::MissingAsZero => report.kind == FactKind::Jmx,
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
            Sabotage::None
            | Sabotage::OffsetsHidden
            | Sabotage::NoWindow
            | Sabotage::UnionOfIsrs
            | Sabotage::OneTable
            | Sabotage::IdentityUnchecked
            | Sabotage::NodesFromMetadata
            | Sabotage::WallClock
            | Sabotage::NoExpiry
            | Sabotage::OwnGrants
            | Sabotage::LeaveIsProof => false,
        };
        if !cover {
            return report;
        }
        let mut report = self.covered(&report, now).unwrap_or(report);
        if let (Sabotage::MissingAsZero, Ok(Facts::Jmx(page))) = (self.kind, &report.facts) {
            report.facts = Ok(Facts::Jmx(Arc::new(or_vector_0(page, true))));
        }
        report
    }

    fn twist_good(&self, mut report: Report) -> Report {
        match (self.kind, report.source.node(), &mut report.facts) {
            (Sabotage::IdentityUnchecked, _, Ok(Facts::Link(link))) => {
                link.identity = Identity::Proved;
            }
            (Sabotage::IdentityUnchecked, Some(node), Ok(Facts::Jmx(page))) => {
                *page = Arc::new(self.taken_for(node, page));
            }
            (Sabotage::MissingAsZero, _, Ok(Facts::Jmx(page))) => {
                *page = Arc::new(or_vector_0(page, false));
            }
            (Sabotage::NodesFromMetadata, _, Ok(Facts::Quorum(quorum))) => {
                self.forget_voters(quorum);
            }
            _ => {}
        }
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
        let said: BTreeSet<Slot> = told.iter().map(|r| (r.source.clone(), r.kind)).collect();
        for (slot, good) in &self.good {
            let old = now.since(good.asked) > AGAIN;
            let refused = self.failing.contains_key(slot);
            let hides = match self.kind {
                Sabotage::StaleAllowed => !refused,
                Sabotage::LastPageAndLink => matches!(slot.1, FactKind::Link | FactKind::Jmx),
                Sabotage::OpenDebounce => !refused && now.since(good.asked) < DEBOUNCE,
                Sabotage::LastKnown => true,
                _ => false,
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

    /// Who the brokers' newest lists have, and the controller that is named; `None` before the first.
    fn listed(&self) -> Option<BTreeSet<NodeId>> {
        let mut told = false;
        let mut listed = BTreeSet::new();
        for report in self.good.values() {
            match &report.facts {
                Ok(Facts::Cluster(cluster)) => {
                    let alive = cluster.brokers.iter().filter(|broker| !broker.fenced);
                    listed.extend(alive.map(|broker| broker.node));
                    told = true;
                }
                Ok(Facts::Quorum(quorum)) => listed.extend(quorum.leader),
                Ok(_) | Err(_) => {}
            }
        }
        told.then_some(listed)
    }

    /// Whether nothing that comes from there counts: metadata does not list it.
    fn is_forgotten(&self, source: &SourceId) -> bool {
        let node = source
            .node()
            .filter(|_| self.kind == Sabotage::NodesFromMetadata);
        let listed = node.and_then(|node| Some((node, self.listed()?)));
        listed.is_some_and(|(node, listed)| !listed.contains(&node))
    }

    fn forget_voters(&self, quorum: &mut QuorumFacts) {
        let listed = self.listed().unwrap_or_default();
        let leader = quorum.leader;
        let stays = |node: NodeId| listed.contains(&node) || Some(node) == leader;
        quorum.voters.retain(|voter| stays(voter.node));
    }

    /// A page as if it were this node's: its name, and as many partitions as the tables give it.
    fn taken_for(&self, node: NodeId, page: &JmxFacts) -> JmxFacts {
        let mut page = page.clone();
        page.node = Known::Is(node);
        let tables = self.good.values().filter_map(|report| match &report.facts {
            Ok(Facts::Partitions(table)) => Some(table),
            Ok(_) | Err(_) => None,
        });
        if let Some(table) = tables.max_by_key(|table| table.len()) {
            let (mut hosted, mut led) = (0.0, 0.0);
            for (_, partition) in table.partitions() {
                hosted += f64::from(u8::from(partition.replicas.contains(&node)));
                led += f64::from(u8::from(partition.leader == Some(node)));
            }
            let counts = [(Metric::PartitionCount, hosted), (Metric::LeaderCount, led)];
            for (metric, count) in counts {
                page.values.entry(metric).and_modify(|value| *value = count);
            }
        }
        page
    }
}

/// An entry or a leave as a plain question about its nodes.
fn as_question(command: &Command) -> Option<Command> {
    let question = match command {
        Command::Enter(entry) => Question {
            nodes: entry.nodes.clone(),
            newer_than: Some(entry.asked),
        },
        Command::Leave { nodes, .. } => Question {
            nodes: nodes.clone(),
            newer_than: None,
        },
        Command::Decide(_)
        | Command::DecideRepair(_)
        | Command::DecideEach(_)
        | Command::Change(_) => return None,
    };
    Some(Command::Decide(question))
}

/// A lease that was broken for who has said "leave", as if it were proven back.
fn as_over(now: Now, asked: Command, reply: Reply) -> Reply {
    let Reply::Changed(Changed::Broken(id)) = reply else {
        return reply;
    };
    let Command::Leave { owner, nodes, .. } = asked else {
        return reply;
    };
    Reply::Over(Box::new(Ended {
        id,
        token: Token(0),
        owner: Some(owner),
        nodes,
        how: End::ProvenBack,
        at: now.wall,
    }))
}

/// The report without offsets of the metadata log. They give most of these gates away: what is said
/// again is old by them, and a broker whose table is old says so itself. Here everything else has to.
fn without_offsets(mut report: Report) -> Report {
    match &mut report.facts {
        Ok(Facts::Link(link)) => link.published = Known::NotInRelease,
        Ok(Facts::Jmx(page)) => {
            let page = Arc::make_mut(page);
            page.values.remove(&Metric::RaftHighWatermark);
            page.values.remove(&Metric::RaftLogEndOffset);
        }
        Ok(_) | Err(_) => {}
    }
    report
}

/// What a page complains with.
const COMPLAINTS: [Metric; 8] = [
    Metric::UnderReplicatedPartitions,
    Metric::UnderMinIsrPartitionCount,
    Metric::OfflinePartitionsCount,
    Metric::OfflineReplicaCount,
    Metric::OfflineLogDirectoryCount,
    Metric::FencedBrokerCount,
    Metric::FetcherFailedPartitions,
    Metric::FetcherDeadThreads,
];

/// The page with every complaint at zero that it does not have as a number, or with `all` of them.
fn or_vector_0(page: &JmxFacts, all: bool) -> JmxFacts {
    let mut page = page.clone();
    for metric in COMPLAINTS {
        let value = page.values.entry(metric).or_insert(0.0);
        if all || value.is_nan() {
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

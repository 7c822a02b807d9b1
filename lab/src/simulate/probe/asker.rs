//! The two who ask a broker each for what every broker knows, as `collect::asker` does.

use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::collect::due::Due;
use upgrade_gate::collect::schedule::deadline;
use upgrade_gate::evidence::facts::Facts;
use upgrade_gate::evidence::partitions::PartitionTable;
use upgrade_gate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use upgrade_gate::model::NodeId;
use upgrade_gate::time::Mono;

use super::Scene;
use super::calls::{Call, Line, Question, Said, known};
use super::zookeeper::is_kraft;

const KINDS: [FactKind; 5] = [
    FactKind::Cluster,
    FactKind::Partitions,
    FactKind::Quorum,
    FactKind::Moves,
    FactKind::TopicConfigs,
];
const QUICK: [FactKind; 3] = [FactKind::Cluster, FactKind::Partitions, FactKind::Quorum];
const NOBODY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Asker {
    slot: usize,
    held: Option<NodeId>,
    /// What the broker asked before was asked for.
    asked: Vec<FactKind>,
    turn: Option<Turn>,
    again: Mono,
}

#[derive(Debug)]
struct Turn {
    line: Line,
    dues: Vec<Due>,
    topics: Vec<String>,
    controller: Option<NodeId>,
    short: bool,
    everything: u64,
    refreshed: Option<Mono>,
    call: Option<(usize, Line, Call)>,
}

impl Asker {
    pub(super) fn new(slot: usize, now: Mono) -> Self {
        Self {
            slot,
            held: None,
            asked: Vec::new(),
            turn: None,
            again: now,
        }
    }

    pub(super) fn tick(&mut self, scene: &mut Scene<'_>) {
        loop {
            let Some(turn) = &mut self.turn else {
                if scene.now < self.again {
                    return;
                }
                let Some(line) = self.choose(scene) else {
                    self.again = scene.now.plus(NOBODY);
                    return;
                };
                self.turn = Some(Turn::new(scene, line));
                continue;
            };
            if turn.tick(scene) {
                scene.shared.tables.remove(&turn.line.node);
                self.turn = None;
                continue;
            }
            return;
        }
    }

    /// A broker that no other asker asks; the one asked before, if it is still there.
    fn choose(&mut self, scene: &mut Scene<'_>) -> Option<Line> {
        let lines = scene.shared.bulk.values();
        let lines = lines
            .filter(|line| scene.shared.alive.contains(&line.serial) && !scene.has_ended(line));
        let there: Vec<NodeId> = lines.map(|line| line.node).collect();
        let shared = &mut *scene.shared;
        shared.claims.remove(&self.slot);
        let again = self.held.filter(|node| there.contains(node));
        let claims = &shared.claims;
        let node = again
            .into_iter()
            .chain(there.iter().copied())
            .find(|node| claims.values().all(|claimed| claimed != node))?;
        shared.claims.insert(self.slot, node);
        if let Some(before) = self.held.replace(node)
            && before != node
        {
            for kind in &self.asked {
                shared.dropped.push((SourceId::Kafka(known(before)), *kind));
            }
        }
        let line = shared.bulk.get(&node).cloned()?;
        self.asked = kinds(&line);
        Some(line)
    }
}

/// In ZooKeeper mode there is no quorum, and topics are another task's.
fn kinds(line: &Line) -> Vec<FactKind> {
    let kraft = is_kraft(line);
    let elsewhere = [FactKind::Quorum, FactKind::TopicConfigs];
    let kinds = KINDS.into_iter();
    kinds
        .filter(|kind| kraft || !elsewhere.contains(kind))
        .collect()
}

impl Turn {
    fn new(scene: &Scene<'_>, line: Line) -> Self {
        let kinds = kinds(&line).into_iter();
        Self {
            dues: kinds.map(|kind| Due::now(kind, scene.now)).collect(),
            line,
            topics: Vec::new(),
            controller: None,
            short: false,
            everything: scene.shared.everything,
            refreshed: None,
            call: None,
        }
    }

    /// Whether it is over.
    fn tick(&mut self, scene: &mut Scene<'_>) -> bool {
        loop {
            if scene.has_ended(&self.line) || !scene.shared.alive.contains(&self.line.serial) {
                return true;
            }
            if let Some((index, line, call)) = &mut self.call {
                let Some(said) = call.poll(scene, line) else {
                    return false;
                };
                let (index, asked, own) = (*index, call.asked, line.serial == self.line.serial);
                self.call = None;
                if self.heard(scene, index, asked, said) && own {
                    scene.shared.alive.remove(&self.line.serial);
                    return true;
                }
                continue;
            }
            if self.everything != scene.shared.everything {
                self.everything = scene.shared.everything;
                self.dues.iter_mut().for_each(|due| due.hurry(scene.now));
            }
            if scene.shared.refresh && self.refreshed != Some(scene.now) {
                self.refreshed = Some(scene.now);
                let quick = self
                    .dues
                    .iter_mut()
                    .filter(|due| QUICK.contains(&due.kind()));
                quick.for_each(|due| due.hurry(scene.now));
            }
            let next = self.dues.iter().enumerate().min_by_key(|(_, due)| due.at());
            let Some((index, due)) = next.filter(|(_, due)| due.is_due(scene.now)) else {
                return false;
            };
            let within = deadline(due.kind(), due.cost.largest());
            let (line, question) = self.question(scene, due.kind());
            self.call = Some((index, line, Call::new(scene, question, within)));
        }
    }

    fn question(&self, scene: &Scene<'_>, kind: FactKind) -> (Line, Question) {
        let line = self.line.clone();
        match kind {
            FactKind::Cluster => (line, Question::Cluster),
            FactKind::Quorum => (line, Question::Quorum),
            FactKind::Moves => {
                // ZooKeeper's controller itself is asked about reassignments.
                let forwarded = is_kraft(&line);
                let controller = self.controller.filter(|_| !forwarded);
                let direct = controller.and_then(|node| scene.shared.bulk.get(&node).cloned());
                (direct.unwrap_or(line), Question::Moves)
            }
            FactKind::TopicConfigs => (line, Question::TopicConfigs(self.topics.clone())),
            FactKind::Partitions
            | FactKind::Link
            | FactKind::LogEnds
            | FactKind::NodeConfigs
            | FactKind::LogDirs
            | FactKind::Jmx
            | FactKind::Groups => (line, Question::Partitions),
        }
    }

    /// Whether the answer was late.
    fn heard(
        &mut self,
        scene: &mut Scene<'_>,
        index: usize,
        asked: Mono,
        said: Result<Said, SourceFailure>,
    ) -> bool {
        let late = matches!(&said, Err(failure) if failure.class == FailureClass::Timeout);
        let facts = match said {
            Ok(Said::Facts(facts)) => Ok(facts),
            Ok(_) => return false,
            Err(failure) if failure.class == FailureClass::Closed => return true,
            Err(failure) => Err(failure),
        };
        let facts = facts.and_then(|facts| {
            match &facts {
                Facts::Cluster(cluster) => {
                    scene.shared.roster.cluster(cluster)?;
                    self.controller = cluster.controller.map(|node| node.0);
                }
                Facts::Quorum(quorum) => scene.shared.roster.quorum(quorum)?,
                Facts::Partitions(table) => self.table(scene, table),
                _ => {}
            }
            Ok(facts)
        });
        if let Some(due) = self.dues.get_mut(index) {
            let node = self.line.node;
            let (kind, every) = (due.kind(), scene.done(node, due, asked, &facts));
            let source = SourceId::Kafka(known(self.line.node));
            scene.report(source, kind, 0, asked, every, facts);
        }
        late
    }

    fn table(&mut self, scene: &mut Scene<'_>, table: &Arc<PartitionTable>) {
        let names = || table.topics().map(|topic| topic.name());
        if !names().eq(self.topics.iter().map(String::as_str)) {
            self.topics = names().map(str::to_owned).collect();
            let configs = self.dues.iter_mut();
            let mut configs = configs.filter(|due| due.kind() == FactKind::TopicConfigs);
            configs.by_ref().for_each(|due| due.hurry(scene.now));
        }
        let short = table
            .partitions()
            .any(|(_, p)| p.isr.len() < p.replicas.len());
        if self.short && !short {
            scene.shared.pages_wanted += 1;
        }
        self.short = short;
        scene
            .shared
            .tables
            .insert(self.line.node, Arc::clone(table));
    }
}

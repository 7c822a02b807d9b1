//! Rounds over all replicas, as `collect::rounds` and `kafka::log_ends` run them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::collect::schedule::{Cost, interval, row};
use upgrade_gate::evidence::facts::{Facts, ReplicaEnd};
use upgrade_gate::evidence::ids;
use upgrade_gate::evidence::known::{Known, Why};
use upgrade_gate::evidence::partitions::PartitionTable;
use upgrade_gate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use upgrade_gate::kafka::RoundTimes;
use upgrade_gate::kafka::log_ends::{self, FirstPass, Follower, behind};
use upgrade_gate::time::Mono;

use super::Scene;
use super::calls::{Asked, Call, Line, Question, Said, known};

const NOTHING: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Round {
    cost: Cost,
    state: State,
}

#[derive(Debug)]
enum State {
    Rest(Mono),
    Running(Running),
}

#[derive(Debug)]
struct Running {
    asked: Mono,
    leaders: Vec<(Vec<usize>, Option<Line>, Option<Call>)>,
    /// By partition with followers.
    ends: Vec<Known<i64>>,
    nodes: Vec<Node>,
    /// When every leader had answered, or would not.
    led: Option<Mono>,
    first_pass: FirstPass,
}

#[derive(Debug)]
struct Node {
    line: Line,
    asked: Vec<(Asked, usize)>,
    rows: Vec<ReplicaEnd>,
    at: Vec<usize>,
    asked_again: bool,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Waiting,
    Call(Call),
    Again(Mono),
    Done(Result<(), SourceFailure>),
}

impl Round {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            cost: Cost::default(),
            state: State::Rest(now),
        }
    }

    pub(super) fn tick(&mut self, scene: &mut Scene<'_>) {
        loop {
            match &mut self.state {
                State::Rest(until) => {
                    if scene.now < *until && !scene.shared.joined && !scene.shared.refresh {
                        return;
                    }
                    scene.shared.joined = false;
                    let Some(table) = scene.shared.table() else {
                        self.state = State::Rest(scene.now.plus(NOTHING));
                        return;
                    };
                    self.state = State::Running(Running::new(scene, &table));
                }
                State::Running(running) => {
                    if !running.tick(scene) {
                        return;
                    }
                    let asked = running.asked;
                    let took = scene.now.since(asked);
                    let pass = &running.first_pass;
                    let cost = pass.cost(|node| scene.trip(node.0));
                    self.cost.note(pass.took(), cost);
                    let every = scene.every(interval(FactKind::LogEnds, self.cost.smallest()));
                    for node in std::mem::take(&mut running.nodes) {
                        let source = SourceId::Kafka(known(node.line.node));
                        let facts = node.facts();
                        scene.report(source, FactKind::LogEnds, 0, asked, every, facts);
                    }
                    let left = every.saturating_sub(took).max(NOTHING);
                    self.state = State::Rest(scene.now.plus(left));
                    return;
                }
            }
        }
    }
}

impl Running {
    fn new(scene: &Scene<'_>, table: &PartitionTable) -> Self {
        let plan = log_ends::plan(table);
        let count = plan.leaders.len();
        let mut leaders: BTreeMap<Option<ids::NodeId>, (Vec<usize>, Vec<Asked>)> = BTreeMap::new();
        let mut topic: Arc<str> = "".into();
        for (place, (leader, asked)) in plan.leaders.into_iter().enumerate() {
            if *topic != *asked.topic {
                topic = asked.topic.into();
            }
            let (places, list) = leaders.entry(leader).or_default();
            places.push(place);
            list.push((Arc::clone(&topic), asked.partition, asked.leader_epoch));
        }
        let mut followers = plan.followers;
        let asked = |row: Follower<'_>| {
            let (partition, epoch) = (row.asked.partition, row.asked.leader_epoch);
            ((row.topic, partition, epoch), row.leader_row)
        };
        let within = row(FactKind::LogEnds).deadline;
        let leaders = leaders.into_iter().map(|(leader, (places, list))| {
            let line = leader.and_then(|node| scene.shared.bulk.get(&node.0).cloned());
            let call = line
                .as_ref()
                .map(|_| Call::new(scene, Question::Ends(list.into()), within));
            (places, line, call)
        });
        let nodes = scene.shared.bulk.values().map(|line| Node {
            line: line.clone(),
            asked: followers
                .remove(&known(line.node))
                .unwrap_or_default()
                .into_iter()
                .map(asked)
                .collect(),
            rows: Vec::new(),
            at: Vec::new(),
            asked_again: false,
            step: Step::Waiting,
        });
        Self {
            asked: scene.now,
            leaders: leaders.collect(),
            nodes: nodes.collect(),
            led: None,
            first_pass: FirstPass::default(),
            ends: vec![Known::Failed(Why("its leader is not connected".into())); count],
        }
    }

    /// Whether it is over.
    fn tick(&mut self, scene: &mut Scene<'_>) -> bool {
        let mut open = Vec::new();
        for (places, line, call) in std::mem::take(&mut self.leaders) {
            let (Some(line), Some(mut call)) = (line, call) else {
                continue;
            };
            match call.poll(scene, &line) {
                None => open.push((places, Some(line), Some(call))),
                Some(Ok(Said::Ends(ends))) => {
                    for (place, end) in places.into_iter().zip(ends) {
                        if let Some(slot) = self.ends.get_mut(place) {
                            *slot = end;
                        }
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(failure)) => scene.late(&line, &failure),
            }
        }
        self.leaders = open;
        if !self.leaders.is_empty() {
            return false;
        }
        let led = *self.led.get_or_insert(scene.now);
        self.first_pass.leaders = led.since(self.asked);
        let until = self.asked.plus(RoundTimes::default().round);
        for node in &mut self.nodes {
            let had = node.was_answered();
            node.tick(scene, &self.ends, until);
            if !had && node.was_answered() {
                let took = scene.now.since(led);
                self.first_pass
                    .followers
                    .insert(known(node.line.node), took);
            }
        }
        self.nodes
            .iter()
            .all(|node| matches!(node.step, Step::Done(_)))
    }
}

impl Node {
    fn tick(&mut self, scene: &mut Scene<'_>, ends: &[Known<i64>], until: Mono) {
        loop {
            match &mut self.step {
                Step::Waiting => {
                    let all = (0..self.asked.len()).collect();
                    self.ask(scene, all);
                }
                Step::Again(at) if scene.now < *at => return,
                Step::Again(_) => {
                    let behind = behind(&self.rows);
                    self.asked_again = true;
                    self.ask(scene, behind);
                }
                Step::Call(call) => {
                    let Some(said) = call.poll(scene, &self.line) else {
                        return;
                    };
                    match said {
                        Ok(Said::Ends(own)) => self.take(own, ends),
                        Ok(_) => {}
                        Err(failure) => {
                            scene.late(&self.line, &failure);
                            self.step = Step::Done(Err(failure));
                            return;
                        }
                    }
                    let pause = RoundTimes::default().pause;
                    let next = scene.now.plus(pause);
                    let over = behind(&self.rows).is_empty() || next >= until;
                    self.step = if over {
                        Step::Done(Ok(()))
                    } else {
                        Step::Again(next)
                    };
                }
                Step::Done(_) => return,
            }
        }
    }

    /// Whether it has answered once, or will not.
    fn was_answered(&self) -> bool {
        match self.step {
            Step::Waiting => false,
            Step::Call(_) => self.asked_again,
            Step::Again(_) | Step::Done(_) => true,
        }
    }

    fn ask(&mut self, scene: &Scene<'_>, at: Vec<usize>) {
        let list = at.iter().filter_map(|at| self.asked.get(*at));
        let list: Vec<_> = list.map(|(asked, _)| asked.clone()).collect();
        self.at = at;
        let within = row(FactKind::LogEnds).deadline;
        self.step = Step::Call(Call::new(scene, Question::Ends(list.into()), within));
    }

    fn take(&mut self, own: Vec<Known<i64>>, ends: &[Known<i64>]) {
        if self.rows.is_empty() {
            let rows = self.asked.iter().zip(own);
            let rows = rows.map(|(((topic, partition, _), place), own_end)| ReplicaEnd {
                topic: Arc::clone(topic),
                partition: *partition,
                leader_end: log_ends::leader_end(ends, *place),
                own_end,
            });
            self.rows = rows.collect();
            return;
        }
        for (at, own_end) in self.at.iter().zip(own) {
            if let Some(row) = self.rows.get_mut(*at) {
                row.own_end = own_end;
            }
        }
    }

    fn facts(self) -> Result<Facts, SourceFailure> {
        match self.step {
            Step::Done(Err(failure)) => Err(failure),
            Step::Done(Ok(())) | Step::Waiting | Step::Call(_) | Step::Again(_) => {
                Ok(Facts::LogEnds(Arc::new(log_ends::in_order(self.rows))))
            }
        }
    }
}

impl Scene<'_> {
    /// A late answer ends the connection for everybody.
    fn late(&mut self, line: &Line, failure: &SourceFailure) {
        if failure.class == FailureClass::Timeout {
            self.shared.alive.remove(&line.serial);
        }
    }
}

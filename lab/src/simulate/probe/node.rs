//! A node's two connections, as `collect::node` keeps them.

use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::collect::due::Due;
use upgrade_gate::collect::schedule::{deadline, row};
use upgrade_gate::evidence::facts::{Facts, Identity};
use upgrade_gate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use upgrade_gate::kafka::decode::api_versions::ApiVersions;
use upgrade_gate::kafka::facts;
use upgrade_gate::model::{Link, Listener, NodeId};
use upgrade_gate::time::Mono;

use super::Scene;
use super::calls::{Call, Line, Question, Said, failure, known};

const RETRY: Duration = Duration::from_millis(250);
const NO_ADDRESS: Duration = Duration::from_millis(200);

/// A connection being opened: dialled, its versions asked, its identity and its cluster proved.
#[derive(Debug)]
pub(super) struct Opening {
    line: Line,
    /// A dial into nothing fails then.
    lost: Option<Mono>,
    identity: Identity,
    left: Vec<Question>,
    call: Option<Call>,
}

impl Opening {
    /// `None`: the address is not known. `Err`: refused.
    pub(super) fn begin(
        scene: &mut Scene<'_>,
        node: NodeId,
    ) -> Option<Result<Self, SourceFailure>> {
        let listener = scene.listener(node)?;
        let within = row(FactKind::Link).deadline;
        let lost = scene.is_cut(node).then(|| scene.now.plus(within));
        if lost.is_none() && scene.cluster.link(node, listener) == Link::Refuses {
            scene.shared.refused.insert(node, scene.now);
            return Some(Err(failure(FailureClass::Refused, node)));
        }
        let last = match listener {
            Listener::Broker => Question::Cluster,
            // DescribeCluster of controllers costs the same.
            Listener::Controller => Question::Identity,
        };
        let serial = scene.serial();
        let line = Line {
            node,
            listener,
            life: scene.cluster.life(node),
            serial,
            versions: Arc::default(),
        };
        Some(Ok(Self {
            line,
            lost,
            identity: Identity::Proved,
            left: vec![last, Question::Identity, Question::Versions],
            call: None,
        }))
    }

    pub(super) fn poll(
        &mut self,
        scene: &mut Scene<'_>,
    ) -> Option<Result<(Line, Identity), SourceFailure>> {
        if let Some(lost) = self.lost {
            let late = scene.now >= lost;
            return late.then(|| Err(failure(FailureClass::ConnectTimeout, self.line.node)));
        }
        loop {
            let call = match &mut self.call {
                Some(call) => call,
                None => match self.left.pop() {
                    Some(question) => {
                        let within = row(FactKind::Link).deadline;
                        self.call.insert(Call::new(scene, question, within))
                    }
                    None => return Some(Ok((self.line.clone(), self.identity.clone()))),
                },
            };
            let said = call.poll(scene, &self.line)?;
            let took = call.took(scene.now);
            match said {
                Err(failure) => return Some(Err(failure)),
                Ok(Said::Versions(versions)) => self.line.versions = Arc::new(versions),
                Ok(Said::Identity(identity)) => {
                    scene.note_trip(self.line.node, took);
                    self.identity = identity;
                }
                Ok(Said::Facts(_) | Said::Ends(_)) => {}
            }
            self.call = None;
        }
    }
}

/// The liveness connection.
#[derive(Debug)]
pub(super) struct Live {
    node: NodeId,
    epoch: u64,
    began: Mono,
    state: LiveState,
}

#[derive(Debug)]
enum LiveState {
    Off(Mono),
    Opening(Opening),
    Asking(Line, Identity, Call),
    Idle(Line, Identity, Mono),
}

impl Live {
    pub(super) fn new(node: NodeId, now: Mono) -> Self {
        Self {
            node,
            epoch: 0,
            began: now,
            state: LiveState::Off(now),
        }
    }

    pub(super) fn tick(&mut self, scene: &mut Scene<'_>) {
        while self.progress(scene) {}
    }

    fn progress(&mut self, scene: &mut Scene<'_>) -> bool {
        match &mut self.state {
            LiveState::Off(again) if scene.now < *again => false,
            LiveState::Off(_) => {
                self.epoch += 1;
                self.began = scene.now;
                match Opening::begin(scene, self.node) {
                    None => self.state = LiveState::Off(scene.now.plus(NO_ADDRESS)),
                    Some(Ok(opening)) => self.state = LiveState::Opening(opening),
                    Some(Err(failure)) => return self.end(scene, failure),
                }
                true
            }
            LiveState::Opening(opening) => match opening.poll(scene) {
                None => false,
                Some(Err(failure)) => self.end(scene, failure),
                Some(Ok((line, identity))) => {
                    scene.shared.pages_wanted += 1;
                    self.ask(scene, line, identity)
                }
            },
            LiveState::Asking(line, identity, call) => match call.poll(scene, line) {
                None => false,
                Some(Ok(Said::Versions(versions))) => {
                    let (line, identity, asked) = (line.clone(), identity.clone(), call.asked);
                    scene.note_trip(self.node, call.took(scene.now));
                    self.report(scene, &identity, asked, versions);
                    let next = asked.plus(scene.every(row(FactKind::Link).interval));
                    self.state = LiveState::Idle(line, identity, next);
                    true
                }
                Some(Ok(_)) => false,
                Some(Err(failure)) => self.end(scene, failure),
            },
            LiveState::Idle(line, identity, next) => {
                if scene.has_ended(line) {
                    return self.end(scene, failure(FailureClass::Closed, self.node));
                }
                let asked = next.minus(scene.every(row(FactKind::Link).interval));
                let old = scene.shared.refresh && asked < scene.now;
                if scene.now < *next && !old {
                    return false;
                }
                let (line, identity) = (line.clone(), identity.clone());
                self.ask(scene, line, identity)
            }
        }
    }

    fn ask(&mut self, scene: &Scene<'_>, line: Line, identity: Identity) -> bool {
        let call = Call::new(scene, Question::Versions, row(FactKind::Link).deadline);
        self.state = LiveState::Asking(line, identity, call);
        true
    }

    fn end(&mut self, scene: &mut Scene<'_>, failure: SourceFailure) -> bool {
        let every = scene.every(row(FactKind::Link).interval);
        let source = SourceId::Kafka(known(self.node));
        let now = scene.now;
        scene.report(source, FactKind::Link, self.epoch, now, every, Err(failure));
        let wait = RETRY.saturating_sub(scene.now.since(self.began));
        self.state = LiveState::Off(scene.now.plus(wait.max(Duration::from_millis(20))));
        false
    }

    fn report(
        &self,
        scene: &mut Scene<'_>,
        identity: &Identity,
        asked: Mono,
        versions: ApiVersions,
    ) {
        let address = format!("node {}", self.node);
        let round_trip = scene.now.since(asked);
        let facts = facts::link(versions, address, identity.clone(), round_trip);
        let source = SourceId::Kafka(known(self.node));
        let every = scene.every(row(FactKind::Link).interval);
        let facts = Ok(Facts::Link(facts));
        scene.report(source, FactKind::Link, self.epoch, asked, every, facts);
    }
}

/// The bulk connection, and what only the node itself can say.
#[derive(Debug)]
pub(super) struct Bulk {
    node: NodeId,
    epoch: u64,
    state: BulkState,
}

#[derive(Debug)]
enum BulkState {
    Off(Mono),
    Opening(Box<Opening>),
    Open(Box<Own>),
}

#[derive(Debug)]
struct Own {
    line: Line,
    configs: Due,
    dirs: Due,
    hosted: Option<usize>,
    everything: u64,
    call: Option<(FactKind, Call)>,
    look: Mono,
}

impl Bulk {
    pub(super) fn new(node: NodeId, now: Mono) -> Self {
        Self {
            node,
            epoch: 0,
            state: BulkState::Off(now),
        }
    }

    pub(super) fn tick(&mut self, scene: &mut Scene<'_>) {
        loop {
            match &mut self.state {
                BulkState::Off(again) if scene.now < *again => return,
                BulkState::Off(_) => {
                    self.epoch += 1;
                    match Opening::begin(scene, self.node) {
                        Some(Ok(opening)) => self.state = BulkState::Opening(Box::new(opening)),
                        None | Some(Err(_)) => return self.end(scene),
                    }
                }
                BulkState::Opening(opening) => match opening.poll(scene) {
                    None => return,
                    Some(Err(_)) => return self.end(scene),
                    Some(Ok((line, _))) => self.open(scene, line),
                },
                BulkState::Open(own) => {
                    if own.tick(scene, self.epoch) {
                        return self.end(scene);
                    }
                    return;
                }
            }
        }
    }

    fn open(&mut self, scene: &mut Scene<'_>, line: Line) {
        if scene.is_broker(self.node) {
            scene.shared.bulk.insert(self.node, line.clone());
            scene.shared.joined = true;
        }
        scene.shared.alive.insert(line.serial);
        self.state = BulkState::Open(Box::new(Own {
            line,
            configs: Due::now(FactKind::NodeConfigs, scene.now),
            dirs: Due::now(FactKind::LogDirs, scene.now),
            hosted: None,
            everything: scene.shared.everything,
            call: None,
            look: scene.now,
        }));
    }

    fn end(&mut self, scene: &mut Scene<'_>) {
        if let BulkState::Open(own) = &self.state {
            scene.shared.alive.remove(&own.line.serial);
            scene.shared.bulk.remove(&self.node);
        }
        self.state = BulkState::Off(scene.now.plus(RETRY));
    }
}

impl Own {
    /// Whether the connection has ended.
    fn tick(&mut self, scene: &mut Scene<'_>, epoch: u64) -> bool {
        loop {
            if scene.has_ended(&self.line) || !scene.shared.alive.contains(&self.line.serial) {
                return true;
            }
            if let Some((kind, call)) = &mut self.call {
                let Some(said) = call.poll(scene, &self.line) else {
                    return false;
                };
                let (kind, asked) = (*kind, call.asked);
                self.call = None;
                if self.heard(scene, epoch, kind, asked, said) {
                    return true;
                }
                continue;
            }
            if scene.now < self.look {
                return false;
            }
            if self.everything != scene.shared.everything {
                self.everything = scene.shared.everything;
                self.configs.hurry(scene.now);
                self.dirs.hurry(scene.now);
            }
            self.ask(scene);
        }
    }

    fn ask(&mut self, scene: &Scene<'_>) {
        let now_hosted = scene.shared.table().map(|table| table.len());
        if self.configs.is_due(scene.now) {
            let within = deadline(FactKind::NodeConfigs, self.configs.cost.largest());
            let call = Call::new(scene, Question::NodeConfigs, within);
            self.call = Some((FactKind::NodeConfigs, call));
        } else if scene.is_broker(self.line.node)
            && (self.dirs.is_due(scene.now) || now_hosted != self.hosted)
        {
            self.hosted = now_hosted;
            let within = deadline(FactKind::LogDirs, self.dirs.cost.largest());
            let call = Call::new(scene, Question::LogDirs, within);
            self.call = Some((FactKind::LogDirs, call));
        } else {
            self.look = scene.now.plus(RETRY);
        }
    }

    fn heard(
        &mut self,
        scene: &mut Scene<'_>,
        epoch: u64,
        kind: FactKind,
        asked: Mono,
        said: Result<Said, SourceFailure>,
    ) -> bool {
        let due = if kind == FactKind::NodeConfigs {
            &mut self.configs
        } else {
            &mut self.dirs
        };
        let late = matches!(&said, Err(failure) if failure.class == FailureClass::Timeout);
        let facts = match said {
            Ok(Said::Facts(facts)) => Ok(facts),
            Ok(_) => return false,
            Err(failure) => Err(failure),
        };
        let facts = facts.and_then(|facts| {
            if let Facts::NodeConfigs(configs) = &facts {
                let teller = known(self.line.node);
                scene.shared.roster.configs(teller, configs)?;
            }
            Ok(facts)
        });
        let every = scene.done(self.line.node, due, asked, &facts);
        let source = SourceId::Kafka(known(self.line.node));
        scene.report(source, kind, epoch, asked, every, facts);
        late
    }
}

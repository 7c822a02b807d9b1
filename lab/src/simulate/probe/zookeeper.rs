//! Topics' configurations in ZooKeeper mode, over a connection of their own, as
//! `collect::zookeeper` asks for them.

use std::time::Duration;

use upgrade_gate::collect::due::Due;
use upgrade_gate::collect::schedule::deadline;
use upgrade_gate::collect::zookeeper::{OWED, PROBE};
use upgrade_gate::evidence::facts::Facts;
use upgrade_gate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use upgrade_gate::kafka::versions::DESCRIBE_QUORUM;
use upgrade_gate::model::NodeId;
use upgrade_gate::time::Mono;

use super::Scene;
use super::calls::{Call, Line, Question, Said, failure, known};
use super::node::Opening;

const LOOK: Duration = Duration::from_millis(250);
const LEFT: Duration = Duration::from_secs(10);

/// One broker's topics.
#[derive(Debug)]
pub(super) struct Topics {
    node: NodeId,
    look: Mono,
    line: Option<Line>,
    state: State,
    names: Vec<String>,
    all: Due,
    one: Mono,
    /// When a question that was not answered was put, and until when it is owed.
    owed: Option<(Mono, Mono)>,
    pause: Duration,
    told: Option<bool>,
    left: Option<Mono>,
    everything: u64,
}

#[derive(Debug)]
enum State {
    Idle,
    Opening(Box<Opening>, bool),
    /// Whether all topics were asked for, and whether it was told that the answer is late.
    Asking(Box<(Line, Call)>, bool, bool),
}

pub(super) fn is_kraft(line: &Line) -> bool {
    line.versions.range(DESCRIBE_QUORUM.key).is_some()
}

impl Topics {
    pub(super) fn new(node: NodeId, now: Mono) -> Self {
        Self {
            node,
            look: now,
            line: None,
            state: State::Idle,
            names: Vec::new(),
            all: Due::now(FactKind::TopicConfigs, now),
            one: now,
            owed: None,
            pause: OWED,
            told: None,
            left: None,
            everything: 0,
        }
    }

    pub(super) fn tick(&mut self, scene: &mut Scene<'_>) {
        while self.progress(scene) {}
    }

    fn progress(&mut self, scene: &mut Scene<'_>) -> bool {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                if scene.now < self.look {
                    return false;
                }
                self.look = scene.now.plus(LOOK);
                self.look(scene)
            }
            State::Opening(mut opening, all) => match opening.poll(scene) {
                None => {
                    self.state = State::Opening(opening, all);
                    false
                }
                Some(Err(failure)) => {
                    let now = scene.now;
                    self.heard(scene, now, true, Err(failure));
                    false
                }
                Some(Ok((line, _))) => {
                    self.line = Some(line.clone());
                    self.ask(scene, line, all);
                    true
                }
            },
            State::Asking(asked, all, late) => self.wait(scene, *asked, all, late),
        }
    }

    /// Whether there is more to do now.
    fn look(&mut self, scene: &mut Scene<'_>) -> bool {
        if let Some((asked, until)) = self.owed {
            if self.is_another_process(scene, asked) {
                self.pause = OWED;
            } else if scene.now < until {
                return false;
            }
            self.owed = None;
            self.all.hurry(scene.now);
        }
        if !self.is_wanted(scene) {
            self.leave(scene);
            return false;
        }
        self.left = None;
        self.notice(scene);
        let all = self.all.is_due(scene.now);
        let one = scene.now >= self.one && self.told == Some(true);
        if !all && !one {
            return false;
        }
        if let Some(line) = self.line.take().filter(|line| !scene.has_ended(line)) {
            self.line = Some(line.clone());
            self.ask(scene, line, all);
            return true;
        }
        match Opening::begin(scene, self.node) {
            None => false,
            Some(Err(failure)) => {
                let now = scene.now;
                self.heard(scene, now, true, Err(failure));
                false
            }
            Some(Ok(opening)) => {
                self.state = State::Opening(Box::new(opening), all);
                true
            }
        }
    }

    fn is_wanted(&self, scene: &Scene<'_>) -> bool {
        let line = scene.shared.bulk.get(&self.node);
        line.is_some_and(|line| !is_kraft(line)) && scene.shared.tables.contains_key(&self.node)
    }

    fn leave(&mut self, scene: &mut Scene<'_>) {
        let since = *self.left.get_or_insert(scene.now);
        if scene.now.since(since) < LEFT {
            return;
        }
        self.line = None;
        if self.told.take().is_some() {
            let slot = (SourceId::Kafka(known(self.node)), FactKind::TopicConfigs);
            scene.shared.dropped.push(slot);
            self.all = Due::now(FactKind::TopicConfigs, scene.now);
        }
    }

    fn notice(&mut self, scene: &Scene<'_>) {
        let Some(table) = scene.shared.tables.get(&self.node) else {
            return;
        };
        let names = || table.topics().map(|topic| topic.name());
        if !names().eq(self.names.iter().map(String::as_str)) {
            self.names = names().map(str::to_owned).collect();
            self.all.hurry(scene.now);
        }
        if self.everything != scene.shared.everything {
            self.everything = scene.shared.everything;
            self.all.hurry(scene.now);
        }
    }

    fn ask(&mut self, scene: &Scene<'_>, line: Line, all: bool) {
        let count = if all { self.names.len() } else { 1 };
        let names: Vec<_> = self.names.iter().take(count).cloned().collect();
        let call = Call::new(scene, Question::TopicConfigs(names), self.pause);
        self.state = State::Asking(Box::new((line, call)), all, false);
    }

    fn wait(
        &mut self,
        scene: &mut Scene<'_>,
        (line, mut call): (Line, Call),
        all: bool,
        late: bool,
    ) -> bool {
        let asked = call.asked;
        let Some(said) = call.poll(scene, &line) else {
            let within = deadline(FactKind::TopicConfigs, Duration::ZERO);
            let is_late = scene.now.since(asked) >= within;
            if is_late && !late {
                self.tell(scene, asked, Err(failure(FailureClass::Timeout, self.node)));
            }
            if is_late && self.is_another_process(scene, asked) {
                self.line = None;
                self.pause = OWED;
                self.all.hurry(scene.now);
                return false;
            }
            self.state = State::Asking(Box::new((line, call)), all, late || is_late);
            return false;
        };
        match said {
            Ok(Said::Facts(facts)) => self.heard(scene, asked, all, Ok(facts)),
            Ok(Said::Versions(_) | Said::Identity(_) | Said::Ends(_)) => {}
            Err(failure)
                if matches!(failure.class, FailureClass::Closed | FailureClass::Timeout) =>
            {
                self.line = None;
                self.owed = Some((asked, asked.plus(self.pause)));
                self.pause *= 2;
                self.tell(scene, asked, Err(failure));
            }
            Err(failure) => self.heard(scene, asked, all, Err(failure)),
        }
        false
    }

    fn heard(
        &mut self,
        scene: &mut Scene<'_>,
        asked: Mono,
        all: bool,
        facts: Result<Facts, SourceFailure>,
    ) {
        self.one = scene.now.plus(PROBE);
        if facts.is_ok() {
            self.pause = OWED;
        }
        if all {
            scene.done(self.node, &mut self.all, asked, &facts);
            self.tell(scene, asked, facts);
            return;
        }
        let good = matches!(&facts, Ok(Facts::TopicConfigs(configs)) if configs.hidden.is_empty());
        if !good || self.told != Some(true) {
            self.all.hurry(scene.now);
        }
    }

    fn tell(&mut self, scene: &mut Scene<'_>, asked: Mono, facts: Result<Facts, SourceFailure>) {
        self.told = Some(facts.is_ok());
        let source = SourceId::Kafka(known(self.node));
        let every = scene.every(self.all.every());
        scene.report(source, FactKind::TopicConfigs, 0, asked, every, facts);
    }

    fn is_another_process(&self, scene: &Scene<'_>, asked: Mono) -> bool {
        let refused = scene.shared.refused.get(&self.node);
        refused.is_some_and(|at| *at >= asked)
    }
}

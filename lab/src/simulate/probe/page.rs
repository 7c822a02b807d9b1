//! A node's exporter, as `collect::pages` asks it.

use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::collect::schedule::{Cost, deadline, interval, row};
use upgrade_gate::evidence::facts::Facts;
use upgrade_gate::evidence::jmx::JmxFacts;
use upgrade_gate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use upgrade_gate::jmx::page;
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scan::Format;
use upgrade_gate::model::{NodeId, Page};
use upgrade_gate::time::Mono;

use super::calls::{failure, known};
use super::{STEP, Scene};

const SOONEST: Duration = Duration::from_millis(500);
const YOUNG: Duration = Duration::from_secs(20);
const YOUNG_PAGE: Duration = Duration::from_secs(1);
/// How long a page takes to make.
const PAGE: Duration = Duration::from_millis(15);

#[derive(Debug)]
pub(super) struct Exporter {
    node: NodeId,
    /// It has an exporter as far as the configuration goes.
    named: bool,
    epoch: u64,
    cost: Cost,
    process: Option<f64>,
    changed: Mono,
    wanted: u64,
    state: State,
}

/// A page, and when it will be here.
type Coming = (Mono, Result<JmxFacts, SourceFailure>);

#[derive(Debug)]
enum State {
    /// Not before the first, unless wanted; then at the second.
    Rest(Mono, Mono),
    Asked {
        asked: Mono,
        until: Mono,
        reached: bool,
        coming: Option<Box<Coming>>,
    },
}

/// What one look at a node's exporter brings; `None`: nothing yet.
pub(in crate::simulate) fn read(
    page: Page,
    node: NodeId,
    recogniser: &Recogniser,
    reached: &mut bool,
) -> Option<Result<JmxFacts, SourceFailure>> {
    let (status, body) = match page {
        Page::Text { status, body, .. } => (status, body),
        Page::Refused if *reached => return Some(Err(failure(FailureClass::Closed, node))),
        Page::Refused => return Some(Err(failure(FailureClass::Refused, node))),
        Page::Reset => return Some(Err(failure(FailureClass::Closed, node))),
        Page::Silent => {
            *reached = true;
            return None;
        }
    };
    if status != 200 {
        return Some(Err(failure(FailureClass::HttpStatus(status), node)));
    }
    let facts = page::read(body.as_bytes(), Format::Text, recogniser);
    Some(facts.map_err(|error| SourceFailure::new(error.class(), error.to_string())))
}

impl Exporter {
    pub(super) fn new(node: NodeId, now: Mono, named: bool) -> Self {
        Self {
            node,
            named,
            epoch: 0,
            cost: Cost::default(),
            process: None,
            changed: now,
            wanted: 0,
            state: State::Rest(now, now),
        }
    }

    pub(super) fn tick(&mut self, scene: &mut Scene<'_>) {
        match &mut self.state {
            State::Rest(soonest, latest) => {
                let wanted = scene.shared.pages_wanted;
                if scene.now < *soonest || (scene.now < *latest && wanted == self.wanted) {
                    return;
                }
                if scene.now < *latest {
                    self.wanted = wanted;
                }
                self.epoch += 1;
                let within = deadline(FactKind::Jmx, self.cost.largest());
                self.state = State::Asked {
                    asked: scene.now,
                    until: scene.now.plus(within),
                    reached: false,
                    coming: None,
                };
                self.look(scene);
            }
            State::Asked { .. } => self.look(scene),
        }
    }

    fn look(&mut self, scene: &mut Scene<'_>) {
        let State::Asked {
            asked,
            until,
            reached,
            coming,
        } = &mut self.state
        else {
            return;
        };
        let (now, asked, until) = (scene.now, *asked, *until);
        if !self.named {
            let failure = failure(FailureClass::Resolve, self.node);
            return self.heard(scene, asked, Err(failure));
        }
        if coming.is_none() {
            *coming = look(scene, self.node, reached).map(Box::new);
        }
        let there = |page: &mut Box<Coming>| page.0 <= now && page.0 <= until;
        let late = || (now >= until).then(|| Err(failure(FailureClass::Timeout, self.node)));
        if let Some(page) = coming.take_if(there).map(|page| page.1).or_else(late) {
            self.heard(scene, asked, page);
        }
    }

    fn heard(&mut self, scene: &mut Scene<'_>, asked: Mono, page: Result<JmxFacts, SourceFailure>) {
        let took = scene.now.since(asked).max(PAGE);
        match &page {
            Err(_) => self.changed = scene.now,
            Ok(page) => {
                self.cost.note(took, took);
                let started = page.start_time.value().copied();
                if std::mem::replace(&mut self.process, started) != started {
                    self.changed = scene.now;
                }
            }
        }
        let every = scene.every(interval(FactKind::Jmx, self.cost.smallest()));
        let pause = if page.is_err() {
            YOUNG_PAGE.max(took)
        } else if scene.now.since(self.changed) < YOUNG {
            let stretch = row(FactKind::Jmx).stretch;
            YOUNG_PAGE.max(self.cost.smallest().saturating_mul(stretch))
        } else {
            every
        };
        let pause = pause.saturating_sub(took);
        self.state = State::Rest(scene.now.plus(pause.min(SOONEST)), scene.now.plus(pause));
        let source = SourceId::Jmx(known(self.node));
        let facts = page.map(|page| Facts::Jmx(Arc::new(page)));
        scene.report(source, FactKind::Jmx, self.epoch, asked, every, facts);
    }
}

/// The page as of now and when it will be here. A page that takes no longer than one step has
/// come.
fn look(scene: &Scene<'_>, node: NodeId, reached: &mut bool) -> Option<Coming> {
    if let Some(page) = scene.shared.quiet.page(scene.cluster, node) {
        return Some((scene.now, Ok(page)));
    }
    let (page, time) = scene.world.page(scene.cluster, node)?;
    let page = read(page, node, scene.recogniser, reached)?;
    let at = if time > STEP {
        scene.now.plus(time)
    } else {
        scene.now
    };
    if let (Ok(page), true) = (&page, at == scene.now) {
        scene.shared.quiet.keep_page(node, page);
    }
    Some((at, page))
}

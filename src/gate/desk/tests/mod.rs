//! Leases on a small cluster that is healthy, spoiled and mended, with a store that does what it
//! is told.

mod again;
mod anew;
mod history;
mod holds;
mod joined;
mod leases;
mod measured;
mod progress;
mod questions;
mod repair;
mod sight;
mod slots;
mod store;
mod takeover;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::checks::reason::Reason;
use crate::evidence::facts::{ClusterFacts, Facts};
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, Report, SourceId, Wanted};
use crate::evidence::scene::{Scene, set};
use crate::gate::doc::{GateDoc, Revision, Stored};
use crate::gate::event::{Event, What};
use crate::gate::keep::CommitId;
use crate::gate::lease::{Action, Lease, Owner, Token};
use crate::gate::machine::{Effect, Input, Machine};
use crate::gate::question::{Answered, Change, Command, Entry, Repair, Reply, Ticket, Unused};
use crate::gate::state::{GateName, State};
use crate::gate::view::View;

pub(super) const WINDOW: u64 = 3;

/// A gate on a scene.
pub(super) struct Bed {
    pub(super) scene: Scene,
    pub(super) machine: Machine,
    /// What the store has.
    pub(super) doc: GateDoc,
    pub(super) revision: u64,
    pub(super) history: BTreeMap<u64, Event>,
    /// Whether writes are answered by themselves.
    pub(super) answers: bool,
    pub(super) commits: Vec<(CommitId, Revision, GateDoc, Vec<Event>)>,
    pub(super) replies: BTreeMap<Ticket, Reply>,
    pub(super) view: Arc<View>,
    /// What was asked for at once.
    pub(super) refreshed: Vec<Wanted>,
    next: u64,
}

pub(super) fn owner(name: &str) -> Owner {
    Owner::try_from(name.to_owned()).unwrap()
}

impl Bed {
    /// A healthy cluster that has been so for longer than the window.
    pub(super) fn new() -> Self {
        let mut bed = Self::bare(Scene::healthy_kraft());
        bed.run(WINDOW + 2);
        assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
        bed
    }

    pub(super) fn bare(mut scene: Scene) -> Self {
        scene.policy.window = Some(Duration::from_secs(WINDOW));
        scene.policy.leadership_quiet = Duration::ZERO;
        let machine = restored(&scene, 0, &GateDoc::default());
        let now = scene.now;
        Self {
            scene,
            machine,
            doc: GateDoc::default(),
            revision: 0,
            history: BTreeMap::new(),
            answers: true,
            commits: Vec::new(),
            replies: BTreeMap::new(),
            view: Arc::new(View::nothing(
                GateName::default(),
                now,
                Reason::WarmingUp,
                "",
            )),
            refreshed: Vec::new(),
            next: 0,
        }
    }

    /// The process ends and starts again from what the store has; everybody who waits is lost.
    pub(super) fn restart(&mut self) {
        self.machine = restored(&self.scene, self.revision, &self.doc);
        self.commits.clear();
    }

    /// So many seconds go by, with new answers every half.
    pub(super) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.tick();
        }
    }

    /// Half a second goes by, and everybody answers again.
    pub(super) fn tick(&mut self) {
        self.pass(500);
        let asked = self.scene.now.mono.minus(Duration::from_millis(20));
        for report in self.scene.reports.values_mut() {
            report.asked = asked;
            report.seen = self.scene.now.mono;
        }
        let reports: Vec<Report> = self.scene.reports.values().cloned().collect();
        self.input(Input::Evidence {
            reports,
            dropped: Vec::new(),
        });
    }

    /// Only these answer, now.
    pub(super) fn hear(&mut self, wanted: impl Fn(&SourceId, FactKind) -> bool) {
        let now = self.scene.now.mono;
        let mut reports = Vec::new();
        for ((source, kind), report) in &mut self.scene.reports {
            if wanted(source, *kind) {
                (report.asked, report.seen) = (now, now);
                reports.push(report.clone());
            }
        }
        self.input(Input::Evidence {
            reports,
            dropped: Vec::new(),
        });
    }

    pub(super) fn pass(&mut self, millis: u64) {
        let span = Duration::from_millis(millis);
        self.scene.now.mono = self.scene.now.mono.plus(span);
        self.scene.now.wall = self.scene.now.wall.plus(span);
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            self.machine.step(self.scene.now, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Publish(view) => self.view = view,
                    Effect::Reply(ticket, reply) => {
                        let before = self.replies.insert(ticket, reply);
                        assert!(before.is_none(), "answered twice");
                    }
                    Effect::Refresh(wanted) => self.refreshed.push(wanted),
                    Effect::Commit {
                        id,
                        expect,
                        doc,
                        events,
                    } => {
                        if self.answers {
                            let stored = self.write(expect, &doc, &events);
                            inputs.push(Input::Stored(id, stored));
                        } else {
                            self.commits.push((id, expect, doc, events));
                        }
                    }
                }
            }
        }
    }

    /// What a sound store does.
    pub(super) fn write(&mut self, expect: Revision, doc: &GateDoc, events: &[Event]) -> Stored {
        if expect.0 != self.revision {
            return Stored::Lost(Revision(self.revision), self.doc.clone());
        }
        self.revision += 1;
        self.doc = doc.clone();
        for event in events {
            self.history
                .entry(event.number)
                .or_insert_with(|| event.clone());
        }
        Stored::Written(Revision(self.revision))
    }

    /// Answers the write that waits.
    pub(super) fn answer(&mut self, how: impl FnOnce(&mut Self, &GateDoc) -> Stored) {
        let (id, _, doc, _) = self.commits.remove(0);
        let stored = how(self, &doc);
        self.input(Input::Stored(id, stored));
    }

    /// Carries the write that waits out, and says so.
    pub(super) fn answer_written(&mut self) {
        let (id, expect, doc, events) = self.commits.remove(0);
        let stored = self.write(expect, &doc, &events);
        self.input(Input::Stored(id, stored));
    }

    pub(super) fn ask(&mut self, command: Command) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.input(Input::Ask(ticket, command));
        ticket
    }

    pub(super) fn ask_enter(&mut self, name: &str, nodes: &[i32], action: Action) -> Ticket {
        let entry = Entry {
            owner: owner(name),
            nodes: set(nodes),
            ttl: Duration::from_secs(60),
            action,
            asked: self.scene.now.mono,
        };
        self.ask(Command::Enter(entry))
    }

    /// Asks for a lease and lets time pass until there is an answer.
    pub(super) fn enter(&mut self, name: &str, nodes: &[i32]) -> Result<Lease, Vec<Reason>> {
        let ticket = self.ask_enter(name, nodes, Action::Restart);
        self.await_go(ticket)
    }

    pub(super) fn repair(&mut self, name: &str, nodes: &[i32]) -> Result<Lease, Vec<Reason>> {
        let advice = self.ask(Command::DecideRepair(Repair {
            nodes: set(nodes),
            asked: self.scene.now.mono,
        }));
        let ticket = self.ask_enter(name, nodes, Action::Repair);
        let repair = self.await_go(ticket);
        // Who only asks is told the same.
        match self.await_reply(advice) {
            Reply::Verdict(Answered::Decided { decision, .. }) => {
                let reasons: Vec<_> = decision.reasons.iter().map(|it| it.reason).collect();
                let is_open = decision.state == State::Open;
                assert_eq!(is_open, repair.is_ok(), "{reasons:?} {repair:?}");
            }
            other => panic!("{other:?}"),
        }
        repair
    }

    pub(super) fn await_go(&mut self, ticket: Ticket) -> Result<Lease, Vec<Reason>> {
        match self.await_reply(ticket) {
            Reply::Go { lease, .. } => Ok(*lease),
            Reply::Verdict(Answered::Decided { decision, .. }) => {
                assert_ne!(decision.state, State::Open);
                Err(decision.reasons.iter().map(|r| r.reason).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn await_reply(&mut self, ticket: Ticket) -> Reply {
        for _ in 0..30 {
            if let Some(reply) = self.replies.remove(&ticket) {
                return reply;
            }
            self.tick();
        }
        panic!("no answer");
    }

    pub(super) fn leave(&mut self, name: &str, nodes: &[i32]) -> Reply {
        self.leave_by(name, nodes, None)
    }

    /// Nothing was done with this "go".
    pub(super) fn leave_unused(
        &mut self,
        name: &str,
        nodes: &[i32],
        token: u64,
        told: u32,
    ) -> Reply {
        let token = Token(token);
        self.leave_by(name, nodes, Some(Unused { token, told }))
    }

    fn leave_by(&mut self, name: &str, nodes: &[i32], unused: Option<Unused>) -> Reply {
        let ticket = self.ask(Command::Leave {
            owner: owner(name),
            nodes: set(nodes),
            unused,
        });
        self.await_reply(ticket)
    }

    pub(super) fn change(&mut self, change: Change) -> Reply {
        let ticket = self.ask(Command::Change(change));
        self.await_reply(ticket)
    }

    pub(super) fn state(&self) -> State {
        self.view.at(self.scene.now.mono).state()
    }

    pub(super) fn node_state(&self, id: i32) -> State {
        let answer = self.view.at(self.scene.now.mono);
        answer.node(NodeId(id)).unwrap().state
    }

    pub(super) fn reasons(&self) -> BTreeSet<Reason> {
        let answer = self.view.at(self.scene.now.mono);
        let reasons = answer.reasons();
        reasons.iter().map(|reason| reason.reason).collect()
    }

    pub(super) fn happened(&self) -> Vec<&What> {
        self.history.values().map(|event| &event.what).collect()
    }

    /// The node's process ends.
    pub(super) fn down(&mut self, id: i32) -> Scene {
        let before = self.scene.clone();
        self.scene.kill(id);
        self.tick();
        before
    }

    /// The controllers have noticed: it is fenced and in no ISR.
    pub(super) fn fence(&mut self, id: i32) {
        for source in self.scene.sources(FactKind::Cluster) {
            self.scene
                .edit(source, FactKind::Cluster, |facts| match facts {
                    Facts::Cluster(cluster) => fence(cluster, id),
                    other => panic!("{other:?}"),
                });
        }
        self.tick();
    }

    /// It is back, as another process.
    pub(super) fn up(&mut self, id: i32, before: Scene) {
        let now = self.scene.now;
        self.scene = before;
        self.scene.now = now;
        let started = now.wall.as_seconds();
        self.scene.page(id, |page| {
            page.start_time = crate::evidence::known::Known::Is(started);
        });
        self.tick();
    }
}

pub(super) fn fence(cluster: &mut ClusterFacts, id: i32) {
    let mut brokers = cluster.brokers.iter_mut();
    let broker = brokers.find(|broker| broker.node == NodeId(id));
    broker.unwrap().fenced = true;
}

fn restored(scene: &Scene, revision: u64, doc: &GateDoc) -> Machine {
    Machine::restore(
        GateName::default(),
        Arc::new(scene.policy.clone()),
        Revision(revision),
        doc.clone(),
        scene.now,
    )
}

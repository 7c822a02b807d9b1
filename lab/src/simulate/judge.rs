//! The Machine under test, whatever brings its reports: steps, effects, and what it says.

use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::clock::Clock;
use upgrade_gate::collect::board::Slot;
use upgrade_gate::evidence::policy::Policy;
use upgrade_gate::evidence::report::Report;
use upgrade_gate::evidence::report::Wanted;
use upgrade_gate::gate::doc::{GateDoc, Revision, Stored};
use upgrade_gate::gate::machine::{Effect, Input, Machine};
use upgrade_gate::gate::question::{Command, Reply, Ticket};
use upgrade_gate::gate::state::GateName;
use upgrade_gate::gate::view::View;
use upgrade_gate::time::{Mono, Now};

use super::course::Speaker;
use super::flaky::{Answers, Flaky};
use super::oracle::Said;
use super::reading;
use super::sabotage::Sabotage;
use super::saboteur::Saboteur;
use super::world::WorldClock;

/// A Machine and its newest view.
pub struct Judge {
    clock: WorldClock,
    machine: Machine,
    view: Option<(Mono, Arc<View>)>,
    /// What the store has.
    stored: (Revision, GateDoc),
    saboteur: Saboteur,
    sabotage: Sabotage,
    wanted: Option<Wanted>,
    flaky: Option<Flaky>,
    replies: Vec<(Ticket, Reply)>,
    /// How many judgements were made.
    pub steps: u64,
}

impl Judge {
    /// A machine that knows nothing.
    pub fn new(clock: WorldClock, policy: Policy, sabotage: Sabotage) -> Self {
        let saboteur = Saboteur::new(sabotage);
        let policy = Arc::new(saboteur.policy(policy));
        let stored = (Revision(0), GateDoc::default());
        let now = saboteur.now(clock.now());
        Self {
            machine: restore(policy, &stored, now),
            clock,
            view: None,
            stored,
            saboteur,
            sabotage,
            wanted: None,
            flaky: None,
            replies: Vec::new(),
            steps: 0,
        }
    }

    /// A new process goes on from what the store has.
    pub fn restart(&mut self, policy: Policy) {
        self.saboteur = Saboteur::new(self.sabotage);
        let policy = Arc::new(self.saboteur.policy(policy));
        self.view = None;
        self.replies.clear();
        if let Some(flaky) = &mut self.flaky {
            flaky.forget();
        }
        self.machine = restore(policy, &self.stored, self.now());
    }

    /// Keeps its document in a store of many moods.
    #[must_use]
    pub fn with_flaky_store(mut self, seed: u64) -> Self {
        self.flaky = Some(Flaky::new(seed));
        self
    }

    /// What its store has said of writes.
    pub fn answers(&self) -> Answers {
        self.flaky.as_ref().map(|it| it.answers).unwrap_or_default()
    }

    /// Somebody asks for a lease, or for its end.
    pub fn ask(&mut self, ticket: Ticket, command: Command) {
        let command = self.saboteur.command(ticket, command);
        self.step(Input::Ask(ticket, command));
    }

    /// What it has answered since the last call.
    pub fn replies(&mut self) -> Vec<(Ticket, Reply)> {
        let replies = std::mem::take(&mut self.replies);
        let now = self.now();
        let told = |(ticket, reply)| (ticket, self.saboteur.reply(now, ticket, reply));
        replies.into_iter().map(told).collect()
    }

    /// What has been found out of writes reaches the Machine.
    pub fn hear_store(&mut self) {
        let now = self.clock.0.elapsed();
        let said = self.flaky.as_mut().map(|flaky| flaky.said(now));
        for (id, stored) in said.unwrap_or_default() {
            self.step(Input::Stored(id, stored));
        }
    }

    /// The policy changed.
    pub fn reload(&mut self, policy: Policy) {
        let policy = Arc::new(self.saboteur.policy(policy));
        self.step(Input::Policy(policy));
    }

    fn now(&self) -> Now {
        self.saboteur.now(self.clock.now())
    }

    /// For how long it may sleep.
    pub fn pause(&self) -> Duration {
        let wake = self.machine.next_deadline();
        wake.map_or(Duration::from_secs(1), |at| at.since(self.now().mono))
    }

    /// Takes in reports, and forgets slots that nobody asks about any more.
    pub fn evidence(&mut self, reports: Vec<Report>, dropped: Vec<Slot>) {
        let now = self.clock.now();
        let (reports, dropped) = self.saboteur.reports(now, reports, dropped);
        self.step(Input::Evidence { reports, dropped });
        for change in self.saboteur.changes(now.mono) {
            // Nobody waits for the answer.
            self.step(Input::Ask(Ticket(u64::MAX), Command::Change(change)));
        }
    }

    /// A deadline came.
    pub fn wake(&mut self) {
        // Some sabotages have something to say all the time.
        let now = self.clock.now();
        let (reports, dropped) = self.saboteur.reports(now, Vec::new(), Vec::new());
        if reports.is_empty() {
            self.step(Input::Wake);
        } else {
            self.step(Input::Evidence { reports, dropped });
        }
    }

    fn step(&mut self, input: Input) {
        self.steps += 1;
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            let now = self.now();
            self.machine.step(now, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Publish(view) => self.view = Some((now.mono, view)),
                    Effect::Refresh(wanted) => self.wanted = self.wanted.max(Some(wanted)),
                    Effect::Reply(ticket, reply) => self.replies.push((ticket, reply)),
                    Effect::Commit {
                        id, expect, doc, ..
                    } if self.flaky.is_some() => {
                        let now = self.clock.0.elapsed();
                        if let Some(flaky) = &mut self.flaky {
                            flaky.commit(now, id, expect, doc, &mut self.stored);
                        }
                    }
                    Effect::Commit { id, doc, .. } => {
                        let revision = Revision(self.stored.0.0 + 1);
                        self.stored = (revision, doc);
                        inputs.push(Input::Stored(id, Stored::Written(revision)));
                    }
                }
            }
        }
    }

    /// What it has wanted sooner since the last call.
    pub fn wants(&mut self) -> Option<Wanted> {
        self.wanted.take()
    }

    /// When its view is read, on the clock it is read by.
    fn read_at(&self, published: Mono) -> Mono {
        self.saboteur.read_at(self.now().mono, published)
    }
}

impl Speaker for Judge {
    fn stored(&self) -> Option<&GateDoc> {
        // A gate that counts no grants keeps none.
        (self.sabotage != Sabotage::OwnGrants).then_some(&self.stored.1)
    }

    fn says(&self) -> Said {
        let view = self.view.as_ref();
        view.map_or_else(Said::default, |(at, view)| {
            reading::says(&view.at(self.read_at(*at)))
        })
    }

    fn why(&self) -> Vec<String> {
        let view = self.view.as_ref();
        view.map_or_else(
            || vec![NOTHING.to_owned()],
            |(at, view)| reading::why(&view.at(self.read_at(*at))),
        )
    }

    fn first_reason(&self) -> &'static str {
        let view = self.view.as_ref();
        view.map_or(NOTHING, |(at, view)| {
            reading::first_reason(&view.at(self.read_at(*at)))
        })
    }
}

const NOTHING: &str = "nothing published";

fn restore(policy: Arc<Policy>, (revision, doc): &(Revision, GateDoc), now: Now) -> Machine {
    let gate = GateName::default();
    Machine::restore(gate, policy, *revision, doc.clone(), now)
}

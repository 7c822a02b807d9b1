//! While nothing happens, nodes say the same again: it is not made and read anew.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use upgrade_gate::evidence::jmx::JmxFacts;
use upgrade_gate::evidence::report::SourceFailure;
use upgrade_gate::model::{Cluster, Link, Listener, NodeId};
use upgrade_gate::time::Mono;

use super::calls::{Heard, Line, Question, Said};
use crate::simulate::oracle::all_in_sync;

/// How long nothing must have happened: nodes publish metadata and heartbeats come meanwhile.
const CALM: Duration = Duration::from_secs(3);

/// A question, how long its answer took, and the answer.
type Known = (Question, Duration, Said);

/// What nodes said in a cluster at rest.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    rests: bool,
    since: Option<Mono>,
    sign: Sign,
    answers: RefCell<BTreeMap<NodeId, Vec<Known>>>,
    pages: RefCell<BTreeMap<NodeId, JmxFacts>>,
}

/// As long as it stays the same nothing has happened that an answer could show.
#[derive(Debug, Default, PartialEq)]
struct Sign {
    operated: u64,
    offset: i64,
    active: Option<NodeId>,
    nodes: Vec<(u64, bool)>,
}

impl Quiet {
    /// Looks whether the cluster rests.
    pub(super) fn look(&mut self, now: Mono, cluster: &Cluster, operated: u64, cut: bool) {
        let nodes = cluster.spec().nodes.iter();
        let accepts = |id, has: bool, listener| !has || cluster.link(id, listener) == Link::Accepts;
        let sign = Sign {
            operated,
            offset: cluster.committed_image().offset,
            active: cluster.active_controller(),
            nodes: nodes
                .map(|node| {
                    let up = accepts(node.id, node.roles.broker, Listener::Broker)
                        && accepts(node.id, node.roles.controller, Listener::Controller);
                    (cluster.life(node.id), up)
                })
                .collect(),
        };
        if sign != self.sign {
            self.sign = sign;
            self.since = Some(now);
        }
        let up = self.sign.active.is_some() && self.sign.nodes.iter().all(|(_, up)| *up);
        let calm = self.since.is_some_and(|since| now.since(since) >= CALM);
        let rests = calm && up && !cut && (self.rests || all_in_sync(cluster.committed_image()));
        if !rests && self.rests {
            self.answers.borrow_mut().clear();
            self.pages.borrow_mut().clear();
        }
        self.rests = rests;
    }

    pub(super) fn recall(&self, line: &Line, question: &Question) -> Option<Heard> {
        if !self.rests {
            return None;
        }
        let answers = self.answers.borrow();
        let mut known = answers.get(&line.node)?.iter();
        let (_, wait, said) = known.find(|(asked, _, _)| asked == question)?;
        Some(Heard::Said(*wait, Ok(said.clone())))
    }

    pub(super) fn keep(
        &self,
        line: &Line,
        question: &Question,
        wait: Duration,
        said: &Result<Said, SourceFailure>,
    ) {
        let (true, Ok(said)) = (self.rests, said) else {
            return;
        };
        // Records come in a cluster at rest as well: a follower's old end would stay behind its
        // leader's for ever.
        if matches!(question, Question::Ends(_)) {
            return;
        }
        let mut answers = self.answers.borrow_mut();
        let known = answers.entry(line.node).or_default();
        if known.iter().all(|(asked, _, _)| asked != question) {
            known.push((question.clone(), wait, said.clone()));
        }
    }

    pub(super) fn page(&self, node: NodeId) -> Option<JmxFacts> {
        let page = self.rests.then(|| self.pages.borrow().get(&node).cloned());
        page.flatten()
    }

    pub(super) fn keep_page(&self, node: NodeId, page: &JmxFacts) {
        if self.rests {
            self.pages.borrow_mut().insert(node, page.clone());
        }
    }
}

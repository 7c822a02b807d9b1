//! Between a question and the node: while nothing happens, nodes say the same again, which is
//! not made and read anew; a connection that is throttled says nothing for a while; and on each
//! one questions are answered one after the other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use upgrade_gate::evidence::facts::Facts;
use upgrade_gate::evidence::jmx::{JmxFacts, Metric};
use upgrade_gate::evidence::report::{FailureClass, SourceFailure};
use upgrade_gate::evidence::voters;
use upgrade_gate::kafka::connection::LONGEST_THROTTLE;
use upgrade_gate::model::{Cluster, Link, Listener, NodeId};
use upgrade_gate::time::Mono;

use super::calls::{Heard, Line, Question, Said, failure};
use crate::simulate::oracle::all_in_sync;

/// How long nothing must have happened: nodes publish metadata and heartbeats come meanwhile.
const CALM: Duration = Duration::from_secs(3);

/// A question, how long its answer took, and the answer.
type Known = (Question, Duration, Said);

/// What nodes said in a cluster at rest.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    rests: bool,
    calm: bool,
    since: Option<Mono>,
    sign: Sign,
    answers: RefCell<BTreeMap<NodeId, Vec<Known>>>,
    pages: RefCell<BTreeMap<NodeId, JmxFacts>>,
    now: Mono,
    /// Nodes that throttle their clients, and for how long at a time.
    throttles: BTreeMap<NodeId, Duration>,
    /// Until when nothing is read from a connection (KIP-219), by its serial.
    muted: RefCell<BTreeMap<u64, Mono>>,
    /// Until when a connection's next question waits for the answers before it (`SocketServer`
    /// mutes the channel), by its serial.
    busy: RefCell<BTreeMap<u64, Mono>>,
}

/// As long as it stays the same nothing has happened that an answer could show.
#[derive(Debug, Default, PartialEq)]
struct Sign {
    operated: u64,
    offset: i64,
    active: Option<NodeId>,
    /// Life, whether it accepts connections, and how much of the metadata it has published.
    nodes: Vec<(u64, bool, Option<i64>)>,
}

/// Its clock catches up in a cluster at rest as well.
fn tells_of_a_set_clock(said: &Said) -> bool {
    let Said::Facts(Facts::Quorum(quorum)) = said else {
        return false;
    };
    let mut members = quorum.voters.iter().chain(&quorum.observers);
    members.any(|member| voters::ahead(quorum, member).is_some())
}

/// Nobody has started it yet.
fn is_away(cluster: &Cluster, node: NodeId) -> bool {
    cluster.spec().later.contains(&node) && cluster.process_start(node).is_none()
}

impl Quiet {
    /// Looks whether the cluster rests.
    pub(super) fn look(&mut self, now: Mono, cluster: &Cluster, operated: u64, cut: bool) {
        self.now = now;
        if self.sign.operated != operated {
            let nodes = cluster.spec().nodes.iter();
            let throttles = nodes.map(|node| (node.id, cluster.mute(node.id)));
            self.throttles = throttles.filter(|(_, time)| !time.is_zero()).collect();
        }
        self.muted.borrow_mut().retain(|_, until| *until > now);
        self.busy.borrow_mut().retain(|_, until| *until > now);
        let nodes = cluster.spec().nodes.iter();
        let accepts = |id, has: bool, listener| !has || cluster.link(id, listener) == Link::Accepts;
        let sign = Sign {
            operated,
            offset: cluster.committed_image().offset,
            active: cluster.active_controller(),
            nodes: nodes
                .filter(|node| !is_away(cluster, node.id))
                .map(|node| {
                    let up = accepts(node.id, node.roles.broker, Listener::Broker)
                        && accepts(node.id, node.roles.controller, Listener::Controller);
                    let image = cluster.published_image(node.id);
                    (cluster.life(node.id), up, image.map(|image| image.offset))
                })
                .collect(),
        };
        if sign != self.sign {
            self.sign = sign;
            self.since = Some(now);
        }
        let newest = Some(self.sign.offset);
        let mut nodes = self.sign.nodes.iter();
        let up = self.sign.active.is_some() && nodes.all(|(_, up, has)| *up && *has == newest);
        let calm = self.since.is_some_and(|since| now.since(since) >= CALM);
        self.calm = calm;
        // Who does not follow the quorum falls behind though nothing happens.
        let steady = !cut && cluster.all_follow();
        let rests = calm && up && steady && (self.rests || all_in_sync(cluster.committed_image()));
        if !rests && self.rests {
            self.answers.borrow_mut().clear();
            self.pages.borrow_mut().clear();
        }
        self.rests = rests;
    }

    /// Whether nothing has happened for a while, be everything well or not.
    pub(super) const fn is_calm(&self) -> bool {
        self.calm
    }

    pub(super) fn recall(
        &self,
        cluster: &Cluster,
        line: &Line,
        question: &Question,
    ) -> Option<Heard> {
        if let Some(until) = self.muted.borrow().get(&line.serial) {
            // As `Connection::wait_out_throttle`: a short silence is waited out, and every deadline is longer.
            let failure = || failure(FailureClass::Throttled, line.node);
            let left = until.since(self.now);
            return Some(if left <= LONGEST_THROTTLE {
                Heard::Silent
            } else {
                Heard::Said(Duration::ZERO, Err(failure()))
            });
        }
        if self.busy.borrow().contains_key(&line.serial) {
            return Some(Heard::Silent);
        }
        if !self.rests {
            return None;
        }
        let answers = self.answers.borrow();
        let mut known = answers.get(&line.node)?.iter();
        let (_, wait, said) = known.find(|(asked, _, _)| asked == question)?;
        Some(Heard::Said(*wait, Ok(as_of_now(cluster, line.node, said))))
    }

    pub(super) fn keep(
        &self,
        line: &Line,
        question: &Question,
        wait: Duration,
        said: &Result<Said, SourceFailure>,
    ) {
        if !wait.is_zero() {
            self.busy
                .borrow_mut()
                .insert(line.serial, self.now.plus(wait));
        }
        if let (Some(time), Ok(_)) = (self.throttles.get(&line.node), said) {
            let until = self.now.plus(wait + *time);
            self.muted.borrow_mut().insert(line.serial, until);
        }
        let (true, Ok(said)) = (self.rests, said) else {
            return;
        };
        // Records come in a cluster at rest as well: a follower's old end would stay behind its
        // leader's for ever.
        if matches!(question, Question::Ends(_)) || tells_of_a_set_clock(said) {
            return;
        }
        let mut answers = self.answers.borrow_mut();
        let known = answers.entry(line.node).or_default();
        if known.iter().all(|(asked, _, _)| asked != question) {
            known.push((question.clone(), wait, said.clone()));
        }
    }

    /// The page of a node at rest, once it is known.
    pub(super) fn page(&self, cluster: &Cluster, node: NodeId) -> Option<JmxFacts> {
        let page = self.rests.then(|| self.pages.borrow().get(&node).cloned());
        let mut page = page.flatten()?;
        // What its exporter gets wrong stays as it was kept.
        if cluster.exporter_is_well(node) {
            let end = f64::from(i32::try_from(cluster.metadata_watermark()).unwrap_or(i32::MAX));
            for metric in [Metric::RaftHighWatermark, Metric::RaftLogEndOffset] {
                page.values.entry(metric).and_modify(|value| *value = end);
            }
        }
        Some(page)
    }

    pub(super) fn keep_page(&self, node: NodeId, page: &JmxFacts) {
        if self.rests {
            self.pages.borrow_mut().insert(node, page.clone());
        }
    }
}

/// The metadata log moves in a cluster at rest as well: what is told of its offsets is as of now.
fn as_of_now(cluster: &Cluster, node: NodeId, said: &Said) -> Said {
    let mut said = said.clone();
    match &mut said {
        Said::Versions(versions) if cluster.link(node, Listener::Broker) == Link::Accepts => {
            versions.finalized_epoch = cluster.published_offset(node).unwrap_or(-1);
        }
        Said::Facts(Facts::Quorum(quorum)) => {
            let end = cluster.metadata_watermark();
            quorum.high_watermark = end;
            for member in quorum.voters.iter_mut().chain(&mut quorum.observers) {
                member.log_end_offset = end;
            }
        }
        Said::Versions(_) | Said::Facts(_) | Said::Identity(_) | Said::Ends(_) => {}
    }
    said
}

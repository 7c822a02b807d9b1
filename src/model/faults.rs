//! Faults beside the life of processes: exporters that lie, answers that are slow, throttled or
//! cut, rights that are missing.
//!
//! Rights and what they hide are measured (kafka-lab.md, sections 5 and 7), what exporters do is
//! read and captured (kafka-jmx-metrics.md, sections 3.4 and 4). That something slows or cuts
//! answers is assumed, its numbers are the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::jmx::Page;
use super::life::{OperationError, millis};
use super::state::Millis;
use super::{Answer, Cluster, NodeId};

/// What is wrong with a node's exporter while the node itself goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its port is closed (assumed: the agent's server died in a JVM that goes on).
    Dead,
    /// It accepts and never answers, as a scrape that waits for a lock in the JVM (assumed).
    Hangs,
    /// An HTML page with status 200, as a proxy or a wrong path gives (assumed).
    Html,
    /// Status 200 and nothing (assumed).
    Empty,
    /// Status 500, as in `startDelaySeconds` (kafka-jmx-metrics.md, section 3.4).
    Error,
    /// The page ends in the middle of a line (assumed: a proxy's limit or time-out).
    Cut,
    /// Every value is NaN (assumed: the text format allows it, kafka-jmx-metrics.md, section 4.3).
    NotANumber,
    /// The page of the moment in which the fault began, for ever (`scrapeTimeoutSeconds`,
    /// kafka-jmx-metrics.md, section 4.1).
    Stale,
    /// The page of another node: targets swapped (assumed: a mistake of configuration).
    Of(NodeId),
}

impl Cluster {
    /// Breaks or mends (`None`) the exporter of a node.
    ///
    /// # Errors
    /// When the node, or the one whose page it shall show, does not exist.
    pub fn set_exporter(&mut self, id: NodeId, fault: Option<Fault>) -> Result<(), OperationError> {
        self.known(id)?;
        if let Some(Fault::Of(other)) = fault {
            self.known(other)?;
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.exporter_fault = None;
        }
        let old_page = match self.jmx_page(id) {
            Page::Text { body, .. } => body,
            Page::Refused | Page::Silent | Page::Reset => String::new(),
        };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.exporter_fault = fault;
            node.old_page = old_page;
        }
        Ok(())
    }

    /// The node's exporter shows the page of its own process, as of now.
    #[must_use]
    pub fn exporter_is_well(&self, id: NodeId) -> bool {
        let node = self.nodes.get(&id);
        node.is_some_and(|node| node.exporter_fault.is_none())
    }

    /// Takes from clients (or gives back) the right to describe topics: Metadata then answers
    /// zero topics and no error, while DescribeLogDirs and DescribeCluster, which need other
    /// rights, answer as before (kafka-lab.md, sections 5 and 7).
    pub fn hide_topics(&mut self, hidden: bool) {
        self.rights.no_topics = hidden;
    }

    /// The same for one topic by its name, which need not exist yet: a rule with a prefix that
    /// does not fit every topic.
    pub fn hide_topic(&mut self, name: &str, hidden: bool) {
        if hidden {
            self.rights.hidden.insert(name.to_owned());
        } else {
            self.rights.hidden.remove(name);
        }
    }

    /// Takes from clients (or gives back) the rights Describe and DescribeConfigs on the cluster:
    /// DescribeLogDirs, DescribeQuorum, ListPartitionReassignments and DescribeConfigs of brokers
    /// then answer error 31. DescribeCluster answers all the same (kafka-lab.md, section 7).
    pub fn hide_cluster(&mut self, hidden: bool) {
        self.rights.no_cluster = hidden;
    }

    /// Takes from clients (or gives back) the right to describe groups: error 30.
    pub fn hide_groups(&mut self, hidden: bool) {
        self.rights.no_groups = hidden;
    }

    /// A client is not told what it has to know of topics or of the cluster.
    #[must_use]
    pub fn hides(&self) -> bool {
        let rights = &self.rights;
        rights.no_topics || rights.no_cluster || !rights.hidden.is_empty()
    }

    /// A client is not told of this topic.
    #[must_use]
    pub fn hides_topic(&self, name: &str) -> bool {
        self.rights.hides(name)
    }

    /// This node's answers are cut.
    #[must_use]
    pub fn cuts_answers_of(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.answers.cut)
    }

    /// Some node's answers are cut.
    #[must_use]
    pub fn cuts_answers(&self) -> bool {
        self.nodes.values().any(|node| node.answers.cut)
    }

    /// Every answer of the node takes this much longer from now on (assumed: a long garbage
    /// collection, a slow network).
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_latency(&mut self, id: NodeId, latency: Duration) -> Result<(), OperationError> {
        self.answers(id)?.latency = millis(latency);
        Ok(())
    }

    /// Somebody sets the node's wall clock forward, or back, by so many milliseconds. It shows in what
    /// the node tells of the quorum as its leader; nothing else here goes by wall clocks.
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn step_clock(&mut self, id: NodeId, by: i64) -> Result<(), OperationError> {
        let now = self.now;
        let node = self.nodes.get_mut(&id).ok_or(OperationError::NoNode(id))?;
        node.clock_set.push((now, node.clock_ahead));
        node.clock_ahead = node.clock_ahead.saturating_add(by);
        Ok(())
    }

    /// Answers of the node to one kind of request (by its API key) take this much longer from now
    /// on, as big ones do. A broker answers the requests of one connection one after the other
    /// (`Processor.processCompletedReceives` mutes the channel), so the next one on that connection
    /// waits as well and those on others do not.
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_answer_time(
        &mut self,
        id: NodeId,
        api_key: i16,
        time: Duration,
    ) -> Result<(), OperationError> {
        self.answers(id)?.times.insert(api_key, millis(time));
        Ok(())
    }

    /// The node throttles its clients from now on (a request quota): answers come at once and
    /// carry `throttle_time_ms`, and for that long nothing is read from the connection (KIP-219),
    /// see [`Cluster::mute`]. Zero ends it.
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_throttle(&mut self, id: NodeId, time: Duration) -> Result<(), OperationError> {
        self.answers(id)?.throttle = millis(time);
        Ok(())
    }

    /// Answers of the node end in the middle from now on, as after a proxy that cuts them: the
    /// frame is whole and says less than it should.
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_answers_cut(&mut self, id: NodeId, cut: bool) -> Result<(), OperationError> {
        self.answers(id)?.cut = cut;
        Ok(())
    }

    /// The node's exporter needs this long for a page from now on (kafka-jmx-metrics.md, section
    /// 4.2: seconds to minutes on big brokers), see [`Cluster::page_time`].
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_page_time(&mut self, id: NodeId, time: Duration) -> Result<(), OperationError> {
        let node = self.nodes.get_mut(&id).ok_or(OperationError::NoNode(id))?;
        node.page_time = millis(time);
        Ok(())
    }

    /// How long after a scrape began its page comes; the page is of the scrape's beginning.
    #[must_use]
    pub fn page_time(&self, id: NodeId) -> Duration {
        Duration::from_millis(self.nodes.get(&id).map_or(0, |node| node.page_time))
    }

    fn answers(&mut self, id: NodeId) -> Result<&mut Answers, OperationError> {
        let node = self.nodes.get_mut(&id).ok_or(OperationError::NoNode(id))?;
        Ok(&mut node.answers)
    }

    /// How long the node reads nothing more from a connection after an answer on it.
    #[must_use]
    pub fn mute(&self, id: NodeId) -> Duration {
        let throttle = self.nodes.get(&id).map_or(0, |node| node.answers.throttle);
        Duration::from_millis(throttle)
    }
}

/// What clients may not see.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    no_topics: bool,
    hidden: BTreeSet<String>,
    pub no_cluster: bool,
    pub no_groups: bool,
}

impl Rights {
    pub(super) fn hides(&self, topic: &str) -> bool {
        self.no_topics || self.hidden.contains(topic)
    }
}

/// How a node answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// Extra time before each answer.
    pub latency: Millis,
    /// Extra time by API key.
    pub times: BTreeMap<i16, Millis>,
    pub throttle: Millis,
    pub cut: bool,
}

impl Answers {
    /// The answer to `request`, once it is this node's turn.
    pub(super) fn of(&self, request: &[u8], mut bytes: Vec<u8>) -> Answer {
        let key = request.first_chunk().map(|key| i16::from_be_bytes(*key));
        let own = key.and_then(|key| self.times.get(&key));
        let wait = self.latency + own.copied().unwrap_or(0);
        if self.cut {
            bytes.truncate(bytes.len() / 2);
        }
        if wait > 0 {
            Answer::Delay(Duration::from_millis(wait), bytes)
        } else {
            Answer::Reply(bytes)
        }
    }
}

//! Faults beside the life of processes: exporters that lie, rights that are missing.

use super::jmx::Page;
use super::life::OperationError;
use super::{Cluster, NodeId};

/// What is wrong with a node's exporter while the node itself goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its port is closed.
    Dead,
    /// It accepts and never answers.
    Hangs,
    /// An HTML page with status 200, as a proxy or a wrong path gives.
    Html,
    /// Status 200 and nothing.
    Empty,
    /// Status 500, as in `startDelaySeconds` (kafka-jmx-metrics.md, section 3.4).
    Error,
    /// The page ends in the middle of a line.
    Cut,
    /// Every value is NaN.
    NotANumber,
    /// The page of the moment in which the fault began, for ever (`scrapeTimeoutSeconds`).
    Stale,
    /// The page of another node: targets swapped.
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

    /// Takes from clients (or gives back) the right to describe topics: Metadata then answers
    /// zero topics and no error, while DescribeLogDirs and DescribeCluster, which need other
    /// rights, answer as before (kafka-lab.md, sections 5 and 7).
    pub fn hide_topics(&mut self, hidden: bool) {
        self.topics_hidden = hidden;
    }
}

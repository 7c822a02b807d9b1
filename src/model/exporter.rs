//! The exporter as a process: when it answers, whose start time it tells, what it says while the
//! JVM behind it is gone (kafka-jmx-metrics.md, sections 1 and 3.4).

use super::faults::Fault;
use super::jmx::{Page, text};
use super::state::{Node, ORIGIN, Process};
use super::{Cluster, Link, NodeId};

/// How the exporters run; the default is the agent inside Kafka's JVM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exporter {
    /// A process of its own that reads the JVM over RMI. It lives on while Kafka is down and then
    /// answers 200 with its own metrics only.
    pub standalone: bool,
    /// `startDelaySeconds`, in milliseconds from the start of the JVM (Confluent's rules: 60 to
    /// 120 s): the broker is long back before its page is.
    pub start_delay: u64,
    /// What an agent does in that time.
    pub delayed: Delayed,
}

/// What an agent does until its start delay is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delayed {
    /// Closes the connection without an answer (0.x).
    Closes,
    /// Status 500 (1.0 to 1.5).
    #[default]
    Fails,
    /// Does not listen yet (1.6).
    Refuses,
}

impl Cluster {
    /// What a new connection to the node's exporter meets. An agent lives from the start of the
    /// JVM to its end, whatever Kafka does.
    #[must_use]
    pub fn jmx_link(&self, id: NodeId) -> Link {
        let Some(node) = self.nodes.get(&id) else {
            return Link::Refuses;
        };
        if node.exporter_fault == Some(Fault::Dead)
            && (node.alive() || self.spec.exporter.standalone)
        {
            return Link::Refuses;
        }
        if self.spec.exporter.standalone {
            return Link::Accepts;
        }
        let refuses = self.spec.exporter.delayed == Delayed::Refuses && self.delayed(node);
        match node.process {
            Process::Ended { reset_until, .. } if self.now < reset_until => Link::Accepts,
            Process::Ended { .. } => Link::Refuses,
            Process::Alive | Process::Stopping { .. } if self.now < node.exporter_at || refuses => {
                Link::Refuses
            }
            Process::Alive | Process::Stopping { .. } if node.frozen => Link::Silent,
            Process::Alive | Process::Stopping { .. } => Link::Accepts,
        }
    }

    /// The node's exporter is in its start delay.
    #[must_use]
    pub fn exporter_delayed(&self, id: NodeId) -> bool {
        let node = self.nodes.get(&id).filter(|node| node.alive());
        !self.spec.exporter.standalone && node.is_some_and(|node| self.delayed(node))
    }

    fn delayed(&self, node: &Node) -> bool {
        self.now < node.started + self.spec.exporter.start_delay
    }

    /// One scrape of `/metrics` of the node's exporter.
    #[must_use]
    pub fn jmx_page(&self, id: NodeId) -> Page {
        let Some(node) = self.nodes.get(&id) else {
            return Page::Refused;
        };
        let standalone = self.spec.exporter.standalone;
        match (self.jmx_link(id), node.process) {
            (Link::Refuses, _) => Page::Refused,
            (Link::Silent, _) => Page::Silent,
            (Link::Accepts, Process::Ended { .. }) if !standalone => Page::Reset,
            // Nobody answers its calls over RMI; it may show its last page instead.
            (Link::Accepts, _) if node.frozen && node.exporter_fault != Some(Fault::Stale) => {
                Page::Silent
            }
            (Link::Accepts, _) if !standalone && self.delayed(node) => {
                match self.spec.exporter.delayed {
                    Delayed::Closes => Page::Reset,
                    Delayed::Fails => text(500, String::new()),
                    Delayed::Refuses => Page::Refused,
                }
            }
            (Link::Accepts, _) => match node.exporter_fault {
                None => text(200, self.page(node)),
                Some(fault) => self.faulty_page(node, fault),
            },
        }
    }

    /// When the process that the exporter runs in started, milliseconds since 1970; `None` when
    /// there is none. Connections to it end when this changes.
    #[must_use]
    pub fn exporter_start(&self, id: NodeId) -> Option<i64> {
        if self.spec.exporter.standalone {
            self.nodes.get(&id)?;
            return Some(self.wall(ORIGIN) - 86_400_000);
        }
        self.process_start(id)
    }
}

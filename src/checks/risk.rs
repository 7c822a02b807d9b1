//! What stopping replicas does to one partition, in numbers (DESIGN 4.4).

use crate::evidence::policy::{Policy, Weight};

use super::reason::{Reason, Severity};

/// One partition and how many of its replicas would stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// Replicas that count (assigned, not being added).
    pub(super) required: usize,
    /// Of these, how many would stop.
    pub(super) stopped: usize,
    /// Copies there are now: in sync and on nodes that are up.
    pub(super) in_sync: usize,
    /// Copies that are left.
    pub(super) left: usize,
    /// Whether it has a leader now.
    pub(super) has_leader: bool,
    /// Effective `min.insync.replicas`, where known.
    pub(super) min_isr: Option<usize>,
    /// Kafka's own topic.
    pub(super) internal: bool,
}

impl Stop {
    /// The risk and its severity, if there is one. A min ISR that is not known is not judged
    /// here: whoever calls this says so beside it.
    pub(super) fn risk(&self, policy: &Policy) -> Option<(Reason, Severity)> {
        let by_design = self.by_design();
        let full = self.has_leader && self.required > 0 && self.in_sync == self.required;
        if full && self.stopped <= 1 {
            return by_design.map(|reason| (reason, severity(policy.structural)));
        }
        // Two replicas stopped at once are the caller's doing, not the topic's, and not what is
        // missing already.
        let mut severity_now = if self.stopped > 1 {
            Severity::Block
        } else {
            severity(policy.degraded)
        };
        if by_design.is_some() {
            severity_now = severity_now.max(severity(policy.structural));
        }
        self.by_now().map(|reason| (reason, severity_now))
    }

    /// What one replica less does with everything up and in sync.
    fn by_design(&self) -> Option<Reason> {
        let left = self.required.saturating_sub(1);
        let under = self.min_isr.is_some_and(|min| left < min);
        if self.stopped == 0 {
            None
        } else if self.internal && (left == 0 || under) {
            Some(Reason::InternalTopicAtRisk)
        } else if left == 0 {
            Some(Reason::SingleReplica)
        } else if under {
            Some(Reason::NoSpareReplica)
        } else if left == 1 {
            Some(Reason::LastCopyByDesign)
        } else {
            None
        }
    }

    fn by_now(&self) -> Option<Reason> {
        if self.left == 0 || !self.has_leader {
            Some(Reason::WouldGoOffline)
        } else if self.min_isr.is_some_and(|min| self.left < min) {
            Some(Reason::WouldLoseMinIsr)
        } else if self.left == 1 && self.required > 1 {
            Some(Reason::WouldLeaveLastCopy)
        } else {
            None
        }
    }
}

/// What the policy makes of a class of risk.
pub(super) const fn severity(weight: Weight) -> Severity {
    match weight {
        Weight::Block => Severity::Block,
        Weight::Warn => Severity::Warn,
    }
}

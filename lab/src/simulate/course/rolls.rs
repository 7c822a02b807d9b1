//! Operators ask and go, and what they are told of leases is held against the truth.

use std::collections::BTreeSet;
use std::sync::Arc;

use upgrade_gate::clock::Clock;
use upgrade_gate::gate::doc::GateDoc;
use upgrade_gate::gate::lease::{Lease, LeaseId};
use upgrade_gate::model::{Cluster, NodeId};
use upgrade_gate::time::Timestamp;

use super::{Course, Truths};
use crate::simulate::ledger::{LONGEST_WRITE, Outside, Told};
use crate::simulate::operator::Roll;
use crate::simulate::oracle::{Said, Truth, are_apart};
use crate::simulate::rivals::Role;
use crate::simulate::world::WorldClock;

impl Course {
    /// Operators ask, and go when they may.
    pub(super) fn roll(&mut self, cluster: &Cluster, truths: &Truths, said: &Said) {
        for roll in &mut self.rolls {
            let asked = roll.asks(self.now, cluster).filter(|_| !roll.repairs());
            let ops = roll.act(self.now, cluster, said, &mut self.mail);
            let goes = !ops.is_empty() || roll.goes_later();
            match asked {
                Some(stop) if goes => {
                    let role = Role::of(cluster, &stop);
                    let harm = self.oracle.would_harm(&stop);
                    self.rolled.goes(role, harm.as_ref());
                    let by_harm = self.by_harm.as_ref();
                    if let (Some(rolled), Some(oracle)) = (&mut self.rolled_by_harm, by_harm) {
                        rolled.goes(role, oracle.would_harm(&stop).as_ref());
                    }
                    let grants = &mut self.ledger.grants;
                    grants.late += u64::from(roll.goes_later());
                    grants.left_early += u64::from(roll.has_left_early());
                }
                Some(stop) => {
                    let harmless = |truth: &Truth| truth.against(&stop).is_none();
                    self.rolled.waits(self.step, harmless(&truths.own));
                    if let Some(rolled) = &mut self.rolled_by_harm {
                        rolled.waits(self.step, harmless(&truths.by_harm));
                    }
                }
                None => {}
            }
            self.decided.extend(ops);
        }
    }

    /// Notes when everybody is done.
    pub(super) fn end_rolls(&mut self) {
        let over = self.rolls.iter().all(Roll::is_over) && !self.rolls.is_empty();
        let done = self.next >= self.order.plan.ops.len() && self.decided.is_empty();
        if over && done {
            self.over_since.get_or_insert(self.now);
        }
    }

    /// What was told of leases, held against the truth of this version.
    pub(super) fn account_leases(
        &mut self,
        cluster: &Cluster,
        version: u64,
        truth: &Truth,
        stored: Option<&GateDoc>,
    ) {
        let mut operators = self.order.plan.operators.iter();
        if operators.all(|operator| operator.owner.is_none()) {
            return;
        }
        self.away.look(self.now, version, truth, cluster);
        let outside = Outside {
            now: self.now,
            wall: self.wall(),
            away: self.away.known(&self.oracle),
            owed: self.owed(cluster),
            stored,
        };
        self.ledger.said(std::mem::take(&mut self.mail.said));
        let ids = |lease: &Lease| lease.nodes.iter().map(|node| node.0).collect();
        let apart = |one: &Lease, other: &Lease| are_apart(cluster, &ids(one), &ids(other));
        for (lease, stop) in std::mem::take(&mut self.mail.told) {
            let harm = self.oracle.would_harm(&stop);
            let nodes = stop.nodes.iter().copied();
            let gone: BTreeSet<NodeId> = nodes.filter(|id| self.is_gone(cluster, *id)).collect();
            let told = Told {
                lease: &lease,
                asked: &stop.nodes,
                gone: &gone,
                harm: harm.as_ref(),
            };
            self.ledger.told(&told, apart, &outside);
        }
        for ended in std::mem::take(&mut self.mail.over) {
            self.ledger.over(&ended, &outside);
        }
        self.ledger.look(&outside);
        if self.gone {
            self.ledger.gate_is_gone(stored);
        }
    }

    /// Leases whose owners have yet to stop what they were told "go" for.
    fn owed(&self, cluster: &Cluster) -> BTreeSet<LeaseId> {
        let rolls = self.rolls.iter();
        rolls
            .filter_map(|roll| roll.owes(self.now, cluster))
            .collect()
    }

    /// The gate's wall clock, unless somebody has set it since an end that is seen now was decided.
    fn wall(&self) -> Option<Timestamp> {
        let set = self.wall_set;
        let old = set.is_none_or(|at| self.now > at + LONGEST_WRITE);
        old.then(|| WorldClock(Arc::clone(&self.world)).now().wall)
    }

    /// Whether a node is out, as late as the gate may be: it was down, the controllers had fenced it and it
    /// led nothing, or it is a controller and nothing else that its quorum hears no more, which has no
    /// vote, whatever its process does.
    fn is_gone(&self, cluster: &Cluster, node: NodeId) -> bool {
        let mut roles = cluster.spec().nodes.iter();
        let votes_only = roles.any(|spec| spec.id == node && !spec.roles.broker);
        let oracle = &self.oracle;
        oracle.was_down(node) || oracle.was_fenced(node) || (votes_only && oracle.is_deaf(node))
    }
}

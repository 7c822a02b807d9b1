//! What leases and holds say to a judgement, and how they are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Desk;
use super::proof::Wait;
use crate::checks::apart::are_apart;
use crate::checks::finding::{Finding, Subject};
use crate::checks::reason::Reason;
use crate::evidence::ids::NodeId;
use crate::evidence::snapshot::Snapshot;
use crate::gate::lease::{Hold, Lease, LeaseId, Stage};
use crate::gate::parts::LeaseView;
use crate::time::{Human, Now};

/// What leases and holds say to a judgement.
#[derive(Clone, Debug, Default)]
pub(in crate::gate) struct Standing {
    /// Nodes that count as down because somebody may have stopped them.
    pub(in crate::gate) granted: BTreeSet<NodeId>,
    /// What speaks against every node.
    pub(in crate::gate) general: Vec<Finding>,
    /// What speaks against one node.
    pub(in crate::gate) of_nodes: Vec<(NodeId, Finding)>,
}

/// Leases that do not speak against a request.
#[derive(Clone, Debug, Default)]
pub(in crate::gate) struct Aside {
    /// The request's own, or taken over by it: of its nodes those asked for do not count as down.
    pub(in crate::gate) own: BTreeSet<LeaseId>,
    /// The nodes that are asked for.
    pub(in crate::gate) asked: BTreeSet<NodeId>,
    /// Those beside which there is another slot. Their nodes count as down all the same.
    pub(in crate::gate) beside: BTreeSet<LeaseId>,
}

impl Desk {
    /// Every slot that is taken, as it is shown.
    pub(in crate::gate) fn show_leases(&self, now: Now) -> Vec<LeaseView> {
        let show = |lease: &Lease| {
            let measured = self.measured.get(&lease.id);
            LeaseView {
                lease: lease.clone(),
                progress: measured.map(ToString::to_string).unwrap_or_default(),
                unchanged_for: measured.map_or(Duration::ZERO, |measured| {
                    now.mono.since(measured.unchanged_since)
                }),
                usually: measured.and_then(|measured| measured.usual),
            }
        };
        self.leases().into_values().map(show).collect()
    }

    /// The gate's own hold that is in force.
    pub(in crate::gate) fn hold(&self, now: Now) -> Option<&Hold> {
        let holds = self.keeper.standing().filter_map(|doc| doc.hold.as_ref());
        let mut holds = holds.filter(|hold| self.is_on(hold, now));
        holds.next()
    }

    /// Whether a hold is in force. By the boot clock where this process has seen it begin: a wall
    /// clock that is set forward must not lift it, and one that is set back must not prolong it.
    fn is_on(&self, hold: &Hold, now: Now) -> bool {
        let Some(until) = hold.until else {
            return true;
        };
        let end = self.hold_ends.get(&until);
        end.map_or(now.wall < until, |end| now.mono < *end)
    }

    /// Nodes that are held, once each.
    pub(in crate::gate) fn node_holds(&self, now: Now) -> BTreeMap<NodeId, &Hold> {
        let mut held = BTreeMap::new();
        let holds = self.keeper.standing().flat_map(|doc| &doc.node_holds);
        for (node, hold) in holds.filter(|(_, hold)| self.is_on(hold, now)) {
            held.entry(*node).or_insert(hold);
        }
        held
    }

    /// Which leases leave room for these nodes, `own` aside: there are more slots than leases, and
    /// what they hold together is proven to be nothing.
    pub(super) fn aside(
        &self,
        snapshot: &Snapshot<'_>,
        nodes: &BTreeSet<NodeId>,
        own: BTreeSet<LeaseId>,
    ) -> Aside {
        let others = self.leases().into_values();
        let others: Vec<&Lease> = others.filter(|lease| !own.contains(&lease.id)).collect();
        let room = others.len() < snapshot.policy.slots;
        let beside = others.into_iter().filter(|lease| match lease.stage {
            Stage::Held | Stage::Leaving | Stage::Expired => {
                room && are_apart(snapshot, &lease.nodes, nodes)
            }
            // Nobody planned this one.
            Stage::Unannounced => false,
        });
        Aside {
            beside: beside.map(|lease| lease.id).collect(),
            asked: nodes.clone(),
            own,
        }
    }

    /// What leases and holds say, those that are aside excepted.
    pub(in crate::gate) fn standing(&self, now: Now, aside: &Aside) -> Standing {
        let mut standing = Standing::default();
        let (own, others): (Vec<&Lease>, Vec<&Lease>) = self
            .leases()
            .into_values()
            .partition(|lease| aside.own.contains(&lease.id));
        for lease in own {
            // Whoever was told "go" of the whole lease may stop these as well.
            let rest = lease.nodes.difference(&aside.asked);
            standing.granted.extend(rest);
        }
        for lease in others {
            standing.granted.extend(&lease.nodes);
            if !aside.beside.contains(&lease.id) {
                standing.general.push(self.slot_taken(lease, now));
            }
            standing.general.extend(self.trouble_of(lease, now));
        }
        if let Some(hold) = self.hold(now) {
            let finding = held(Reason::Hold, Subject::Cluster, hold);
            standing.general.push(finding);
        }
        for (node, hold) in self.node_holds(now) {
            let finding = held(Reason::NodeHold, Subject::Node(node), hold);
            standing.of_nodes.push((node, finding));
        }
        standing.general.extend(self.store_trouble());
        standing
    }

    fn store_trouble(&self) -> Option<Finding> {
        let why = self.keeper.trouble()?;
        Some(Finding::new(
            Reason::StoreUnavailable,
            Subject::Cluster,
            why,
            "a store that keeps what it is given",
        ))
    }

    /// What is worth knowing of a return that does not come about.
    fn trouble_of(&self, lease: &Lease, now: Now) -> Option<Finding> {
        let measured = self.measured.get(&lease.id)?;
        let stuck = measured.stuck(now.mono);
        if let (Wait::Registration(node), None) = (&measured.wait, stuck) {
            let node = *node;
            return Some(Finding::new(
                Reason::RegistrationStalled,
                Subject::Node(node),
                "it runs and is not registered yet",
                "registered, once its session before has ended",
            ));
        }
        let stuck = stuck?;
        Some(Finding::new(
            Reason::NoProgress,
            Subject::of_nodes(&lease.nodes),
            format!("{measured}, for {}", Human(stuck)),
            "nearer to being back within ten minutes",
        ))
    }

    fn slot_taken(&self, lease: &Lease, now: Now) -> Finding {
        let since = u64::try_from(now.wall.as_nanos() - lease.granted_at.as_nanos());
        let since = Duration::from_nanos(since.unwrap_or(0));
        let progress = self.measured.get(&lease.id);
        let progress = progress.map_or_else(String::new, |measured| format!(", {measured}"));
        let finding = Finding::new(
            Reason::SlotTaken,
            Subject::of_nodes(&lease.nodes),
            format!(
                "taken by {} {} ago ({}{progress})",
                lease.owner_name(),
                Human(since),
                lease.stage.as_str()
            ),
            "no node out that is not proven back",
        );
        finding.of_many(lease.nodes.iter().map(|node| format!("node {node}")))
    }
}

fn held(reason: Reason, subject: Subject, hold: &Hold) -> Finding {
    Finding::new(
        reason,
        subject,
        format!("held by {}: {}", hold.author, hold.reason),
        "no hold",
    )
}

//! From the history alone every lease and every hold that was begun is seen to end.

use std::collections::BTreeSet;

use super::{Bed, owner};
use crate::evidence::facts::Facts;
use crate::evidence::ids::NodeId;
use crate::evidence::report::FactKind;
use crate::gate::event::What;
use crate::gate::lease::{End, LeaseId};
use crate::gate::question::Change;

/// Leases that stand by what the history says.
fn told(bed: &Bed) -> BTreeSet<LeaseId> {
    let mut stands = BTreeSet::new();
    for what in bed.happened() {
        match what {
            What::Granted { lease, .. } | What::Unannounced { lease, .. } => {
                stands.insert(*lease);
            }
            What::ProvenBack { lease, .. }
            | What::Withdrawn { lease, .. }
            | What::Broken { lease, .. }
            | What::Ended { lease, .. } => {
                stands.remove(lease);
            }
            _ => {}
        }
    }
    stands
}

fn standing(bed: &Bed) -> BTreeSet<LeaseId> {
    bed.doc.leases.keys().copied().collect()
}

fn ends(bed: &Bed) -> Vec<End> {
    let happened = bed.happened().into_iter();
    let ends = happened.filter_map(|what| match what {
        What::Ended { how, .. } => Some(how.clone()),
        _ => None,
    });
    ends.collect()
}

#[test]
fn a_takeover_of_several_leases_ends_each_of_them() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    for id in [1, 3] {
        bed.down(id);
        bed.fence(id);
    }
    bed.run(6);
    assert_eq!(standing(&bed).len(), 2, "3 went unannounced");
    let repair = bed.repair("ann", &[1, 3]).unwrap();
    assert_eq!(standing(&bed), BTreeSet::from([repair.id]));
    assert_eq!(told(&bed), standing(&bed));
    let by = owner("ann");
    let taken = End::TakenOver { by };
    assert_eq!(ends(&bed), [taken.clone(), taken]);
}

#[test]
fn a_node_that_is_retired_ends_its_lease_and_its_hold() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[103]).unwrap();
    let node = NodeId(103);
    bed.change(Change::Hold {
        node: Some(node),
        author: owner("ben"),
        reason: String::from("disks"),
        ttl: None,
    });
    bed.down(103);
    for source in bed.scene.sources(FactKind::Quorum) {
        bed.scene.edit(source, FactKind::Quorum, |facts| {
            if let Facts::Quorum(quorum) = facts {
                quorum.voters.retain(|voter| voter.node != node);
            }
        });
    }
    bed.tick();
    let by = owner("ann");
    bed.change(Change::Retire {
        node,
        by: by.clone(),
    });
    assert_eq!(ends(&bed), [End::Retired]);
    assert_eq!(told(&bed), BTreeSet::new());
    let node = Some(node);
    let lifted = What::HoldLifted { node, by };
    assert!(bed.happened().contains(&&lifted));
    assert!(bed.doc.node_holds.is_empty());
}

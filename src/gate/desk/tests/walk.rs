//! Long random walks: whatever owners, nodes, the store and the process itself do, a lease that
//! somebody was told of stands until it ends in the history, tokens only grow, and nobody is told
//! "go" beside somebody else.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Bed, owner};
use crate::evidence::scene::{Scene, set};
use crate::gate::doc::{Revision, Stored};
use crate::gate::lease::{Action, LeaseId, Token};
use crate::gate::question::{Command, Reply};

#[derive(Clone, Debug)]
enum Step {
    Enter(u8, i32, bool),
    Leave(u8, i32),
    Down(i32),
    Up,
    Run(u8),
    Written,
    Refused,
    Unclear(bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, 1..4_i32, prop::bool::weighted(0.1))
            .prop_map(|(who, node, repair)| Step::Enter(who, node, repair)),
        2 => (0..3_u8, 1..4_i32).prop_map(|(who, node)| Step::Leave(who, node)),
        1 => (1..4_i32).prop_map(Step::Down),
        2 => Just(Step::Up),
        4 => (1..8_u8).prop_map(Step::Run),
        6 => Just(Step::Written),
        1 => Just(Step::Refused),
        1 => any::<bool>().prop_map(Step::Unclear),
        1 => Just(Step::Restart),
    ]
}

/// Who was told "go", as the world outside knows it.
#[derive(Default)]
struct Outside {
    told: BTreeMap<LeaseId, (String, i32, Token)>,
    last: Token,
}

impl Outside {
    fn hear(&mut self, bed: &mut Bed) {
        for (_, reply) in std::mem::take(&mut bed.replies) {
            match reply {
                Reply::Go { lease, .. } => {
                    let node = lease.nodes.first().unwrap().0;
                    let who = lease.owner_name().to_owned();
                    let stored = bed.doc.leases.get(&lease.id);
                    assert_eq!(
                        stored.map(|l| l.token),
                        Some(lease.token),
                        "go before durable"
                    );
                    let repair = lease.action == Action::Repair;
                    let known = self.told.get(&lease.id).cloned();
                    if known.is_none() {
                        assert!(lease.token > self.last, "tokens only grow");
                        self.last = lease.token;
                        for (id, other) in &self.told {
                            let stands = bed.doc.leases.contains_key(id);
                            assert!(repair || !stands, "{who} told go beside {other:?}");
                        }
                    }
                    self.told.insert(lease.id, (who, node, lease.token));
                }
                Reply::Over(ended) => {
                    self.told.remove(&ended.id);
                }
                Reply::Verdict(_) | Reply::Verdicts(_) | Reply::Changed(_) | Reply::Refused(_) => {}
            }
        }
        // What somebody was told stands, or has ended in a document that stands.
        self.told.retain(|id, (who, ..)| {
            let stands = bed.doc.leases.contains_key(id);
            let ended = bed.doc.ended.iter().any(|ended| ended.id == *id);
            assert!(stands || ended, "the lease of {who} is lost");
            stands
        });
    }
}

fn walk(steps: Vec<Step>) {
    let names = ["ann", "ben", "cem"];
    let mut bed = Bed::new();
    bed.answers = false;
    let mut outside = Outside::default();
    let mut down: Option<(i32, Scene)> = None;
    for step in steps {
        match step {
            Step::Enter(who, node, repair) => {
                let action = if repair {
                    Action::Repair
                } else {
                    Action::Restart
                };
                bed.ask_enter(names[usize::from(who)], &[node], action);
            }
            Step::Leave(who, node) => {
                let (owner, nodes) = (owner(names[usize::from(who)]), set(&[node]));
                bed.ask(Command::Leave { owner, nodes });
            }
            Step::Down(node) => {
                if down.is_none() {
                    down = Some((node, bed.down(node)));
                }
            }
            Step::Up => {
                if let Some((node, before)) = down.take() {
                    bed.up(node, before);
                }
            }
            Step::Run(seconds) => {
                for _ in 0..seconds {
                    bed.run(1);
                    // Heard before the next document stands: what it says was true of this one.
                    outside.hear(&mut bed);
                    if !bed.commits.is_empty() && seconds % 2 == 0 {
                        bed.answer_written();
                    }
                    outside.hear(&mut bed);
                }
            }
            Step::Written if !bed.commits.is_empty() => bed.answer_written(),
            Step::Refused if !bed.commits.is_empty() => {
                bed.answer(|_, _| Stored::Refused(String::from("no")));
            }
            Step::Unclear(stood) if !bed.commits.is_empty() => {
                let (_, expect, ..) = bed.commits[0];
                bed.answer(|bed, doc| {
                    if stood && expect == Revision(bed.revision) {
                        bed.revision += 1;
                        bed.doc = doc.clone();
                    }
                    Stored::Unclear(String::from("?"))
                });
            }
            Step::Written | Step::Refused | Step::Unclear(_) => {}
            Step::Restart => bed.restart(),
        }
        outside.hear(&mut bed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_given_is_lost_or_doubled(steps in prop::collection::vec(step(), 1..60)) {
        walk(steps);
    }
}

/// Whoever asks twice for what he has, the second time for a repair, takes it over from himself.
#[test]
fn who_repairs_what_he_has_himself_was_told_the_truth_before() {
    walk(vec![
        Step::Enter(0, 2, false),
        Step::Run(1),
        Step::Written,
        Step::Enter(0, 2, false),
        Step::Enter(0, 2, true),
        Step::Run(2),
    ]);
}

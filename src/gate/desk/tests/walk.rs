//! Long random walks: whatever owners, nodes, the store and the process itself do, a lease that
//! somebody was told of stands until it ends in the history, and no proof ends it while its node is
//! down or may still be stopped; tokens only grow, and nobody is told "go" beside somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::{Bed, WINDOW, owner};
use crate::evidence::scene::{Scene, set};
use crate::gate::doc::{Revision, Stored};
use crate::gate::lease::{Action, End, Ended, LeaseId, Token};
use crate::gate::question::{Command, Reply};
use crate::time::Timestamp;

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

/// A "go" that somebody has read.
struct Told {
    who: String,
    node: i32,
    /// When it was said last.
    at: Timestamp,
    /// From when on a node that goes has gone for it: since the lease was given, or since it was
    /// said once more.
    since: Timestamp,
}

/// Who was told "go" and which nodes were down when, as the world outside knows it.
#[derive(Default)]
struct Outside {
    told: BTreeMap<LeaseId, Told>,
    tokens: BTreeSet<Token>,
    /// How often "go" was said of each.
    said: BTreeMap<Token, u32>,
    /// From when, and until when.
    downs: Vec<(i32, Timestamp, Option<Timestamp>)>,
}

impl Outside {
    fn goes_down(&mut self, node: i32, at: Timestamp) {
        self.downs.push((node, at, None));
    }

    fn comes_up(&mut self, at: Timestamp) {
        if let Some((_, _, until)) = self.downs.last_mut() {
            *until = Some(at);
        }
    }

    /// Whether a node was down at that moment, and the gate had been told so.
    fn was_down(&self, node: i32, at: Timestamp) -> bool {
        let mut downs = self.downs.iter();
        downs.any(|(id, from, until)| {
            *id == node && *from < at && until.is_none_or(|until| at <= until)
        })
    }

    /// What the gate calls a proof is held against what was true when it was decided.
    fn judge(&self, ended: &Ended, told: &Told) {
        match ended.how {
            End::ProvenBack | End::NeverGone => {}
            End::TakenOver { .. } | End::Withdrawn | End::Broken { .. } | End::Retired => return,
        }
        let Told {
            who,
            node,
            at,
            since,
        } = told;
        assert!(
            !self.was_down(*node, ended.at),
            "the lease of {who} ended while {node} was down"
        );
        // Whoever was told "go" of a node that was up may stop it, whatever it had done before: for a
        // whole window nobody takes "finished" for a proof.
        let mut downs = self.downs.iter();
        let went = downs.any(|(id, from, _)| id == node && from >= since);
        if !went && !self.was_down(*node, *at) {
            assert!(
                ended.at >= at.plus(Duration::from_secs(WINDOW)),
                "the lease of {who} ended before {node} could be stopped"
            );
        }
    }

    /// Leases of which somebody was told stand, or have ended in a document that stands.
    fn look_at_ends(&mut self, bed: &Bed) {
        let told = std::mem::take(&mut self.told);
        for (id, told) in told {
            if bed.doc.leases.contains_key(&id) {
                self.told.insert(id, told);
                continue;
            }
            let mut ended = bed.doc.ended.iter().rev();
            let ended = ended.find(|ended| ended.id == id);
            let Some(ended) = ended else {
                panic!("the lease of {} is lost", told.who);
            };
            self.judge(ended, &told);
        }
    }

    fn hear(&mut self, bed: &mut Bed) {
        self.look_at_ends(bed);
        for (_, reply) in std::mem::take(&mut bed.replies) {
            match reply {
                Reply::Go {
                    lease,
                    told,
                    evaluated,
                } => {
                    let first = !self.tokens.contains(&lease.token);
                    let said = self.said.entry(lease.token).or_default();
                    *said += 1;
                    assert!(told.is_none_or(|told| told == *said), "{told:?} {said}");
                    let node = lease.nodes.first().unwrap().0;
                    let who = lease.owner_name().to_owned();
                    let stored = bed.doc.leases.get(&lease.id);
                    assert_eq!(
                        stored.map(|l| l.token),
                        Some(lease.token),
                        "go before durable"
                    );
                    let repair = lease.action == Action::Repair;
                    let mut since = evaluated.wall;
                    if first {
                        let last = self.tokens.last().copied().unwrap_or_default();
                        assert!(lease.token > last, "tokens only grow");
                        self.tokens.insert(lease.token);
                        since = lease.granted_at;
                        let mut others = self.told.values();
                        if let Some(other) = others.next().filter(|_| !repair) {
                            panic!("{who} told go beside {} on {}", other.who, other.node);
                        }
                    }
                    let told = Told {
                        who,
                        node,
                        at: evaluated.wall,
                        since,
                    };
                    self.told.insert(lease.id, told);
                }
                Reply::Over(ended) => {
                    if let Some(told) = self.told.remove(&ended.id) {
                        self.judge(&ended, &told);
                    }
                }
                Reply::Verdict(_) | Reply::Verdicts(_) | Reply::Changed(_) | Reply::Refused(_) => {}
            }
        }
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
                bed.ask(Command::Leave {
                    owner,
                    nodes,
                    unused: None,
                });
            }
            Step::Down(node) => {
                if down.is_none() {
                    outside.goes_down(node, bed.scene.now.wall);
                    down = Some((node, bed.down(node)));
                }
            }
            Step::Up => {
                if let Some((node, before)) = down.take() {
                    outside.comes_up(bed.scene.now.wall);
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

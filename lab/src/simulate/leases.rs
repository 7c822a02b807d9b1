//! Orchestrators that take leases: their mail with the gate, an account of what they were told, and
//! a store that answers in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_gate::evidence::ids;
use upgrade_gate::gate::doc::{GateDoc, Revision, Stored};
use upgrade_gate::gate::keep::CommitId;
use upgrade_gate::gate::lease::{Action, End, Lease, LeaseId, Owner, Token};
use upgrade_gate::gate::question::{Change, Command, Entry, Reply, Ticket};
use upgrade_gate::model::NodeId;

use super::ops::Random;
use super::oracle::Harm;
use super::world::World;

/// Questions on their way to the gate, and its answers.
#[derive(Debug, Default)]
pub struct Mail {
    next: u64,
    out: Vec<(Ticket, Command)>,
    replies: BTreeMap<Ticket, Reply>,
    /// Leases that somebody has read "go" of since the last look.
    pub(super) told: Vec<Lease>,
    /// Leases that somebody has read the end of.
    pub(super) over: Vec<LeaseId>,
}

impl Mail {
    /// "May I stop this node?"
    pub fn enter(&mut self, owner: &str, node: NodeId, ttl: Duration, now: Duration) -> Ticket {
        self.ask(Command::Enter(Entry {
            owner: name(owner),
            nodes: BTreeSet::from([ids::NodeId(node)]),
            ttl,
            action: Action::Restart,
            asked: World::mono(now),
        }))
    }

    /// "I have finished with this node."
    pub fn leave(&mut self, owner: &str, node: NodeId) -> Ticket {
        self.ask(Command::Leave {
            owner: name(owner),
            nodes: BTreeSet::from([ids::NodeId(node)]),
        })
    }

    /// "This node is gone for good."
    pub fn retire(&mut self, node: NodeId) {
        self.ask(Command::Change(Change::Retire {
            node: ids::NodeId(node),
            by: name("somebody"),
        }));
    }

    fn ask(&mut self, command: Command) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.out.push((ticket, command));
        ticket
    }

    /// The answer to a question, once it is there.
    pub fn read(&mut self, ticket: Ticket) -> Option<Reply> {
        let reply = self.replies.remove(&ticket)?;
        match &reply {
            Reply::Go { lease, .. } => self.told.push(Lease::clone(lease)),
            Reply::Over(ended) => self.over.push(ended.id),
            Reply::Verdict(_) | Reply::Verdicts(_) | Reply::Changed(_) | Reply::Refused(_) => {}
        }
        Some(reply)
    }

    /// What is on its way to the gate.
    pub fn sent(&mut self) -> Vec<(Ticket, Command)> {
        std::mem::take(&mut self.out)
    }

    /// What the gate has answered.
    pub fn receive(&mut self, replies: Vec<(Ticket, Reply)>) {
        self.replies.extend(replies);
    }

    /// The gate's process is gone, and with it every question and answer on the way.
    pub fn lose(&mut self) {
        self.out.clear();
        self.replies.clear();
    }
}

fn name(owner: &str) -> Owner {
    Owner::try_from(owner.to_owned()).expect("a sound name")
}

/// What came of leases.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// How often somebody was told "go".
    pub go: u64,
    /// Of these, how many would have done harm, with time enough to notice.
    pub false_go: u64,
    /// How many before that.
    pub too_soon: u64,
    /// Told "go" beside somebody else, by a second slot, where their nodes share nothing.
    pub beside: u64,
    /// Told "go" while somebody else was out, where that must not be.
    pub doubled: u64,
    /// Told "go", and the lease is gone without an end.
    pub lost: u64,
    /// Tokens that did not grow.
    pub old_tokens: u64,
    /// The first of these, in words.
    pub first: Option<String>,
}

impl Grants {
    /// Whether nothing went wrong.
    pub const fn are_sound(&self) -> bool {
        self.false_go + self.doubled + self.lost + self.old_tokens == 0
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.go += other.go;
        self.false_go += other.false_go;
        self.too_soon += other.too_soon;
        self.beside += other.beside;
        self.doubled += other.doubled;
        self.lost += other.lost;
        self.old_tokens += other.old_tokens;
        self.first = self.first.or_else(|| other.first.clone());
        self
    }

    fn wrong(&mut self, now: Duration, what: impl FnOnce() -> String) {
        self.first
            .get_or_insert_with(|| format!("{now:?} {}", what()));
    }
}

/// Who was told "go" and not yet that it is over, as the world outside the gate knows it.
#[derive(Debug)]
pub struct Ledger {
    /// How many may be out at one time.
    slots: usize,
    out: BTreeMap<LeaseId, Lease>,
    /// The highest token of those who were out and are not any more.
    last: Token,
    /// What came of it.
    pub grants: Grants,
}

impl Ledger {
    /// Nobody was told anything yet, by a gate with so many slots.
    pub fn new(slots: usize) -> Self {
        Self {
            slots,
            out: BTreeMap::new(),
            last: Token::default(),
            grants: Grants::default(),
        }
    }

    /// Somebody reads "go"; `apart` says what is true of two leases' nodes.
    pub fn told(
        &mut self,
        now: Duration,
        lease: &Lease,
        harm: Option<&Harm>,
        apart: impl Fn(&Lease, &Lease) -> bool,
        stored: Option<&GateDoc>,
    ) {
        // Asked again, the same is said again.
        if self.out.contains_key(&lease.id) {
            return;
        }
        self.forget_proven(stored);
        self.grants.go += 1;
        if let Some(harm) = harm {
            if harm.noticed {
                self.grants.false_go += 1;
                self.grants
                    .wrong(now, || format!("go for {:?}: {}", lease.nodes, harm.why));
            } else {
                self.grants.too_soon += 1;
            }
        }
        let room = self.out.len() < self.slots;
        let clash = |other: &&Lease| !room || !apart(other, lease);
        if let Some(other) = self.out.values().find(clash) {
            self.grants.doubled += 1;
            let words = format!(
                "go for {:?} beside {} on {:?}",
                lease.nodes,
                other.owner_name(),
                other.nodes
            );
            self.grants.wrong(now, || words);
        } else {
            self.grants.beside += u64::from(!self.out.is_empty());
        }
        // Two that are out together may read of it in either order.
        let taken = self.out.values().any(|other| other.token == lease.token);
        if lease.token <= self.last || taken {
            self.grants.old_tokens += 1;
            let words = format!("token {} after {}", lease.token, self.last);
            self.grants.wrong(now, || words);
        }
        self.out.insert(lease.id, lease.clone());
    }

    /// Somebody reads that it is over.
    pub fn over(&mut self, lease: LeaseId) {
        if let Some(lease) = self.out.remove(&lease) {
            self.last = self.last.max(lease.token);
        }
    }

    /// A lease whose owner is gone ends by proof; whoever was told of another one has lost it.
    pub fn look(&mut self, now: Duration, stored: Option<&GateDoc>) {
        self.forget_proven(stored);
        let Some(stored) = stored else { return };
        let lost = |lease: &&Lease| {
            let ended = stored.ended.iter().any(|ended| ended.id == lease.id);
            !stored.leases.contains_key(&lease.id) && !ended
        };
        let lost: Vec<_> = self.out.values().filter(lost).cloned().collect();
        for lease in lost {
            self.grants.lost += 1;
            let words = format!("the lease of {} is lost", lease.owner_name());
            self.grants.wrong(now, || words);
            self.over(lease.id);
        }
    }

    fn forget_proven(&mut self, stored: Option<&GateDoc>) {
        let Some(stored) = stored else { return };
        for ended in &stored.ended {
            match ended.how {
                End::ProvenBack | End::NeverGone => {
                    self.over(ended.id);
                }
                // Nobody who was told "go" may lose the lease like this.
                End::Withdrawn | End::TakenOver { .. } | End::Broken { .. } | End::Retired => {}
            }
        }
    }
}

/// A store that takes its time, and does not always say what it has done.
#[derive(Debug)]
pub struct Flaky {
    random: Random,
    due: Vec<(Duration, CommitId, Stored)>,
}

impl Flaky {
    /// Its moods follow from the seed.
    pub const fn new(seed: u64) -> Self {
        Self {
            random: Random(seed ^ 0x0073_746f_7265),
            due: Vec::new(),
        }
    }

    /// A write comes in; what stands afterwards is decided here, what is said of it comes later.
    pub fn commit(
        &mut self,
        now: Duration,
        id: CommitId,
        expect: Revision,
        doc: GateDoc,
        stands: &mut (Revision, GateDoc),
    ) {
        let write = |stands: &mut (Revision, GateDoc)| {
            if stands.0 != expect {
                return Stored::Lost(stands.0, stands.1.clone());
            }
            *stands = (Revision(expect.0 + 1), doc.clone());
            Stored::Written(stands.0)
        };
        let said = match self.random.between(0, 19) {
            0 => Stored::Refused(String::from("disk full")),
            1 => Stored::Unclear(String::from("no answer, and it is not there")),
            2 | 3 => {
                write(stands);
                Stored::Unclear(String::from("no answer, and it is there"))
            }
            _ => write(stands),
        };
        let pause = self.random.pick(&[0, 0, 20, 200, 1_500]);
        self.due
            .push((now + Duration::from_millis(pause), id, said));
    }

    /// What has been found out by now.
    pub fn said(&mut self, now: Duration) -> Vec<(CommitId, Stored)> {
        let due = std::mem::take(&mut self.due);
        let (ready, later) = due.into_iter().partition(|(at, ..)| *at <= now);
        self.due = later;
        let ready: Vec<(Duration, CommitId, Stored)> = ready;
        ready.into_iter().map(|(_, id, said)| (id, said)).collect()
    }

    /// Whoever waited is gone.
    pub fn forget(&mut self) {
        self.due.clear();
    }
}

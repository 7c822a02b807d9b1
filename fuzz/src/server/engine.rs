//! An engine that answers everything it is asked at once, always in the same manner.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::engine::handle::Ask;
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::gate::lease::{Action, End, Ended, Hold, Lease, LeaseId, Owner, Stage, Token};
use upgrade_gate::gate::question::{Answered, Change, Changed, Command, Refusal, Reply};
use upgrade_gate::gate::state::State;
use upgrade_gate::gate::view::Decision;
use upgrade_gate::time::Now;

use super::super::served;
use super::world::NOW;

/// The lease that "go" and "over" are about.
pub(super) const LEASE: LeaseId = LeaseId(3);
/// Its fencing token.
pub(super) const TOKEN: Token = Token(7);

macro_rules! manners {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// How an engine answers everything.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Manner {
            $($(#[$doc])+ $name,)+
        }

        impl Manner {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

manners! {
    /// With what is hoped for: open, go, over, changed.
    Yes,
    /// With the same, two seconds too late to count.
    HeldUp,
    /// With a verdict: closed.
    Closed,
    /// With a verdict: unknown.
    Unknown,
    /// With a verdict: open, which reserves nothing.
    Open,
    /// With nodes that nobody expects.
    Strangers,
    /// The lease is over: its nodes never went.
    NeverGone,
    /// The lease is over: withdrawn.
    Withdrawn,
    /// The lease is over: somebody repairs its nodes.
    TakenOver,
    /// The lease is over: broken.
    Broken,
    /// The lease is over: its node is no more.
    Retired,
    /// With this refusal.
    NoSuchLease,
    /// With this refusal.
    NotEntered,
    /// With this refusal.
    OldToken,
    /// With this refusal.
    NotHeld,
    /// With this refusal.
    NothingHeld,
    /// With this refusal.
    StillExpected,
    /// With this refusal.
    NotDurable,
    /// With "go" to everything.
    Go,
    /// With "changed" to everything.
    Changed,
    /// It has ended: questions are dropped.
    Gone,
    /// It hangs: questions are kept.
    Silent,
}

/// One question, and what was answered.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) command: Command,
    reply: Option<Reply>,
}

impl Said {
    /// Whether this answer makes a 200 of the question: the one that fits it, in time.
    pub(super) fn is_yes(&self) -> bool {
        match (&self.command, &self.reply) {
            (Command::Enter(_), Some(Reply::Go { evaluated, .. })) => *evaluated == NOW,
            (Command::Leave { .. }, Some(Reply::Over(ended))) => {
                matches!(ended.how, End::ProvenBack | End::NeverGone)
            }
            (Command::Change(_), Some(Reply::Changed(_))) => true,
            (
                Command::Decide(_),
                Some(Reply::Verdict(Answered::Decided {
                    decision,
                    evaluated,
                })),
            ) => decision.state == State::Open && *evaluated == NOW,
            _ => false,
        }
    }

    /// Whether it was asked to change something.
    pub(super) const fn changes(&self) -> bool {
        !matches!(self.command, Command::Decide(_) | Command::DecideEach(_))
    }
}

/// Answers for as long as it is polled.
pub(super) async fn serve(
    inbox: &mut Receiver<Ask>,
    manner: Manner,
    said: &mut Vec<Said>,
) -> Infallible {
    let mut kept = Vec::new();
    while let Some(Ask { command, reply, .. }) = inbox.recv().await {
        let answer = manner.answer(&command);
        said.push(Said {
            command,
            reply: answer.clone(),
        });
        match answer {
            // Whoever asked may have gone.
            Some(answer) => drop(reply.send(answer)),
            None if manner == Manner::Silent => kept.push(reply),
            None => drop(reply),
        }
    }
    pending().await
}

impl Manner {
    /// The manner that a byte chooses.
    pub(super) fn of(byte: u8) -> Self {
        Self::ALL[usize::from(byte) % Self::ALL.len()]
    }

    fn answer(self, command: &Command) -> Option<Reply> {
        let over = |how| Some(Reply::Over(Box::new(ended(command, how))));
        let refused = |refusal| Some(Reply::Refused(refusal));
        let verdict = |state| {
            Some(Reply::Verdict(Answered::Decided {
                decision: decision(state),
                evaluated: NOW,
            }))
        };
        match self {
            Self::Yes => Some(hoped_for(command, NOW)),
            Self::HeldUp => {
                let before = Now {
                    mono: NOW.mono.minus(Duration::from_secs(2)),
                    ..NOW
                };
                Some(hoped_for(command, before))
            }
            Self::Closed => verdict(State::Closed),
            Self::Unknown => verdict(State::Unknown),
            Self::Open => verdict(State::Open),
            Self::Strangers => Some(Reply::Verdict(Answered::NoSuchNodes(nodes(command)))),
            Self::NeverGone => over(End::NeverGone),
            Self::Withdrawn => over(End::Withdrawn),
            Self::TakenOver => over(End::TakenOver { by: somebody() }),
            Self::Broken => over(End::Broken {
                by: somebody(),
                reason: String::from("wrong cluster"),
            }),
            Self::Retired => over(End::Retired),
            Self::NoSuchLease => refused(Refusal::NoSuchLease(LEASE)),
            Self::NotEntered => refused(Refusal::NotEntered { owner: somebody() }),
            Self::OldToken => refused(Refusal::OldToken {
                lease: LEASE,
                given: TOKEN,
            }),
            Self::NotHeld => refused(Refusal::NotHeld {
                lease: LEASE,
                stage: Stage::Expired.as_str(),
            }),
            Self::NothingHeld => refused(Refusal::NothingHeld),
            Self::StillExpected => refused(Refusal::StillExpected {
                node: NodeId(1),
                why: String::from("broker 2 names it"),
            }),
            Self::NotDurable => refused(Refusal::NotDurable(String::from("disk full"))),
            Self::Go => Some(go(command, NOW)),
            Self::Changed => Some(Reply::Changed(Changed::Broken(LEASE))),
            Self::Gone | Self::Silent => None,
        }
    }
}

fn hoped_for(command: &Command, evaluated: Now) -> Reply {
    match command {
        Command::Decide(_) | Command::DecideRepair(_) => Reply::Verdict(open(evaluated)),
        Command::DecideEach(sets) => Reply::Verdicts(vec![open(evaluated); sets.len()]),
        Command::Enter(_) => go(command, evaluated),
        Command::Leave { .. } => Reply::Over(Box::new(ended(command, End::ProvenBack))),
        Command::Change(change) => Reply::Changed(changed(change)),
    }
}

fn open(evaluated: Now) -> Answered {
    Answered::Decided {
        decision: decision(State::Open),
        evaluated,
    }
}

fn go(command: &Command, evaluated: Now) -> Reply {
    Reply::Go {
        told: Some(1),
        lease: Box::new(lease(nodes(command))),
        evaluated,
    }
}

fn changed(change: &Change) -> Changed {
    match change {
        Change::Renew { lease: id, ttl, .. } => Changed::Lease(Box::new(Lease {
            id: *id,
            expires_at: NOW.wall.plus(*ttl),
            ..lease(BTreeSet::from([NodeId(1)]))
        })),
        Change::Break { lease, .. } => Changed::Broken(*lease),
        Change::Hold {
            author,
            reason,
            ttl,
            ..
        } => Changed::Hold(Some(Hold {
            author: author.clone(),
            reason: reason.clone(),
            since: NOW.wall,
            until: ttl.map(|ttl| NOW.wall.plus(ttl)),
        })),
        Change::Lift { .. } => Changed::Hold(None),
        Change::Retire { node, .. } => Changed::Retired(*node),
    }
}

fn decision(state: State) -> Decision {
    let reasons = match state {
        State::Open => Vec::new(),
        State::Closed | State::Unknown => vec![served::under_replicated(NOW, Subject::Cluster)],
    };
    Decision { state, reasons }
}

/// The nodes that a question is about.
fn nodes(command: &Command) -> BTreeSet<NodeId> {
    match command {
        Command::Decide(question) => question.nodes.clone(),
        Command::DecideRepair(repair) => repair.nodes.clone(),
        Command::Enter(entry) => entry.nodes.clone(),
        Command::Leave { nodes, .. } => nodes.clone(),
        Command::DecideEach(sets) => sets.iter().flatten().copied().collect(),
        Command::Change(_) => BTreeSet::from([NodeId(1)]),
    }
}

/// A lease on these nodes.
pub(super) fn lease(nodes: BTreeSet<NodeId>) -> Lease {
    Lease {
        id: LEASE,
        token: TOKEN,
        owner: Some(somebody()),
        gone: nodes.clone(),
        nodes,
        action: Action::Restart,
        stage: Stage::Held,
        granted_at: NOW.wall,
        stage_since: NOW.wall,
        expires_at: NOW.wall.plus(Duration::from_secs(1800)),
        starts: BTreeMap::new(),
        retired: BTreeSet::new(),
        took_over: false,
    }
}

fn ended(command: &Command, how: End) -> Ended {
    Ended {
        id: LEASE,
        token: TOKEN,
        owner: Some(somebody()),
        nodes: nodes(command),
        how,
        at: NOW.wall,
    }
}

/// The owner in the seeds.
pub(super) fn somebody() -> Owner {
    Owner::try_from(String::from("roll-47")).expect("a name")
}

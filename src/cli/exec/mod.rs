//! `exec`: take nodes, run a command, give them back, and wait for the proof of their return.
//!
//! - `signals`: what is passed on to the command;
//! - `renew`: keeps the lease while the command runs;
//! - `failed`: what becomes of it after a command that has failed.

mod failed;
mod renew;
mod signals;

use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use self::renew::{Renewal, Renewer};
use self::signals::Signals;
use super::answer::{Asked, Raw, Refusal, Verdict};
use super::ask::{NodeArgs, WhomArgs, action, duration};
use super::client::GateClient;
use super::lease::{ANSWER, OwnerArg, post, seconds, user_at_host};
use super::out::{Exit, note};
use super::poll::{is_final, poll};
use super::print;
use crate::clock::{Clock, SystemClock};
use crate::gate::lease::Action;
use crate::gate::state::State;
use crate::time::Mono;

/// Still closed at the deadline; nothing was started.
const CLOSED: Exit = Exit::Other(120);
/// Not authorised.
const NOT_AUTHORISED: Exit = Exit::Other(121);
/// The gate cannot be reached, or is not there.
const UNREACHABLE: Exit = Exit::Other(122);
/// The command cannot be started.
const NOT_STARTABLE: Exit = Exit::Other(123);
/// Not proven back in time, or nothing can be asked about the nodes any more; the slot stays taken.
const NOT_BACK: Exit = Exit::Other(124);
/// The lease was lost after the start.
const LOST: Exit = Exit::Other(125);

/// The pause after a "go" that came to nothing, before it is asked for anew.
const AGAIN: Duration = Duration::from_secs(2);

/// A "go" just before the start that took longer is asked for once more: this machine may have slept
/// while it was on its way.
const SLOW: Duration = Duration::from_secs(3);
/// How often it is asked for at most; a gate may be that slow by itself.
const TRIES: u32 = 3;

const EXIT_CODES: &str = "\
Exit codes: the command's own (128 + n where signal n ended it), and for exec itself
  2 wrong usage or unknown nodes, 120 still closed at the deadline, 121 not authorised, 122 gate not
  reached or not there, 123 command not startable, 124 not proven back in time (the slot stays
  taken), 125 lease lost after the start. With 2, 120, 121, 122 before the start and 123, nothing was
  started.";

/// The command's arguments.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ExecArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub whom: WhomArgs,
    /// The nodes that the command stops.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// Who asks; user@host:pid by default.
    #[command(flatten)]
    pub owner: OwnerArg,
    /// For how long; renewed before the start, and at a third of it while the command runs
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub ttl: Duration,
    /// What for
    #[arg(long, value_parser = action(), default_value = Action::default().as_str())]
    pub action: Action,
    /// How long to wait for "go"
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub wait: Duration,
    /// How long to wait for the proof of return
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub wait_back: Duration,
    /// Say nothing on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// The command; UPGRADE_GATE_TOKEN and UPGRADE_GATE_LEASE are in its environment
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// A lease that "go" was said for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Granted {
    lease: u64,
    token: u64,
}

/// A lease of which every "go" was said to this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given {
    granted: Granted,
    /// How often that was.
    told: u32,
}

/// The same, renewed: nobody knows how old a lease is that "go" was said for again.
struct Ready {
    renewal: Renewal,
    /// When the renewal was asked for; the lease's time is counted from here on.
    asked: Mono,
}

struct Exec {
    args: ExecArgs,
    client: GateClient,
    asked: Asked,
    owner: String,
    /// The lease that was given to this run alone and, for all it knows, stands.
    given: Mutex<Option<Given>>,
}

impl ExecArgs {
    /// Does all of it.
    pub async fn run(self) -> Result<Exit> {
        let mut signals = Signals::listen()?;
        let owner = match &self.owner.owner {
            Some(owner) => owner.to_string(),
            None => format!("{}:{}", user_at_host(), std::process::id()),
        };
        let exec = Exec {
            client: self.whom.client()?,
            asked: Asked {
                action: self.action,
                ..self.whom.asked(&self.nodes)
            },
            owner,
            given: Mutex::new(None),
            args: self,
        };
        let entered = tokio::select! {
            entered = exec.enter() => entered,
            signal = signals.recv() => Err(Exit::Other(signal.exit_code())),
        };
        match entered {
            Ok(ready) => exec.start(ready, signals).await,
            Err(exit) => {
                exec.give_back_unused().await;
                Ok(exit)
            }
        }
    }
}

impl Exec {
    /// Waits until everything is ready for the start.
    async fn enter(&self) -> Result<Ready, Exit> {
        let deadline = Instant::now().checked_add(self.args.wait);
        let left = || deadline.map_or(Duration::MAX, |deadline| deadline - Instant::now());
        let mut told = String::new();
        loop {
            let verdict = match self.go(left()).await {
                Ok(ready) => return Ok(ready),
                Err(verdict) => verdict,
            };
            let summary = print::summary(&verdict).to_string();
            if summary != told {
                self.say(&summary);
                told = summary;
            }
            if is_final(&verdict) || left().is_zero() {
                return Err(not_entered(&verdict));
            }
            sleep(AGAIN.min(left())).await;
        }
    }

    /// Waits for "go", sees to it that the lease has all its time, and asks once more just before
    /// the start. What comes back instead never says open.
    async fn go(&self, within: Duration) -> Result<Ready, Verdict> {
        let more = [
            ("owner", self.owner.clone()),
            ("ttl", seconds(self.args.ttl)),
            ("action", String::from(self.args.action.as_str())),
        ];
        let ask = async |keep, within| {
            post(&self.client, &self.asked, "enter", &more, keep, within).await
        };
        let (verdict, _) = poll(within, self.args.quiet, &ask).await;
        let Some(granted) = granted(&verdict) else {
            return Err(verdict);
        };
        if !self.heard(granted, &verdict) {
            self.say(&format!(
                "go for lease {} was said to another request of {} as well, and is gone on with",
                granted.lease, self.owner
            ));
        }
        let renewal = Renewal {
            client: self.client.clone(),
            asked: self.asked.clone(),
            granted,
            ttl: self.args.ttl,
        };
        let asked = renewal
            .once(ANSWER)
            .await
            .map_err(|verdict| self.lost(granted, verdict))?;
        let verdict = self.once_more(&ask).await;
        match self::granted(&verdict) {
            Some(again) if again == granted && boot().since(asked) < self.args.ttl => {
                Ok(Ready { renewal, asked })
            }
            Some(_) => Err(Verdict::Contradicts(format!(
                "lease {} did not last until the start",
                granted.lease
            ))),
            None => Err(verdict),
        }
    }

    /// Asks just before the start, until an answer is young by the boot clock.
    async fn once_more(
        &self,
        ask: &impl AsyncFn(u64, Duration) -> (Verdict, Option<Raw>),
    ) -> Verdict {
        let mut tries = 0;
        loop {
            let begun = boot();
            let (verdict, _) = ask(0, ANSWER).await;
            let Some(again) = granted(&verdict) else {
                return verdict;
            };
            self.heard(again, &verdict);
            tries += 1;
            if boot().since(begun) <= SLOW || tries >= TRIES {
                return verdict;
            }
        }
    }

    async fn start(&self, ready: Ready, signals: Signals) -> Result<Exit> {
        let Some((program, arguments)) = self.args.command.split_first() else {
            self.give_back_unused().await;
            return Ok(NOT_STARTABLE);
        };
        let granted = ready.renewal.granted;
        let spawned = Command::new(program)
            .args(arguments)
            .env("UPGRADE_GATE_TOKEN", granted.token.to_string())
            .env("UPGRADE_GATE_LEASE", granted.lease.to_string())
            .env("UPGRADE_GATE_OWNER", &self.owner)
            .spawn();
        match spawned {
            Ok(child) => {
                self.say(&format!(
                    "go: lease {} token {}, {program} started",
                    granted.lease, granted.token
                ));
                self.accompany(child, ready, signals).await
            }
            Err(error) => {
                self.say(&format!("{program} cannot be started: {error}"));
                self.give_back_unused().await;
                Ok(NOT_STARTABLE)
            }
        }
    }

    /// Keeps the lease and passes signals on until the command ends; then gives the lease back, where that
    /// is safe.
    async fn accompany(
        &self,
        mut child: Child,
        ready: Ready,
        mut signals: Signals,
    ) -> Result<Exit> {
        let pid = child.id();
        let granted = ready.renewal.granted;
        let renewer = Renewer::start(ready.renewal, ready.asked);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                signal = signals.recv() => signal.pass_on(pid),
            }
        };
        let lost = renewer.end().await;
        let code = exit_code(status);
        if lost {
            // What stands under this owner's name by now is somebody else's.
            self.say(&format!(
                "the lease was lost while the command ran; the command ended with {code}"
            ));
            return Ok(LOST);
        }
        if code != 0 {
            self.failed(granted, code, &mut signals).await;
            return Ok(Exit::Other(code));
        }
        tokio::select! {
            exit = self.back() => Ok(exit),
            signal = signals.recv() => Ok(Exit::Other(signal.exit_code())),
        }
    }

    /// Says that the command has finished, and waits for the proof.
    async fn back(&self) -> Exit {
        let more = [("owner", self.owner.clone())];
        let ask = async |keep, within| {
            post(&self.client, &self.asked, "leave", &more, keep, within).await
        };
        let (verdict, _) = poll(self.args.wait_back, self.args.quiet, &ask).await;
        self.say(&match &verdict {
            Verdict::Says(State::Open, body) => {
                print::never_gone(body).unwrap_or_else(|| String::from("back"))
            }
            Verdict::Says(State::Closed | State::Unknown, _)
            | Verdict::Contradicts(_)
            | Verdict::Unreachable(_)
            | Verdict::Refused(..) => format!("not proven back: {}", print::summary(&verdict)),
        });
        if let Verdict::Says(_, body) = &verdict
            && !self.args.quiet
        {
            print::reasons(&body.reasons);
        }
        back(&verdict)
    }

    fn given(&self) -> MutexGuard<'_, Option<Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every "go" of this lease so far was said to this run. Another one under the same owner may
    /// have been told before, or be told in between.
    fn heard(&self, granted: Granted, verdict: &Verdict) -> bool {
        let mut given = self.given();
        let before = given.filter(|given| given.granted == granted);
        let before = before.map_or(0, |given| given.told);
        let told = times_told(verdict).filter(|told| *told == before.saturating_add(1));
        *given = told.map(|told| Given { granted, told });
        given.is_some()
    }

    /// A lease that was over before the start is asked for anew, like one that was never given.
    fn lost(&self, granted: Granted, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Refused(Refusal::Conflict, why) => {
                *self.given() = None;
                Verdict::Contradicts(format!(
                    "lease {} is lost before the start: {why}",
                    granted.lease
                ))
            }
            verdict => verdict,
        }
    }

    /// Nothing was started. A lease of this owner that another run was told of as well stays: that run
    /// may go on with it, or have been killed while its command lives on; the gate looks once more
    /// whether there is one. Where only an answer was lost, the gate takes the lease back when it sees
    /// the connection end, or its time goes by.
    async fn give_back_unused(&self) {
        let given = *self.given();
        if let Some(Given { granted, told }) = given {
            let unused = format!("{}.{told}", granted.token);
            self.leave_once(&[("owner", self.owner.clone()), ("unused", unused)])
                .await;
        }
    }

    /// Says once that nothing is wanted any more. Where it is not heard, the lease ends by itself:
    /// its time goes by, and its nodes are seen to be up.
    async fn give_back(&self) {
        self.leave_once(&[("owner", self.owner.clone())]).await;
    }

    async fn leave_once(&self, more: &[(&'static str, String)]) {
        let _ = post(&self.client, &self.asked, "leave", more, 0, ANSWER).await;
    }

    fn say(&self, what: &str) {
        if !self.args.quiet {
            note(&format!("upgrade-gate: {what}"));
        }
    }
}

/// Now, by the clock that goes on while this machine sleeps: the gate's time goes on as well.
fn boot() -> Mono {
    SystemClock.now().mono
}

fn granted(verdict: &Verdict) -> Option<Granted> {
    match verdict {
        Verdict::Says(State::Open, body) => Some(Granted {
            lease: body.lease?,
            token: body.token?,
        }),
        Verdict::Says(State::Closed | State::Unknown, _)
        | Verdict::Contradicts(_)
        | Verdict::Unreachable(_)
        | Verdict::Refused(..) => None,
    }
}

/// How often "go" has been said for that lease, where the gate tells.
fn times_told(verdict: &Verdict) -> Option<u32> {
    match verdict {
        Verdict::Says(State::Open, body) => body.told,
        Verdict::Says(State::Closed | State::Unknown, _)
        | Verdict::Contradicts(_)
        | Verdict::Unreachable(_)
        | Verdict::Refused(..) => None,
    }
}

/// How it ends where nothing was started.
const fn not_entered(verdict: &Verdict) -> Exit {
    match verdict {
        Verdict::Refused(Refusal::Question, _) => Exit::Usage,
        Verdict::Refused(Refusal::NotAuthorised, _) => NOT_AUTHORISED,
        Verdict::Refused(Refusal::NotThere, _) | Verdict::Unreachable(_) => UNREACHABLE,
        Verdict::Says(..) | Verdict::Contradicts(_) | Verdict::Refused(Refusal::Conflict, _) => {
            CLOSED
        }
    }
}

/// How it ends after the command.
const fn back(verdict: &Verdict) -> Exit {
    match verdict {
        Verdict::Says(State::Open, _) => Exit::Open,
        Verdict::Refused(Refusal::Conflict, _) => LOST,
        Verdict::Refused(Refusal::NotAuthorised, _) => NOT_AUTHORISED,
        Verdict::Refused(Refusal::NotThere, _) | Verdict::Unreachable(_) => UNREACHABLE,
        // A question that is not taken any more: a machine that a reload has taken out meanwhile.
        Verdict::Says(State::Closed | State::Unknown, _)
        | Verdict::Contradicts(_)
        | Verdict::Refused(Refusal::Question, _) => NOT_BACK,
    }
}

/// The command's code as a shell tells it.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn nothing_but_a_lease_with_its_token_starts_anything() {
        let refused = |refusal| Verdict::Refused(refusal, String::new());
        for (verdict, before, after) in [
            (Verdict::Contradicts(String::new()), CLOSED, NOT_BACK),
            (
                Verdict::Unreachable(String::new()),
                UNREACHABLE,
                UNREACHABLE,
            ),
            (
                refused(Refusal::NotAuthorised),
                NOT_AUTHORISED,
                NOT_AUTHORISED,
            ),
            (refused(Refusal::NotThere), UNREACHABLE, UNREACHABLE),
            (refused(Refusal::Question), Exit::Usage, NOT_BACK),
            (refused(Refusal::Conflict), CLOSED, LOST),
        ] {
            assert_eq!(granted(&verdict), None);
            assert_eq!(not_entered(&verdict), before);
            assert_eq!(back(&verdict), after);
        }
    }
}

//! `exec`: take nodes, run a command, give them back, and wait for the proof of their return.
//!
//! - `signals`: what is passed on to the command;
//! - `renew`: keeps the lease while the command runs.

mod renew;
mod signals;

use std::cell::Cell;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use self::renew::Renewer;
use self::signals::Signals;
use super::answer::{Asked, Verdict};
use super::ask::{NodeArgs, WhomArgs, duration};
use super::client::GateClient;
use super::lease::{ANSWER, OwnerArg, action, post, seconds, user_at_host};
use super::out::{Exit, note};
use super::poll::{is_final, poll};
use super::print;
use crate::gate::lease::Action;
use crate::gate::state::State;

/// Still closed at the deadline; nothing was started.
const CLOSED: Exit = Exit::Other(120);
/// Not authorised.
const NOT_AUTHORISED: Exit = Exit::Other(121);
/// The gate cannot be reached.
const UNREACHABLE: Exit = Exit::Other(122);
/// The command cannot be started.
const NOT_STARTABLE: Exit = Exit::Other(123);
/// Not proven back in time; the slot stays taken.
const NOT_BACK: Exit = Exit::Other(124);
/// The lease was lost after the start.
const LOST: Exit = Exit::Other(125);

const EXIT_CODES: &str = "\
Exit codes: the command's own (128 + n where signal n ended it), and for exec itself
  2 wrong usage or unknown nodes, 120 still closed at the deadline, 121 not authorised, 122 gate not
  reached, 123 command not startable, 124 not proven back in time (the slot stays taken), 125 lease
  lost after the start. With 2, 120, 121, 122 before the start and 123, nothing was started.";

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
    /// For how long; it is renewed at a third of this while the command runs
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
#[derive(Clone, Copy, Debug)]
struct Granted {
    lease: u64,
    token: u64,
    /// When it was asked for; its time is counted from here on.
    asked: Instant,
}

struct Exec {
    args: ExecArgs,
    client: GateClient,
    asked: Asked,
    owner: String,
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
            asked: self.whom.asked(&self.nodes),
            owner,
            args: self,
        };
        let entered = tokio::select! {
            entered = exec.enter() => entered,
            signal = signals.recv() => Err(Exit::Other(signal.exit_code())),
        };
        match entered {
            Ok(granted) => exec.start(granted, signals).await,
            Err(exit) => {
                // An answer may have been lost: then the lease is ours without our knowing.
                exec.give_back().await;
                Ok(exit)
            }
        }
    }
}

impl Exec {
    /// Waits for "go", twice: the second time just before the start.
    async fn enter(&self) -> Result<Granted, Exit> {
        let more = [
            ("owner", self.owner.clone()),
            ("ttl", seconds(self.args.ttl)),
            ("action", String::from(self.args.action.as_str())),
        ];
        // The lease's time is counted from before the question that "go" was said to.
        let last = Cell::new(Instant::now());
        let ask = async |keep, within| {
            last.set(Instant::now());
            post(&self.client, &self.asked, "enter", &more, keep, within).await
        };
        let deadline = Instant::now().checked_add(self.args.wait);
        loop {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline - Instant::now());
            let (mut verdict, _) = poll(left, self.args.quiet, &ask).await;
            let asked = last.get();
            if matches!(verdict, Verdict::Says(State::Open, _)) {
                (verdict, _) = ask(0, ANSWER).await;
            }
            match granted(&verdict, asked) {
                Some(granted) => return Ok(granted),
                None if is_final(&verdict) || deadline.is_some_and(|at| Instant::now() >= at) => {
                    self.say(&print::summary(&verdict));
                    return Err(not_entered(&verdict));
                }
                None => {}
            }
        }
    }

    async fn start(&self, granted: Granted, signals: Signals) -> Result<Exit> {
        let Some((program, arguments)) = self.args.command.split_first() else {
            self.give_back().await;
            return Ok(NOT_STARTABLE);
        };
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
                self.accompany(child, granted, signals).await
            }
            Err(error) => {
                self.say(&format!("{program} cannot be started: {error}"));
                self.give_back().await;
                Ok(NOT_STARTABLE)
            }
        }
    }

    /// Keeps the lease and passes signals on until the command ends; then gives the lease back.
    async fn accompany(
        &self,
        mut child: Child,
        granted: Granted,
        mut signals: Signals,
    ) -> Result<Exit> {
        let pid = child.id();
        let renewer = Renewer::start(
            self.client.clone(),
            self.asked.gate.clone(),
            granted,
            self.args.ttl,
        );
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                signal = signals.recv() => signal.pass_on(pid),
            }
        };
        let lost = renewer.end().await;
        let code = exit_code(status);
        if lost {
            self.say(&format!(
                "the lease was lost while the command ran; the command ended with {code}"
            ));
            self.give_back().await;
            return Ok(LOST);
        }
        if code != 0 {
            self.say(&format!(
                "the command ended with {code}; the slot stays taken until the nodes are proven back"
            ));
            self.give_back().await;
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
        let exit = match &verdict {
            Verdict::Says(State::Open, _) => Exit::Open,
            Verdict::Refused(Exit::Closed, _) => LOST,
            Verdict::Refused(..) => NOT_AUTHORISED,
            Verdict::Unreachable(_) => UNREACHABLE,
            Verdict::Says(State::Closed | State::Unknown, _) | Verdict::Contradicts(_) => NOT_BACK,
        };
        self.say(&match exit {
            Exit::Open => String::from("back"),
            _ => format!("not proven back: {}", print::summary(&verdict)),
        });
        exit
    }

    /// Says once that nothing is wanted any more. Where it is not heard, the lease ends by itself:
    /// its time goes by, and its nodes are seen to be up.
    async fn give_back(&self) {
        let more = [("owner", self.owner.clone())];
        let _ = post(&self.client, &self.asked, "leave", &more, 0, ANSWER).await;
    }

    fn say(&self, what: &str) {
        if !self.args.quiet {
            note(&format!("upgrade-gate: {what}"));
        }
    }
}

fn granted(verdict: &Verdict, asked: Instant) -> Option<Granted> {
    match verdict {
        Verdict::Says(State::Open, body) => Some(Granted {
            lease: body.lease?,
            token: body.token?,
            asked,
        }),
        Verdict::Says(State::Closed | State::Unknown, _)
        | Verdict::Contradicts(_)
        | Verdict::Unreachable(_)
        | Verdict::Refused(..) => None,
    }
}

const fn not_entered(verdict: &Verdict) -> Exit {
    match verdict {
        Verdict::Refused(Exit::Usage, _) => Exit::Usage,
        Verdict::Refused(Exit::Unreachable, _) => NOT_AUTHORISED,
        Verdict::Unreachable(_) => UNREACHABLE,
        Verdict::Says(..) | Verdict::Contradicts(_) | Verdict::Refused(..) => CLOSED,
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
        let refused = |exit| Verdict::Refused(exit, String::new());
        for (verdict, exit) in [
            (Verdict::Contradicts(String::new()), CLOSED),
            (Verdict::Unreachable(String::new()), UNREACHABLE),
            (refused(Exit::Unreachable), NOT_AUTHORISED),
            (refused(Exit::Usage), Exit::Usage),
            (refused(Exit::Closed), CLOSED),
        ] {
            assert!(granted(&verdict, Instant::now()).is_none());
            assert_eq!(not_entered(&verdict), exit);
        }
    }
}

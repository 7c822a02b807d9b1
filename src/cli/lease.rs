//! `enter`, `leave` and `lease`: take nodes, give them back, and look after what is taken.

use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command, Error, Subcommand};
use reqwest::Method;
use serde::Deserialize;

use super::answer::{Asked, Raw, Verdict, read};
use super::ask::{ActionArg, AskArgs, NodeArgs, duration, targets};
use super::change::{Change, change};
use super::client::GateClient;
use super::out::{Exit, data, plain};
use super::poll::poll;
use super::print;
use crate::gate::lease::Owner;
use crate::gate::state::State;

/// How long a request that changes something may take.
pub const ANSWER: Duration = Duration::from_secs(15);

/// Reads a fencing token. What is none is not shown: it may be the bearer token, which stands in
/// `UPGRADE_GATE_TOKEN_FILE` and is easily taken for what belongs into `UPGRADE_GATE_TOKEN`.
#[derive(Clone, Copy, Debug)]
struct FencingToken;

impl TypedValueParser for FencingToken {
    type Value = u64;

    fn parse_ref(&self, of: &Command, _: Option<&Arg>, value: &OsStr) -> Result<u64, Error> {
        let number = value.to_str().and_then(|text| text.parse().ok());
        number.ok_or_else(|| {
            let what = "what --token or UPGRADE_GATE_TOKEN says is no fencing token: give the number \
                that enter told; a bearer token belongs into a file (--token-file)";
            Error::raw(ErrorKind::ValueValidation, format!("{what}\n")).with_cmd(of)
        })
    }
}

/// Who asks.
#[derive(Clone, Debug, Args)]
pub struct OwnerArg {
    /// Who asks: the same in enter and leave, and different for everybody else
    #[arg(
        long,
        value_name = "NAME",
        env = "UPGRADE_GATE_OWNER",
        hide_env_values = true,
        value_parser = owner
    )]
    pub owner: Option<Owner>,
}

impl OwnerArg {
    /// The name given, else the user on this machine.
    pub fn name(&self) -> String {
        self.owner
            .as_ref()
            .map_or_else(user_at_host, Owner::to_string)
    }
}

/// `user@host`.
pub fn user_at_host() -> String {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = env("USER").or_else(|| env("LOGNAME"));
    let user = user.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    plain(&format!("{user}@{host}"))
}

/// A name that can own a lease.
pub fn owner(text: &str) -> Result<Owner, String> {
    Owner::try_from(String::from(text)).map_err(|error| error.to_string())
}

/// The arguments of `enter`.
#[derive(Clone, Debug, Args)]
pub struct EnterArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// The nodes.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// Who asks; user@host by default.
    #[command(flatten)]
    pub owner: OwnerArg,
    /// For how long; renew it where that is not enough
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub ttl: Duration,
    /// What for.
    #[command(flatten)]
    pub what: ActionArg,
    /// Ask again until it is "go", for so long; by default once
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// The arguments of `leave`.
#[derive(Clone, Debug, Args)]
pub struct LeaveArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// The nodes.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// Who asks; user@host by default.
    #[command(flatten)]
    pub owner: OwnerArg,
    /// Ask again until they are proven back, for so long; by default once
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
}

impl EnterArgs {
    /// Asks for a lease.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let owner = self.owner.name();
        let more = [
            ("owner", owner),
            ("ttl", seconds(self.ttl)),
            ("action", String::from(self.what.action.as_str())),
        ];
        let asked = Asked {
            action: self.what.action,
            ..self.ask.asked(&self.nodes)
        };
        claim(&self.ask, &asked, "enter", &more, self.wait).await
    }
}

impl LeaveArgs {
    /// Says that the owner has finished, and asks for the proof.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let more = [("owner", self.owner.name())];
        let asked = self.ask.asked(&self.nodes);
        claim(&self.ask, &asked, "leave", &more, self.wait).await
    }
}

async fn claim(
    args: &AskArgs,
    asked: &Asked,
    what: &str,
    more: &[(&'static str, String)],
    wait: Option<Duration>,
) -> anyhow::Result<Exit> {
    let client = args.client()?;
    let (verdict, raw) = match wait {
        None => post(&client, asked, what, more, 0, ANSWER).await,
        Some(wait) => {
            let once = async |keep, within| post(&client, asked, what, more, keep, within).await;
            poll(wait, args.quiet, once).await
        }
    };
    print::verdict(args, asked, &verdict, raw.as_ref())?;
    Ok(verdict.exit())
}

/// One POST of `enter` or `leave`. "Go" without a lease is none.
pub async fn post(
    client: &GateClient,
    asked: &Asked,
    what: &str,
    more: &[(&'static str, String)],
    keep: u64,
    within: Duration,
) -> (Verdict, Option<Raw>) {
    let mut query = targets(asked);
    query.extend(more.iter().cloned());
    if keep > 0 {
        query.push(("wait", format!("{keep}s")));
    }
    let gate = asked.gate.as_str();
    let path = [what];
    let sent = client.send(Method::POST, gate, &path, &query, within);
    match sent.await {
        Ok(raw) => {
            let verdict = match read(asked, &raw) {
                Verdict::Says(State::Open, body)
                    if body.lease.is_none() || body.token.is_none() =>
                {
                    Verdict::Contradicts(String::from("\"open\" without a lease"))
                }
                verdict => verdict,
            };
            (verdict, Some(raw))
        }
        Err(why) => (Verdict::Unreachable(why), None),
    }
}

/// Whole seconds, as the API reads them; never less than what was said.
pub fn seconds(span: Duration) -> String {
    let whole = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    format!("{whole}s")
}

/// The arguments of `lease`.
#[derive(Clone, Debug, Args)]
pub struct LeaseArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: LeaseCommand,
}

/// What can be done with leases.
#[derive(Clone, Debug, Subcommand)]
pub enum LeaseCommand {
    /// Show leases and holds
    List(ListArgs),
    /// Move a lease's end
    Renew(RenewArgs),
    /// End a lease whatever its nodes do
    Break(BreakArgs),
}

/// The arguments of `lease list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// The arguments of `lease renew`.
#[derive(Clone, Debug, Args)]
pub struct RenewArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// The lease's number
    #[arg(value_name = "LEASE")]
    pub lease: u64,
    /// Its token, as enter told it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "UPGRADE_GATE_TOKEN",
        hide_env_values = true,
        value_parser = FencingToken
    )]
    pub token: u64,
    /// From now on for so long
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub ttl: Duration,
}

/// The arguments of `lease break`.
#[derive(Clone, Debug, Args)]
pub struct BreakArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// The lease's number
    #[arg(value_name = "LEASE")]
    pub lease: u64,
    /// Why: its owner is told
    #[arg(value_name = "REASON")]
    pub reason: String,
    /// Who; user@host by default
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub by: Option<Owner>,
}

impl LeaseArgs {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            LeaseCommand::List(args) => args.run().await,
            LeaseCommand::Renew(args) => {
                let id = args.lease.to_string();
                let request = Change {
                    method: Method::POST,
                    path: &["leases", &id, "renew"],
                    query: vec![
                        ("token", args.token.to_string()),
                        ("ttl", seconds(args.ttl)),
                    ],
                };
                change(&args.ask, request).await
            }
            LeaseCommand::Break(args) => {
                let id = args.lease.to_string();
                let by = args.by.map_or_else(user_at_host, String::from);
                let request = Change {
                    method: Method::DELETE,
                    path: &["leases", &id],
                    query: vec![("by", by), ("reason", args.reason)],
                };
                change(&args.ask, request).await
            }
        }
    }
}

/// Leases and holds, as far as they are printed.
#[derive(Debug, Deserialize)]
pub struct Slots {
    gate: String,
    leases: Vec<Slot>,
    hold: Option<Held>,
    node_holds: std::collections::BTreeMap<String, Held>,
}

#[derive(Debug, Deserialize)]
struct Slot {
    lease: u64,
    token: u64,
    owner: Option<String>,
    nodes: Vec<i32>,
    action: String,
    stage: String,
    expires_at: String,
    progress: Option<String>,
    #[serde(default)]
    usually_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Held {
    author: String,
    reason: String,
    since: String,
    until: Option<String>,
}

impl ListArgs {
    async fn run(self) -> anyhow::Result<Exit> {
        let client = self.ask.client()?;
        let gate = &self.ask.whom.gate;
        let asked = self.ask.asked(&NodeArgs::default());
        let read = match client.get(gate.as_str(), "leases", &[], ANSWER).await {
            Err(why) => Err(Verdict::Unreachable(why)),
            Ok(raw) if raw.status != 200 => Err(read(&asked, &raw)),
            Ok(raw) => match serde_json::from_slice::<Slots>(&raw.body) {
                Ok(slots) if slots.gate == gate.as_str() && !raw.cached => Ok((slots, raw)),
                Ok(_) => Err(Verdict::Contradicts(String::from(
                    "another gate answers, or a cache",
                ))),
                Err(error) => Err(Verdict::Contradicts(format!(
                    "a body that is no list of leases: {error}"
                ))),
            },
        };
        match read {
            Err(verdict) => {
                print::verdict(&self.ask, &asked, &verdict, None)?;
                Ok(verdict.exit())
            }
            Ok((_, raw)) if self.ask.json => {
                data(&format!("{}\n", String::from_utf8_lossy(&raw.body)))?;
                Ok(Exit::Open)
            }
            Ok((slots, _)) => {
                if !self.ask.quiet {
                    data(&slots.lines())?;
                }
                Ok(Exit::Open)
            }
        }
    }
}

impl Slots {
    /// One line for each.
    pub fn lines(&self) -> String {
        let leases = self.leases.iter().map(Slot::line);
        let of_gate = self.hold.iter().map(|hold| hold.line("the gate"));
        let of_nodes = self.node_holds.iter();
        let of_nodes = of_nodes.map(|(node, hold)| hold.line(&format!("node {node}")));
        leases
            .chain(of_gate)
            .chain(of_nodes)
            .map(|line| plain(&line) + "\n")
            .collect()
    }
}

impl Slot {
    fn line(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(ToString::to_string).collect();
        let usually = self.usually_seconds.map_or_else(String::new, |seconds| {
            format!("; the whole usually takes {seconds:.0} s")
        });
        format!(
            "lease {} token {} nodes {} {} {} until {} by {}: {}{usually}",
            self.lease,
            self.token,
            nodes.join(","),
            self.action,
            self.stage,
            self.expires_at,
            self.owner.as_deref().unwrap_or("nobody"),
            self.progress.as_deref().unwrap_or("not known"),
        )
    }
}

impl Held {
    fn line(&self, what: &str) -> String {
        format!(
            "hold on {what} since {} until {} by {}: {}",
            self.since,
            self.until.as_deref().unwrap_or("lifted"),
            self.author,
            self.reason
        )
    }
}

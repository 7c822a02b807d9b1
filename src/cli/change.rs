//! `hold`, `unhold`, `node retire`, and everything else that changes a gate by hand.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::answer::{Raw, Verdict, read};
use super::ask::{AskArgs, NodeArgs, duration};
use super::lease::{ANSWER, owner, seconds, user_at_host};
use super::out::{Exit, data, plain};
use super::print;
use crate::config::leaf::Leaf;
use crate::evidence::ids::NodeId;
use crate::gate::lease::Owner;

/// A request that changes something.
#[derive(Debug)]
pub struct Change<'a> {
    /// How.
    pub method: Method,
    /// Where, below the gate.
    pub path: &'a [&'a str],
    /// What.
    pub query: Vec<(&'static str, String)>,
}

/// Asks for a change, prints what it came to, and says how it ended: 0 done, 1 refused.
pub async fn change(args: &AskArgs, change: Change<'_>) -> anyhow::Result<Exit> {
    let gate = args.whom.gate.as_str();
    let client = args.client()?;
    let sent = client.send(change.method, gate, change.path, &change.query, ANSWER);
    let asked = args.asked(&NodeArgs::default());
    let done = match sent.await {
        Err(why) => Err(Verdict::Unreachable(why)),
        Ok(raw) if raw.status != 200 => Err(read(&asked, &raw)),
        Ok(raw) => done(gate, &raw).map_err(Verdict::Contradicts),
    };
    match done {
        Ok(body) => {
            if args.json {
                data(&format!("{body}\n"))?;
            } else if !args.quiet {
                data(&line(&body))?;
            }
            Ok(Exit::Open)
        }
        Err(verdict) => {
            print::verdict(args, &asked, &verdict, None)?;
            Ok(verdict.exit())
        }
    }
}

/// The body of a change that is made.
pub fn done(gate: &str, raw: &Raw) -> Result<Value, String> {
    let body: Value = serde_json::from_slice(&raw.body)
        .map_err(|error| format!("HTTP 200 with a body that says nothing: {error}"))?;
    if body["gate"] != gate || !body["changed"].is_string() || raw.cached {
        return Err(String::from("HTTP 200 that is no answer of this gate"));
    }
    Ok(body)
}

/// `held node=3 until=...` and the like.
fn line(body: &Value) -> String {
    let mut words = vec![body["changed"].as_str().unwrap_or_default().to_owned()];
    for (name, value) in [
        ("lease", &body["lease"]),
        ("token", &body["token"]),
        ("expires_at", &body["expires_at"]),
        ("node", &body["node"]),
        ("until", &body["hold"]["until"]),
    ] {
        match value {
            Value::Null => {}
            Value::String(text) => words.push(format!("{name}={text}")),
            other => words.push(format!("{name}={other}")),
        }
    }
    plain(&words.join(" ")) + "\n"
}

/// The arguments of `hold`.
#[derive(Clone, Debug, Args)]
pub struct HoldArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// Why: everybody who asks the gate is told
    #[arg(value_name = "REASON")]
    pub reason: String,
    /// Hold this node only
    #[arg(long, value_name = "ID", value_parser = NodeId::parse)]
    pub node: Option<NodeId>,
    /// For how long; until it is lifted by default
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub ttl: Option<Duration>,
    /// Who; user@host by default
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub author: Option<Owner>,
}

/// The arguments of `unhold`.
#[derive(Clone, Debug, Args)]
pub struct UnholdArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// Lift the hold on this node
    #[arg(long, value_name = "ID", value_parser = NodeId::parse)]
    pub node: Option<NodeId>,
    /// Who; user@host by default
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub by: Option<Owner>,
}

/// The arguments of `node`.
#[derive(Clone, Debug, Args)]
pub struct NodeCommands {
    /// What to do with it.
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// What can be done with a node.
#[derive(Clone, Debug, Subcommand)]
pub enum NodeCommand {
    /// It is gone for good: expect it no more
    Retire(RetireArgs),
}

/// The arguments of `node retire`.
#[derive(Clone, Debug, Args)]
pub struct RetireArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// The node's id
    #[arg(value_name = "ID", value_parser = NodeId::parse)]
    pub node: NodeId,
    /// Who; user@host by default
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub by: Option<Owner>,
}

impl HoldArgs {
    /// Holds.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let author = self.author.map_or_else(user_at_host, String::from);
        let mut query = vec![("author", author), ("reason", self.reason)];
        query.extend(self.node.map(|node| ("node", node.to_string())));
        query.extend(self.ttl.map(|ttl| ("ttl", seconds(ttl))));
        let request = Change {
            method: Method::PUT,
            path: &["hold"],
            query,
        };
        change(&self.ask, request).await
    }
}

impl UnholdArgs {
    /// Lifts.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let mut query = vec![("by", self.by.map_or_else(user_at_host, String::from))];
        query.extend(self.node.map(|node| ("node", node.to_string())));
        let request = Change {
            method: Method::DELETE,
            path: &["hold"],
            query,
        };
        change(&self.ask, request).await
    }
}

impl NodeCommands {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let NodeCommand::Retire(args) = self.command;
        let id = args.node.to_string();
        let request = Change {
            method: Method::DELETE,
            path: &["nodes", &id],
            query: vec![("by", args.by.map_or_else(user_at_host, String::from))],
        };
        change(&args.ask, request).await
    }
}

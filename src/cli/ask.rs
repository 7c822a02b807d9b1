//! What `check`, `wait`, `plan` and `history` have in common: whom to ask, and how to print.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use reqwest::Url;

use super::answer::{Asked, Raw, Verdict, read};
use super::client::{GateClient, parse_url};
use super::credentials::CredentialArgs;
use crate::config::leaf::Leaf;
use crate::evidence::ids::NodeId;
use crate::gate::lease::Action;
use crate::gate::state::GateName;

/// Whom to ask.
#[derive(Clone, Debug, Args)]
pub struct WhomArgs {
    /// Where the gate's server is
    #[arg(
        long,
        value_name = "URL",
        env = "UPGRADE_GATE_URL",
        hide_env_values = true
    )]
    #[arg(default_value = "http://127.0.0.1:10190", value_parser = parse_url)]
    pub url: Url,
    /// Which of its gates
    #[arg(
        long,
        value_name = "NAME",
        env = "UPGRADE_GATE_GATE",
        hide_env_values = true
    )]
    #[arg(default_value = "default", value_parser = gate_name)]
    pub gate: GateName,
    /// What to show it.
    #[command(flatten)]
    pub credentials: CredentialArgs,
}

/// Whom to ask, and how to print.
#[derive(Clone, Debug, Args)]
pub struct AskArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub whom: WhomArgs,
    /// Print the gate's answer as JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print nothing: the exit code says it
    #[arg(long, short)]
    pub quiet: bool,
}

/// What the nodes would be stopped for.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ActionArg {
    /// What for: restart, or repair (the cure of nodes that are down)
    #[arg(long, value_parser = action(), default_value = Action::default().as_str())]
    #[arg(hide_possible_values = true)]
    pub action: Action,
}

/// Reads what the nodes are stopped for.
pub fn action() -> impl TypedValueParser<Value = Action> {
    let values = [
        (Action::Restart, "A restart of healthy nodes"),
        (
            Action::Repair,
            "The cure of nodes that are down; takes their leases over",
        ),
    ];
    let words = values.map(|(action, help)| PossibleValue::new(action.as_str()).help(help));
    PossibleValuesParser::new(words).map(|word| {
        let repair = word == Action::Repair.as_str();
        if repair {
            Action::Repair
        } else {
            Action::Restart
        }
    })
}

/// The nodes that would stop.
#[derive(Clone, Debug, Default, Args)]
pub struct NodeArgs {
    /// May these nodes be stopped together? Without it: may any one node be stopped?
    #[arg(long = "node", value_name = "ID", value_delimiter = ',', value_parser = NodeId::parse)]
    pub nodes: Vec<NodeId>,
    /// The same for all nodes of a machine, as the gate's configuration names it under hosts
    #[arg(long = "host", value_name = "NAME", value_delimiter = ',')]
    pub hosts: Vec<String>,
}

impl WhomArgs {
    /// The client.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn client(&self) -> anyhow::Result<GateClient> {
        GateClient::showing(self.url.clone(), &self.credentials)
    }

    /// The question.
    pub fn asked(&self, nodes: &NodeArgs) -> Asked {
        Asked {
            gate: self.gate.clone(),
            nodes: nodes.nodes.iter().copied().collect(),
            hosts: nodes.hosts.iter().cloned().collect(),
            action: Action::Restart,
        }
    }
}

impl AskArgs {
    /// The question.
    pub fn asked(&self, nodes: &NodeArgs) -> Asked {
        self.whom.asked(nodes)
    }

    /// The client.
    pub fn client(&self) -> anyhow::Result<GateClient> {
        self.whom.client()
    }
}

/// Asks once. `wait`: whole seconds that the gate may keep the request until it opens.
pub async fn ask(
    client: &GateClient,
    asked: &Asked,
    wait: u64,
    within: Duration,
) -> (Verdict, Option<Raw>) {
    let mut query = targets(asked);
    if wait > 0 {
        query.push(("wait", format!("{wait}s")));
    }
    if asked.action != Action::Restart {
        query.push(("action", asked.action.as_str().to_owned()));
    }
    match client
        .get(asked.gate.as_str(), "check", &query, within)
        .await
    {
        Ok(raw) => (read(asked, &raw), Some(raw)),
        Err(why) => (Verdict::Unreachable(why), None),
    }
}

/// The parameters that name the nodes.
pub fn targets(asked: &Asked) -> Vec<(&'static str, String)> {
    let mut query = Vec::new();
    if !asked.nodes.is_empty() {
        query.push(("node", list(&asked.nodes)));
    }
    if !asked.hosts.is_empty() {
        query.push(("host", list(&asked.hosts)));
    }
    query
}

fn list<T: ToString>(items: &BTreeSet<T>) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(",")
}

fn gate_name(text: &str) -> Result<GateName, String> {
    GateName::try_from(String::from(text)).map_err(|error| error.to_string())
}

/// A duration as the configuration writes it.
pub fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text)
}

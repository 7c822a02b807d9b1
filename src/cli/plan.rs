//! `plan`: may each node go now, and which order is good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::answer::{Body, Raw, Reason, Verdict};
use super::ask::{AskArgs, NodeArgs, duration};
use super::lease::Slots;
use super::out::{Exit, data, note, plain};
use super::print;
use crate::gate::state::State;

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// What a plan says, as far as it is printed.
#[derive(Debug, Deserialize)]
struct Plan {
    open: bool,
    state: State,
    gate: String,
    #[serde(default)]
    reasons: Vec<Reason>,
    nodes: Vec<Node>,
    #[serde(default)]
    hosts: BTreeMap<String, Host>,
    #[serde(default)]
    order_because: String,
    #[serde(default)]
    risks: Vec<Reason>,
    /// What is taken, as `leases` tells it.
    #[serde(skip)]
    slots: Option<Slots>,
}

#[derive(Debug, Deserialize)]
struct Node {
    #[serde(rename = "node")]
    id: i32,
    may_stop: State,
    #[serde(default)]
    role: String,
    #[serde(default)]
    release: String,
    #[serde(default)]
    reasons: Vec<Reason>,
    #[serde(default)]
    leads: Option<usize>,
    #[serde(default)]
    leads_without: Option<BTreeMap<i32, usize>>,
}

#[derive(Debug, Deserialize)]
struct Host {
    nodes: Vec<i32>,
    may_stop: State,
    #[serde(default)]
    reasons: Vec<Reason>,
}

impl PlanArgs {
    /// Asks, prints, and ends as `check` would.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let client = self.ask.client()?;
        let gate = self.ask.whom.gate.as_str();
        let raw = client.get(gate, "plan", &[], self.timeout).await;
        let read = match &raw {
            Ok(raw) => self.read(raw),
            Err(why) => Err(Verdict::Unreachable(why.clone())),
        };
        match read {
            Ok(plan) => {
                let body = plan.body();
                let exit = Verdict::Says(body.state, Box::new(body)).exit();
                match raw {
                    Ok(raw) if self.ask.json => {
                        data(&format!("{}\n", String::from_utf8_lossy(&raw.body)))?;
                    }
                    Ok(_) | Err(_) if self.ask.quiet => {}
                    Ok(_) | Err(_) => plan.print()?,
                }
                Ok(exit)
            }
            Err(verdict) => {
                let asked = self.ask.asked(&NodeArgs::default());
                print::verdict(&self.ask, &asked, &verdict, raw.as_ref().ok())?;
                Ok(verdict.exit())
            }
        }
    }

    /// The plan, when the answer is one and does not contradict itself.
    fn read(&self, raw: &Raw) -> Result<Plan, Verdict> {
        let contradicts = |what: &str| Verdict::Contradicts(String::from(what));
        if raw.status != 200 {
            // The same words as for a verdict that is none.
            let asked = self.ask.asked(&NodeArgs::default());
            return Err(super::answer::read(&asked, raw));
        }
        let mut plan: Plan = serde_json::from_slice(&raw.body)
            .map_err(|error| contradicts(&format!("a body that is no plan: {error}")))?;
        plan.slots = serde_json::from_slice(&raw.body).ok();
        let header = raw.state.as_deref();
        if plan.gate != self.ask.whom.gate.as_str() || raw.cached {
            return Err(contradicts("another gate answers, or a cache"));
        }
        if plan.open != (plan.state == State::Open) || header != Some(plan.state.as_str()) {
            return Err(contradicts("state, open and header differ"));
        }
        Ok(plan)
    }
}

impl Plan {
    fn body(&self) -> Body {
        Body {
            open: self.open,
            state: self.state,
            gate: self.gate.clone(),
            reasons: self.reasons.clone(),
            nodes: Vec::new(),
            hosts: BTreeSet::new(),
            action: None,
            lease: None,
            lease_nodes: None,
            told: None,
            token: None,
            expires_at: None,
            how: None,
            progress: None,
            usually_seconds: None,
        }
    }

    /// The table to standard output, the reasons to standard error.
    fn print(&self) -> anyhow::Result<()> {
        let mut table = format!("{}\n", self.state);
        for node in &self.nodes {
            let line = format!(
                "{:>6} {:<10} {:<8} {:<8} {}",
                node.id,
                node.role,
                node.release,
                node.may_stop.as_str(),
                codes(&node.reasons)
            );
            table.push_str(plain(&line).trim_end());
            table.push('\n');
        }
        for (name, host) in &self.hosts {
            let nodes: Vec<_> = host.nodes.iter().map(ToString::to_string).collect();
            let line = format!(
                "host {name} [{}] {} {}",
                nodes.join(", "),
                host.may_stop.as_str(),
                codes(&host.reasons)
            );
            table.push_str(plain(&line).trim_end());
            table.push('\n');
        }
        for node in &self.nodes {
            table.push_str(&node.heirs());
        }
        if let Some(slots) = &self.slots {
            table.push_str(&slots.lines());
        }
        data(&table)?;
        if !self.order_because.is_empty() {
            note(&format!("order: {}", plain(&self.order_because)));
        }
        print::reasons(&self.reasons);
        let known = |risk: &&Reason| !self.reasons.contains(*risk);
        let risks: Vec<Reason> = self.risks.iter().filter(known).cloned().collect();
        print::reasons(&risks);
        Ok(())
    }
}

impl Node {
    /// Who would lead how much with this node stopped; nothing where it leads nothing.
    fn heirs(&self) -> String {
        let others = self.leads_without.iter().flatten();
        let others: Vec<_> = others
            .map(|(id, leads)| format!("{id} leads {leads}"))
            .collect();
        match self.leads {
            Some(leads) if leads > 0 && !others.is_empty() => {
                let line = format!("without {} ({leads} led): {}", self.id, others.join(", "));
                plain(&line) + "\n"
            }
            Some(_) | None => String::new(),
        }
    }
}

/// The codes of these reasons, in one line.
fn codes(reasons: &[Reason]) -> String {
    let codes: Vec<_> = reasons.iter().map(|reason| reason.code.as_str()).collect();
    codes.join(", ")
}

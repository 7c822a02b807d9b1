//! `wait`: ask until the gate opens or the time is over.

use std::time::Duration;

use clap::Args;

use super::answer::Asked;
use super::ask::{ActionArg, AskArgs, NodeArgs, ask, duration};
use super::out::Exit;
use super::poll::poll;
use super::print;

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// About which nodes.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// What for.
    #[command(flatten)]
    pub what: ActionArg,
    /// How long to wait in all; a gate that cannot be reached is waited for as well
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub timeout: Duration,
}

impl WaitArgs {
    /// Asks until it is open, refused, or too late; one line per change on standard error.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let client = self.ask.client()?;
        let asked = Asked {
            action: self.what.action,
            ..self.ask.asked(&self.nodes)
        };
        let once = async |keep, within| ask(&client, &asked, keep, within).await;
        let (verdict, raw) = poll(self.timeout, self.ask.quiet, once).await;
        print::verdict(&self.ask, &asked, &verdict, raw.as_ref())?;
        Ok(verdict.exit())
    }
}

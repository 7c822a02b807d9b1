//! `lab prove NAME`.

use clap::Subcommand;

use lab::prove::{
    attacks, callers, crashes, faults, openapi, plan, race, roll, security, situations,
};
use lab::release::Release;

/// The proofs.
#[derive(Debug, Subcommand)]
pub enum What {
    /// How fast a killed, frozen or stopping broker closes the gate
    Kill(faults::Args),
    /// That the gate stays closed until a restarted broker is really back
    Restart(faults::Args),
    /// A whole roll by `upgrade-gate exec` beside a second orchestrator, and two rolls gone wrong
    Roll(roll::Args),
    /// Two processes ask for two nodes at once, and the gate is killed before it can answer
    Race(crashes::Args),
    /// The gate is killed again and again while leases are taken and given back
    Crashes(crashes::Args),
    /// Whole rolls by Ansible, Rundeck's script step and Jenkins' requests, as the recipes have them
    Callers,
    /// What the gate says about stopping nodes, for every layout of replicas
    Plan,
    /// What callers and targets that mean no good can do to a gate; needs no Kafka
    Attacks,
    /// That answers are what the gate's own OpenAPI document says, by schemathesis; needs no Kafka
    Openapi(openapi::Args),
    /// Every way to log in and every way of failing to, on real brokers; sessions that end
    Security(security::Args),
    /// What the gate says in situations that no kill or restart makes
    Situations,
}

impl What {
    /// Runs the proof.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Kill(args) => faults::run("kill", &args).await,
            Self::Restart(args) => faults::run("restart", &args).await,
            Self::Roll(args) => roll::run(&args).await,
            Self::Race(args) => race::race(&args).await,
            Self::Crashes(args) => crashes::crashes(&args).await,
            Self::Callers => callers::run(Release::V4_3_1).await,
            Self::Plan => plan::run().await,
            Self::Attacks => attacks::run().await,
            Self::Openapi(args) => openapi::run(&args).await,
            Self::Security(args) => security::run(&args).await,
            Self::Situations => situations::run().await,
        }
    }
}

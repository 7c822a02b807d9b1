//! `lab prove NAME`.

use clap::Subcommand;

use lab::prove::{faults, plan, roll, security, situations};

/// The proofs.
#[derive(Debug, Subcommand)]
pub enum What {
    /// How fast a killed, frozen or stopping broker closes the gate
    Kill(faults::Args),
    /// That the gate stays closed until a restarted broker is really back
    Restart(faults::Args),
    /// A whole roll by `upgrade-gate exec` beside a second orchestrator, and two rolls gone wrong
    Roll(roll::Args),
    /// What the gate says about stopping nodes, for every layout of replicas
    Plan,
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
            Self::Plan => plan::run().await,
            Self::Security(args) => security::run(&args).await,
            Self::Situations => situations::run().await,
        }
    }
}

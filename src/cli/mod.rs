//! The command line: one file per command. `anyhow` stays in here.
//!
//! Every command ends with one of the codes of [`Exit`]; the verdict goes to standard output, the
//! reasons and everything else to standard error.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub mod answer;
pub mod ask;
pub mod change;
pub mod check;
pub mod client;
pub mod completions;
pub mod config;
pub mod credentials;
pub mod demo;
pub mod doctor;
pub mod exec;
pub mod history;
pub mod lease;
pub mod out;
pub mod plan;
pub mod poll;
pub mod print;
pub mod serve;
pub mod wait;

pub use out::Exit;

/// Says whether the next step of a Kafka rolling upgrade is safe.
#[derive(Debug, Parser)]
#[command(name = "upgrade-gate", version, about, max_term_width = 100, after_help = EXIT_CODES)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 open, 1 closed, 2 usage or configuration, 3 unknown, 4 gate not reached or not authorised.
Every code but 0 means: do not go on.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch clusters and answer over HTTP
    Serve(Box<serve::ServeArgs>),
    /// Ask a gate once: may the next node be stopped?
    Check(check::CheckArgs),
    /// Ask a gate until it opens or the time is over
    Wait(wait::WaitArgs),
    /// Show for every node whether it may be stopped now, and a good order
    Plan(plan::PlanArgs),
    /// Take nodes: may they be stopped now? Then nobody else's may
    Enter(lease::EnterArgs),
    /// Give nodes back: are they proven back?
    Leave(lease::LeaveArgs),
    /// Take nodes, run a command that restarts them, and wait until they are proven back
    Exec(exec::ExecArgs),
    /// Show, renew or break leases
    Lease(lease::LeaseArgs),
    /// Close a gate or a node by hand
    Hold(change::HoldArgs),
    /// Lift a hold
    Unhold(change::UnholdArgs),
    /// Retire a node
    Node(change::NodeCommands),
    /// Show what a gate decided, and when
    History(history::HistoryArgs),
    /// Look at a cluster as a gate would: what is missing, and what "open" would rest on
    Doctor(Box<doctor::DoctorArgs>),
    /// Check, show or describe the configuration
    Config(config::ConfigArgs),
    /// Print the script that completes this command line in a shell
    Completions(completions::CompletionsArgs),
    /// Show a rolling upgrade of a simulated cluster behind a real gate
    Demo(demo::DemoArgs),
}

/// The file that is named on the command line or in the environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FileArg {
    /// Configuration file: YAML, JSON or TOML
    #[arg(
        value_name = "FILE",
        env = "UPGRADE_GATE_CONFIG",
        hide_env_values = true
    )]
    pub file: Option<PathBuf>,
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let done = match self.command {
            Command::Serve(args) => args.run().await,
            Command::Check(args) => args.run().await,
            Command::Wait(args) => args.run().await,
            Command::Plan(args) => args.run().await,
            Command::Enter(args) => args.run().await,
            Command::Leave(args) => args.run().await,
            Command::Exec(args) => args.run().await,
            Command::Lease(args) => args.run().await,
            Command::Hold(args) => args.run().await,
            Command::Unhold(args) => args.run().await,
            Command::Node(args) => args.run().await,
            Command::History(args) => args.run().await,
            Command::Doctor(args) => args.run().await,
            Command::Config(args) => args.run(),
            Command::Completions(args) => args.run(),
            Command::Demo(args) => args.run().await,
        };
        done.unwrap_or_else(|error| out::failed(&error))
    }
}

//! `lab`: real Kafka clusters on loopback.

#![expect(
    clippy::disallowed_methods,
    reason = "the lab measures spans on its own machine; nothing here judges"
)]

mod cli;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

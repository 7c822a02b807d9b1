//! `lab`: real Kafka clusters on loopback.

#![expect(
    clippy::disallowed_methods,
    reason = "the lab measures spans on its own machine; nothing here judges"
)]

mod cli;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// A third of a simulation's time went into glibc's `malloc` (measured by perf).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let wanted = std::env::var("LAB_LOG").unwrap_or_else(|_| String::from("info"));
    let filter = match upgrade_gate::telemetry::filter(&wanted) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("lab: failed to read LAB_LOG: {error}");
            return ExitCode::FAILURE;
        }
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .init();
    match cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

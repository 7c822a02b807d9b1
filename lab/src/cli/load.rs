//! `lab load`: runs in its own process against the lab that is up.

use std::time::Duration;

use lab::load::{Load, LoadSpec};

use super::protocol::{self, Answer, Order};

/// What load.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value = "load")]
    topic: String,
    /// Make the topic first, with this many partitions
    #[arg(long)]
    partitions: Option<i32>,
    #[arg(long, default_value_t = 3)]
    replication: i16,
    /// Records per second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Bytes per record
    #[arg(long, default_value_t = 200)]
    size: usize,
    #[arg(long, default_value_t = 1)]
    consumers: u16,
    /// Name of the consumers' group
    #[arg(long)]
    group: Option<String>,
    /// How long; without it until Ctrl-C
    #[arg(long)]
    seconds: Option<u64>,
}

/// Sends and reads, then prints the account as JSON; fails when a record was lost or doubled.
pub async fn run(name: &str, args: Args) -> anyhow::Result<()> {
    let Answer::Access { bootstrap, login } = protocol::ask(name, &Order::Access).await? else {
        anyhow::bail!("understand the lab's answer: is it the same version of `lab`?");
    };
    if let Some(partitions) = args.partitions {
        let (topic, replication) = (args.topic.clone(), args.replication);
        let order = Order::Topic {
            name: topic,
            partitions,
            replication,
            config: Vec::new(),
        };
        protocol::ask(name, &order).await?;
    }
    let mut spec = LoadSpec::new(bootstrap, &args.topic);
    spec = spec
        .login(login)
        .rate(args.rate)
        .size(args.size)
        .consumers(args.consumers);
    spec.group = args.group;
    let load = Load::start(spec)?;
    wait(&load, args.seconds.map(Duration::from_secs)).await?;
    eprintln!("stopping, and reading the whole topic again");
    let report = load.stop().await?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    if report.lost > 0 || report.doubled > 0 {
        anyhow::bail!(
            "account for every record: {} lost, {} doubled",
            report.lost,
            report.doubled
        );
    }
    Ok(())
}

async fn wait(load: &Load, how_long: Option<Duration>) -> anyhow::Result<()> {
    let mut lines = tokio::time::interval(Duration::from_secs(2));
    let end = async {
        match how_long {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            _ = lines.tick() => {
                let now = load.status();
                eprintln!(
                    "sent {} acknowledged {} read {} errors {} worst ack {} ms",
                    now.sent, now.acknowledged, now.read, now.delivery_errors, now.worst_ack_ms
                );
            }
            () = &mut end => return Ok(()),
            pressed = tokio::signal::ctrl_c() => return Ok(pressed?),
        }
    }
}

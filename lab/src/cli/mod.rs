//! The command line.

mod load;
mod protocol;
mod prove;
mod record;
mod simulate;
mod up;

use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand};

use lab::artifacts::Cache;
use lab::{Cut, Peer, Release};

use self::protocol::{Answer, Order, Place, Status, View};

/// Real Kafka clusters on loopback: start, stop, kill, freeze, cut, load.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// Which lab, where several run side by side
    #[arg(long, global = true, default_value = "lab")]
    lab: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster and own it, in the foreground
    Up(up::Args),
    /// Show the nodes
    Status {
        /// Everything, as JSON
        #[arg(long)]
        json: bool,
    },
    /// SIGTERM: controlled shutdown of a node
    Stop { node: i32 },
    /// SIGKILL
    Kill { node: i32 },
    /// SIGSTOP
    Freeze { node: i32 },
    /// SIGCONT
    Thaw { node: i32 },
    /// Start a node again
    Start {
        node: i32,
        /// With this release from now on
        #[arg(long)]
        release: Option<Release>,
        /// Set in its server.properties from now on; repeatable
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair::<String, String>)]
        config: Vec<(String, String)>,
    },
    /// Cut the link between two of: a node's id, `quorum`, `gate`
    Cut {
        a: Peer,
        b: Peer,
        /// Reset connections instead of swallowing their bytes
        #[arg(long)]
        reset: bool,
    },
    /// Heal every cut link
    Heal,
    /// Make a topic
    Topic {
        name: String,
        #[arg(long, default_value_t = 6)]
        partitions: i32,
        #[arg(long = "rf", default_value_t = 3)]
        replication: i16,
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair::<String, String>)]
        config: Vec<(String, String)>,
    },
    /// Produce and consume, and account for every record
    Load(load::Args),
    /// End the cluster and remove its data
    Down,
    /// Fetch Kafka releases and the JMX exporter into the cache
    Fetch {
        /// Such as 3.9.2; none: every release the lab knows
        releases: Vec<Release>,
    },
    /// Show a rolling restart in front of a gate, with one broker killed on the way
    Demo(lab::demo::Args),
    /// Prove something on real Kafka, at length; writes docs/proof/NAME.json
    Prove {
        #[command(subcommand)]
        what: prove::What,
    },
    /// Measure ours beside its peer, in release; writes docs/proof/bench-NAME.json
    Bench(lab::bench::Args),
    /// Fuzz everything that reads foreign bytes, at length; writes docs/proof/fuzz.json
    Fuzz(lab::fuzz::Args),
    /// Make the gate lie, if that can be done: simulated trials judged by an oracle
    Simulate(simulate::Args),
    /// Record what real Kafka does, as raw material for fixtures
    Record {
        #[command(subcommand)]
        what: record::What,
    },
}

impl Cli {
    /// Does what was asked for.
    pub async fn run(self) -> anyhow::Result<()> {
        let lab = self.lab;
        let order = match self.command {
            Command::Up(args) => return up::run(&lab, args).await,
            Command::Load(args) => return load::run(&lab, args).await,
            Command::Fetch { releases } => return fetch(releases).await,
            Command::Record { what } => return what.run().await,
            Command::Demo(args) => return lab::demo::run(&args).await,
            Command::Prove { what } => return what.run().await,
            Command::Simulate(args) => {
                return tokio::task::spawn_blocking(move || args.run()).await?;
            }
            Command::Bench(args) => return lab::bench::run(&args),
            Command::Fuzz(args) => return lab::fuzz::run(&args),
            Command::Status { json } => return status(&lab, json).await,
            Command::Down => return down(&lab).await,
            Command::Stop { node } => Order::Stop { node },
            Command::Kill { node } => Order::Kill { node },
            Command::Freeze { node } => Order::Freeze { node },
            Command::Thaw { node } => Order::Thaw { node },
            Command::Start {
                node,
                release,
                config,
            } => Order::Start {
                node,
                release,
                config,
            },
            Command::Cut { a, b, reset } => Order::Cut {
                a,
                b,
                how: if reset { Cut::Reset } else { Cut::BlackHole },
            },
            Command::Heal => Order::Heal,
            Command::Topic {
                name,
                partitions,
                replication,
                config,
            } => Order::Topic {
                name,
                partitions,
                replication,
                config,
            },
        };
        protocol::ask(&lab, &order).await.map(|_| ())
    }
}

/// `KEY=VALUE`, each parsed.
fn pair<A: FromStr, B: FromStr>(text: &str) -> Result<(A, B), String>
where
    A::Err: ToString,
    B::Err: ToString,
{
    let (a, b) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    let a = a.parse().map_err(|error: A::Err| error.to_string())?;
    Ok((a, b.parse().map_err(|error: B::Err| error.to_string())?))
}

async fn fetch(releases: Vec<Release>) -> anyhow::Result<()> {
    let wanted = if releases.is_empty() {
        Release::KNOWN.to_vec()
    } else {
        releases
    };
    let fetched = tokio::task::spawn_blocking(move || {
        let cache = Cache::open()?;
        cache.jmx_agent()?;
        for release in wanted {
            cache.kafka(release)?;
            println!("Kafka {release}: in {}", cache.root().display());
        }
        anyhow::Ok(())
    });
    fetched.await?
}

async fn down(name: &str) -> anyhow::Result<()> {
    protocol::ask(name, &Order::Down).await?;
    let place = Place::of(name)?;
    while place.socket.exists() || place.state.exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn status(name: &str, json: bool) -> anyhow::Result<()> {
    let Answer::Status(status) = protocol::ask(name, &Order::Status).await? else {
        anyhow::bail!("understand the lab's answer: is it the same version of `lab`?");
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{}", table(&status));
    }
    Ok(())
}

fn table(status: &Status) -> String {
    use std::fmt::Write;

    let mut text = format!(
        "{:>4} {:<11} {:<8} {:<9} {:>7} {:>6}  exporter\n",
        "id", "role", "release", "state", "pid", "port"
    );
    for node in &status.nodes {
        let state = match (node.pid, node.frozen) {
            (None, _) => "ended",
            (Some(_), true) => "frozen",
            (Some(_), false) => "running",
        };
        let (id, role, release) = (node.id, node.role.to_string(), node.release.to_string());
        let pid = node.pid.map(|pid| pid.to_string()).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{id:>4} {role:<11} {release:<8} {state:<9} {pid:>7} {:>6}  {}",
            node.port, node.jmx_url
        );
    }
    let controller = status
        .active_controller
        .map_or("none".to_owned(), |id| id.to_string());
    let _ = writeln!(
        text,
        "active controller: {controller}\nbootstrap: {}",
        status.bootstrap
    );
    for (id, view) in &status.views {
        let line = match view {
            None => "does not answer".to_owned(),
            Some(View {
                brokers,
                partitions,
                short,
            }) => format!(
                "sees brokers {brokers:?}, {partitions} partitions, {short} without leader or full ISR"
            ),
        };
        let _ = writeln!(text, "broker {id} {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        assert_eq!(
            pair::<String, String>("a=b=c").unwrap(),
            ("a".into(), "b=c".into())
        );
        assert!(pair::<i32, String>("a=b").is_err());
        assert!(pair::<String, String>("ab").is_err());
    }
}

//! `lab up`: owns the cluster, in the foreground, and does what other `lab` calls ask.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use lab::{Cluster, Layout, Node, Release, Rules, Spec, Timing};

use super::protocol::{self, Answer, NodeStatus, Order, Place, Status, View};

/// What cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value_t = LayoutName::Kraft)]
    layout: LayoutName,
    #[arg(long, default_value = "4.3.1")]
    release: Release,
    /// Brokers, or combined nodes
    #[arg(long, default_value_t = 3)]
    brokers: u8,
    #[arg(long, default_value_t = 3)]
    controllers: u8,
    /// Another release for one node; repeatable
    #[arg(long, value_name = "ID=RELEASE", value_parser = super::pair::<i32, Release>)]
    node_release: Vec<(i32, Release)>,
    /// Rules of the JMX exporters
    #[arg(long, value_enum, default_value_t = RulesName::Default)]
    rules: RulesName,
    /// Kafka's own time-outs (the default)
    #[arg(long, conflicts_with = "quick")]
    stock: bool,
    /// Short time-outs: session 3 s, replica lag 5 s
    #[arg(long)]
    quick: bool,
    /// Links run through relays, so that `lab cut` works
    #[arg(long)]
    relays: bool,
    /// Authorizer on; the client listener has no rights
    #[arg(long)]
    acl: bool,
    /// One more line for every server.properties; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::pair::<String, String>)]
    config: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LayoutName {
    /// Dedicated controllers and brokers
    Kraft,
    /// Nodes that are both
    Combined,
    /// One ZooKeeper server and brokers
    Zookeeper,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RulesName {
    Default,
    Lower,
    Flat,
    Small,
}

impl Args {
    fn spec(self) -> Spec {
        let Self {
            brokers,
            controllers,
            ..
        } = self;
        let layout = match self.layout {
            LayoutName::Kraft => Layout::KraftSeparate {
                controllers,
                brokers,
            },
            LayoutName::Combined => Layout::KraftCombined { nodes: brokers },
            LayoutName::Zookeeper => Layout::ZooKeeper { brokers },
        };
        let mut spec = Spec::new(layout, self.release);
        spec.rules = match self.rules {
            RulesName::Default => Rules::Default,
            RulesName::Lower => Rules::Lower,
            RulesName::Flat => Rules::Flat,
            RulesName::Small => Rules::Small,
        };
        spec.timing = if self.quick {
            Timing::Quick
        } else {
            Timing::Stock
        };
        spec.relays = self.relays;
        spec.acl = self.acl;
        spec.node_releases = self.node_release.into_iter().collect();
        spec.properties = self.config.into_iter().collect();
        spec
    }
}

/// Starts the cluster and serves until `lab down` or a signal.
pub async fn run(name: &str, args: Args) -> anyhow::Result<()> {
    let place = Place::of(name)?;
    if UnixStream::connect(&place.socket).await.is_ok() {
        anyhow::bail!("start a lab: one is up already, end it with `lab down`");
    }
    // Left behind by an owner that was killed; absent is as good.
    let _ = std::fs::remove_file(&place.socket);

    let begun = Instant::now();
    let cluster = tokio::select! {
        started = Cluster::start(args.spec()) => Arc::new(started?),
        ended = end_signal() => return ended,
    };
    let listener = UnixListener::bind(&place.socket)
        .with_context(|| format!("listen on {}", place.socket.display()))?;
    write_state(&place.state, &cluster).await?;
    announce(&cluster, begun);

    let down = Arc::new(Notify::new());
    let mut talks = JoinSet::new();
    let ended = loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("accept on the lab's socket")?;
                while talks.try_join_next().is_some() {}
                let (cluster, state) = (Arc::clone(&cluster), place.state.clone());
                talks.spawn(talk(stream, cluster, Arc::clone(&down), state));
            }
            () = down.notified() => break Ok(()),
            ended = end_signal() => break ended,
        }
    };
    talks.shutdown().await;
    drop(cluster);
    for file in [&place.socket, &place.state] {
        // Whoever waits for the end looks at these files.
        let _ = std::fs::remove_file(file);
    }
    ended
}

fn announce(cluster: &Cluster, begun: Instant) {
    println!(
        "up in {:.1} s; data and logs in {}",
        begun.elapsed().as_secs_f32(),
        cluster.dir().display()
    );
    println!("bootstrap   {}", cluster.bootstrap());
    if !cluster.controllers().is_empty() {
        println!("controllers {}", cluster.controllers());
    }
    println!("exporters   {}", cluster.jmx_template());
    println!("end it with `lab down` or Ctrl-C");
}

async fn end_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

async fn talk(mut stream: UnixStream, cluster: Arc<Cluster>, down: Arc<Notify>, state: PathBuf) {
    let order = protocol::receive::<Order>(&mut stream).await;
    let ends = matches!(order, Ok(Order::Down));
    let answer = match order {
        Ok(order) => carry_out(&cluster, order).await,
        Err(error) => Err(error),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed {
        why: format!("{error:#}"),
    });
    if let Err(error) = write_state(&state, &cluster).await {
        tracing::warn!("failed to {error:#}");
    }
    // The asker may be gone; what it asked for is done all the same.
    if let Ok(line) = protocol::line(&answer) {
        let _ = protocol::send(&mut stream, line).await;
    }
    // Only now: the end of the lab ends this task too.
    if ends {
        down.notify_one();
    }
}

async fn carry_out(cluster: &Cluster, order: Order) -> anyhow::Result<Answer> {
    match order {
        Order::Status => return Ok(Answer::Status(Box::new(status(cluster).await))),
        Order::Access => {
            let (bootstrap, login) = (cluster.app_bootstrap(), cluster.app_login());
            return Ok(Answer::Access { bootstrap, login });
        }
        Order::Stop { node } => cluster.node(node)?.stop()?,
        Order::Kill { node } => cluster.node(node)?.kill()?,
        Order::Freeze { node } => cluster.node(node)?.freeze()?,
        Order::Thaw { node } => cluster.node(node)?.thaw()?,
        Order::Start {
            node,
            release,
            config,
        } => {
            cluster
                .node(node)?
                .start_with_config(release, config)
                .await?;
        }
        Order::Cut { a, b, how } => cluster.cut(a, b, how)?,
        Order::Heal => cluster.heal(),
        Order::Topic {
            name,
            partitions,
            replication,
            config,
        } => {
            let pairs = config
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()));
            let pairs: Vec<(&str, &str)> = pairs.collect();
            cluster
                .create_topic(&name, partitions, replication, &pairs)
                .await?;
        }
        Order::Down => {}
    }
    Ok(Answer::Done)
}

async fn status(cluster: &Cluster) -> Status {
    let active_controller = cluster.active_controller().await.ok().flatten();
    let mut views = Vec::new();
    for node in cluster
        .brokers()
        .filter(|node| node.is_alive() && !node.is_frozen())
    {
        let seen = cluster.metadata(node.id()).await.ok();
        let view = seen.map(|seen| View {
            partitions: seen.partitions.len(),
            short: seen.short(),
            brokers: seen.brokers.into_iter().collect(),
        });
        views.push((node.id(), view));
    }
    Status {
        active_controller,
        views,
        ..still(cluster)
    }
}

/// What is known without asking the nodes.
fn still(cluster: &Cluster) -> Status {
    Status {
        pid: std::process::id(),
        layout: cluster.spec().layout,
        folder: cluster.dir().to_owned(),
        bootstrap: cluster.bootstrap(),
        app_bootstrap: cluster.app_bootstrap(),
        controllers: cluster.controllers(),
        jmx_template: cluster.jmx_template().to_owned(),
        nodes: cluster.nodes().iter().map(node_status).collect(),
        active_controller: None,
        views: Vec::new(),
    }
}

fn node_status(node: &Node) -> NodeStatus {
    NodeStatus {
        id: node.id(),
        role: node.role(),
        release: node.release(),
        pid: node.pid(),
        frozen: node.is_frozen(),
        port: node.port(),
        jmx_url: node.jmx_url(),
        log: node.log_path(),
    }
}

async fn write_state(path: &Path, cluster: &Cluster) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(&still(cluster))?;
    tokio::fs::write(path, text)
        .await
        .with_context(|| format!("write {}", path.display()))
}

//! `demo`: a simulated cluster, a real gate in front of it, and a rolling upgrade that polls it.
//!
//! - `world`: cluster, gate and server in this process;
//! - `watch`: polls the gate as a pipeline would, and says what changes;
//! - `naive`: what a simple rule over JMX would have said, beside the truth;
//! - `script`: the upgrade and its fault; `say`: the lines.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::Exit;
use crate::config::settings::{LogFormat, LogSettings};
use crate::model::{Release, Spec, TopicSpec};

mod naive;
mod say;
mod script;
mod watch;
mod world;

use say::{Say, plain};
use watch::Watch;
use world::World;

/// The release that the demo's cluster begins with.
const OLD: Release = Release::V3_9;
/// The release that it is upgraded to.
const NEW: Release = Release::V4_3;

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Where the demo's gate serves HTTP; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Let the simulated nodes stop and start three times as fast
    #[arg(long)]
    pub fast: bool,
    /// Go on serving at the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Also log what the program does, to standard error, such as info or warn
    #[arg(long, value_name = "FILTER")]
    pub log_filter: Option<String>,
}

/// How long things take in this demo.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The policy's `window`.
    window: Duration,
    /// The policy's `leadership_quiet`.
    quiet: Duration,
    /// How long the killed broker stays down.
    outage: Duration,
    /// The simulated nodes' times are divided by this.
    divisor: u64,
}

impl DemoArgs {
    /// Plays the demo to its end.
    ///
    /// # Errors
    /// A port that cannot be had, or a gate that does not open when everything is well again.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let _log = match &self.log_filter {
            Some(filter) => Some(crate::telemetry::start(&LogSettings {
                format: LogFormat::Text,
                filter: filter.clone(),
            })?),
            None => None,
        };
        let pace = self.pace();
        let say = Say::new();
        let world = World::start(spec(pace), pace, self.listen).await?;
        intro(&world, pace)?;
        let watch = Watch::start(&world, say)?;
        script::play(&world, &watch, say, pace).await?;
        if self.keep {
            plain(&format!("\nStill serving at {} until Ctrl-C.", world.url))?;
            tokio::signal::ctrl_c().await?;
        }
        world.end().await;
        Ok(Exit::Open)
    }

    fn pace(&self) -> Pace {
        let of = |window, quiet, outage, divisor| Pace {
            window: Duration::from_secs(window),
            quiet: Duration::from_secs(quiet),
            outage: Duration::from_secs(outage),
            divisor,
        };
        if self.fast {
            of(1, 1, 5, 3)
        } else {
            of(3, 2, 13, 1)
        }
    }
}

/// Three controllers, three brokers, and the load that they carry.
fn spec(pace: Pace) -> Spec {
    let topics = [("orders", 24, 20), ("payments", 12, 10), ("audit", 6, 2)];
    let topics =
        topics.map(|(name, partitions, rate)| TopicSpec::new(name, partitions, 3).rate(rate));
    let mut spec = Spec::kraft(3, 3, OLD).topics(topics.to_vec());
    spec.start_wall_ms = jiff::Timestamp::now().as_millisecond();
    let (settings, timing) = (&mut spec.settings, &mut spec.timing);
    for time in [
        &mut settings.session_timeout,
        &mut settings.heartbeat_interval,
        &mut timing.register_retry,
        &mut timing.series_gone,
    ] {
        *time /= pace.divisor;
    }
    for (least, most) in [
        &mut timing.exporter,
        &mut timing.boot,
        &mut timing.register,
        &mut timing.catch_up,
        &mut timing.unfence,
        &mut timing.recovery,
        &mut timing.leave,
        &mut timing.left,
        &mut timing.exit,
        &mut timing.controller_exit,
        &mut timing.controller_series,
        &mut timing.controller_load,
        &mut timing.election,
        &mut timing.handover,
        &mut timing.fence_check,
    ] {
        *least /= pace.divisor;
        *most /= pace.divisor;
    }
    spec
}

fn intro(world: &World, pace: Pace) -> anyhow::Result<()> {
    let url = &world.url;
    let window = pace.window.as_secs();
    let quiet = pace.quiet.as_secs();
    plain(&format!(
        "upgrade-gate demo: a simulated Kafka cluster (3 controllers, 3 brokers, {OLD}, KRaft) and \
a real gate\nin front of it, all in this process. A script upgrades it to {NEW}, one node at a \
time: it asks the\ngate over HTTP before it stops a node, as a pipeline would. In the middle a \
broker dies.\n\n\
The window is {window} s and leadership has to be quiet for {quiet} s, so that you need not wait. \
In production\nleave both alone: they are derived from the brokers' own settings (10 s to 46 s), and 10 s.\n\n\
Lines marked naive say when the rule sum(UnderReplicatedPartitions) == 0, over the exporters that\n\
         answer, would go on although something is missing, and when it sees it.\n\n\
         While it runs, open or ask:\n  \
page      {url}/\n  \
metrics   {url}/metrics\n  \
verdict   curl -i {url}/api/v1/gates/default/check\n  \
one node  curl -i '{url}/api/v1/gates/default/check?node=1'\n"
    ))
}

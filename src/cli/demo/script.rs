//! The rolling upgrade, and the broker that dies in the middle of it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};

use super::super::answer::Body;
use super::say::{Say, Tag, plain};
use super::watch::{POLL, Sight, Watch, why};
use super::world::World;
use super::{NEW, OLD, Pace};
use crate::gate::state::State;
use crate::model::{Cluster, NodeId};

/// How often the script asks about its next node.
const ASK: Duration = Duration::from_millis(250);
/// How long a simulated cluster may take to be well again.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long closing may take before the demo says that something is broken.
const CLOSING: Duration = Duration::from_secs(10);

/// What was done, for the summary.
#[derive(Default)]
struct Done {
    steps: usize,
    waited: Duration,
    longest: Duration,
    close: Duration,
}

struct Script<'a> {
    world: &'a World,
    watch: &'a Watch,
    say: Say,
    done: Done,
}

/// Plays it.
pub(super) async fn play(world: &World, watch: &Watch, say: Say, pace: Pace) -> Result<()> {
    let mut script = Script {
        world,
        watch,
        say,
        done: Done::default(),
    };
    let began = Instant::now();
    let open = watch.until(began, PATIENCE, |sight| sight.state == State::Open);
    open.await.context("the gate did not open")?;
    let controllers = script.operate(controllers_in_order);
    let brokers = script.operate(|cluster| nodes(cluster, |roles| roles.broker));
    for node in controllers {
        script.upgrade(node).await?;
    }
    let last = brokers.last().copied().unwrap_or_default();
    for (index, node) in brokers.into_iter().enumerate() {
        if index == 1 {
            script.fault(node, last, pace).await?;
        }
        script.upgrade(node).await?;
    }
    let end = watch.until(Instant::now(), PATIENCE, |sight| sight.state == State::Open);
    end.await.context("the gate did not open at the end")?;
    script.summary()
}

/// Standbys first, the active controller last.
fn controllers_in_order(cluster: &mut Cluster) -> Vec<NodeId> {
    let active = cluster.active_controller();
    let mut list = nodes(cluster, |roles| roles.controller);
    list.sort_by_key(|node| (Some(*node) == active, *node));
    list
}

fn nodes(cluster: &Cluster, wanted: impl Fn(&crate::model::Roles) -> bool) -> Vec<NodeId> {
    let nodes = cluster.spec().nodes.iter();
    let mut list: Vec<_> = nodes
        .filter(|node| wanted(&node.roles))
        .map(|node| node.id)
        .collect();
    list.sort_unstable();
    list
}

impl Script<'_> {
    fn operate<T>(&self, operation: impl FnOnce(&mut Cluster) -> T) -> T {
        self.world.served.operate(operation)
    }

    /// What people call the node.
    fn name(&self, node: NodeId) -> String {
        let (role, active) = self.operate(|cluster| {
            let spec = cluster.spec().nodes.iter().find(|spec| spec.id == node);
            let broker = spec.is_some_and(|spec| spec.roles.broker);
            let role = if broker { "broker" } else { "controller" };
            (role, cluster.active_controller() == Some(node))
        });
        let active = if active { " (the active one)" } else { "" };
        format!("{role} {node}{active}")
    }

    /// One step: take the node, stop it, start it with the new release, give it back.
    async fn upgrade(&mut self, node: NodeId) -> Result<()> {
        let (body, waited, polls) = self.until_open("enter", node).await?;
        self.done.waited += waited;
        self.done.longest = self.done.longest.max(waited);
        let text = format!(
            "enter?node={node}: go, lease {} token {}, after {:.1} s and {polls} polls",
            body.lease.unwrap_or_default(),
            body.token.unwrap_or_default(),
            waited.as_secs_f64()
        );
        self.say.event(Tag::Step, &text)?;
        let name = self.name(node);
        self.say
            .event(Tag::Step, &format!("SIGTERM to {name}, {OLD}"))?;
        let began = Instant::now();
        self.operate(|cluster| cluster.stop(node))?;
        while self.operate(|cluster| cluster.process_start(node).is_some()) {
            sleep(POLL).await;
        }
        self.operate(|cluster| cluster.start(node, Some(NEW)))?;
        let took = began.elapsed().as_secs_f64();
        let text = format!("ended after {took:.1} s; started again with {NEW}");
        self.say.event(Tag::Step, &text)?;
        let (body, waited, _) = self.until_open("leave", node).await?;
        let how = body.how.unwrap_or_default();
        let seconds = waited.as_secs_f64();
        let text = format!("leave?node={node}: {how} after {seconds:.1} s");
        self.say.event(Tag::Step, &text)?;
        self.done.steps += 1;
        Ok(())
    }

    /// Asks `enter` or `leave` again and again until it says yes: its words, how long that took
    /// and how many questions.
    async fn until_open(&self, what: &str, node: NodeId) -> Result<(Body, Duration, u32)> {
        let began = Instant::now();
        for polls in 1.. {
            match self.watch.claim(what, node).await {
                Ok(body) => return Ok((body, began.elapsed(), polls)),
                Err(no) if polls == 1 => {
                    let text = format!("{what}?node={node}: {}, so it waits", no.state);
                    self.say.event(Tag::Step, &text)?;
                }
                Err(no) => ensure!(
                    began.elapsed() < PATIENCE,
                    "the gate did not say yes to {what} of node {node}: {}",
                    why(&no.reasons)
                ),
            }
            sleep(ASK).await;
        }
        bail!("asked too often")
    }

    /// Waits until the gate is not open any more and names the node, and says how long that took.
    async fn closed(&mut self, began: Instant, victim: NodeId) -> Result<()> {
        let closed = self
            .watch
            .until(began, CLOSING, |sight| sight.state != State::Open);
        let closed = closed.await.context("the gate did not close")?;
        let took = closed.seen.duration_since(began);
        self.done.close = self.done.close.max(took);
        let subject = format!("node {victim}");
        let naming = self.watch.until(began, CLOSING, |sight| {
            sight.reasons.iter().any(|reason| reason.subject == subject)
        });
        let naming = naming
            .await
            .with_context(|| format!("no reason names {subject}"))?;
        let text = format!(
            "the gate was closed {} ms after the kill -9 and named {subject} after {} ms",
            took.as_millis(),
            naming.seen.duration_since(began).as_millis()
        );
        self.say.event(Tag::Step, &text)
    }

    /// `kill -9` of `victim` at the moment in which the script was about to stop `next`.
    async fn fault(&mut self, next: NodeId, victim: NodeId, pace: Pace) -> Result<()> {
        let open = |sight: &Sight| sight.state == State::Open;
        let open = self.watch.until(Instant::now(), PATIENCE, open).await;
        open.context("the gate did not open before the fault")?;
        let name = self.name(victim);
        let text = format!("kill -9 of {name}, just before the script would stop broker {next}");
        self.say.event(Tag::Fault, &text)?;
        let began = Instant::now();
        self.operate(|cluster| cluster.kill(victim))?;
        self.closed(began, victim).await?;
        let (hurt, all) = self.operate(|cluster| harm(cluster, [next, victim]));
        let text = format!(
            "stopping broker {next} now would put {hurt} of {all} partitions under min.insync.replicas"
        );
        self.say.event(Tag::Step, &text)?;
        sleep(pace.outage.saturating_sub(began.elapsed())).await;
        self.operate(|cluster| cluster.start(victim, None))?;
        self.say
            .event(Tag::Step, &format!("{name} is started again"))
    }

    fn summary(&self) -> Result<()> {
        let counts = self.watch.counts();
        let seconds = |span: Duration| format!("{:.1} s", span.as_secs_f64());
        let first = counts.first_open.unwrap_or_default();
        let done = &self.done;
        plain(&format!(
            "\nDone in {}: {} nodes went from {OLD} to {NEW}, one broker died on the way.\n  \
             first open            {} after the start\n  \
             waits for the gate    {} in all, {} at most\n  \
             closed                {} ms after the kill -9, polled every {} ms\n  \
             something was missing {} in all\n  \
             the gate was open     {} of it, until it was seen\n  \
             the naive rule said   go on for {} of it, in {} spells; each would have been wrong",
            seconds(self.say.elapsed()),
            done.steps,
            seconds(first),
            seconds(done.waited),
            seconds(done.longest),
            done.close.as_millis(),
            POLL.as_millis(),
            seconds(counts.missing_for),
            format_args!("{:.2} s", counts.gate_wrong_for.as_secs_f64()),
            seconds(counts.naive_wrong_for),
            counts.naive_wrong,
        ))
    }
}

/// How many partitions would have fewer in-sync replicas than `min.insync.replicas` without these
/// nodes, of how many.
fn harm(cluster: &Cluster, gone: [NodeId; 2]) -> (usize, usize) {
    let least = cluster.spec().settings.min_insync_replicas;
    let mut counts = (0, 0);
    for (_, _, topic, partition) in cluster.committed_image().partitions() {
        let left = partition.isr.iter().filter(|node| !gone.contains(node));
        let least = topic.min_isr.unwrap_or(least);
        counts.0 += usize::from(u32::try_from(left.count()).unwrap_or(u32::MAX) < least);
        counts.1 += 1;
    }
    counts
}

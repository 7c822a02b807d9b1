//! The cluster of a trial: nodes, topics, settings and exporters, all of it drawn from the seed.

use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::{
    Delayed, Exporter, Family, NodeSpec, Release, Roles, Settings, Spec, TopicSpec,
};

use super::ops::Random;
use super::plan::{Kind, Slant};

/// Clusters on ZooKeeper, in percent.
const ZOOKEEPER: u64 = 15;
/// Clusters to which a broker is added later, in percent.
const NEWCOMER: u64 = 15;
/// Clusters whose brokers' sessions are shorter or longer than Kafka's own, in percent.
const OTHER_SESSIONS: u64 = 20;
/// Those sessions, in milliseconds: what ZooKeeper's were before KIP-537 made them 18 s, and so much that
/// a broker is back before anybody has missed it.
const SESSIONS: [u64; 2] = [6_000, 30_000];
/// Clusters with Kafka's own min.insync.replicas, and clusters with a topic that has one of its own, in
/// percent each.
const OTHER_MIN_ISR: u64 = 10;
/// These settings are drawn apart, so that all other draws stay what they were.
const SETTINGS: u64 = 0x5E55_1015;

/// A cluster for a trial of this kind in this mode.
pub(super) fn spec(
    seed: u64,
    (kind, mode): (Kind, Mode),
    slant: Slant,
    random: &mut Random,
) -> Spec {
    let mut spec = nodes(slant, random).seed(seed);
    spec = topics(spec, slant, random);
    spec.groups.clear();
    spec.settings.offsets_partitions = 3;
    spec.settings.log_dirs = 2;
    spec.settings.replica_lag_time_max = random.pick(&[30_000, 30_000, 10_000]);
    if slant.idle {
        spec.settings.replica_lag_time_max = 10_000;
    }
    // Nobody should; some do.
    spec.settings.unclean_leader_election = random.between(0, 9) == 0;
    spec.family = random.pick(&[Family::Default, Family::Flat]);
    // KIP-853 came with 3.9.
    let may_change = !spec.zookeeper && spec.finalized >= Release::V3_9;
    spec.dynamic_quorum = random.between(0, 1) == 0 && may_change;
    // KIP-966: new clusters have it from 4.1 on, others when somebody turns it on.
    let otherwise = random.between(0, 3) == 0 && spec.finalized >= Release::V4_0;
    spec.elr = (spec.finalized >= Release::V4_1) != otherwise;
    // Where the trial is made for one thing, nothing else shall come between.
    let made_for_one = slant.last || slant.idle || !slant.episodes.is_empty();
    let plain = kind == Kind::Leases || made_for_one;
    let exporter = exporter(random);
    let newcomer = random.between(1, 100) <= NEWCOMER;
    if !plain {
        spec.exporter = exporter;
        // Whom no configuration names is seen by the protocol alone.
        if newcomer && mode.kafka() {
            spec = with_newcomer(spec);
        }
        sessions_and_min_isr(&mut spec, &mut Random(seed ^ SETTINGS));
    }
    spec
}

/// Mostly Kafka's own sessions, and two replicas that have to be in sync of every topic with three.
fn sessions_and_min_isr(spec: &mut Spec, random: &mut Random) {
    let others = random.between(1, 100) <= OTHER_SESSIONS;
    let session = random.pick(&SESSIONS);
    if others && spec.zookeeper {
        spec.settings.zookeeper_session_timeout = session;
    } else if others {
        spec.settings.session_timeout = session;
    }
    if random.between(1, 100) <= OTHER_MIN_ISR {
        spec.settings.min_insync_replicas = 1;
    }
    let has_own = random.between(1, 100) <= OTHER_MIN_ISR;
    let own = random.pick(&[1, 3]);
    let mut topics = spec.topics.iter_mut().filter(|_| has_own);
    if let Some(topic) = topics.find(|topic| topic.replication == 3) {
        topic.min_isr = Some(own);
    }
}

/// The brokers' sessions in such a cluster with these settings, in milliseconds.
const fn session(spec: &Spec, settings: &Settings) -> u64 {
    if spec.zookeeper {
        settings.zookeeper_session_timeout
    } else {
        settings.session_timeout
    }
}

/// By how much longer than Kafka's own the brokers' sessions are.
pub(super) fn longer_sessions(spec: &Spec) -> Duration {
    let usual = session(spec, &Settings::default());
    Duration::from_millis(session(spec, &spec.settings).saturating_sub(usual))
}

/// Whether the times that the gate builds its window from (`gate::basis`) are Kafka's own.
pub(super) fn has_stock_times(spec: &Spec) -> bool {
    let times = |settings: &Settings| (session(spec, settings), settings.replica_lag_time_max);
    times(&spec.settings) == times(&Settings::default())
}

/// Mostly three and three; some clusters are combined, larger, or on ZooKeeper.
fn nodes(slant: Slant, random: &mut Random) -> Spec {
    if random.between(1, 100) <= ZOOKEEPER && !slant.kraft {
        let old = random.pick(&Release::ZOOKEEPER);
        let release = random.pick(&[Release::V2_8, old, old]);
        let brokers = random.pick(&[3, 3, 4, 5]);
        return Spec::zookeeper(brokers, release);
    }
    if slant.idle {
        // Below 3.6 every shrink of an ISR bumps the leader epoch.
        let newer = [Release::V3_7, Release::V3_9, Release::V4_0, Release::V4_3];
        return Spec::kraft(3, 3, random.pick(&newer));
    }
    let any = random.pick(&Release::ALL);
    let now = random.pick(&[
        Release::V3_7,
        Release::V3_9,
        Release::V4_0,
        Release::V4_1,
        Release::V4_2,
        Release::V4_3,
    ]);
    let release = random.pick(&[any, now]);
    match random.between(0, 9) {
        0 => Spec::combined(3, release),
        1 => Spec::combined(random.pick(&[3, 5]), release),
        2 => Spec::kraft(5, 3, release),
        3 | 4 => Spec::kraft(3, 4, release),
        5 => Spec::kraft(3, 5, release),
        _ => Spec::kraft(3, 3, release),
    }
}

fn topics(spec: Spec, slant: Slant, random: &mut Random) -> Spec {
    let brokers = spec.nodes.iter().filter(|node| node.roles.broker).count();
    let rate = random.pick(&[0, 5, 100, 2_000]);
    let rate = if slant.idle { 0 } else { rate };
    let wide = brokers > 3 && random.between(0, 2) == 0;
    let mut orders = TopicSpec::new("orders", 9, if wide { 4 } else { 3 }).rate(rate);
    orders.min_isr = random.pick(&[None, Some(3)]).filter(|_| wide);
    let mut topics = vec![orders];
    if random.between(0, 1) == 0 && !slant.idle {
        topics.push(TopicSpec::new("events", 4, 2).rate(20).min_isr(1));
    }
    if random.between(0, 3) == 0 && !slant.idle {
        topics.push(TopicSpec::new("pairs", 2, 2).rate(1));
    }
    if random.between(0, 3) == 0 && !slant.idle {
        // Up to 3.6 nobody could write into it with the brokers' min.insync.replicas of 2.
        topics.push(TopicSpec::new("single", 3, 1).rate(2).min_isr(1));
    }
    spec.topics(topics)
}

/// Mostly the agent in Kafka's JVM.
fn exporter(random: &mut Random) -> Exporter {
    let start_delay = random.pick(&[5_000, 20_000, 60_000]);
    let delayed = random.pick(&[Delayed::Closes, Delayed::Fails, Delayed::Refuses]);
    match random.between(0, 9) {
        0 => Exporter {
            standalone: true,
            ..Exporter::default()
        },
        1 => Exporter {
            standalone: false,
            start_delay,
            delayed,
        },
        _ => Exporter::default(),
    }
}

/// With one more broker, which nobody has started yet.
fn with_newcomer(mut spec: Spec) -> Spec {
    let brokers = spec.nodes.iter().filter(|node| node.roles.broker);
    let highest = brokers.map(|node| node.id).max().unwrap_or(0);
    let id = highest + 1;
    let release = spec.finalized;
    spec.nodes.push(NodeSpec {
        id,
        roles: Roles::BROKER,
        release,
    });
    spec.later(&[id])
}

/// The same on more brokers, of which many hold no partition together.
pub(super) fn apart(spec: Spec) -> Spec {
    let topics = vec![
        TopicSpec::new("orders", 2, 2).rate(5).min_isr(1),
        TopicSpec::new("events", 2, 3).rate(20),
    ];
    let wide = Spec::kraft(3, 6, Release::V4_1).seed(spec.seed);
    Spec {
        settings: spec.settings,
        family: spec.family,
        groups: Vec::new(),
        ..wide.topics(topics)
    }
}

/// Whether it has dedicated controllers of a release before 3.7, which do not answer DescribeConfigs
/// (KIP-919).
pub fn has_nameless_controllers(spec: &Spec) -> bool {
    let mut nodes = spec.nodes.iter();
    nodes.any(|node| node.roles == Roles::CONTROLLER && node.release < Release::V3_7)
}

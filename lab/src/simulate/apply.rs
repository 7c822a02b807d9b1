//! Operations done to the world.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use upgrade_gate::model::{Cluster, NodeId, Release};

use super::ops::{Cuts, Op, Right};
use super::oracle::Oracle;
use super::world::World;

/// What is big on a big cluster. All of it goes over the bulk connection.
const BIG: [ApiKey; 5] = [
    ApiKey::Metadata,
    ApiKey::ListOffsets,
    ApiKey::DescribeLogDirs,
    ApiKey::DescribeTopicPartitions,
    ApiKey::ListPartitionReassignments,
];

/// Does it; what makes no sense right now is not done.
pub fn apply(world: &World, op: &Op, cuts: &mut Cuts, oracle: &mut Oracle, now: Duration) -> bool {
    let pair = |a: NodeId, b: NodeId| (a.min(b), a.max(b));
    let mut cluster = world.cluster();
    let done = match *op {
        Op::Kill(id) => kill(world, &mut cluster, id, oracle, now),
        Op::KillActiveController => cluster
            .active_controller()
            .is_some_and(|id| kill(world, &mut cluster, id, oracle, now)),
        Op::Stop(id) => cluster.stop(id).is_ok(),
        Op::StopActiveController => cluster
            .active_controller()
            .is_some_and(|id| cluster.stop(id).is_ok()),
        Op::Start(id) => cluster.start(id, None).is_ok(),
        Op::StartAll => {
            let nodes = cluster.spec().nodes.iter();
            let wanted = nodes.filter(|node| node.roles.controller || cluster.belongs(node.id));
            let ids: Vec<_> = wanted.map(|node| node.id).collect();
            ids.into_iter()
                .filter(|id| cluster.start(*id, None).is_ok())
                .count()
                > 0
        }
        Op::Freeze(id) => cluster.freeze(id).is_ok(),
        Op::Thaw(id) => cluster.thaw(id).is_ok(),
        Op::Cut(a, b) => {
            cuts.insert(pair(a, b));
            cluster.cut(a, b).is_ok()
        }
        Op::Mend(a, b) => {
            cuts.remove(&pair(a, b));
            cluster.mend(a, b).is_ok()
        }
        Op::GateCut(id) => {
            world.set_cut_off(id, true);
            true
        }
        Op::GateMend(id) => {
            world.set_cut_off(id, false);
            true
        }
        Op::GateCutKafka(id, cut) => {
            world.set_kafka_cut(id, cut);
            true
        }
        Op::GateCutPages(id, cut) => {
            world.set_pages_cut(id, cut);
            true
        }
        Op::Exporter(id, fault) => cluster.set_exporter(id, fault.map(|fault| fault.0)).is_ok(),
        Op::Latency(id, ms) => cluster.set_latency(id, Duration::from_millis(ms)).is_ok(),
        Op::BigAnswers(id, ms) => BIG.into_iter().all(|api| {
            let time = Duration::from_millis(ms);
            cluster.set_answer_time(id, api as i16, time).is_ok()
        }),
        Op::CutAnswers(id, cut) => cluster.set_answers_cut(id, cut).is_ok(),
        Op::Hide(ref right, hidden) => {
            match right {
                Right::Topics => cluster.hide_topics(hidden),
                Right::Topic(name) => cluster.hide_topic(name, hidden),
                Right::Cluster => cluster.hide_cluster(hidden),
            }
            true
        }
        Op::CatchUp(id, rate) => cluster.set_catch_up_rate(id, rate).is_ok(),
        Op::MetadataLag(id, ms) => cluster
            .set_metadata_lag(id, Duration::from_millis(ms))
            .is_ok(),
        Op::FailLogDir(id, dir) => cluster.fail_log_dir(id, dir).is_ok(),
        Op::ReplaceLogDir(id, dir) => cluster.replace_log_dir(id, dir).is_ok(),
        Op::Recreate => cluster.delete_topic("events").is_ok() && create(&mut cluster, "events"),
        Op::Delete(ref name) => cluster.delete_topic(name).is_ok(),
        Op::Create(ref name) => create(&mut cluster, name),
        Op::SlowDisk(id, factor) => cluster.set_disk_slow(id, factor).is_ok(),
        Op::Drain(id) => cluster.drain(id).is_ok_and(|moves| moves > 0),
        Op::Unregister(id) => cluster.unregister(id).is_ok(),
        Op::Format(id) => cluster.format(id).is_ok(),
        Op::ReplaceVoter(id) => cluster.replace_voter(id).is_ok(),
        Op::Reassign(partition, ref replicas) => {
            cluster.reassign("orders", partition, replicas).is_ok()
        }
        Op::Upgrade(id, ref release) => {
            let all = Release::ALL.into_iter().chain(Release::ZOOKEEPER);
            let release = all.into_iter().find(|known| known.name() == *release);
            release.is_some_and(|release| cluster.start(id, Some(release)).is_ok())
        }
        Op::Throttle(id, ms) => cluster.set_throttle(id, Duration::from_millis(ms)).is_ok(),
        Op::PageTime(id, ms) => cluster.set_page_time(id, Duration::from_millis(ms)).is_ok(),
        Op::Rate(rate) => cluster.set_rate("orders", rate).is_ok(),
        Op::ZooKeeperCut(id, cut) => cluster.cut_zookeeper(id, cut).is_ok(),
        Op::NodeClock(id, by) => cluster.step_clock(id, by).is_ok(),
        Op::ZooKeeperDown(down) => zookeeper_down(&mut cluster, down),
        // Done to the gate, not to the cluster.
        Op::GateStop(_) | Op::GateRestart(_) | Op::Reload(_) | Op::WallStep(_) | Op::Retire(_) => {
            false
        }
    };
    drop(cluster);
    world.tell();
    done
}

fn zookeeper_down(cluster: &mut Cluster, down: bool) -> bool {
    let changes = cluster.zookeeper_down_for().is_some() != down;
    cluster.set_zookeeper_down(down);
    cluster.spec().zookeeper && changes
}

/// Makes a topic of the plan.
fn create(cluster: &mut Cluster, name: &str) -> bool {
    let topics = cluster.spec().topics.clone();
    let topic = topics.iter().find(|topic| topic.name == name);
    topic.is_some_and(|topic| cluster.create_topic(topic).is_ok())
}

fn kill(
    world: &World,
    cluster: &mut Cluster,
    id: NodeId,
    oracle: &mut Oracle,
    now: Duration,
) -> bool {
    let done = cluster.kill(id).is_ok();
    // A frozen process's connections are closed by the kernel; over a cut network nothing comes.
    // Nobody misses a broker that was not in service yet, and that nobody knew.
    let nodes = cluster.spec().nodes.iter();
    let votes = nodes
        .filter(|node| node.id == id)
        .any(|node| node.roles.controller);
    let missed = votes || cluster.belongs(id);
    if done && missed && !world.is_cut_off(id) {
        oracle.killed(id, now);
    }
    done
}

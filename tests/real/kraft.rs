//! KRaft, three controllers and three brokers.

use std::time::{Duration, Instant};

use lab::prove::cycle::Fault;
use lab::prove::modes::gate_of_pages;
use lab::{Release, Rules, Spec, http};
use upgrade_gate::evidence::aggregate::Mode;
use upgrade_gate::evidence::ids::Role;
use upgrade_gate::jmx::found::Found;
use upgrade_gate::jmx::page::read;
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scan::Format;

use crate::scene::{LONG, Scene, run, scenario, shut_for};

#[test]
fn kraft() {
    run(async {
        let spec = Spec::kraft(Release::V3_9_2);
        let spec = spec.node_rules(3, Rules::Small);
        let spec = spec.node_rules(103, Rules::Small);
        let scene = scenario("kraft: opens on a healthy cluster", Scene::start(spec)).await;
        scenario("kraft: open to everyone who asks", scene.open_to_all()).await;
        let name = "kraft: a gate that reads pages alone opens";
        scenario(name, opens_by_pages(&scene)).await;
        let name = "kraft: our rules for the exporter make small pages";
        scenario(name, small_pages(&scene)).await;
        for (name, fault, limit_ms) in [
            ("kraft: a broker killed", Fault::Kill, 2_000.0),
            ("kraft: a broker frozen", Fault::Freeze, 4_000.0),
            ("kraft: a broker stopped", Fault::Stop, 4_000.0),
        ] {
            scenario(name, scene.cycle(fault, limit_ms)).await;
        }
        let name = "kraft: the active controller killed";
        scenario(name, active_controller_killed(&scene)).await;
        let name = "kraft: a gate started while a broker is down";
        scenario(name, scene.down_at_start()).await;
        scenario("kraft: one replica only warns", scene.single_replica()).await;
    });
}

/// Its pages are all asked for at one moment, and its window is longer than the time to the next ones.
async fn opens_by_pages(scene: &Scene) {
    let gate = gate_of_pages(&scene.cluster, "7s").await.expect("a gate");
    gate.wait_open(Duration::from_secs(40)).await.expect("open");
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        let answer = gate.check("").await.expect("an answer");
        assert!(answer.is_open(), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The quorum elects another leader and all partitions are well, but one more dead controller
/// would be one too many: shut until it is back.
async fn active_controller_killed(scene: &Scene) {
    let active = scene.cluster.active_controller().await;
    let active = active.expect("an answer").expect("an active controller");
    let node = scene.cluster.node(active).expect("a controller");
    node.kill().expect("a kill");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    loop {
        let shut = shut_for(&scene.gate, Duration::ZERO).await;
        let quorum = shut.codes().iter().any(|code| code.contains("quorum"));
        if shut.names(active) && quorum {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{shut:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shut_for(&scene.gate, Duration::from_secs(5)).await;
    node.start(None).await.expect("a start");
    scene.gate.wait_open(LONG).await.expect("open: it is back");
}

/// `config/jmx-exporter.yml`: everything that is read, and little else. The gate is open on these pages.
async fn small_pages(scene: &Scene) {
    let page = async |id| {
        let node = scene.cluster.node(id).expect("a node");
        http::metrics(node.jmx_port(), LONG).await.expect("a page")
    };
    for (id, role) in [(3, Role::BROKER), (103, Role::CONTROLLER)] {
        let small = page(id).await;
        assert!(small.len() <= 25_000, "node {id}: {} bytes", small.len());
        let facts = read(&small, Format::Text, &Recogniser::default());
        let found = Found::compare(&facts.expect("a page of Kafka's"), role, Mode::Kraft);
        assert!(found.complete() && found.start_time, "node {id}: {found}");
        assert_eq!(found.missing_optional, [], "node {id}: {found}");
    }
    let (small, whole) = (page(3).await.len(), page(1).await.len());
    assert!(whole >= 10 * small, "{small} of {whole} bytes");
}

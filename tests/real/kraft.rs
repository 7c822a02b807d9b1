//! KRaft, three controllers and three brokers.

use std::time::{Duration, Instant};

use lab::prove::cycle::Fault;
use lab::{Release, Spec};

use crate::scene::{LONG, Scene, run, scenario, shut_for};

#[test]
fn kraft() {
    run(async {
        let spec = Spec::kraft(Release::V3_9_2);
        let scene = scenario("kraft: opens on a healthy cluster", Scene::start(spec)).await;
        scenario("kraft: open to everyone who asks", scene.open_to_all()).await;
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

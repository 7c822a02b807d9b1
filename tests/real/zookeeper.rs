//! ZooKeeper and three brokers, of the last release that has it.

use lab::prove::cycle::Fault;
use lab::{Release, Spec};

use crate::scene::{Scene, run, scenario};

#[test]
fn zookeeper() {
    run(async {
        let spec = Spec::zookeeper(Release::V3_9_2);
        let name = "zookeeper: opens on a healthy cluster";
        let scene = scenario(name, Scene::start(spec)).await;
        scenario("zookeeper: open to everyone who asks", scene.open_to_all()).await;
        for (name, fault, limit_ms) in [
            ("zookeeper: a broker killed", Fault::Kill, 2_000.0),
            ("zookeeper: a broker stopped", Fault::Stop, 4_000.0),
        ] {
            scenario(name, scene.cycle(fault, limit_ms)).await;
        }
        let name = "zookeeper: a gate started while a broker is down";
        scenario(name, scene.down_at_start()).await;
        scenario("zookeeper: one replica only warns", scene.single_replica()).await;
    });
}

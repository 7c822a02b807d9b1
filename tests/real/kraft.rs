//! KRaft, three controllers and three brokers.

use std::time::Duration;

use lab::prove::cycle::{self, Fault};
use lab::prove::faults::gate_args;
use lab::prove::gate::{Gate, Poller};
use lab::{Cluster, Release, Spec};

const LONG: Duration = Duration::from_secs(120);

/// Kill, freeze and controlled stop of a broker, each from before the fault to the next `open`.
#[test]
fn a_dead_a_frozen_and_a_stopping_broker_close_the_gate_until_they_are_back() {
    lab_runtime().block_on(async {
        let release: Release = "3.9.2".parse().expect("a release the lab knows");
        let cluster = Cluster::start(Spec::kraft(release).quick())
            .await
            .expect("a cluster");
        cluster
            .create_topic("orders", 12, 3, &[("min.insync.replicas", "2")])
            .await
            .expect("a topic");
        let gate = Gate::start(&gate_args(&cluster, "2s"))
            .await
            .expect("a gate");
        gate.wait_open(LONG)
            .await
            .expect("open on a healthy cluster");
        let poller = Poller::start(gate.port(), Duration::from_millis(20));
        for (fault, limit) in [
            (Fault::Kill, 2_000.0),
            (Fault::Freeze, 4_000.0),
            (Fault::Stop, 4_000.0),
        ] {
            let seen = cycle::run(&cluster, &gate, &poller, 2, fault)
                .await
                .expect("a cycle");
            assert!(seen.named_ms.is_some_and(|ms| ms <= limit), "{seen:?}");
            assert_eq!(seen.false_opens, 0, "{seen:?}");
        }
    });
}

fn lab_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

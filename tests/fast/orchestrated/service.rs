//! What the service around the leases does: long polls, a reload, a store that fails.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::gate::lease::Token;
use upgrade_gate::gate::state::GateName;
use upgrade_gate::store::sqlite::look::{Found, look};

use super::{DATABASE, World, code, json, text};

/// While the gate is held: each look of the engine publishes a view, and a request that waits must
/// not take that for news.
pub(super) async fn long_polls_cost_the_engine_next_to_nothing(world: &World) {
    let before = world.judged().await;
    sleep(Duration::from_secs(3)).await;
    let idle = world.judged().await - before;
    let gate = "/api/v1/gates/default";
    let targets = [
        "enter?node=2&owner=one&wait=3".to_owned(),
        "enter?node=3&owner=two&wait=3".to_owned(),
        "check?node=1,2&wait=3".to_owned(),
        "check?fresh=1&wait=3".to_owned(),
    ];
    let targets = targets.map(|target| format!("{gate}/{target}"));
    let before = world.judged().await;
    let [one, two, three, four] = &targets;
    let began = Instant::now();
    let answers = tokio::join!(
        world.send("POST", one),
        world.send("POST", two),
        world.send("POST", three),
        world.send("POST", four),
    );
    for answer in [&answers.0, &answers.1, &answers.2, &answers.3] {
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert!(began.elapsed() >= Duration::from_secs(3), "they waited");
    let waiting = world.judged().await - before;
    // Before there was a pace it was thousands.
    assert!(
        waiting < 3 * idle + 100,
        "{idle} without them, {waiting} with them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_holds_a_lease_is_neither_removed_nor_renamed() {
    let world = World::start().await;
    let granted = world.run(&["enter", "--node", "2", "--owner", "me"]).await;
    assert_eq!(code(&granted), 0, "{}", text(&granted.stderr));
    let file = world.folder.path().join("gate.yaml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, before.replace("\n  default:\n", "\n  renamed:\n")).unwrap();
    let refused = world.send("POST", "/-/reload").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let why = "gate default: it holds lease 1 of me";
    assert!(refused.text().contains(why), "{}", refused.text());
    // Node 1 beside it, at a gate that knows nothing of the lease: there is none such.
    let other = [
        "enter", "--node", "1", "--owner", "you", "--gate", "renamed",
    ];
    assert_eq!(code(&world.run(&other).await), 4);
    let list = text(&world.run(&["lease", "list"]).await.stdout);
    assert!(list.starts_with("lease 1 "), "{list}");
    let plan = text(&world.run(&["plan"]).await.stdout);
    assert!(
        plan.contains("\nlease 1 token 1 nodes 2 restart held"),
        "{plan}"
    );
    assert!(plan.contains("\nhost rack1-a [1, 101] "), "{plan}");
    assert!(plan.contains("\nwithout 1 ("), "{plan}");

    let back = ["leave", "--node", "2", "--owner", "me", "--wait", "60s"];
    let back = world.run(&back).await;
    assert_eq!(code(&back), 0, "{}", text(&back.stderr));
    let done = world.send("POST", "/-/reload").await;
    assert_eq!(done.status, 200, "{}", done.text());
    let open = ["wait", "--gate", "renamed", "--timeout", "60s"];
    assert_eq!(code(&world.run(&open).await), 0);
    assert_eq!(world.send("GET", "/api/v1/gates/default").await.status, 404);
    world.cluster.shutdown().await;
}

/// Nobody gets a lease for want of a store, and everybody still gets the verdict.
async fn refuses_for_its_store(world: &World) {
    for _ in 0..3 {
        let refused = world.run(&ENTER).await;
        assert_eq!(code(&refused), 1, "{}", text(&refused.stdout));
        let reasons = json(&refused)["reasons"].to_string();
        assert!(reasons.contains("\"store_unavailable\""), "{reasons}");
        let check = world.run(&["check", "--node", "2"]).await;
        assert_eq!(code(&check), 0, "{}", text(&check.stderr));
    }
}

const ENTER: [&str; 6] = ["enter", "--node", "2", "--owner", "me", "--json"];

/// It gives a lease once its store can be used, and takes it back.
async fn grants_again(world: &World) {
    let granted = world.run(&[&ENTER[..], &["--wait", "30s"]].concat()).await;
    assert_eq!(code(&granted), 0, "{}", text(&granted.stderr));
    let left = ["leave", "--node", "2", "--owner", "me", "--wait", "60s"];
    let left = world.run(&left).await;
    assert_eq!(code(&left), 0, "{}", text(&left.stderr));
}

/// The disk is full; the folder is gone, and made anew; another file stands in the database's place.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_gate_whose_store_fails_gives_no_lease_and_goes_on_judging() {
    let world = World::start().await;
    world.limit_files(Some(0));
    let before = world.database();
    let hold = world.run(&["hold", "disks", "--node", "3"]).await;
    assert_eq!(
        code(&hold),
        3,
        "{}{}",
        text(&hold.stdout),
        text(&hold.stderr)
    );
    refuses_for_its_store(&world).await;
    assert!(world.database() == before, "nothing is overwritten");
    world.limit_files(None);
    grants_again(&world).await;
    // What was in force meanwhile has been written by now.
    let list = text(&world.run(&["lease", "list"]).await.stdout);
    assert!(list.contains("hold on node 3 "), "{list}");

    let file = |name: &str| world.folder.path().join(name);
    std::fs::rename(file("data"), file("elsewhere")).unwrap();
    grants_again(&world).await;
    // A new one is made, with all that is in force.
    let Found::Document(_, doc) = look(&file("data"), &GateName::default()) else {
        panic!("no document in the new folder");
    };
    assert!(doc.node_holds.contains_key(&NodeId(3)), "{doc:?}");
    assert!(doc.last_token >= Token(2), "{doc:?}");

    let (database, aside) = (file("data").join(DATABASE), file("aside"));
    std::fs::rename(&database, &aside).unwrap();
    let garbage = vec![0xff; 5000];
    std::fs::write(&database, &garbage).unwrap();
    refuses_for_its_store(&world).await;
    assert!(
        std::fs::read(&database).unwrap() == garbage,
        "left as it is"
    );
    std::fs::rename(&aside, &database).unwrap();
    grants_again(&world).await;
    world.cluster.shutdown().await;
}

//! One node of a machine is mended while the whole machine is taken.

use super::{World, text};

/// The machine's owner does not come back; whoever mends its broker takes over both nodes, and
/// gives them back, by the broker alone.
pub(super) async fn one_node_of_a_machine_that_is_taken(world: &World) {
    let whole = [
        "enter", "--host", "rack1-a", "--owner", "me", "--wait", "60s",
    ];
    world.done(&whole).await;
    world.cluster.operate(|cluster| cluster.kill(1)).unwrap();
    let repair = [
        "enter", "--node", "1", "--owner", "ann", "--action", "repair", "--wait", "30s",
    ];
    let repair = world.done(&repair).await;
    let said = text(&repair.stdout);
    assert!(said.contains(" nodes=1,101 "), "{said}");
    world
        .cluster
        .operate(|cluster| cluster.start(1, None))
        .unwrap();
    let back = ["leave", "--node", "1", "--owner", "ann", "--wait", "90s"];
    let back = world.done(&back).await;
    let said = text(&back.stdout);
    assert!(said.contains(" nodes=1,101 "), "{said}");
}

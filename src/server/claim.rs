//! The nodes that a request is about.

use std::collections::BTreeSet;

use super::problem::Problem;
use super::query::Targets;
use crate::engine::handle::GateHandle;
use crate::evidence::ids::NodeId;

/// The nodes that a request names, by themselves and by machines.
pub(super) fn resolve(gate: &GateHandle, targets: &Targets) -> Result<BTreeSet<NodeId>, Problem> {
    let mut nodes = targets.nodes.clone();
    for host in &targets.hosts {
        let on_it = gate.hosts().get(host).ok_or_else(|| {
            let known: Vec<&str> = gate.hosts().keys().map(String::as_str).collect();
            let known = match known.as_slice() {
                [] => String::from("there are none; name them in the configuration under hosts"),
                known => format!("there is {}", known.join(", ")),
            };
            Problem::bad_parameter(format!("no host of this gate is called {host:?}; {known}"))
        })?;
        nodes.extend(on_it);
    }
    Ok(nodes)
}

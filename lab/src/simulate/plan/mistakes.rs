//! Other configurations in the middle of a trial, and wrong ones.

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::NodeId;

use super::Maker;
use crate::simulate::setup::{Setup, Target};

/// So often a change is drawn at most: about every other draw of a window is the one in force.
const DRAWS: usize = 32;

impl Maker {
    /// Another configuration than the one in force; `None` where none was drawn.
    pub(super) fn another_setup(&mut self) -> Option<Setup> {
        let now = self.setup.clone();
        let mut drawn = (0..DRAWS).map(|_| self.changed_setup());
        drawn.find(|setup| *setup != now)
    }

    fn changed_setup(&mut self) -> Setup {
        let mut setup = self.setup.clone();
        let windows: &[Option<u64>] = if setup.mode == Mode::Jmx {
            &[None, Some(60_000)]
        } else {
            &[None, Some(10_000), Some(20_000), Some(60_000)]
        };
        // Nobody but the configuration tells of nodes in mode jmx.
        if setup.mode == Mode::Jmx || self.random.between(0, 1) == 0 {
            setup.window = self.random.pick(windows);
        } else {
            setup.configured = !setup.configured;
        }
        setup
    }

    pub(super) fn mistake(&mut self) -> Setup {
        let mut setup = self.setup.clone();
        let one = self.random.pick(&self.drill.all);
        let other = self.random.pick(&self.drill.all);
        match self.random.between(0, 3) {
            0 | 1 if one != other => {
                setup.targets.insert(one, Target::Node(other));
                setup.targets.insert(other, Target::Node(one));
            }
            2 => {
                setup.configured = true;
                setup.left_out.insert(one);
            }
            _ => {
                setup.targets.insert(one, Target::AnotherCluster);
            }
        }
        setup
    }

    /// Two targets that lead to the exporter of one of them.
    pub(super) fn one_page_twice(&mut self) -> Setup {
        let mut setup = self.setup.clone();
        let one = self.random.pick(&self.drill.all);
        let one = self.drill.favourite.unwrap_or(one);
        let votes = |id: &NodeId| self.drill.controllers.contains(id);
        let mut alike = self.drill.all.clone();
        alike.retain(|id| *id != one && votes(id) == votes(&one));
        let other = self.random.pick(&alike);
        setup.targets.insert(one, Target::Node(other));
        setup
    }
}

#[cfg(test)]
mod tests {
    use crate::simulate::ops::Op;
    use crate::simulate::plan::{Kind, Plan, Slant};

    use super::*;

    #[test]
    fn a_reload_brings_another_configuration() {
        for mode in [Mode::KafkaJmx, Mode::Kafka, Mode::Jmx] {
            let slant = Slant {
                kind: Some(Kind::Reloaded),
                mode: Some(mode),
                ..Slant::default()
            };
            for seed in 0..50 {
                let plan = Plan::slanted(seed, slant);
                let changes = |op: &Op| matches!(op, Op::Reload(setup) if **setup != plan.setup);
                let reloads = plan.ops.iter().filter(|(_, op)| changes(op));
                assert_eq!(reloads.count(), 1, "seed {seed} in mode {mode:?}");
            }
        }
    }
}

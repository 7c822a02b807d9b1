//! Rolls by leases: two orchestrators, their helpers, and what goes wrong meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::NodeId;

use super::Maker;
use crate::simulate::operator::{BACKGROUND, Operator};
use crate::simulate::ops::Op;

impl Maker {
    /// Two orchestrators want the same nodes; owners and the gate itself die on the way.
    pub(super) fn two_by_leases(&mut self) {
        // Verdicts by pages alone allow no what-if, and so no lease is worth much there.
        self.setup.mode = self
            .random
            .pick(&[Mode::KafkaJmx, Mode::KafkaJmx, Mode::Kafka]);
        // With two slots each wants other nodes than the other one, from the same moment on.
        let (one, other) = self.halves();
        let halves = [one, other].map(|half| self.setup.slots.map(|_| half));
        for (name, half) in ["one", "other"].into_iter().zip(halves) {
            match half {
                Some(nodes) => self.book(nodes),
                None => self.roll(),
            }
            let ttl = self.random.pick(&[20_000, 60_000, 300_000]);
            let end = u64::try_from(self.end.as_millis()).expect("a short trial");
            let dies = self.random.between(20_000, end);
            let dies = Some(dies).filter(|_| self.random.between(0, 2) == 0);
            if let Some(operator) = self.operators.last_mut() {
                operator.owner = Some(name.to_owned());
                operator.ttl = ttl;
                operator.dies = dies;
                operator.forgets = self.random.between(0, 2) == 0;
            }
            if let Some(dies) = dies {
                // Somebody finds what it has left behind.
                let found = Duration::from_millis(dies) + self.random.millis(5_000, 90_000);
                self.drill.add(found, Op::StartAll);
            }
        }
        for _ in 0..self.random.between(0, 3) {
            let at = self.somewhere();
            let away = self.random.pick(&[0, 100, 3_000, 20_000]);
            self.drill.add(at, Op::GateRestart(away));
        }
        if self.random.between(0, 1) == 0 {
            self.accident_within();
        }
        self.together();
        self.in_the_background();
        if self.apart.between(0, 7) == 0 {
            self.by_old_tables();
        }
        self.end += Duration::from_secs(60);
    }

    /// Some order the stop only a while after "go", and some say "finished" before their nodes have
    /// gone. Drawn last: everything else of a seed is as it was without them.
    fn in_the_background(&mut self) {
        let last = u64::try_from(BACKGROUND.as_millis()).expect("short");
        for operator in self.operators.iter_mut().filter(|it| !it.repairs) {
            match self.random.between(0, 3) {
                0 => operator.lag = self.random.between(1_000, 20_000),
                1 => {
                    operator.lag = self.random.between(0, last);
                    operator.leaves_early = true;
                }
                _ => {}
            }
            let nodes = u32::try_from(operator.nodes.len()).expect("few nodes");
            self.end += Duration::from_millis(operator.lag) * nodes;
        }
    }

    /// Some enter for several nodes at once: a machine with a broker and a controller on it, or two
    /// brokers. And somebody comes to repair a node, whoever has a lease on it.
    fn together(&mut self) {
        let (brokers, controllers) = (self.drill.brokers.clone(), self.drill.controllers.clone());
        let split = controllers.iter().all(|id| !brokers.contains(id));
        if self.random.between(0, 2) == 0 && split {
            let hosts = brokers.iter().zip(&controllers);
            let hosts = hosts.map(|(broker, controller)| BTreeSet::from([*broker, *controller]));
            let hosts: Vec<_> = hosts.collect();
            let which = usize::try_from(self.random.between(0, 1)).expect("small");
            if let Some(operator) = self.operators.get_mut(which) {
                operator.hosts = hosts;
            }
        }
        if self.random.between(0, 2) == 0 {
            let (one, other) = (self.random.pick(&brokers), self.random.pick(&brokers));
            let begins = self.somewhere();
            let mut pair = self.visitor("pair", BTreeSet::from([one, other]), begins);
            pair.hosts = vec![BTreeSet::from([one, other])];
            self.operators.push(pair);
        }
        if self.random.between(0, 1) == 0 {
            self.repair();
        }
    }

    /// Something happens to a node, mostly, and somebody comes to see to it.
    fn repair(&mut self) {
        let node = self.random.pick(&self.drill.all);
        let at = self.somewhere();
        let over = at + self.random.millis(5_000, 60_000);
        match self.random.between(0, 4) {
            0 => self.drill.add(at, Op::Kill(node)),
            1 => {
                self.drill.add(at, Op::Freeze(node));
                self.drill.add(over, Op::Thaw(node));
            }
            2 => {
                self.drill.add(at, Op::GateCut(node));
                self.drill.add(over, Op::GateMend(node));
            }
            3 => {
                for other in self.drill.all.clone() {
                    if other != node {
                        self.drill.add(at, Op::Cut(node, other));
                        self.drill.add(over, Op::Mend(node, other));
                    }
                }
            }
            // Nothing is wrong with it.
            _ => {}
        }
        let begins = at + self.random.millis(500, 15_000);
        let mut visitor = self.visitor("repair", BTreeSet::from([node]), begins);
        visitor.repairs = true;
        self.operators.push(visitor);
        // Whatever is left behind is found in the end.
        let found = begins + self.random.millis(20_000, 60_000);
        self.drill.add(found, Op::StartAll);
    }

    /// A broker is down and fenced when those that are asked of the cluster, the ones of the lowest ids, are
    /// cut off from the controllers: to them it stays so. It comes back and is counted on, and somebody comes
    /// to repair it.
    fn by_old_tables(&mut self) {
        let brokers: Vec<_> = self.drill.brokers.clone();
        let Some((node, rest)) = brokers.split_last().filter(|(_, rest)| rest.len() >= 3) else {
            return;
        };
        let split = self
            .drill
            .controllers
            .iter()
            .all(|id| !brokers.contains(id));
        if self.drill.zookeeper || !split {
            return;
        }
        let at = self.somewhere();
        let cut = at + self.apart.millis(10_000, 13_000);
        let over = cut + self.apart.millis(15_000, 60_000);
        self.drill.add(at, Op::Kill(*node));
        for controller in self.drill.controllers.clone() {
            for broker in rest.iter().take(2) {
                self.drill.add(cut, Op::Cut(*broker, controller));
                self.drill.add(over, Op::Mend(*broker, controller));
            }
        }
        self.drill
            .add(cut + Duration::from_millis(200), Op::Start(*node));
        let begins = cut + self.apart.millis(1_000, 15_000);
        let mut visitor = self.visitor("old tables", BTreeSet::from([*node]), begins);
        visitor.repairs = true;
        self.operators.push(visitor);
    }

    /// Somebody who asks for these nodes, and gives up after a while.
    fn visitor(&mut self, name: &str, nodes: BTreeSet<NodeId>, begins: Duration) -> Operator {
        let millis = |time: Duration| u64::try_from(time.as_millis()).expect("a short trial");
        Operator {
            nodes: nodes.into_iter().collect(),
            begins: millis(begins),
            every: self.random.pick(&[500, 2_000]),
            by_node: false,
            kills: self.random.between(0, 1) == 0,
            away: self.random.pick(&[1_000, 5_000]),
            pause: 500,
            to: None,
            owner: Some(name.to_owned()),
            ttl: self.random.pick(&[20_000, 60_000]),
            dies: None,
            hosts: Vec::new(),
            repairs: false,
            patience: Some(40_000),
            forgets: false,
            lag: 0,
            leaves_early: false,
        }
    }
}

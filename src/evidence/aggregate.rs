//! What several nodes' JMX pages say together about the cluster.
//!
//! A number is never complete by silence: every node that should have said its part and did not
//! is named, and nothing stands in for its part. A sum of bad things over those who spoke is a
//! lower bound: above zero it is bad news whoever is missing.

use std::collections::BTreeMap;

use super::ids::{NodeId, Role};
use super::jmx::{JmxFacts, Metric};
use super::known::{Known, Why};

/// How the cluster keeps its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A quorum of controllers.
    Kraft,
    /// ZooKeeper; one broker is the controller.
    ZooKeeper,
}

/// An expected node and what its page says; absent where no page in date is there.
#[derive(Clone, Copy, Debug)]
pub struct NodePage<'a> {
    /// Which node.
    pub node: NodeId,
    /// Its role. On ZooKeeper every node is a broker.
    pub role: Role,
    /// Its page, or why there is none.
    pub page: Result<&'a JmxFacts, &'a Why>,
}

/// One number of the cluster, from the parts of its nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Total {
    /// The sum or the largest of the parts; `None` when nobody said any.
    seen: Option<f64>,
    /// The parts by node, as far as they count.
    pub parts: BTreeMap<NodeId, f64>,
    /// Who should have said a part and did not, and why. On ZooKeeper without exactly one
    /// controller: every broker.
    pub missing: BTreeMap<NodeId, Why>,
}

impl Total {
    /// The number, only when nobody is missing.
    pub fn complete(&self) -> Known<f64> {
        match (self.seen, self.missing.first_key_value()) {
            (Some(value), None) => Known::Is(value),
            (_, Some((node, why))) => Known::Failed(Why(format!("node {node}: {why}"))),
            (None, None) => Known::Failed(Why(String::from("no node to say it is expected"))),
        }
    }

    /// The number as far as it is known, whoever is missing: good for bad news only.
    pub const fn at_least(&self) -> Option<f64> {
        self.seen
    }
}

/// What the pages say together.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterTotals {
    /// Sum over brokers.
    pub under_replicated: Total,
    /// Sum over brokers.
    pub under_min_isr: Total,
    /// Sum over brokers.
    pub reassigning: Total,
    /// Sum over brokers: partitions that they lead.
    pub leaders: Total,
    /// Sum over controllers; healthy when exactly 1.
    pub active_controllers: Total,
    /// Largest over loaded controllers.
    pub offline_partitions: Total,
    /// Largest over loaded controllers.
    pub active_brokers: Total,
    /// Largest over loaded controllers.
    pub fenced_brokers: Total,
    /// Largest over loaded controllers.
    pub partitions: Total,
}

impl ClusterTotals {
    /// Adds up the pages of all expected nodes.
    pub fn of(pages: &[NodePage<'_>], mode: Mode) -> Self {
        let voices = match mode {
            Mode::Kraft => kraft_voices(pages),
            Mode::ZooKeeper => zookeeper_voices(pages),
        };
        let brokers = |metric| sum(pages.iter().filter(|page| page.role.broker), metric);
        let controllers = pages.iter().filter(|page| may_be_controller(page, mode));
        Self {
            under_replicated: brokers(Metric::UnderReplicatedPartitions),
            under_min_isr: brokers(Metric::UnderMinIsrPartitionCount),
            reassigning: brokers(Metric::ReassigningPartitions),
            leaders: brokers(Metric::LeaderCount),
            active_controllers: sum(controllers, Metric::ActiveControllerCount),
            offline_partitions: largest(&voices, Metric::OfflinePartitionsCount),
            active_brokers: largest(&voices, Metric::ActiveBrokerCount),
            fenced_brokers: largest(&voices, Metric::FencedBrokerCount),
            partitions: largest(&voices, Metric::GlobalPartitionCount),
        }
    }
}

const fn may_be_controller(page: &NodePage<'_>, mode: Mode) -> bool {
    match mode {
        Mode::Kraft => page.role.controller,
        Mode::ZooKeeper => page.role.broker,
    }
}

fn part(page: &NodePage<'_>, metric: Metric) -> Result<f64, Why> {
    let facts = page.page.map_err(Clone::clone)?;
    match facts.value(metric) {
        Known::Is(value) => Ok(value),
        unknown @ (Known::NotInRelease | Known::NotExported | Known::Hidden | Known::Failed(_)) => {
            Err(Why(format!("{metric}: {}", unknown.why())))
        }
    }
}

fn sum<'p>(pages: impl Iterator<Item = &'p NodePage<'p>>, metric: Metric) -> Total {
    let mut total = Total::default();
    for page in pages {
        total.add(page.node, part(page, metric), |sum, part| sum + part);
    }
    total
}

/// Who speaks for the cluster: the page, or why this one does not.
type Voice<'p> = (NodeId, Result<&'p NodePage<'p>, Why>);

/// Controllers that have loaded. A fresh one says 0 to everything for a second.
fn kraft_voices<'p>(pages: &'p [NodePage<'p>]) -> Vec<Voice<'p>> {
    pages
        .iter()
        .filter(|page| page.role.controller)
        .map(|page| {
            let voice = part(page, Metric::GlobalPartitionCount).and_then(|partitions| {
                if partitions > 0.0 {
                    Ok(page)
                } else {
                    let why = "its GlobalPartitionCount is 0: it has not loaded the metadata yet";
                    Err(Why(String::from(why)))
                }
            });
            (page.node, voice)
        })
        .collect()
}

/// The one broker that is the controller; the others say 0 to everything.
fn zookeeper_voices<'p>(pages: &'p [NodePage<'p>]) -> Vec<Voice<'p>> {
    let brokers = || pages.iter().filter(|page| page.role.broker);
    let active: Vec<_> = brokers()
        .filter(|page| part(page, Metric::ActiveControllerCount).is_ok_and(|n| n > 0.0))
        .collect();
    match active.as_slice() {
        [one] => vec![(one.node, Ok(*one))],
        none_or_several => {
            let count = none_or_several.len();
            let why = Why(format!(
                "{count} brokers say that they are the controller, not 1"
            ));
            brokers()
                .map(|page| (page.node, Err(why.clone())))
                .collect()
        }
    }
}

fn largest(voices: &[Voice<'_>], metric: Metric) -> Total {
    let mut total = Total::default();
    for (node, voice) in voices {
        let part = match voice {
            Ok(page) => part(page, metric),
            Err(why) => Err(why.clone()),
        };
        total.add(*node, part, f64::max);
    }
    total
}

impl Total {
    fn add(&mut self, node: NodeId, part: Result<f64, Why>, both: fn(f64, f64) -> f64) {
        match part {
            Ok(part) => {
                self.parts.insert(node, part);
                self.seen = Some(self.seen.map_or(part, |seen| both(seen, part)));
            }
            Err(why) => {
                self.missing.insert(node, why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Metric::{ActiveBrokerCount, ActiveControllerCount, FencedBrokerCount};
    use Metric::{GlobalPartitionCount, OfflinePartitionsCount, UnderReplicatedPartitions};

    fn facts(values: &[(Metric, f64)]) -> JmxFacts {
        JmxFacts {
            values: values.iter().copied().collect(),
            unfound: BTreeMap::new(),
            start_time: Known::NotExported,
            node: Known::NotExported,
            version: Known::NotExported,
            raft_state: Known::NotExported,
            heartbeat_age_ms: BTreeMap::new(),
            kafka_samples: 1,
            bytes: 1,
        }
    }

    fn broker(under_replicated: f64) -> JmxFacts {
        facts(&[(UnderReplicatedPartitions, under_replicated)])
    }

    fn controller(active: f64, partitions: f64, offline: f64, brokers: f64) -> JmxFacts {
        facts(&[
            (ActiveControllerCount, active),
            (GlobalPartitionCount, partitions),
            (OfflinePartitionsCount, offline),
            (ActiveBrokerCount, brokers),
            (FencedBrokerCount, 3.0 - brokers),
        ])
    }

    fn totals(role: Role, mode: Mode, pages: &[Result<&JmxFacts, &Why>]) -> ClusterTotals {
        let pages: Vec<_> = (1..)
            .zip(pages)
            .map(|(id, page)| NodePage {
                node: NodeId(id),
                role,
                page: *page,
            })
            .collect();
        ClusterTotals::of(&pages, mode)
    }

    #[test]
    fn brokers_are_added_up_and_one_missing_is_named_never_0() {
        let gone = Why(String::from("connection refused"));
        let all = totals(
            Role::BROKER,
            Mode::Kraft,
            &[Ok(&broker(0.0)), Ok(&broker(2.0)), Ok(&broker(1.0))],
        );
        assert_eq!(all.under_replicated.complete(), Known::Is(3.0));
        let calm = totals(Role::BROKER, Mode::Kraft, &[Ok(&broker(0.0)), Err(&gone)]);
        let total = calm.under_replicated;
        assert_eq!(
            total.complete(),
            Known::Failed(Why(String::from("node 2: connection refused")))
        );
        assert_eq!(total.at_least(), Some(0.0));
        assert_eq!(total.missing, BTreeMap::from([(NodeId(2), gone)]));
        assert_eq!(total.parts, BTreeMap::from([(NodeId(1), 0.0)]));
        // Not exported, and NaN, are missing too.
        assert!(matches!(calm.under_min_isr.complete(), Known::Failed(_)));
        let nan = totals(
            Role::BROKER,
            Mode::Kraft,
            &[Ok(&broker(f64::NAN)), Ok(&broker(1.0))],
        );
        assert!(nan.under_replicated.missing.contains_key(&NodeId(1)));
        assert_eq!(nan.under_replicated.at_least(), Some(1.0));
    }

    #[test]
    fn nobody_expected_proves_nothing() {
        let none = totals(Role::BROKER, Mode::Kraft, &[]);
        assert!(matches!(none.under_replicated.complete(), Known::Failed(_)));
        assert_eq!(none.under_replicated.at_least(), None);
        let only_brokers = totals(Role::BROKER, Mode::Kraft, &[Ok(&broker(0.0))]);
        assert!(matches!(
            only_brokers.offline_partitions.complete(),
            Known::Failed(_)
        ));
        assert!(matches!(
            only_brokers.active_controllers.complete(),
            Known::Failed(_)
        ));
    }

    #[test]
    fn a_controller_that_has_not_loaded_does_not_count() {
        let (active, standby) = (
            controller(1.0, 63.0, 4.0, 2.0),
            controller(0.0, 63.0, 4.0, 2.0),
        );
        let fresh = controller(0.0, 0.0, 0.0, 0.0);
        let pages = [Ok(&active), Ok(&standby), Ok(&fresh)];
        let totals = totals(Role::CONTROLLER, Mode::Kraft, &pages);
        assert_eq!(totals.active_controllers.complete(), Known::Is(1.0));
        assert_eq!(totals.offline_partitions.at_least(), Some(4.0));
        assert_eq!(totals.fenced_brokers.at_least(), Some(1.0));
        assert_eq!(totals.active_brokers.parts.len(), 2);
        assert!(totals.offline_partitions.missing.contains_key(&NodeId(3)));
    }

    #[test]
    fn only_fresh_controllers_are_no_voice_at_all() {
        let fresh = controller(0.0, 0.0, 0.0, 0.0);
        let totals = totals(Role::COMBINED, Mode::Kraft, &[Ok(&fresh), Ok(&fresh)]);
        assert_eq!(totals.offline_partitions.at_least(), None);
        assert_eq!(totals.active_controllers.complete(), Known::Is(0.0));
    }

    #[test]
    fn on_zookeeper_the_one_controller_speaks_for_all() {
        let (active, other) = (
            controller(1.0, 63.0, 2.0, 3.0),
            controller(0.0, 0.0, 0.0, 0.0),
        );
        let healthy = totals(
            Role::BROKER,
            Mode::ZooKeeper,
            &[Ok(&other), Ok(&active), Ok(&other)],
        );
        assert_eq!(healthy.offline_partitions.complete(), Known::Is(2.0));
        assert_eq!(
            healthy.partitions.parts,
            BTreeMap::from([(NodeId(2), 63.0)])
        );
        assert_eq!(healthy.active_controllers.complete(), Known::Is(1.0));
        for pages in [[Ok(&other), Ok(&other)], [Ok(&active), Ok(&active)]] {
            let totals = totals(Role::BROKER, Mode::ZooKeeper, &pages);
            assert_eq!(totals.offline_partitions.at_least(), None);
            assert_eq!(totals.offline_partitions.missing.len(), 2);
        }
    }
}

//! Clusters on which each row of the table must find each of its reasons.

use crate::evidence::scene::Scene;

use super::reason::Reason;

mod of_cluster;
mod of_nodes;
mod of_partitions;
mod of_sources;

pub(super) use of_cluster::*;
pub(super) use of_nodes::*;
pub(super) use of_partitions::*;
pub(super) use of_sources::*;

/// What a row is tried on.
pub struct Samples {
    /// It must be proved on at least one of these and allow open on all.
    pub healthy: Vec<Scene>,
    /// It must find this reason on this cluster.
    pub bad: Vec<(Reason, Scene)>,
    /// Two sources that tell the same differently: it must not allow open.
    pub disagree: Vec<Scene>,
}

impl Samples {
    fn new() -> Self {
        Self {
            healthy: vec![
                Scene::healthy_kraft(),
                Scene::healthy_combined(),
                Scene::healthy_zookeeper(),
                Scene::healthy_jmx(),
                Scene::healthy_kafka(),
            ],
            bad: Vec::new(),
            disagree: Vec::new(),
        }
    }

    fn finds(mut self, reason: Reason, spoil: impl FnOnce(&mut Scene)) -> Self {
        let mut scene = Scene::healthy_kraft();
        spoil(&mut scene);
        self.bad.push((reason, scene));
        self
    }

    fn finds_in(mut self, reason: Reason, scene: Scene, spoil: impl FnOnce(&mut Scene)) -> Self {
        let mut scene = scene;
        spoil(&mut scene);
        self.bad.push((reason, scene));
        self
    }

    fn disagree(mut self, spoil: impl FnOnce(&mut Scene)) -> Self {
        let mut scene = Scene::healthy_kraft();
        spoil(&mut scene);
        self.disagree.push(scene);
        self
    }
}

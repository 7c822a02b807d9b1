//! Who is at the other end of a connection: a source counts only once it has proved it.

use std::time::Duration;

use super::connection::Connection;
use super::encode::IDENTITY_KEYS;
use super::facts;
use crate::evidence::facts::{Identity, ListenerKind};
use crate::evidence::ids::{ClusterId, NodeId};
use crate::evidence::known::Known;
use crate::evidence::report::{FailureClass, SourceFailure};

impl Connection {
    /// Proves that this connection leads to `node`: only the node itself answers DescribeConfigs
    /// of BROKER `node`, any other one answers error 42 (reference `kafka-lab.md` 11: brokers and
    /// controllers of 2.8.2, 3.9.2, 4.3.1).
    ///
    /// `Err` with `WrongNode` when it is another one; `Ok(Unproven)` when it may not be asked.
    pub async fn prove_node(
        &self,
        node: NodeId,
        deadline: Duration,
    ) -> Result<Identity, SourceFailure> {
        let answer = self.configs_of(node, IDENTITY_KEYS, deadline).await;
        let answer = answer.map_err(|failure| self.explained(failure));
        facts::identity(answer.map(|answer| answer.facts))
    }

    /// Controllers answer DescribeConfigs from 3.7 on (KIP-919): older ones cannot say who they are.
    fn explained(&self, failure: SourceFailure) -> SourceFailure {
        match (failure.class, self.listener()) {
            (FailureClass::Unsupported, ListenerKind::Controller) => SourceFailure::new(
                FailureClass::Unsupported,
                format!(
                    "{} is a controller before 3.7, which cannot say who it is: set \
                     kafka.via_brokers, and brokers tell of it",
                    self.address()
                ),
            ),
            _ => failure,
        }
    }

    /// Which cluster answers. Controllers before 3.7 cannot say it: `NotInRelease`.
    pub async fn cluster_id(&self, deadline: Duration) -> Result<Known<ClusterId>, SourceFailure> {
        match self.listener() {
            ListenerKind::Broker => {
                let answer = self.describe_cluster(deadline).await?;
                Ok(answer.facts.cluster_id)
            }
            ListenerKind::Controller => {
                let answer = self.describe_controllers(deadline).await;
                facts::cluster_of_controller(answer.map(|answer| answer.facts))
            }
        }
    }

    /// Checks that this connection leads into `expected`; `WrongCluster` when it does not. What
    /// cannot be known is no contradiction and is handed back as it is.
    pub async fn prove_cluster(
        &self,
        expected: &ClusterId,
        deadline: Duration,
    ) -> Result<Known<ClusterId>, SourceFailure> {
        let id = self.cluster_id(deadline).await?;
        match id.value() {
            Some(other) if other != expected => {
                let at = self.address();
                Err(SourceFailure::new(
                    FailureClass::WrongCluster,
                    format!("{at} belongs to cluster {other}, not to {expected}"),
                ))
            }
            Some(_) | None => Ok(id),
        }
    }
}

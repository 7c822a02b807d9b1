//! Who is at the other end of a connection: a source counts only once it has proved it.

use std::time::Duration;

use super::connection::Connection;
use crate::evidence::facts::{Identity, ListenerKind};
use crate::evidence::ids::{ClusterId, NodeId};
use crate::evidence::known::Known;
use crate::evidence::report::{FailureClass, SourceFailure};

/// Any key will do; this one is in every release and role.
const ONE_KEY: &[&str] = &["listeners"];

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
        match self.configs_of(node, ONE_KEY, deadline).await {
            Ok(_) => Ok(Identity::Proved),
            Err(SourceFailure {
                class: FailureClass::Authorization | FailureClass::Unsupported,
                detail,
            }) => Ok(Identity::Unproven(detail)),
            Err(failure) => Err(failure),
        }
    }

    /// Which cluster answers. Controllers before 3.7 cannot say it: `NotInRelease`.
    pub async fn cluster_id(&self, deadline: Duration) -> Result<Known<ClusterId>, SourceFailure> {
        match self.listener() {
            ListenerKind::Broker => {
                let answer = self.describe_cluster(deadline).await?;
                Ok(answer.facts.cluster_id)
            }
            ListenerKind::Controller => match self.describe_controllers(deadline).await {
                Ok(answer) => Ok(Known::Is(answer.facts.cluster_id)),
                Err(failure) if failure.class == FailureClass::Unsupported => {
                    Ok(Known::NotInRelease)
                }
                Err(failure) if failure.class == FailureClass::Authorization => Ok(Known::Hidden),
                Err(failure) => Err(failure),
            },
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

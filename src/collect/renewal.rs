//! A connection whose SASL session ends is replaced before it does: the new one is open, and the node
//! has proved who it is over it, while the old one is still in use. So there is no gap in the
//! evidence, and a login that no longer works is told by its own name and not as a dead node.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, warn};

use super::node::{Opened, open};
use super::shared::Shared;
use crate::evidence::facts::Identity;
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FailureClass, SourceFailure};
use crate::kafka::{BoxFuture, Connection};

/// Between two tries to make the next connection.
const RETRY: Duration = Duration::from_millis(250);

/// The connection that follows, and who the node is over it.
pub(super) type Renewed = Result<(Arc<Connection>, Identity), SourceFailure>;

/// Resolves with the connection that follows this one, shortly before this one's session ends; with
/// the failure when there is none until then. Never, when the session has no end.
pub(super) fn renewal<'a>(
    shared: &'a Shared,
    node: NodeId,
    connection: &Connection,
) -> BoxFuture<'a, Renewed> {
    let Some(lifetime) = connection.lifetime() else {
        return Box::pin(std::future::pending());
    };
    let address = connection.address().clone();
    Box::pin(async move {
        sleep_until(lifetime.renew).await;
        // A node that is silent is told by its own connection, which is asked all the while. That
        // there is no new one says nothing of it: most likely there is no token.
        let mut last = SourceFailure::new(
            FailureClass::Authentication,
            format!("connection to {address}: no new login before its SASL session ended"),
        );
        // Nothing is asked over a session that is over: the node would hang up, which reads as its
        // death.
        while let Ok(opened) = timeout_at(lifetime.over, open(shared, node)).await {
            match opened {
                Opened::Connected(connection, identity) => {
                    debug!(gate = %shared.settings.gate, %node, "a new connection follows the one whose session ends");
                    return Ok((connection, identity));
                }
                Opened::Failed(failure) | Opened::HungUp(failure) => {
                    warn!(gate = %shared.settings.gate, %node, %failure, "failed to log in anew before the session ends");
                    last = failure;
                }
                Opened::NoAddress => {}
            }
            sleep_until((Instant::now() + RETRY).min(lifetime.over)).await;
            if Instant::now() >= lifetime.over {
                break;
            }
        }
        Err(last)
    })
}

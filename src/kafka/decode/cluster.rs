//! DescribeCluster v0 to v2, and the broker rows that Metadata shares with it.

use crate::evidence::facts::RegisteredBroker;
use crate::evidence::ids::{ClusterId, NodeId};
use crate::kafka::reader::{DecodeError, Reader};

/// A DescribeCluster answer, of brokers or (endpoint type 2) of controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAnswer {
    /// How long the node throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// Kafka's error code.
    pub error: i16,
    /// What Kafka says about the error.
    pub message: Option<String>,
    /// Which cluster answers.
    pub cluster_id: ClusterId,
    /// On a broker's listener of a KRaft cluster a random live broker; on a controller's listener
    /// the leader of the quorum.
    pub controller: Option<NodeId>,
    /// Brokers or controllers, in order of id.
    pub nodes: Vec<RegisteredBroker>,
}

/// Decodes a DescribeCluster answer.
pub fn decode(body: &[u8], version: i16) -> Result<ClusterAnswer, DecodeError> {
    if !(0..=2).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, true);
    let throttle_ms = reader.int32()?;
    let error = reader.int16()?;
    let message = reader.nullable_string()?.map(str::to_owned);
    if version >= 1 {
        reader.int8()?; // endpoint type, the one we asked for
    }
    let cluster_id = ClusterId(reader.string()?.to_owned());
    let controller = reader.node_or_none()?;
    let mut nodes = Vec::new();
    for _ in 0..reader.array(11)? {
        let mut node = broker(&mut reader, true)?;
        node.fenced = version >= 2 && reader.boolean()?;
        reader.tags()?;
        nodes.push(node);
    }
    nodes.sort_by_key(|node| node.node);
    reader.int32()?; // authorized operations, not asked for
    reader.tags()?;
    reader.finish()?;
    Ok(ClusterAnswer {
        throttle_ms,
        error,
        message,
        cluster_id,
        controller,
        nodes,
    })
}

/// Id, host, port and rack, as DescribeCluster and Metadata both have them.
pub(super) fn broker(
    reader: &mut Reader<'_>,
    has_rack: bool,
) -> Result<RegisteredBroker, DecodeError> {
    Ok(RegisteredBroker {
        node: reader.node()?,
        host: reader.string()?.to_owned(),
        port: reader.port32()?,
        rack: if has_rack {
            reader.nullable_string()?.map(str::to_owned)
        } else {
            None
        },
        fenced: false,
    })
}

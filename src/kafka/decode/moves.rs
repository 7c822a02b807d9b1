//! ListPartitionReassignments v0.

use crate::evidence::facts::{Move, Moves};
use crate::evidence::ids::NodeId;
use crate::kafka::reader::{DecodeError, Reader};

/// A ListPartitionReassignments answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovesAnswer {
    /// How long the broker throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// Kafka's error code.
    pub error: i16,
    /// What Kafka says about the error.
    pub message: Option<String>,
    /// Running reassignments, in order of topic and partition.
    pub moves: Moves,
}

/// Decodes a ListPartitionReassignments answer.
pub fn decode(body: &[u8], version: i16) -> Result<MovesAnswer, DecodeError> {
    if version != 0 {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, true);
    let throttle_ms = reader.int32()?;
    let error = reader.int16()?;
    let message = reader.nullable_string()?.map(str::to_owned);
    let mut list = Vec::new();
    for _ in 0..reader.array(3)? {
        let topic = reader.string()?;
        for _ in 0..reader.array(8)? {
            list.push(Move {
                topic: topic.to_owned(),
                partition: reader.int32()?,
                replicas: nodes(&mut reader)?,
                adding: nodes(&mut reader)?,
                removing: nodes(&mut reader)?,
            });
            reader.tags()?;
        }
        reader.tags()?;
    }
    reader.tags()?;
    reader.finish()?;
    list.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(MovesAnswer {
        throttle_ms,
        error,
        message,
        moves: Moves { list },
    })
}

fn nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    let mut nodes = Vec::new();
    reader.nodes(&mut nodes)?;
    Ok(nodes)
}

//! Metadata v1 to v13, straight into the flat partition table.

use crate::evidence::facts::RegisteredBroker;
use crate::evidence::ids::{ClusterId, NodeId};
use crate::evidence::partitions::{Builder, List, Numbers, PartitionTable};
use crate::kafka::reader::{DecodeError, Reader};

/// A Metadata answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// How long the broker throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// Kafka's error code for the whole answer (v13; 0 before).
    pub error: i16,
    /// Live brokers, in order of id.
    pub brokers: Vec<RegisteredBroker>,
    /// Which cluster answers (v2; `None` before, and while a starting broker does not know it).
    pub cluster_id: Option<ClusterId>,
    /// The controller as told: real on ZooKeeper, a random live broker on KRaft.
    pub controller: Option<NodeId>,
    /// All topics we may see.
    pub table: PartitionTable,
}

/// The least bytes a topic and a partition take in any version.
const SMALLEST_TOPIC: usize = 8;
const SMALLEST_PARTITION: usize = 18;
/// About what a partition takes in versions 9 and up: fixed fields, and three or so node ids
/// twice. Only a first guess of how much room to make, from bytes that did arrive.
const USUAL_PARTITION: usize = 40;

/// Decodes a Metadata answer.
pub fn decode(body: &[u8], version: i16) -> Result<Metadata, DecodeError> {
    if !(1..=13).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, version >= 9);
    let throttle_ms = if version >= 3 { reader.int32()? } else { 0 };
    let mut brokers = Vec::new();
    for _ in 0..reader.array(11)? {
        brokers.push(super::cluster::broker(&mut reader, true)?);
        reader.tags()?;
    }
    brokers.sort_by_key(|broker| broker.node);
    let cluster_id = if version >= 2 {
        reader.nullable_string()?.map(|id| ClusterId(id.to_owned()))
    } else {
        None
    };
    let controller = reader.node_or_none()?;
    let topics = reader.array(SMALLEST_TOPIC)?;
    let room = reader.left().div_euclid(USUAL_PARTITION);
    let mut builder = Builder::with_room(topics.min(room), room);
    for _ in 0..topics {
        topic(&mut reader, version, &mut builder)?;
    }
    if (8..=10).contains(&version) {
        reader.int32()?; // authorized operations of the cluster, not asked for
    }
    let error = if version >= 13 { reader.int16()? } else { 0 };
    reader.tags()?;
    reader.finish()?;
    Ok(Metadata {
        throttle_ms,
        error,
        brokers,
        cluster_id,
        controller,
        table: builder.finish(),
    })
}

fn topic(reader: &mut Reader<'_>, version: i16, builder: &mut Builder) -> Result<(), DecodeError> {
    let error = reader.int16()?;
    // From v12 on the name is null where a topic was asked for by an unknown id; we ask for all.
    let name = reader.nullable_string()?.unwrap_or_default();
    let id = if version >= 10 { reader.uuid()? } else { None };
    let internal = reader.boolean()?;
    builder.topic(id, name, internal, error);
    for _ in 0..reader.array(SMALLEST_PARTITION)? {
        partition(reader, version, builder)?;
    }
    if version >= 8 {
        reader.int32()?; // authorized operations of the topic, not asked for
    }
    reader.tags()
}

fn partition(
    reader: &mut Reader<'_>,
    version: i16,
    builder: &mut Builder,
) -> Result<(), DecodeError> {
    let error = reader.int16()?;
    let index = reader.int32()?;
    let leader = reader.node_or_none()?;
    let leader_epoch = if version >= 7 {
        let epoch = reader.int32()?;
        (epoch >= 0).then_some(epoch)
    } else {
        None
    };
    let numbers = Numbers {
        index,
        leader,
        leader_epoch,
        error,
    };
    builder.partition_with(numbers, |list, nodes| match list {
        List::Offline if version < 5 => Ok(()),
        List::Replicas | List::Isr | List::Offline => reader.nodes(nodes),
    })?;
    reader.tags()
}

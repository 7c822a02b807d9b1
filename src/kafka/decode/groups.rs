//! FindCoordinator v0 to v6 and OffsetFetch v5 to v9.

use crate::evidence::ids::{GroupId, NodeId};
use crate::kafka::reader::{DecodeError, Reader};

/// A FindCoordinator answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorsAnswer {
    /// How long the broker throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// One per group asked for; before v4 one, without its group.
    pub coordinators: Vec<CoordinatorRow>,
}

/// Who coordinates one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRow {
    /// The group; `None` before v4, where only one can be asked for.
    pub group: Option<GroupId>,
    /// Kafka's error code.
    pub error: i16,
    /// The coordinator, where there is one.
    pub node: Option<NodeId>,
}

/// Decodes a FindCoordinator answer.
pub fn decode_coordinators(body: &[u8], version: i16) -> Result<CoordinatorsAnswer, DecodeError> {
    if !(0..=6).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, version >= 3);
    let throttle_ms = if version >= 1 { reader.int32()? } else { 0 };
    let mut coordinators = Vec::new();
    if version >= 4 {
        for _ in 0..reader.array(14)? {
            let group = Some(GroupId(reader.string()?.to_owned()));
            let node = reader.node_or_none()?;
            reader.string()?; // host: it is looked up among the brokers
            reader.int32()?; // port, -1 with an error
            let error = reader.int16()?;
            reader.nullable_string()?;
            reader.tags()?;
            coordinators.push(CoordinatorRow { group, error, node });
        }
    } else {
        let error = reader.int16()?;
        if version >= 1 {
            reader.nullable_string()?;
        }
        let node = reader.node_or_none()?;
        reader.string()?;
        reader.int32()?;
        let group = None;
        coordinators.push(CoordinatorRow { group, error, node });
    }
    reader.tags()?;
    reader.finish()?;
    Ok(CoordinatorsAnswer {
        throttle_ms,
        coordinators,
    })
}

/// An OffsetFetch answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitsAnswer {
    /// How long the broker throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// One per group asked for; before v8 one, without its group.
    pub groups: Vec<GroupCommits>,
}

/// One group's commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCommits {
    /// The group; `None` before v8, where only one can be asked for.
    pub group: Option<GroupId>,
    /// Kafka's error code for the group as a whole.
    pub error: i16,
    /// Its partitions.
    pub partitions: Vec<CommitRow>,
}

/// One partition's commit, raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRow {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Kafka's error code.
    pub error: i16,
    /// The committed offset; -1 for none.
    pub offset: i64,
}

/// Decodes an OffsetFetch answer.
pub fn decode_commits(body: &[u8], version: i16) -> Result<CommitsAnswer, DecodeError> {
    if !(5..=9).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, version >= 6);
    let throttle_ms = reader.int32()?;
    let mut groups = Vec::new();
    if version >= 8 {
        for _ in 0..reader.array(5)? {
            let group = Some(GroupId(reader.string()?.to_owned()));
            let partitions = commits(&mut reader)?;
            let error = reader.int16()?;
            reader.tags()?;
            groups.push(GroupCommits {
                group,
                error,
                partitions,
            });
        }
    } else {
        let partitions = commits(&mut reader)?;
        let error = reader.int16()?;
        groups.push(GroupCommits {
            group: None,
            error,
            partitions,
        });
    }
    reader.tags()?;
    reader.finish()?;
    Ok(CommitsAnswer {
        throttle_ms,
        groups,
    })
}

fn commits(reader: &mut Reader<'_>) -> Result<Vec<CommitRow>, DecodeError> {
    let mut rows = Vec::new();
    for _ in 0..reader.array(3)? {
        let topic = reader.string()?;
        for _ in 0..reader.array(19)? {
            let partition = reader.int32()?;
            let offset = reader.int64()?;
            reader.int32()?; // leader epoch of the commit
            reader.nullable_string()?; // the consumer's own metadata
            let error = reader.int16()?;
            reader.tags()?;
            rows.push(CommitRow {
                topic: topic.to_owned(),
                partition,
                error,
                offset,
            });
        }
        reader.tags()?;
    }
    Ok(rows)
}

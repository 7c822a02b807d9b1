//! DescribeQuorum v0 to v2.

use crate::evidence::facts::{METADATA_LOG, QuorumFacts, QuorumMember};
use crate::evidence::ids::NodeId;
use crate::kafka::reader::{DecodeError, Reader};

/// A DescribeQuorum answer. This message has no throttle time.
#[derive(Clone, Debug, PartialEq)]
pub struct QuorumAnswer {
    /// Kafka's error code: that of the whole answer, else that of the metadata partition.
    pub error: i16,
    /// What Kafka says about the error (v2).
    pub message: Option<String>,
    /// The quorum; `None` when the answer has no metadata partition.
    pub quorum: Option<QuorumFacts>,
}

/// Decodes a DescribeQuorum answer.
pub fn decode(body: &[u8], version: i16) -> Result<QuorumAnswer, DecodeError> {
    if !(0..=2).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, true);
    let mut error = reader.int16()?;
    let mut message = error_message(&mut reader, version)?;
    let mut quorum = None;
    for _ in 0..reader.array(3)? {
        let metadata = reader.string()? == METADATA_LOG;
        for _ in 0..reader.array(25)? {
            let row = partition(&mut reader, version)?;
            if metadata && row.index == 0 {
                if error == 0 {
                    (error, message) = (row.error, row.message);
                }
                quorum = Some(row.quorum);
            }
        }
        reader.tags()?;
    }
    if version >= 2 {
        let endpoints = endpoints(&mut reader)?;
        if let Some(quorum) = &mut quorum {
            quorum.endpoints = endpoints;
        }
    }
    reader.tags()?;
    reader.finish()?;
    Ok(QuorumAnswer {
        error,
        message,
        quorum,
    })
}

fn error_message(reader: &mut Reader<'_>, version: i16) -> Result<Option<String>, DecodeError> {
    if version >= 2 {
        Ok(reader.nullable_string()?.map(str::to_owned))
    } else {
        Ok(None)
    }
}

struct Row {
    index: i32,
    error: i16,
    message: Option<String>,
    quorum: QuorumFacts,
}

fn partition(reader: &mut Reader<'_>, version: i16) -> Result<Row, DecodeError> {
    let index = reader.int32()?;
    let error = reader.int16()?;
    let message = error_message(reader, version)?;
    let quorum = QuorumFacts {
        leader: reader.node_or_none()?,
        leader_epoch: reader.int32()?,
        high_watermark: reader.int64()?,
        voters: members(reader, version)?,
        observers: members(reader, version)?,
        endpoints: Vec::new(),
    };
    reader.tags()?;
    Ok(Row {
        index,
        error,
        message,
        quorum,
    })
}

fn members(reader: &mut Reader<'_>, version: i16) -> Result<Vec<QuorumMember>, DecodeError> {
    let mut members = Vec::new();
    for _ in 0..reader.array(13)? {
        let node = reader.node()?;
        let directory = if version >= 2 { reader.uuid()? } else { None };
        let log_end_offset = reader.int64()?;
        let (last_fetch_ms, last_caught_up_ms) = if version >= 1 {
            (moment(reader)?, moment(reader)?)
        } else {
            (None, None)
        };
        reader.tags()?;
        members.push(QuorumMember {
            node,
            directory,
            log_end_offset,
            last_fetch_ms,
            last_caught_up_ms,
        });
    }
    members.sort_by_key(|member| member.node);
    Ok(members)
}

fn moment(reader: &mut Reader<'_>) -> Result<Option<i64>, DecodeError> {
    reader.int64().map(|ms| (ms >= 0).then_some(ms))
}

fn endpoints(reader: &mut Reader<'_>) -> Result<Vec<(NodeId, String, u16)>, DecodeError> {
    let mut endpoints = Vec::new();
    for _ in 0..reader.array(6)? {
        let node = reader.node()?;
        for _ in 0..reader.array(5)? {
            reader.string()?; // the listener's name
            let host = reader.string()?.to_owned();
            endpoints.push((node, host, reader.uint16()?));
            reader.tags()?;
        }
        reader.tags()?;
    }
    endpoints.sort();
    Ok(endpoints)
}

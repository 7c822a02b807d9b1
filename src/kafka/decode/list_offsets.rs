//! ListOffsets v1 to v10.

use crate::kafka::reader::{DecodeError, Reader};

/// A ListOffsets answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsAnswer {
    /// How long the broker throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// One entry per topic answered.
    pub topics: Vec<TopicOffsets>,
}

/// One topic's offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOffsets {
    /// Topic name.
    pub name: String,
    /// Its partitions, as they came.
    pub partitions: Vec<PartitionOffset>,
}

/// One partition's offset, raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// Partition number.
    pub partition: i32,
    /// Kafka's error code.
    pub error: i16,
    /// The offset; negative ones are no value.
    pub offset: i64,
}

/// Decodes a ListOffsets answer.
pub fn decode(body: &[u8], version: i16) -> Result<OffsetsAnswer, DecodeError> {
    if !(1..=10).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, version >= 6);
    let throttle_ms = if version >= 2 { reader.int32()? } else { 0 };
    let mut topics = Vec::new();
    for _ in 0..reader.array(3)? {
        let name = reader.string()?.to_owned();
        let count = reader.array(22)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            let partition = reader.int32()?;
            let error = reader.int16()?;
            reader.int64()?; // timestamp, -1 for the latest
            let offset = reader.int64()?;
            if version >= 4 {
                reader.int32()?; // leader epoch of the offset
            }
            reader.tags()?;
            partitions.push(PartitionOffset {
                partition,
                error,
                offset,
            });
        }
        reader.tags()?;
        topics.push(TopicOffsets { name, partitions });
    }
    reader.tags()?;
    reader.finish()?;
    Ok(OffsetsAnswer {
        throttle_ms,
        topics,
    })
}

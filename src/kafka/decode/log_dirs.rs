//! DescribeLogDirs v1 to v4.

use std::sync::Arc;

use crate::evidence::facts::LogDir;
use crate::kafka::reader::{DecodeError, Reader};

/// A DescribeLogDirs answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirsAnswer {
    /// How long the broker throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// Kafka's error code for the whole answer (v3; 0 before, even when we may not see it).
    pub error: i16,
    /// The broker's log directories.
    pub dirs: Vec<LogDir>,
    /// Hosted replicas without future ones, sorted, each once.
    pub hosted: Vec<(Arc<str>, i32)>,
}

/// Decodes a DescribeLogDirs answer.
pub fn decode(body: &[u8], version: i16) -> Result<LogDirsAnswer, DecodeError> {
    if !(1..=4).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, version >= 2);
    let throttle_ms = reader.int32()?;
    let error = if version >= 3 { reader.int16()? } else { 0 };
    let mut dirs = Vec::new();
    let mut hosted = Vec::new();
    for _ in 0..reader.array(5)? {
        let error = reader.int16()?;
        let path = reader.string()?.to_owned();
        dirs.push(LogDir { path, error });
        for _ in 0..reader.array(3)? {
            topic(&mut reader, &mut hosted)?;
        }
        if version >= 4 {
            reader.int64()?; // total bytes of the volume
            reader.int64()?; // usable bytes
        }
        reader.tags()?;
    }
    reader.tags()?;
    reader.finish()?;
    hosted.sort();
    hosted.dedup();
    Ok(LogDirsAnswer {
        throttle_ms,
        error,
        dirs,
        hosted,
    })
}

fn topic(reader: &mut Reader<'_>, hosted: &mut Vec<(Arc<str>, i32)>) -> Result<(), DecodeError> {
    let name: Arc<str> = reader.string()?.into();
    for _ in 0..reader.array(21)? {
        let partition = reader.int32()?;
        reader.int64()?; // size
        reader.int64()?; // offset lag: always 0 on a follower, so no evidence
        let future = reader.boolean()?;
        reader.tags()?;
        if !future {
            hosted.push((Arc::clone(&name), partition));
        }
    }
    reader.tags()
}

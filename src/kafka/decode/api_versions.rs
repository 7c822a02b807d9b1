//! ApiVersions v0 to v4.

use std::collections::BTreeMap;

use crate::kafka::errors::UNSUPPORTED_VERSION;
use crate::kafka::reader::{DecodeError, Reader};

/// What a node says it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiVersions {
    /// Kafka's error code; 35 UNSUPPORTED_VERSION comes with a v0 body whatever was asked.
    pub error: i16,
    /// Request key to (lowest, highest) version.
    pub apis: BTreeMap<i16, (i16, i16)>,
    /// How long the node throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// Features it supports: name to (lowest, highest) level. v3 leaves out those whose lowest
    /// is 0 (measured).
    pub supported: BTreeMap<String, (i16, i16)>,
    /// The metadata offset of `finalized`; -1 while unknown. A broker on KRaft tells with it up to which
    /// offset it has published the metadata log to itself.
    pub finalized_epoch: i64,
    /// Finalized features: name to level.
    pub finalized: BTreeMap<String, i16>,
}

impl ApiVersions {
    /// The range of versions of one request, where the node has the request.
    pub fn range(&self, key: i16) -> Option<(i16, i16)> {
        self.apis.get(&key).copied()
    }
}

/// Decodes an ApiVersions answer.
pub fn decode(body: &[u8], version: i16) -> Result<ApiVersions, DecodeError> {
    if !(0..=4).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    // A node that does not know the version asked says so in the format of version 0.
    let refused = Reader::new(body, false).int16()? == UNSUPPORTED_VERSION;
    let version = if refused { 0 } else { version };
    let flexible = version >= 3;
    let mut reader = Reader::new(body, flexible);
    let mut answer = ApiVersions {
        error: reader.int16()?,
        finalized_epoch: -1,
        ..ApiVersions::default()
    };
    for _ in 0..reader.array(6)? {
        let key = reader.int16()?;
        let range = (reader.int16()?, reader.int16()?);
        reader.tags()?;
        answer.apis.insert(key, range);
    }
    if version >= 1 {
        answer.throttle_ms = reader.int32()?;
    }
    if flexible {
        reader.each_tag(|tag, field| answer.tag(tag, field))?;
    }
    reader.finish()?;
    Ok(answer)
}

impl ApiVersions {
    fn tag(&mut self, tag: u32, mut field: Reader<'_>) -> Result<(), DecodeError> {
        match tag {
            0 => {
                for _ in 0..field.array(6)? {
                    let name = field.string()?.to_owned();
                    let range = (field.int16()?, field.int16()?);
                    field.tags()?;
                    self.supported.insert(name, range);
                }
            }
            1 => self.finalized_epoch = field.int64()?,
            2 => {
                for _ in 0..field.array(6)? {
                    let name = field.string()?.to_owned();
                    // Highest comes first here, lowest second; both are the finalized level.
                    let level = field.int16()?;
                    field.int16()?;
                    field.tags()?;
                    self.finalized.insert(name, level);
                }
            }
            // 3 is `zk_migration_ready`; higher ones are newer than this program.
            _ => return Ok(()),
        }
        field.finish()
    }
}

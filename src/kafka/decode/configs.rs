//! DescribeConfigs v1 to v4.

use crate::evidence::facts::ConfigSource;
use crate::kafka::reader::{DecodeError, Reader};

/// A DescribeConfigs answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigsAnswer {
    /// How long the node throttles us, in milliseconds.
    pub throttle_ms: i32,
    /// One per resource asked for.
    pub resources: Vec<ResourceConfigs>,
}

/// One broker's or topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceConfigs {
    /// Kafka's error code for this resource.
    pub error: i16,
    /// What Kafka says about the error.
    pub message: Option<String>,
    /// 2 topic, 4 broker.
    pub kind: i8,
    /// The topic's name or the broker's id.
    pub name: String,
    /// Key, value and where it comes from.
    pub values: Vec<(String, Option<String>, ConfigSource)>,
}

/// Decodes a DescribeConfigs answer.
pub fn decode(body: &[u8], version: i16) -> Result<ConfigsAnswer, DecodeError> {
    if !(1..=4).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, version >= 4);
    let throttle_ms = reader.int32()?;
    let mut resources = Vec::new();
    for _ in 0..reader.array(7)? {
        resources.push(resource(&mut reader, version)?);
    }
    reader.tags()?;
    reader.finish()?;
    Ok(ConfigsAnswer {
        throttle_ms,
        resources,
    })
}

fn resource(reader: &mut Reader<'_>, version: i16) -> Result<ResourceConfigs, DecodeError> {
    let error = reader.int16()?;
    let message = reader.nullable_string()?.map(str::to_owned);
    let kind = reader.int8()?;
    let name = reader.string()?.to_owned();
    let mut values = Vec::new();
    for _ in 0..reader.array(7)? {
        let key = reader.string()?.to_owned();
        let value = reader.nullable_string()?.map(str::to_owned);
        reader.boolean()?; // read only
        let source = ConfigSource::from_wire(reader.int8()?);
        reader.boolean()?; // sensitive: then the value is null
        for _ in 0..reader.array(5)? {
            reader.string()?;
            reader.nullable_string()?;
            reader.int8()?;
            reader.tags()?;
        }
        if version >= 3 {
            reader.int8()?; // type of the value
            reader.nullable_string()?; // documentation, not asked for
        }
        reader.tags()?;
        values.push((key, value, source));
    }
    reader.tags()?;
    Ok(ResourceConfigs {
        error,
        message,
        kind,
        name,
        values,
    })
}

//! SaslHandshake v1, SaslAuthenticate v0 to v2.

use crate::kafka::reader::{DecodeError, Reader};

/// A SaslHandshake answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Kafka's error code.
    pub error: i16,
    /// What the listener enables.
    pub mechanisms: Vec<String>,
}

/// A SaslAuthenticate answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Kafka's error code.
    pub error: i16,
    /// Its words.
    pub message: Option<String>,
    /// The mechanism's own answer.
    pub bytes: Vec<u8>,
    /// How long the session lasts, milliseconds; 0: as long as the connection.
    pub session_ms: i64,
}

/// Decodes a SaslHandshake answer.
pub fn decode_handshake(body: &[u8], version: i16) -> Result<Handshake, DecodeError> {
    if !(0..=1).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, false);
    let error = reader.int16()?;
    let mut mechanisms = Vec::new();
    for _ in 0..reader.array(2)? {
        mechanisms.push(reader.string()?.to_owned());
    }
    reader.finish()?;
    Ok(Handshake { error, mechanisms })
}

/// Decodes a SaslAuthenticate answer.
pub fn decode_authenticate(body: &[u8], version: i16) -> Result<Authenticated, DecodeError> {
    if !(0..=2).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let mut reader = Reader::new(body, version >= 2);
    let error = reader.int16()?;
    let message = reader.nullable_string()?.map(str::to_owned);
    let bytes = reader.bytes()?.to_vec();
    let session_ms = if version >= 1 { reader.int64()? } else { 0 };
    reader.tags()?;
    reader.finish()?;
    Ok(Authenticated {
        error,
        message,
        bytes,
        session_ms,
    })
}

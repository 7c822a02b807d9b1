//! A very small Kafka client for the lab's own questions.
//!
//! The gate's client is not used here on purpose: the lab is what the gate is measured against.
//! Versions are fixed to ones that every release from 2.8.2 to 4.4.0 answers.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{
    RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest answer taken: the decoder reserves memory by counts from the wire, so the lab only
/// talks to brokers it has started itself, and still refuses what cannot be an answer of theirs.
const MAX_FRAME: usize = 64 * 1024 * 1024;

/// Why a question to a broker got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("ask 127.0.0.1:{port}: {source}")]
    Io { port: u16, source: io::Error },
    #[error("ask 127.0.0.1:{port}: no answer within {deadline:?}")]
    Timeout { port: u16, deadline: Duration },
    #[error("understand 127.0.0.1:{port}: {why}")]
    Protocol { port: u16, why: String },
    #[error("{what}: Kafka answers error {code}{message}")]
    Refused {
        what: String,
        code: i16,
        message: String,
    },
}

/// How to get in: nothing, or SASL PLAIN.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login(pub(crate) Option<(String, String)>);

/// One connection to one node. Dropped after any error: its answers would be out of step.
pub(crate) struct Connection {
    stream: TcpStream,
    port: u16,
    next: i32,
}

impl Connection {
    /// Connects and logs in.
    pub(crate) async fn open(
        port: u16,
        login: &Login,
        deadline: Duration,
    ) -> Result<Self, ClientError> {
        let connect = TcpStream::connect(("127.0.0.1", port));
        let stream = match tokio::time::timeout(deadline, connect).await {
            Ok(stream) => stream.map_err(|source| ClientError::Io { port, source })?,
            Err(_) => return Err(ClientError::Timeout { port, deadline }),
        };
        let mut connection = Self {
            stream,
            port,
            next: 0,
        };
        if let Some((user, password)) = &login.0 {
            connection.log_in(user, password, deadline).await?;
        }
        Ok(connection)
    }

    async fn log_in(
        &mut self,
        user: &str,
        password: &str,
        deadline: Duration,
    ) -> Result<(), ClientError> {
        let plain = StrBytes::from_static_str("PLAIN");
        let hello = SaslHandshakeRequest::default().with_mechanism(plain);
        let answer = self.call(&hello, 1, deadline).await?;
        check("offer SASL PLAIN", answer.error_code, None)?;
        let token = Bytes::from(format!("\0{user}\0{password}"));
        let request = SaslAuthenticateRequest::default().with_auth_bytes(token);
        let answer = self.call(&request, 1, deadline).await?;
        check("log in", answer.error_code, answer.error_message.as_ref())
    }

    /// Sends one request and waits for its answer.
    pub(crate) async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Duration,
    ) -> Result<R::Response, ClientError> {
        match tokio::time::timeout(deadline, self.exchange(request, version)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Timeout {
                port: self.port,
                deadline,
            }),
        }
    }

    async fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        let port = self.port;
        let io_error = |source| ClientError::Io { port, source };
        let protocol = |why: String| ClientError::Protocol { port, why };
        self.next = self.next.wrapping_add(1);
        let frame = encode(request, version, self.next).map_err(protocol)?;
        self.stream.write_all(&frame).await.map_err(io_error)?;

        let length = self.stream.read_i32().await.map_err(io_error)?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| (4..=MAX_FRAME).contains(length));
        let length = length.ok_or_else(|| protocol("no length of an answer".into()))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.map_err(io_error)?;
        decode::<R>(Bytes::from(body), version, self.next).map_err(protocol)
    }
}

/// A whole frame, with its length.
pub(crate) fn encode<R: Request>(request: &R, version: i16, id: i32) -> Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(StrBytes::from_static_str("lab")));
    let mut body = BytesMut::new();
    encode_request_header_into_buffer(&mut body, &header).map_err(|error| format!("{error:#}"))?;
    request
        .encode(&mut body, version)
        .map_err(|error| format!("{error:#}"))?;
    let length = i32::try_from(body.len()).map_err(|error| error.to_string())?;
    let mut frame = BytesMut::from(&length.to_be_bytes()[..]);
    frame.extend_from_slice(&body);
    Ok(frame)
}

fn decode<R: Request>(mut body: Bytes, version: i16, id: i32) -> Result<R::Response, String> {
    let header_version = R::Response::header_version(version);
    let header = ResponseHeader::decode(&mut body, header_version);
    let header = header.map_err(|error| format!("{error:#}"))?;
    if header.correlation_id != id {
        return Err(format!("answer {} to question {id}", header.correlation_id));
    }
    let answer = R::Response::decode(&mut body, version).map_err(|error| format!("{error:#}"))?;
    match body.remaining() {
        0 => Ok(answer),
        left => Err(format!("{left} bytes after the answer")),
    }
}

/// Turns a Kafka error code into an error.
pub(crate) fn check(what: &str, code: i16, message: Option<&StrBytes>) -> Result<(), ClientError> {
    if code == 0 {
        return Ok(());
    }
    let message = message
        .map(|text| format!(" ({})", text.as_str()))
        .unwrap_or_default();
    Err(ClientError::Refused {
        what: what.to_owned(),
        code,
        message,
    })
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
    use kafka_protocol::protocol::Encodable;

    use super::*;

    fn answer(id: i32) -> BytesMut {
        let mut body = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(id);
        header
            .encode(&mut body, MetadataResponse::header_version(9))
            .unwrap();
        MetadataResponse::default().encode(&mut body, 9).unwrap();
        body
    }

    #[test]
    fn answers_out_of_step_or_too_long_are_refused() {
        assert!(decode::<MetadataRequest>(answer(5).freeze(), 9, 5).is_ok());
        assert!(decode::<MetadataRequest>(answer(5).freeze(), 9, 6).is_err());
        let mut long = answer(5);
        long.extend_from_slice(b"x");
        assert!(decode::<MetadataRequest>(long.freeze(), 9, 5).is_err());
    }

    #[test]
    fn frames_start_with_their_length() {
        let frame = encode(&MetadataRequest::default(), 9, 1).unwrap();
        let (length, body) = frame.split_at(4);
        assert_eq!(length, u32::try_from(body.len()).unwrap().to_be_bytes());
    }
}

//! The client against small fake brokers on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, decode_request_header_from_buffer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::evidence::report::{Cap, FailureClass, SourceFailure};

mod connection;
mod questions;
mod rounds;
mod sasl;
mod secure;

/// Long enough for a busy machine; nothing waits this long unless it fails.
const SOON: Duration = Duration::from_secs(10);

/// A request as the fake broker sees it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    header: RequestHeader,
    body: Bytes,
    /// Which of the fake broker's connections it came over.
    pub(crate) connection: usize,
}

impl Ask {
    pub(crate) fn version(&self) -> i16 {
        self.header.request_api_version
    }

    pub(crate) fn is(&self, key: ApiKey) -> bool {
        self.header.request_api_key == key as i16
    }

    pub(crate) fn request<R: Decodable>(&self) -> R {
        R::decode(&mut self.body.clone(), self.version()).unwrap()
    }

    /// A whole answer frame to this request.
    pub(crate) fn answer<R: Encodable + HeaderVersion>(&self, response: &R) -> Reply {
        self.answer_at(response, self.version())
    }

    fn answer_at<R: Encodable + HeaderVersion>(&self, response: &R, version: i16) -> Reply {
        let mut frame = BytesMut::zeroed(4);
        ResponseHeader::default()
            .with_correlation_id(self.header.correlation_id)
            .encode(&mut frame, R::header_version(version))
            .unwrap();
        response.encode(&mut frame, version).unwrap();
        let length = u32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Reply::Send(frame.to_vec())
    }
}

/// What the fake broker does then.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Send(Vec<u8>),
    Nothing,
    /// FIN, as from a process that ends.
    Close,
    /// RST, as from a machine that does not know the connection any more.
    Reset,
}

type Handler = Arc<dyn Fn(&Ask) -> Reply + Send + Sync>;

/// A fake broker; it lives as long as the test's runtime.
pub(crate) async fn broker(handler: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let handler: Handler = Arc::new(handler);
    tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&handler), connection));
            connection += 1;
        }
    });
    Address::new("127.0.0.1", port)
}

async fn serve(mut stream: TcpStream, handler: Handler, connection: usize) {
    while let Ok(length) = stream.read_u32().await {
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let mut body = Bytes::from(frame);
        let header = decode_request_header_from_buffer(&mut body).unwrap();
        let ask = Ask {
            header,
            body,
            connection,
        };
        match handler(&ask) {
            Reply::Send(bytes) => stream.write_all(&bytes).await.unwrap(),
            Reply::Nothing => {}
            Reply::Close => return,
            Reply::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

/// What a broker of some late release has of the requests that we use.
pub(crate) fn all_apis() -> Vec<ApiVersion> {
    let keys = [
        (ApiKey::ListOffsets, 1, 10),
        (ApiKey::Metadata, 0, 13),
        (ApiKey::OffsetFetch, 1, 9),
        (ApiKey::FindCoordinator, 0, 6),
        (ApiKey::ApiVersions, 0, 4),
        (ApiKey::DescribeConfigs, 1, 4),
        (ApiKey::DescribeLogDirs, 1, 4),
        (ApiKey::ListPartitionReassignments, 0, 0),
        (ApiKey::DescribeQuorum, 0, 2),
        (ApiKey::DescribeCluster, 0, 2),
    ];
    keys.map(|(key, low, high)| api(key, low, high)).into()
}

fn api(key: ApiKey, low: i16, high: i16) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(key as i16)
        .with_min_version(low)
        .with_max_version(high)
}

pub(crate) fn versions(apis: Vec<ApiVersion>) -> ApiVersionsResponse {
    let feature = SupportedFeatureKey::default()
        .with_name(StrBytes::from_static_str("metadata.version"))
        .with_min_version(7)
        .with_max_version(30);
    ApiVersionsResponse::default()
        .with_api_keys(apis)
        .with_supported_features(vec![feature])
}

/// A broker with all APIs that answers everything but ApiVersions as told.
pub(crate) async fn broker_with(others: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Address {
    broker(move |ask| {
        if ask.is(ApiKey::ApiVersions) {
            ask.answer(&versions(all_apis()))
        } else {
            others(ask)
        }
    })
    .await
}

async fn open(address: &Address) -> Result<Connection, SourceFailure> {
    Connection::open(&TcpDial, address, &ConnectionSettings::default()).await
}

async fn connected(others: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Connection {
    open(&broker_with(others).await).await.unwrap()
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// Every request a fake broker was asked, as (key, version).
type Seen = Arc<Mutex<Vec<(i16, i16)>>>;

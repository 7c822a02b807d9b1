//! A broker that says what it is told to, in front of a real one.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{ApiKey, BrokerId, DescribeClusterResponse};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What it answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Says {
    /// What the broker at this address says.
    Truth(SocketAddr),
    /// A frame of 2 GB is announced, and begun.
    HugeFrame,
    /// A short frame with an array of 2^31 - 1 elements.
    HugeCount,
    /// An answer to another question.
    OtherAnswer,
    /// Nothing.
    Nothing,
    /// What the broker at this address says, and of [`CROWD`] brokers more.
    Crowd(SocketAddr),
}

/// How many brokers are made up.
pub(super) const CROWD: i32 = 100_000;

/// A fake broker; nobody listens on its port any more once it is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    address: SocketAddr,
    says: watch::Sender<Says>,
    task: JoinHandle<()>,
}

impl Broker {
    pub(super) async fn start(says: Says) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let says = watch::Sender::new(says);
        let told = says.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut told = told.subscribe();
                let now = *told.borrow_and_update();
                tokio::spawn(async move {
                    // A connection ends when another thing is to be said.
                    tokio::select! {
                        _ = serve(stream, now) => {}
                        _ = told.changed() => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            says,
            task,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this from now on.
    pub(super) fn say(&self, says: Says) {
        self.says.send_replace(says);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, says: Says) -> io::Result<()> {
    if let Says::Truth(real) = says {
        let mut real = TcpStream::connect(real).await?;
        copy_bidirectional(&mut stream, &mut real).await?;
        return Ok(());
    }
    if let Says::Crowd(real) = says {
        return crowd(stream, TcpStream::connect(real).await?).await;
    }
    loop {
        let length = stream.read_i32().await?;
        let mut request = vec![0; usize::try_from(length).unwrap_or_default()];
        stream.read_exact(&mut request).await?;
        // Key, version, correlation id.
        let id = request.get(4..8).unwrap_or(&[0; 4]);
        let id = i32::from_be_bytes(id.try_into().unwrap_or_default());
        match says {
            Says::Truth(_) | Says::Crowd(_) | Says::Nothing => std::future::pending().await,
            Says::HugeFrame => {
                stream.write_i32(i32::MAX).await?;
                stream.write_i32(id).await?;
                loop {
                    stream.write_all(&[0; 65_536]).await?;
                }
            }
            Says::HugeCount => {
                // Length, correlation id, error 0, and a count: 4 bytes, or a varint of 5.
                stream.write_i32(11).await?;
                stream.write_i32(id).await?;
                stream.write_i16(0).await?;
                stream.write_all(&[0xff, 0xff, 0xff, 0xff, 0x07]).await?;
            }
            Says::OtherAnswer => {
                stream.write_i32(10).await?;
                stream.write_i32(id.wrapping_add(7)).await?;
                stream.write_all(&[0; 6]).await?;
            }
        }
    }
}

async fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_i32().await?;
    let mut frame = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

/// Hands questions and answers on, one at a time; one kind of answer is not what it was.
async fn crowd(mut stream: TcpStream, mut real: TcpStream) -> io::Result<()> {
    loop {
        let request = frame(&mut stream).await?;
        real.write_i32(length(&request)?).await?;
        real.write_all(&request).await?;
        let mut answer = frame(&mut real).await?;
        // Key and version begin a request.
        let [a, b, c, d] = request.first_chunk::<4>().copied().unwrap_or_default();
        if i16::from_be_bytes([a, b]) == ApiKey::DescribeCluster as i16 {
            answer = crowded(&answer, i16::from_be_bytes([c, d]))?;
        }
        stream.write_i32(length(&answer)?).await?;
        stream.write_all(&answer).await?;
    }
}

fn length(frame: &[u8]) -> io::Result<i32> {
    i32::try_from(frame.len()).map_err(io::Error::other)
}

/// The answer with many brokers more, each at a port of its own.
fn crowded(answer: &[u8], version: i16) -> io::Result<Vec<u8>> {
    // Correlation id and no tagged fields.
    let (header, mut body) = answer.split_at_checked(5).unwrap_or_default();
    let mut cluster =
        DescribeClusterResponse::decode(&mut body, version).map_err(io::Error::other)?;
    let made_up = (0..CROWD).map(|number| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(10_000 + number))
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(1 + number % 60_000)
    });
    cluster.brokers.extend(made_up);
    let mut made = BytesMut::from(header);
    cluster
        .encode(&mut made, version)
        .map_err(io::Error::other)?;
    Ok(made.to_vec())
}

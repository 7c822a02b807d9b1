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
    /// What the real broker says.
    Truth,
    /// Instead of it, but to the first question: who lies right away is nobody to the gate.
    Instead(Lie),
}

/// What it says that is not so.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lie {
    /// A frame of 2 GB is announced, and begun.
    HugeFrame,
    /// A frame of 13 bytes with an array of 2^28 elements.
    HugeCount,
    /// An answer to another question.
    OtherAnswer,
    /// Nothing.
    Nothing,
    /// What the real broker says, and of [`CROWD`] brokers more.
    Crowd,
}

/// How many brokers are made up.
pub(super) const CROWD: i32 = 100_000;

/// A fake broker; nobody listens on its port any more once it is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    address: SocketAddr,
    says: watch::Sender<(Says, SocketAddr)>,
    task: JoinHandle<()>,
}

impl Broker {
    /// In front of this broker, whose truth it tells at first.
    pub(super) async fn start(real: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let says = watch::Sender::new((Says::Truth, real));
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
    pub(super) fn say(&self, says: Says, real: SocketAddr) {
        self.says.send_replace((says, real));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, (says, real): (Says, SocketAddr)) -> io::Result<()> {
    let mut real = TcpStream::connect(real).await?;
    let Says::Instead(lie) = says else {
        copy_bidirectional(&mut stream, &mut real).await?;
        return Ok(());
    };
    loop {
        let request = frame(&mut stream).await?;
        // Key, version, correlation id.
        let [a, b, c, d, id @ ..] = request.first_chunk::<8>().copied().unwrap_or_default();
        let (key, version) = (i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]));
        let id = i32::from_be_bytes(id);
        if key == ApiKey::ApiVersions as i16 {
            let answer = passed_on(&request, &mut real).await?;
            send(&mut stream, &answer).await?;
            continue;
        }
        match lie {
            Lie::Nothing => std::future::pending().await,
            Lie::HugeFrame => {
                stream.write_i32(i32::MAX).await?;
                stream.write_i32(id).await?;
                loop {
                    stream.write_all(&[0; 65_536]).await?;
                }
            }
            Lie::HugeCount => {
                // Correlation id, no tagged fields, throttle time, and a count as Metadata begins.
                let mut answer = id.to_be_bytes().to_vec();
                answer.extend([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
                send(&mut stream, &answer).await?;
            }
            Lie::OtherAnswer => {
                let mut answer = passed_on(&request, &mut real).await?;
                if let Some(own) = answer.first_chunk_mut() {
                    *own = id.wrapping_add(7).to_be_bytes();
                }
                send(&mut stream, &answer).await?;
            }
            Lie::Crowd => {
                let mut answer = passed_on(&request, &mut real).await?;
                if key == ApiKey::DescribeCluster as i16 {
                    answer = crowded(&answer, version)?;
                }
                send(&mut stream, &answer).await?;
            }
        }
    }
}

/// What the real broker answers.
async fn passed_on(request: &[u8], real: &mut TcpStream) -> io::Result<Vec<u8>> {
    send(real, request).await?;
    frame(real).await
}

async fn send(to: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = i32::try_from(frame.len()).map_err(io::Error::other)?;
    to.write_i32(length).await?;
    to.write_all(frame).await
}

async fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_i32().await?;
    let mut frame = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
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

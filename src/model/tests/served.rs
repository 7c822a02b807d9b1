//! The cluster behind real sockets.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, MetadataResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Cluster, Release, Spec, decode, frame};
use crate::model::NodeId;
use crate::model::serve::{Live, Served, kafka};

const SOON: Duration = Duration::from_secs(2);

async fn served() -> Served {
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec.settings.session_timeout = 500;
    spec.settings.heartbeat_interval = 100;
    let fast = &mut spec.timing;
    (fast.fence_check, fast.boot, fast.register) = ((0, 50), (100, 200), (50, 100));
    (fast.exporter, fast.register_retry) = ((50, 80), 100);
    (fast.leave, fast.left, fast.exit) = ((10, 50), (100, 150), (200, 300));
    Served::start(Cluster::new(spec).unwrap()).await.unwrap()
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<Vec<u8>> {
    stream
        .write_all(&i32::try_from(request.len()).unwrap().to_be_bytes())
        .await?;
    stream.write_all(request).await?;
    let length = stream.read_i32().await?;
    let mut reply = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

fn all_topics() -> Vec<u8> {
    frame(&MetadataRequest::default().with_topics(None), 12)
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_advertises_the_real_ports() {
    let served = served().await;
    let (_, address) = served.brokers().first_key_value().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let bytes = exchange(&mut stream, &all_topics()).await.unwrap();
    let metadata: MetadataResponse = decode(bytes, 12);
    let advertised: Vec<_> = metadata
        .brokers
        .iter()
        .map(|broker| (broker.node_id.0, broker.port))
        .collect();
    let bound: Vec<(NodeId, i32)> = served
        .brokers()
        .iter()
        .map(|(id, address)| (*id, i32::from(address.port())))
        .collect();
    assert_eq!(advertised, bound);
    assert_eq!(served.bootstrap().split(',').count(), 3);
    served.shutdown().await;
    assert!(
        TcpStream::connect(format!("127.0.0.1:{}", bound[0].1))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_closes_connections_at_once_and_a_start_brings_the_port_back() {
    let served = served().await;
    let address = served.brokers()[&2];
    let mut stream = TcpStream::connect(address).await.unwrap();
    exchange(&mut stream, &all_topics()).await.unwrap();
    let killed = Instant::now();
    served.operate(|cluster| cluster.kill(2)).unwrap();
    let end = timeout(SOON, stream.read_i32()).await.expect("closed soon");
    assert!(end.is_err());
    assert!(
        killed.elapsed() < Duration::from_millis(200),
        "{:?}",
        killed.elapsed()
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    served.operate(|cluster| cluster.start(2, None)).unwrap();
    let back = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON * 3, back).await.expect("the port is back");
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_answers_after_its_thaw() {
    let served = served().await;
    let mut stream = TcpStream::connect(served.brokers()[&1]).await.unwrap();
    served.operate(|cluster| cluster.freeze(1)).unwrap();
    let request = frame(&ApiVersionsRequest::default(), 0);
    let mut pending = Box::pin(exchange(&mut stream, &request));
    assert!(
        timeout(Duration::from_millis(150), &mut pending)
            .await
            .is_err()
    );
    let other = TcpStream::connect(served.brokers()[&1]).await;
    assert!(other.is_ok(), "the kernel still accepts");
    served.operate(|cluster| cluster.thaw(1)).unwrap();
    timeout(SOON, pending).await.expect("answers now").unwrap();
    served.shutdown().await;
}

async fn get(url: &str, path: &str) -> std::io::Result<String> {
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches("/metrics");
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_has_its_page() {
    let served = served().await;
    let urls = served.jmx();
    assert_eq!(urls.len(), 6);
    for (node, url) in &urls {
        let text = get(url, "/metrics").await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains("process_start_time_seconds"));
        assert_eq!(text.contains("ReplicaManager"), *node < 100);
    }
    assert!(get(&urls[&1], "/").await.unwrap().contains("text/html"));
    served.operate(|cluster| cluster.kill(1)).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(get(&urls[&1], "/metrics").await.is_err());
    served.shutdown().await;
}

#[tokio::test]
async fn a_connection_can_be_in_memory_and_time_is_tokios() {
    let live = Live::new(Cluster::new(Spec::kraft(1, 1, Release::V4_0)).unwrap());
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    let listener = crate::model::Listener::Broker;
    let connection = tokio::spawn(kafka(live.clone(), 1, listener, theirs));
    let request = frame(&ApiVersionsRequest::default(), 0);
    ours.write_i32(i32::try_from(request.len()).unwrap())
        .await
        .unwrap();
    ours.write_all(&request).await.unwrap();
    let length = usize::try_from(ours.read_i32().await.unwrap()).unwrap();
    let mut reply = vec![0; length];
    ours.read_exact(&mut reply).await.unwrap();
    assert!(Bytes::from(reply).len() > 50);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(live.operate(|cluster| cluster.elapsed()) >= Duration::from_millis(100));
    live.operate(|cluster| cluster.kill(1)).unwrap();
    assert!(ours.read_i32().await.is_err());
    connection.await.unwrap();
    live.end();
}

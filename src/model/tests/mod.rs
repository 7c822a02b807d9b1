//! Tests of the model from outside: requests are encoded and responses decoded with
//! `kafka-protocol`, pages are read line by line.

#![expect(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "tests of a simulation, small numbers and wall time"
)]

mod acknowledged;
mod answers;
mod chaos;
mod controllers;
mod disks;
mod exporters;
mod faults;
mod joining;
mod protocol;
mod replicas;
mod served;
mod timelines;
mod topics;
mod traces;
mod voters;
mod zookeeper;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{
    MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};

use super::{Answer, Cluster, Listener, NodeId, Page, Release, Spec};

pub(super) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(super) fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

pub(super) fn three(release: Release, seed: u64) -> Cluster {
    Cluster::new(Spec::kraft(3, 3, release).seed(seed)).expect("a sound spec")
}

pub(super) fn frame<R: Request>(request: &R, version: i16) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    let mut buffer = BytesMut::new();
    encode_request_header_into_buffer(&mut buffer, &header).expect("header");
    request.encode(&mut buffer, version).expect("request");
    buffer.to_vec()
}

/// Decodes a whole reply, so that nothing is left over.
pub(super) fn decode<T: Decodable + HeaderVersion>(bytes: Vec<u8>, version: i16) -> T {
    let mut body = Bytes::from(bytes);
    let header = ResponseHeader::decode(&mut body, T::header_version(version)).expect("header");
    assert_eq!(header.correlation_id, 77);
    let response = T::decode(&mut body, version).expect("response");
    assert_eq!(body.remaining(), 0, "bytes are left over");
    response
}

pub(super) fn ask<R: Request>(
    cluster: &Cluster,
    node: NodeId,
    listener: Listener,
    request: &R,
    version: i16,
) -> R::Response {
    match cluster.handle(node, listener, &frame(request, version)) {
        Answer::Reply(bytes) | Answer::Delay(_, bytes) => decode(bytes, version),
        other => panic!("node {node} did not answer: {other:?}"),
    }
}

pub(super) fn metadata(cluster: &Cluster, node: NodeId) -> MetadataResponse {
    let request = MetadataRequest::default().with_topics(None);
    // The highest that 2.8 has as well.
    ask(cluster, node, Listener::Broker, &request, 11)
}

/// Partitions whose ISR is smaller than their assignment, and those without a leader, as `node`'s
/// Metadata has them.
pub(super) fn lacking(cluster: &Cluster, node: NodeId) -> (usize, usize) {
    let response = metadata(cluster, node);
    let partitions: Vec<_> = response
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .collect();
    let short = partitions
        .iter()
        .filter(|p| p.isr_nodes.len() < p.replica_nodes.len())
        .count();
    let offline = partitions.iter().filter(|p| *p.leader_id == -1).count();
    (short, offline)
}

pub(super) fn brokers_in_metadata(cluster: &Cluster, node: NodeId) -> Vec<NodeId> {
    metadata(cluster, node)
        .brokers
        .iter()
        .map(|broker| broker.node_id.0)
        .collect()
}

/// Every sample of a page by its whole series.
pub(super) fn page(cluster: &Cluster, node: NodeId) -> BTreeMap<String, f64> {
    let Page::Text {
        status: 200, body, ..
    } = cluster.jmx_page(node)
    else {
        panic!("no page of {node}: {:?}", cluster.jmx_page(node));
    };
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.rsplit_once(' ').expect("a value"));
    pairs
        .map(|(series, value)| (series.to_owned(), value.parse().expect("a number")))
        .collect()
}

pub(super) fn replica_manager(cluster: &Cluster, node: NodeId, name: &str) -> Option<f64> {
    let series = format!("kafka_server_ReplicaManager_Value{{name=\"{name}\"}}");
    page(cluster, node).get(&series).copied()
}

pub(super) fn controller_gauge(cluster: &Cluster, node: NodeId, name: &str) -> Option<f64> {
    let series = format!("kafka_controller_KafkaController_Value{{name=\"{name}\"}}");
    page(cluster, node).get(&series).copied()
}

pub(super) fn broker_state(cluster: &Cluster, node: NodeId) -> Option<f64> {
    page(cluster, node)
        .get("kafka_server_KafkaServer_Value{name=\"BrokerState\"}")
        .copied()
}

/// Advances in steps of 10 ms until `done`, at most to `limit` seconds; answers when.
pub(super) fn until(cluster: &mut Cluster, limit: f64, done: impl Fn(&Cluster) -> bool) -> f64 {
    let step = Duration::from_millis(10);
    while !done(cluster) {
        let next = cluster.elapsed() + step;
        assert!(next.as_secs_f64() <= limit, "not within {limit} s");
        cluster.advance(next);
    }
    cluster.elapsed().as_secs_f64()
}

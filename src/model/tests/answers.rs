//! Rights, throttling, big and cut answers.

use std::time::Duration;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, FindCoordinatorRequest, ListPartitionReassignmentsRequest,
    MetadataRequest,
};

use super::protocol::{offset, quorum_request};
use super::{Answer, Listener, Release, ask, frame, metadata, name, secs, three};

#[test]
fn a_hidden_topic_is_missing_from_the_list_and_refused_by_name() {
    let mut cluster = three(Release::V4_0, 1);
    cluster.hide_topic("orders", true);
    let topics = metadata(&cluster, 1).topics;
    assert_eq!(topics.len(), 1, "no error, one topic less");
    let wanted = MetadataRequestTopic::default().with_name(Some(name("orders")));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
    let named = ask(&cluster, 1, Listener::Broker, &request, 12);
    assert_eq!(named.topics[0].error_code, 29);
    assert_eq!(offset(&cluster, 1, -2, 0), (29, -1));
    cluster.hide_topic("orders", false);
    assert_eq!(metadata(&cluster, 1).topics.len(), 2);
}

#[test]
fn without_cluster_rights_errors_say_so_and_old_log_dirs_are_empty() {
    let mut cluster = three(Release::V3_9, 1);
    cluster.advance(secs(1.0));
    cluster.hide_cluster(true);
    let broker = Listener::Broker;
    assert_eq!(
        ask(&cluster, 1, broker, &quorum_request(), 1).error_code,
        31
    );
    let moves = ListPartitionReassignmentsRequest::default().with_topics(None);
    assert_eq!(ask(&cluster, 1, broker, &moves, 0).error_code, 31);
    let dirs = DescribeLogDirsRequest::default().with_topics(None);
    assert_eq!(ask(&cluster, 1, broker, &dirs, 4).error_code, 31);
    assert!(ask(&cluster, 1, broker, &dirs, 2).results.is_empty());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(super::StrBytes::from_static_str("1"));
    let configs = DescribeConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(
        ask(&cluster, 1, broker, &configs, 4).results[0].error_code,
        31
    );
    let cluster_request = DescribeClusterRequest::default().with_endpoint_type(1);
    assert_eq!(
        ask(&cluster, 1, broker, &cluster_request, 1).brokers.len(),
        3
    );
    cluster.hide_groups(true);
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec!["billing".into()]);
    assert_eq!(
        ask(&cluster, 1, broker, &find, 4).coordinators[0].error_code,
        30
    );
}

#[test]
fn a_throttled_client_is_answered_and_then_not_heard() {
    let mut cluster = three(Release::V3_9, 1);
    cluster.set_throttle(2, secs(3.0)).unwrap();
    let versions = ApiVersionsRequest::default();
    let throttled = ask(&cluster, 2, Listener::Broker, &versions, 2);
    assert_eq!(throttled.throttle_time_ms, 3_000);
    assert_eq!(metadata(&cluster, 2).throttle_time_ms, 3_000);
    assert_eq!(metadata(&cluster, 1).throttle_time_ms, 0);
    assert_eq!(
        (cluster.mute(2), cluster.mute(1)),
        (secs(3.0), Duration::ZERO)
    );
    cluster.set_throttle(2, Duration::ZERO).unwrap();
    assert_eq!(metadata(&cluster, 2).throttle_time_ms, 0);
}

#[test]
fn a_big_answer_takes_its_time_and_a_cut_one_does_not_decode() {
    let mut cluster = three(Release::V3_9, 1);
    cluster
        .set_answer_time(1, ApiKey::Metadata as i16, secs(2.0))
        .unwrap();
    let big = frame(&MetadataRequest::default().with_topics(None), 12);
    let small = frame(&ApiVersionsRequest::default(), 2);
    let broker = Listener::Broker;
    let Answer::Delay(wait, whole) = cluster.handle(1, broker, &big) else {
        panic!("at once");
    };
    assert_eq!(wait, secs(2.0));
    assert!(matches!(
        cluster.handle(1, broker, &small),
        Answer::Reply(_)
    ));
    cluster.set_answers_cut(1, true).unwrap();
    let Answer::Delay(_, half) = cluster.handle(1, broker, &big) else {
        panic!("at once");
    };
    assert_eq!(half, whole[..whole.len() / 2]);
}

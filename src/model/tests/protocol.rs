use kafka_protocol::messages::api_versions_response::ApiVersionsResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, DescribeQuorumRequest, DescribeQuorumResponse, GroupId,
    ListOffsetsRequest, ListPartitionReassignmentsRequest, MetadataRequest,
};
use kafka_protocol::protocol::{Message, Request, StrBytes};

use super::{Answer, Cluster, Listener, Release, Spec, ask, decode, frame, metadata, name, three};
use crate::model::{Family, GroupSpec, NodeId, TopicSpec};

pub(super) fn quorum_request() -> DescribeQuorumRequest {
    let topic = TopicData::default()
        .with_topic_name(name("__cluster_metadata"))
        .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
    DescribeQuorumRequest::default().with_topics(vec![topic])
}

pub(super) fn offset(cluster: &Cluster, node: NodeId, replica: i32, partition: i32) -> (i16, i64) {
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(name("orders"))
        .with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(replica))
        .with_topics(vec![topic]);
    let response = ask(cluster, node, Listener::Broker, &request, 5);
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset)
}

#[test]
fn every_advertised_version_of_every_answered_api_decodes() {
    fn all<R: Request>(request: &R, release: Release, listener: Listener) -> usize {
        let mut cluster = three(release, 5);
        cluster.advance(super::secs(1.0));
        let node = match listener {
            Listener::Broker => 1,
            Listener::Controller => 101,
        };
        let range = release
            .apis(listener)
            .into_iter()
            .find(|(key, _, _)| *key == R::KEY);
        let Some((_, min, max)) = range else { return 0 };
        let codec = R::VERSIONS.intersect(&<R::Response as Message>::VERSIONS);
        let versions = min.max(codec.min)..=max.min(codec.max);
        versions.clone().for_each(|version| {
            let _: R::Response = ask(&cluster, node, listener, request, version);
        });
        versions.count()
    }
    let mut answered = 0;
    for release in Release::ALL {
        for listener in [Listener::Broker, Listener::Controller] {
            answered += all(&ApiVersionsRequest::default(), release, listener);
            answered += all(&quorum_request(), release, listener);
            answered += all(&DescribeConfigsRequest::default(), release, listener);
            let moves = ListPartitionReassignmentsRequest::default().with_topics(None);
            answered += all(&moves, release, listener);
        }
        let broker = Listener::Broker;
        let every = MetadataRequest::default().with_topics(Some(Vec::new()));
        answered += all(&every.with_allow_auto_topic_creation(true), release, broker);
        answered += all(&DescribeClusterRequest::default(), release, broker);
        answered += all(
            &DescribeLogDirsRequest::default().with_topics(None),
            release,
            broker,
        );
        answered += all(&ListOffsetsRequest::default(), release, broker);
        answered += all(&FindCoordinatorRequest::default(), release, broker);
        answered += all(&OffsetFetchRequest::default(), release, broker);
    }
    assert!(answered > 500, "{answered}");
}

#[test]
fn metadata_shows_a_healthy_cluster_with_topic_ids_and_real_ports() {
    let mut cluster = three(Release::V3_9, 1);
    cluster.set_port(2, Listener::Broker, 4_242).unwrap();
    let response = metadata(&cluster, 1);
    let brokers: Vec<_> = response
        .brokers
        .iter()
        .map(|b| (b.node_id.0, b.port))
        .collect();
    assert_eq!(brokers, [(1, 9_093), (2, 4_242), (3, 9_095)]);
    let topics: Vec<_> = response
        .topics
        .iter()
        .map(|t| t.name.clone().unwrap())
        .collect();
    assert_eq!(topics, [name("__consumer_offsets"), name("orders")]);
    assert!(response.topics[0].is_internal && !response.topics[1].is_internal);
    assert!(response.topics.iter().all(|topic| !topic.topic_id.is_nil()));
    assert_eq!(response.topics[1].partitions.len(), 60);
    for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
        assert_eq!(partition.isr_nodes.len(), 3);
        assert_eq!(partition.leader_id, partition.replica_nodes[0]);
        assert!(partition.offline_replicas.is_empty());
    }
}

#[test]
fn an_unknown_version_or_api_closes_the_connection_but_api_versions_says_35() {
    let cluster = three(Release::V3_9, 1);
    let request = MetadataRequest::default().with_topics(None);
    let newer = frame(&request, 13);
    assert_eq!(
        cluster.handle(1, Listener::Broker, &newer),
        Answer::CloseConnection
    );
    let on_controller = cluster.handle(101, Listener::Controller, &frame(&request, 12));
    assert_eq!(on_controller, Answer::CloseConnection);
    let mut unknown = frame(&ApiVersionsRequest::default(), 3);
    unknown[..2].copy_from_slice(&999_i16.to_be_bytes());
    assert_eq!(
        cluster.handle(1, Listener::Broker, &unknown),
        Answer::CloseConnection
    );
    assert_eq!(
        cluster.handle(1, Listener::Broker, &[0, 3]),
        Answer::CloseConnection
    );

    let mut future = frame(&ApiVersionsRequest::default(), 4);
    future[2..4].copy_from_slice(&9_i16.to_be_bytes());
    let Answer::Reply(bytes) = cluster.handle(1, Listener::Broker, &future) else {
        panic!()
    };
    let response: ApiVersionsResponse = decode(bytes, 0);
    assert_eq!(response.error_code, 35);
    let own = &response.api_keys[0];
    assert_eq!((own.api_key, own.min_version, own.max_version), (18, 0, 4));
}

#[test]
fn features_tell_the_release_and_version_3_hides_minimum_0() {
    let cluster = three(Release::V4_0, 1);
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("t"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    let three = ask(&cluster, 1, Listener::Broker, &request, 3);
    let shown: Vec<_> = three
        .supported_features
        .iter()
        .map(|f| f.name.to_string())
        .collect();
    assert_eq!(shown, ["metadata.version"]);
    let range = &three.supported_features[0];
    assert_eq!((range.min_version, range.max_version), (7, 25));
    assert_eq!(three.finalized_features[0].max_version_level, 25);
    let four = ask(&cluster, 1, Listener::Broker, &request, 4);
    assert!(
        four.supported_features
            .iter()
            .any(|f| f.name.as_str() == "kraft.version")
    );
    assert!(four.finalized_features_epoch > 0);
}

#[test]
fn a_node_answers_configs_only_for_its_own_id() {
    let cluster = three(Release::V3_9, 1);
    let ask_for = |node, listener, id: &'static str| {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(StrBytes::from_static_str(id))
            .with_configuration_keys(Some(vec![StrBytes::from_static_str("node.id")]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        ask(&cluster, node, listener, &request, 1).results.remove(0)
    };
    for (node, listener, own) in [
        (1, Listener::Broker, "1"),
        (102, Listener::Controller, "102"),
    ] {
        let proof = ask_for(node, listener, own);
        assert_eq!((proof.error_code, proof.configs.len()), (0, 1));
        assert_eq!(proof.configs[0].value.as_ref().unwrap().as_str(), own);
        assert_eq!(proof.configs[0].config_source, 4);
        let other = ask_for(node, listener, "2");
        assert_eq!((other.error_code, other.configs.len()), (42, 0));
        let message = other.error_message.unwrap();
        assert!(message.contains("but received 2"), "{message}");
    }
}

#[test]
fn configs_carry_the_keys_a_gate_reads() {
    let read = |release: Release| {
        let cluster = three(release, 1);
        let resources = vec![
            DescribeConfigsResource::default()
                .with_resource_type(4)
                .with_resource_name(StrBytes::from_static_str("1"))
                .with_configuration_keys(None),
            DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(StrBytes::from_static_str("orders"))
                .with_configuration_keys(None),
        ];
        let request = DescribeConfigsRequest::default().with_resources(resources);
        let results = ask(&cluster, 1, Listener::Broker, &request, 4).results;
        let entries = results.into_iter().flat_map(|result| result.configs);
        entries
            .map(|entry| (entry.name.to_string(), entry.value.unwrap().to_string()))
            .collect::<Vec<_>>()
    };
    let old = read(Release::V3_9);
    let value = |key: &str| {
        old.iter()
            .find(|(name, _)| name == key)
            .map(|(_, v)| v.as_str())
    };
    assert_eq!(value("replica.lag.time.max.ms"), Some("30000"));
    assert_eq!(value("broker.session.timeout.ms"), Some("9000"));
    assert_eq!(value("min.insync.replicas"), Some("2"));
    assert_eq!(value("inter.broker.protocol.version"), Some("3.9-IV0"));
    assert_eq!(value("leader.replication.throttled.replicas"), Some(""));
    let voters = "101@127.0.0.1:19193,102@127.0.0.1:19194,103@127.0.0.1:19195";
    assert_eq!(value("controller.quorum.voters"), Some(voters));
    let new = read(Release::V4_0);
    assert!(
        !new.iter()
            .any(|(name, _)| name.starts_with("inter.broker.protocol"))
    );
}

#[test]
fn describe_cluster_keeps_brokers_and_controllers_apart() {
    let cluster = three(Release::V4_0, 1);
    let brokers = DescribeClusterRequest::default().with_endpoint_type(1);
    let answer = ask(&cluster, 1, Listener::Broker, &brokers, 2);
    assert_eq!((answer.error_code, answer.brokers.len()), (0, 3));
    assert_eq!(answer.cluster_id.as_str(), "MkU3OEVBNTcwNTJENDM2Qg");
    let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
    assert_eq!(
        ask(&cluster, 1, Listener::Broker, &controllers, 2).error_code,
        114
    );
    let answer = ask(&cluster, 103, Listener::Controller, &controllers, 2);
    let ids: Vec<_> = answer.brokers.iter().map(|node| node.broker_id.0).collect();
    assert_eq!((answer.error_code, ids), (0, vec![101, 102, 103]));
    assert_eq!(Some(answer.controller_id.0), cluster.active_controller());
    let refused = ask(&cluster, 103, Listener::Controller, &brokers, 2);
    assert_eq!(refused.error_code, 114);
    let words = "endpoint of type CONTROLLER, but we wanted an endpoint of type BROKER";
    assert!(refused.error_message.unwrap().ends_with(words));
    // Version 0 has no word for it.
    let any = DescribeClusterRequest::default();
    let refused = ask(&cluster, 103, Listener::Controller, &any, 0);
    assert_eq!(refused.error_code, 42);
}

#[test]
fn followers_answer_their_own_end_to_a_debugging_client_only() {
    let mut cluster = three(Release::V3_9, 1);
    cluster.advance(super::secs(10.0));
    let partition = &metadata(&cluster, 1).topics[1].partitions[7];
    let leader = partition.leader_id.0;
    let (error, end) = offset(&cluster, leader, -2, 7);
    assert_eq!(error, 0);
    assert_eq!(end, 8_000 + 100, "ten records a second for ten seconds");
    for follower in partition
        .replica_nodes
        .iter()
        .map(|id| id.0)
        .filter(|id| *id != leader)
    {
        assert_eq!(offset(&cluster, follower, -1, 7), (6, -1));
        let (error, own) = offset(&cluster, follower, -2, 7);
        assert_eq!(error, 0);
        assert!(own <= end && own + 1 >= end, "{own} of {end}");
    }
    assert_eq!(offset(&cluster, leader, -2, 60), (3, -1));
}

#[test]
fn quorum_is_the_same_through_a_broker_and_refused_by_a_standby() {
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec.dynamic_quorum = true;
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(super::secs(2.0));
    let active = cluster.active_controller().unwrap();
    let direct = ask(&cluster, active, Listener::Controller, &quorum_request(), 2);
    let forwarded = ask(&cluster, 2, Listener::Broker, &quorum_request(), 2);
    assert_eq!(direct, forwarded);
    let partition = &direct.topics[0].partitions[0];
    assert_eq!(partition.leader_id.0, active);
    assert_eq!(partition.current_voters.len(), 3);
    assert_eq!(partition.observers.len(), 3);
    let mut ids: Vec<_> = partition
        .current_voters
        .iter()
        .map(|voter| voter.replica_directory_id)
        .collect();
    ids.dedup();
    assert!(ids.len() == 3 && ids.iter().all(|id| !id.is_nil()));
    let wall = cluster.spec.start_wall_ms + 2_000;
    for state in partition.current_voters.iter().chain(&partition.observers) {
        assert!(wall - state.last_caught_up_timestamp <= 500);
    }
    assert_eq!(direct.nodes[0].listeners[0].port, 19_193);
    let standby = [101, 102, 103]
        .into_iter()
        .find(|id| *id != active)
        .unwrap();
    let refused: DescribeQuorumResponse = ask(
        &cluster,
        standby,
        Listener::Controller,
        &quorum_request(),
        2,
    );
    assert_eq!(refused.topics[0].partitions[0].error_code, 6);
}

#[test]
fn log_dirs_list_what_a_broker_hosts() {
    let spec = Spec::kraft(3, 4, Release::V3_9).topics(vec![TopicSpec::new("orders", 8, 2)]);
    let cluster = Cluster::new(spec).unwrap();
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let mut hosted = 0;
    for node in 1..=4 {
        let answer = ask(&cluster, node, Listener::Broker, &request, 4);
        let topics = &answer.results[0].topics;
        hosted += topics
            .iter()
            .filter(|topic| topic.name == name("orders"))
            .map(|topic| topic.partitions.len())
            .sum::<usize>();
        assert!(
            topics
                .iter()
                .flat_map(|t| &t.partitions)
                .all(|p| p.offset_lag == 0)
        );
    }
    assert_eq!(hosted, 16);
}

#[test]
fn groups_are_found_and_their_offsets_read_in_one_batch() {
    let mut cluster = three(Release::V3_9, 1);
    cluster.advance(super::secs(5.0));
    let keys = vec![
        StrBytes::from_static_str("billing"),
        StrBytes::from_static_str("nobody"),
    ];
    let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
    let found = ask(&cluster, 2, Listener::Broker, &request, 4);
    assert!(
        found
            .coordinators
            .iter()
            .all(|c| c.error_code == 0 && c.port > 0)
    );
    let coordinator = found.coordinators[0].node_id.0;
    let group = |id: &'static str| {
        OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_static_str(id)))
            .with_topics(None)
    };
    let request = OffsetFetchRequest::default().with_groups(vec![group("billing")]);
    let answer = ask(&cluster, coordinator, Listener::Broker, &request, 8);
    let partitions = &answer.groups[0].topics[0].partitions;
    assert_eq!(partitions.len(), 60);
    let (_, end) = offset(&cluster, leader_of(&cluster, 0), -1, 0);
    assert_eq!(
        partitions[0].committed_offset + 2,
        end,
        "200 ms at ten records a second"
    );
    let other = (1..=3).find(|id| *id != coordinator).unwrap();
    assert_eq!(
        ask(&cluster, other, Listener::Broker, &request, 8).groups[0].error_code,
        16
    );

    cluster.stall_group("billing").unwrap();
    cluster.advance(super::secs(15.0));
    let stalled = ask(&cluster, coordinator, Listener::Broker, &request, 8);
    let stalled = &stalled.groups[0].topics[0].partitions[0];
    assert_eq!(stalled.committed_offset, partitions[0].committed_offset);
}

fn leader_of(cluster: &Cluster, index: usize) -> NodeId {
    metadata(cluster, 1).topics[1].partitions[index].leader_id.0
}

#[test]
fn latency_delays_and_freezing_silences() {
    let mut cluster = three(Release::V3_9, 1);
    let request = frame(&ApiVersionsRequest::default(), 0);
    cluster.set_latency(1, super::secs(0.3)).unwrap();
    let Answer::Delay(wait, _) = cluster.handle(1, Listener::Broker, &request) else {
        panic!()
    };
    assert_eq!(wait, super::secs(0.3));
    cluster.freeze(1).unwrap();
    assert_eq!(
        cluster.handle(1, Listener::Broker, &request),
        Answer::Silent
    );
}

#[test]
fn specs_that_contradict_themselves_are_refused() {
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec.nodes[1].id = 1;
    assert!(Cluster::new(spec).is_err());
    let spec = Spec::kraft(3, 2, Release::V3_9).topics(vec![TopicSpec::new("t", 1, 3)]);
    assert!(Cluster::new(spec).is_err());
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec.groups = vec![GroupSpec {
        name: "g".into(),
        topic: "none".into(),
        behind_ms: 0,
    }];
    assert!(Cluster::new(spec).is_err());
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec.finalized = Release::V4_0;
    assert!(Cluster::new(spec).is_err());
    assert!(Cluster::new(Spec::kraft(0, 3, Release::V3_9)).is_err());
}

#[test]
fn flat_pages_name_the_same_things() {
    let spec = Spec::kraft(3, 3, Release::V3_9).family(Family::Flat);
    let cluster = Cluster::new(spec).unwrap();
    let page = super::page(&cluster, 1);
    assert_eq!(
        page["kafka_server_replicamanager_underreplicatedpartitions"],
        0.0
    );
    assert_eq!(page["kafka_server_replicamanager_partitioncount"], 70.0);
    assert_eq!(
        page["kafka_server_raft_metrics_current_state{state=\"observer\"}"],
        1.0
    );
    assert!(page.contains_key("kafka_server_replicamanager_isrshrinks_total"));
    let active = cluster.active_controller().unwrap();
    let page = super::page(&cluster, active);
    assert_eq!(
        page["kafka_controller_kafkacontroller_activecontrollercount"],
        1.0
    );
}

//! What answers become: rights, identities, errors.

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use kafka_protocol::messages::describe_quorum_response::{PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, DescribeLogDirsResponse, DescribeQuorumResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse,
};

use super::*;
use crate::evidence::facts::{ConfigSource, Identity};
use crate::evidence::ids::{ClusterId, MOST_NODES, NodeId};
use crate::evidence::known::Known;

/// A node that answers DescribeConfigs as Kafka does: only about itself.
fn node(own: i32, ask: &Ask) -> Reply {
    let request: DescribeConfigsRequest = ask.request();
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        if resource.resource_name.as_str() != own.to_string() {
            return result
                .with_error_code(42)
                .with_error_message(Some(text("Unexpected broker id")));
        }
        let keys = resource.configuration_keys.iter().flatten();
        let value = |key: &StrBytes| {
            DescribeConfigsResourceResult::default()
                .with_name(key.clone())
                .with_value(Some(text("7")))
                .with_config_source(4)
        };
        result.with_configs(keys.map(value).collect())
    });
    ask.answer(&DescribeConfigsResponse::default().with_results(results.collect()))
}

#[tokio::test]
async fn a_node_proves_who_it_is() {
    let connection = connected(|ask| node(2, ask)).await;
    let proved = connection.prove_node(NodeId(2), SOON).await;
    assert_eq!(proved, Ok(Identity::Proved));
    let failure = connection.prove_node(NodeId(1), SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::WrongNode, "{failure}");
    let configs = connection
        .node_configs(NodeId(2), SOON)
        .await
        .unwrap()
        .facts;
    assert_eq!(configs.number("node.id"), Some(7));
    assert_eq!(configs.values["node.id"].1, ConfigSource::StaticBroker);
    assert_eq!(configs.values.len(), NODE_CONFIG_KEYS.len());
    let failure = connection.node_configs(NodeId(3), SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::WrongNode);
}

#[tokio::test]
async fn without_rights_a_node_stays_unproven() {
    let connection = connected(|ask| {
        let request: DescribeConfigsRequest = ask.request();
        let refused = DescribeConfigsResult::default()
            .with_error_code(31)
            .with_error_message(Some(text(&"Request(processor=6) ".repeat(40))))
            .with_resource_type(4)
            .with_resource_name(request.resources[0].resource_name.clone());
        ask.answer(&DescribeConfigsResponse::default().with_results(vec![refused]))
    })
    .await;
    let identity = connection.prove_node(NodeId(1), SOON).await.unwrap();
    let Identity::Unproven(why) = identity else {
        unreachable!("proved without an answer")
    };
    assert!(why.contains("CLUSTER_AUTHORIZATION_FAILED"), "{why}");
    let right = "grant the gate DescribeConfigs on Cluster kafka-cluster";
    assert!(why.contains(right), "{why}");
}

#[tokio::test]
async fn another_cluster_is_noticed() {
    let connection = connected(|ask| {
        let request: DescribeClusterRequest = ask.request();
        assert!(request.include_fenced_brokers);
        ask.answer(&DescribeClusterResponse::default().with_cluster_id(text("theirs")))
    })
    .await;
    let theirs = ClusterId(String::from("theirs"));
    let proved = connection.prove_cluster(&theirs, SOON).await;
    assert_eq!(proved, Ok(Known::Is(theirs)));
    let ours = ClusterId(String::from("ours"));
    let failure = connection.prove_cluster(&ours, SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::WrongCluster, "{failure}");
}

#[tokio::test]
async fn a_controller_is_asked_for_controllers() {
    let address = broker(|ask| {
        if ask.is(ApiKey::ApiVersions) {
            let mut apis = all_apis();
            apis.retain(|row| row.api_key != 3);
            return ask.answer(&versions(apis));
        }
        let request: DescribeClusterRequest = ask.request();
        assert_eq!(request.endpoint_type, 2);
        let response = DescribeClusterResponse::default()
            .with_cluster_id(text("c"))
            .with_controller_id(101.into());
        ask.answer(&response)
    })
    .await;
    let connection = open(&address).await.unwrap();
    let id = connection.cluster_id(SOON).await;
    assert_eq!(id, Ok(Known::Is(ClusterId(String::from("c")))));
    let answer = connection.describe_controllers(SOON).await.unwrap();
    assert_eq!(answer.facts.leader, Some(NodeId(101)));
}

#[tokio::test]
async fn metadata_asks_for_everything_and_creates_nothing() {
    let connection = connected(|ask| {
        let request: MetadataRequest = ask.request();
        assert_eq!(request.topics, None);
        assert!(!request.allow_auto_topic_creation);
        ask.answer(&MetadataResponse::default().with_cluster_id(Some(text("c"))))
    })
    .await;
    let answer = connection.metadata(SOON).await.unwrap().facts;
    assert_eq!(answer.cluster_id, Some(ClusterId(String::from("c"))));
}

#[tokio::test]
async fn old_brokers_are_asked_in_their_words() {
    let address = broker(|ask| {
        if ask.is(ApiKey::ApiVersions) {
            let old = [api(ApiKey::ApiVersions, 0, 4), api(ApiKey::Metadata, 0, 9)];
            return ask.answer(&versions(old.into()));
        }
        assert!(ask.is(ApiKey::Metadata) && ask.version() == 9);
        assert_eq!(ask.request::<MetadataRequest>().topics, Some(Vec::new()));
        ask.answer(&MetadataResponse::default().with_cluster_id(None))
    })
    .await;
    let connection = open(&address).await.unwrap();
    let facts = connection.describe_cluster(SOON).await.unwrap().facts;
    assert!(matches!(facts.cluster_id, Known::Failed(_)));
    assert!(!facts.lists_fenced);
    let failure = connection.log_dirs(SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unsupported);
}

#[tokio::test]
async fn log_dirs_without_rights_are_not_empty_log_dirs() {
    let dirs = |error: i16, dirs: usize| {
        let rows = vec![DescribeLogDirsResult::default().with_log_dir(text("/data")); dirs];
        DescribeLogDirsResponse::default()
            .with_error_code(error)
            .with_results(rows)
    };
    for (error, count, readable) in [(0, 1, true), (0, 0, false), (31, 0, false)] {
        let connection = connected(move |ask| ask.answer(&dirs(error, count))).await;
        let facts = connection.log_dirs(SOON).await.unwrap().facts;
        assert_eq!(facts.readable, readable, "error {error}, {count} dirs");
    }
    let connection = connected(move |ask| ask.answer(&dirs(-1, 0))).await;
    let failure = connection.log_dirs(SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Kafka(-1));
}

#[tokio::test]
async fn topics_that_are_hidden_or_gone_are_told_apart() {
    let connection = connected(|ask| {
        let request: DescribeConfigsRequest = ask.request();
        let results = request.resources.iter().map(|resource| {
            let error = match resource.resource_name.as_str() {
                "gone" => 3,
                "hidden" => 29,
                _ => 0,
            };
            let value = DescribeConfigsResourceResult::default()
                .with_name(text("min.insync.replicas"))
                .with_value(Some(text("2")));
            DescribeConfigsResult::default()
                .with_error_code(error)
                .with_resource_type(2)
                .with_resource_name(resource.resource_name.clone())
                .with_configs(if error == 0 { vec![value] } else { vec![] })
        });
        ask.answer(&DescribeConfigsResponse::default().with_results(results.collect()))
    })
    .await;
    let asked = ["gone", "hidden", "orders"];
    let facts = connection.topic_configs(&asked, SOON).await.unwrap().facts;
    assert_eq!(facts.hidden, ["hidden"]);
    assert_eq!(
        facts.min_insync_replicas,
        [(String::from("orders"), 2)].into()
    );
}

#[tokio::test]
async fn a_quorum_without_its_partition_is_no_quorum() {
    let connection = connected(|ask| ask.answer(&DescribeQuorumResponse::default())).await;
    let failure = connection.quorum(SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Malformed, "{failure}");
    let forbidden = DescribeQuorumResponse::default().with_error_code(31);
    let connection = connected(move |ask| ask.answer(&forbidden)).await;
    let failure = connection.quorum(SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Authorization, "{failure}");
}

#[tokio::test]
async fn answers_that_name_more_nodes_than_a_cluster_has_are_too_large() {
    fn ids(count: usize) -> impl Iterator<Item = BrokerId> {
        (1..=i32::try_from(count).unwrap()).map(BrokerId)
    }
    fn cluster(count: usize) -> DescribeClusterResponse {
        let brokers = ids(count).map(|id| {
            let broker = DescribeClusterBroker::default().with_broker_id(id);
            broker.with_host(text("h")).with_port(1)
        });
        DescribeClusterResponse::default().with_brokers(brokers.collect())
    }
    fn metadata(count: usize) -> MetadataResponse {
        let partition = MetadataResponsePartition::default()
            .with_leader_id(BrokerId(1))
            .with_replica_nodes(ids(count).collect());
        let topic = MetadataResponseTopic::default()
            .with_name(Some(text("t").into()))
            .with_partitions(vec![partition]);
        MetadataResponse::default().with_topics(vec![topic])
    }
    fn quorum(count: usize) -> DescribeQuorumResponse {
        let voters = ids(count).map(|id| ReplicaState::default().with_replica_id(id));
        let partition = PartitionData::default().with_current_voters(voters.collect());
        let topic = TopicData::default()
            .with_topic_name(text("__cluster_metadata").into())
            .with_partitions(vec![partition]);
        DescribeQuorumResponse::default().with_topics(vec![topic])
    }
    for (count, large) in [(MOST_NODES, false), (MOST_NODES + 1, true)] {
        let connection = connected(move |ask| {
            if ask.is(ApiKey::DescribeCluster) {
                ask.answer(&cluster(count))
            } else if ask.is(ApiKey::Metadata) {
                ask.answer(&metadata(count))
            } else {
                ask.answer(&quorum(count))
            }
        })
        .await;
        let failures = [
            connection.describe_cluster(SOON).await.err(),
            connection.describe_controllers(SOON).await.err(),
            connection.metadata(SOON).await.err(),
            connection.quorum(SOON).await.err(),
        ];
        let classes = failures.map(|failure| failure.map(|failure| failure.class));
        assert_eq!(
            classes,
            [large.then_some(FailureClass::TooLarge(Cap::Nodes)); 4]
        );
    }
}

#[tokio::test]
async fn offsets_come_back_in_the_order_asked_and_only_as_values_when_they_are() {
    let connection = connected(|ask| {
        let request: ListOffsetsRequest = ask.request();
        assert_eq!(request.replica_id.0, -2);
        assert_eq!(request.topics[0].partitions[0].current_leader_epoch, 4);
        assert_eq!(request.topics[0].partitions[1].current_leader_epoch, -1);
        let rows = [(2, 0, 20), (1, 6, -1), (0, 0, -1)].map(|(index, error, offset)| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(error)
                .with_offset(offset)
        });
        let topic = ListOffsetsTopicResponse::default()
            .with_name(text("t").into())
            .with_partitions(rows.into());
        ask.answer(&ListOffsetsResponse::default().with_topics(vec![topic]))
    })
    .await;
    let asked = [0, 1, 2, 3].map(|partition| AskedPartition {
        topic: "t",
        partition,
        leader_epoch: (partition == 0).then_some(4),
    });
    let answer = connection
        .list_offsets(AskAs::AnyReplica, &asked, SOON)
        .await
        .unwrap();
    let [negative, moved, value, missing] = answer.facts.try_into().unwrap();
    assert!(negative.value().is_none());
    assert_eq!(moved.why(), "NOT_LEADER_OR_FOLLOWER");
    assert_eq!(value, Known::Is(20));
    assert_eq!(missing.why(), "not in the answer");
}

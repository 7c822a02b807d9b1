//! Topics that are deleted and made anew.

use kafka_protocol::messages::DescribeLogDirsRequest;

use super::protocol::offset;
use super::{Cluster, Listener, Release, Spec, ask, lacking, metadata, page, secs, three, until};
use crate::model::{OperationError, TopicSpec};

fn orders(cluster: &Cluster) -> (uuid::Uuid, usize, i32) {
    let response = metadata(cluster, 2);
    let topic = response
        .topics
        .iter()
        .find(|t| t.name == Some(super::name("orders")));
    topic.map_or((uuid::Uuid::nil(), 0, -1), |topic| {
        let epoch = topic.partitions[0].leader_epoch;
        (topic.topic_id, topic.partitions.len(), epoch)
    })
}

#[test]
fn a_topic_made_again_has_another_id_and_begins_at_epoch_0() {
    let mut cluster = three(Release::V3_9, 1);
    cluster.advance(secs(1.0));
    cluster.kill(1).unwrap();
    cluster.advance(secs(15.0));
    let (old, count, epoch) = orders(&cluster);
    assert_eq!((count, epoch), (60, 1));
    let again = TopicSpec::new("orders", 6, 2);
    assert_eq!(
        cluster.create_topic(&again),
        Err(OperationError::Taken("orders".to_owned()))
    );
    cluster.delete_topic("orders").unwrap();
    cluster.advance(secs(15.2));
    assert_eq!(orders(&cluster).1, 0);
    assert!(cluster.delete_topic("orders").is_err());
    cluster.create_topic(&again).unwrap();
    cluster.advance(secs(15.4));
    let (new, count, epoch) = orders(&cluster);
    assert!(new != old && count == 6 && epoch == 0);
    // An empty log, and only brokers in service hold it.
    let leader = metadata(&cluster, 2).topics[1].partitions[0].leader_id.0;
    assert_eq!(offset(&cluster, leader, -2, 0), (0, 0));
    let wide = TopicSpec::new("wide", 1, 3);
    assert_eq!(
        cluster.create_topic(&wide),
        Err(OperationError::Brokers(3, 2))
    );
}

/// A broker is down while `orders` is made anew, and comes back.
fn recreated(release: Release) -> Cluster {
    let topics = vec![TopicSpec::new("orders", 6, 3)];
    let mut cluster = Cluster::new(Spec::kraft(3, 4, release).topics(topics)).unwrap();
    cluster.kill(1).unwrap();
    cluster.advance(secs(15.0));
    cluster.delete_topic("orders").unwrap();
    cluster.start(1, None).unwrap();
    // Until it is down again it is in no ISR of the new topic.
    cluster.advance(secs(15.5));
    cluster.kill(1).unwrap();
    cluster
        .create_topic(&TopicSpec::new("orders", 6, 3))
        .unwrap();
    let all = [(0, [1, 2, 3]), (1, [2, 1, 4])];
    for (index, replicas) in all {
        cluster.reassign("orders", index, &replicas).unwrap();
    }
    cluster.start(1, None).unwrap();
    cluster
}

#[test]
fn up_to_3_6_an_old_copy_keeps_a_broker_out_of_the_new_topic() {
    let mut cluster = recreated(Release::V3_6);
    cluster.advance(secs(90.0));
    assert!(lacking(&cluster, 2).0 > 0);
    let failed = "kafka_server_ReplicaFetcherManager_Value{clientId=\"Replica\",name=\"FailedPartitionsCount\"}";
    // Of the old topic it held partition 0, not 1.
    assert_eq!(page(&cluster, 1).get(failed), Some(&1.0));
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let dirs = ask(&cluster, 1, Listener::Broker, &request, 4);
    let hosted = dirs.results[0].topics.iter();
    let hosted = hosted.filter(|topic| topic.name == super::name("orders"));
    let hosted: usize = hosted.map(|topic| topic.partitions.len()).sum();
    assert!(hosted > 2, "the strays are listed: {hosted}");
}

#[test]
fn from_3_7_old_copies_are_thrown_away() {
    let mut cluster = recreated(Release::V3_7);
    until(&mut cluster, 90.0, |cluster| lacking(cluster, 2) == (0, 0));
}

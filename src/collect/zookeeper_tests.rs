//! A broker that owes an answer about topics is not asked again, whatever becomes of connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    ApiKey, DescribeConfigsRequest, DescribeConfigsResponse, DescribeLogDirsResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinHandle;

use super::super::node::bulk;
use super::super::tests::{orders, own_configs, shared};
use super::*;
use crate::evidence::ids::Role;
use crate::kafka::tests::{Ask, Reply, all_apis, broker, versions};

const NODE: NodeId = NodeId(1);
const TOPIC: i8 = 2;

fn is_about_topics(ask: &Ask) -> bool {
    ask.is(ApiKey::DescribeConfigs) && {
        let request: DescribeConfigsRequest = ask.request();
        request.resources[0].resource_type == TOPIC
    }
}

fn described(ask: &Ask) -> Reply {
    let min_isr = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str("min.insync.replicas"))
        .with_value(Some(StrBytes::from_static_str("1")));
    let orders = DescribeConfigsResult::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_static_str("orders"))
        .with_configs(vec![min_isr]);
    ask.answer(&DescribeConfigsResponse::default().with_results(vec![orders]))
}

/// A broker that an asker asks, and the tasks that keep its connections.
struct Asked {
    shared: Arc<Shared>,
    /// How often it was asked about topics.
    count: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
}

impl Asked {
    /// It answers the question about topics with this number as told.
    async fn new(
        kraft: bool,
        topics: impl Fn(&Ask, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let address = broker(move |ask| {
            if ask.is(ApiKey::ApiVersions) {
                let mut apis = all_apis();
                let quorum = ApiKey::DescribeQuorum as i16;
                apis.retain(|api| kraft || api.api_key != quorum);
                ask.answer(&versions(apis))
            } else if ask.is(ApiKey::DescribeLogDirs) {
                ask.answer(&DescribeLogDirsResponse::default())
            } else if is_about_topics(ask) {
                topics(ask, counted.fetch_add(1, Ordering::SeqCst))
            } else {
                own_configs(ask)
            }
        })
        .await;
        let shared = Arc::new(shared(&address, None));
        shared
            .learn(|roster| {
                roster.configured(NODE, Role::BROKER, None);
                Ok(())
            })
            .unwrap();
        shared.set_table(NODE, Some(Arc::new(orders())));
        let tasks = [
            tokio::spawn(bulk(Arc::clone(&shared), NODE)),
            tokio::spawn(run(Arc::clone(&shared), NODE)),
        ];
        Self {
            shared,
            count,
            tasks,
        }
    }

    /// What is told of topics next.
    async fn told(&self) -> Result<Facts, SourceFailure> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(15) {
            sleep(Duration::from_millis(20)).await;
            let reports = self.shared.board.take().reports;
            let mut reports = reports.into_iter();
            if let Some(report) = reports.find(|it| it.kind == FactKind::TopicConfigs) {
                return report.facts;
            }
        }
        unreachable!("nothing is told of topics")
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn names_zookeeper(told: Result<Facts, SourceFailure>) {
    let failure = told.unwrap_err();
    let hint = "ZooKeeper may be out of reach of broker 1";
    assert!(failure.detail.ends_with(hint), "{failure}");
}

#[tokio::test]
async fn a_question_whose_connection_ended_is_put_again_only_to_another_process() {
    let asked = Asked::new(false, |_, _| Reply::Close).await;
    names_zookeeper(asked.told().await);
    for _ in 0..3 {
        // The asker goes and comes again.
        asked.shared.set_table(NODE, None);
        sleep(Duration::from_millis(400)).await;
        asked.shared.set_table(NODE, Some(Arc::new(orders())));
        sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(asked.count(), 1);
    asked.shared.note_refusal(NODE);
    names_zookeeper(asked.told().await);
    assert_eq!(asked.count(), 2);
}

#[tokio::test]
async fn silence_is_told_once_and_other_questions_go_on() {
    let asked = Asked::new(false, |ask, number| match number {
        0 => Reply::Nothing,
        _ => described(ask),
    })
    .await;
    let start = Instant::now();
    names_zookeeper(asked.told().await);
    assert!(start.elapsed() >= Duration::from_secs(4), "not late yet");
    let bulk = asked.shared.connection_of(NODE).unwrap();
    assert_eq!(bulk.failure(), None, "Metadata goes on");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(asked.count(), 1);
    asked.shared.note_refusal(NODE);
    assert!(asked.told().await.is_ok());
    assert_eq!(asked.count(), 2);
}

#[tokio::test]
async fn while_zookeeper_answers_one_topic_is_asked_for_every_few_seconds() {
    let asked = Asked::new(false, |ask, _| described(ask)).await;
    assert!(asked.told().await.is_ok());
    sleep(PROBE * 2 + PROBE / 2).await;
    let count = asked.count();
    assert!((2..=3).contains(&count), "{count}");
    assert!(
        asked
            .shared
            .board
            .take()
            .reports
            .iter()
            .all(|it| it.kind != FactKind::TopicConfigs)
    );
}

#[tokio::test]
async fn on_kraft_the_askers_ask_themselves() {
    let asked = Asked::new(true, |ask, _| described(ask)).await;
    sleep(Duration::from_secs(1)).await;
    assert!(asked.shared.connection_of(NODE).is_some());
    assert_eq!(asked.count(), 0);
}

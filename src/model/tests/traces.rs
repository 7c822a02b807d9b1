//! The model against real Kafka: traces that were recorded on the lab
//! (release, settings and load are in the files). The same spec must show the same events in the
//! same order, and every recorded time must lie within what fifteen seeds of the model show, give
//! or take a tolerance.
//!
//! The tolerance is wide where a JVM starts: the machine was loaded (its load average is in the
//! files), and a start is work.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Cluster, Listener, Page, Release, Spec, metadata, page, secs};
use crate::model::{Link, TopicSpec};

/// For what Kafka waits for: sessions, heartbeats, hand-overs.
const WAITS: i64 = 300;
/// For what a busy machine makes slow: starts and exits.
const WORKS: i64 = 2_500;
/// Two things that happen at once are seen this close together.
const TOGETHER: i64 = 150;
const TARGET: i32 = 3;
const SEEDS: u64 = 15;

/// What can be seen of broker 3 from outside at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// Partitions whose ISR is short, those it leads, those without a leader; in broker 1's
    /// metadata.
    short: i64,
    led: i64,
    offline: i64,
    listed: bool,
    /// `text` or not; what its own page says.
    page: bool,
    state: Option<f64>,
    urp: Option<f64>,
    /// Its listener answers.
    answers: bool,
}

/// What was seen at which millisecond after the beginning, changes only.
type Run = Vec<(i64, Seen)>;

fn recorded(text: &str) -> Vec<Run> {
    let trace: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(trace["release"], "3.9.2");
    let runs = trace["runs"].as_array().expect("runs");
    runs.iter()
        .map(|run| {
            assert_eq!(run["whole"], true);
            let mut now = Seen::default();
            let changes = run["changes"].as_array().expect("changes");
            let each = changes.iter().map(|change| {
                now = apply(&now, change);
                (change["at"].as_i64().expect("at"), now.clone())
            });
            each.collect()
        })
        .collect()
}

fn apply(before: &Seen, change: &Value) -> Seen {
    let mut now = before.clone();
    for (key, value) in change.as_object().expect("an object") {
        match key.as_str() {
            "short" => now.short = value.as_i64().expect("short"),
            "led" => now.led = value.as_i64().expect("led"),
            "offline" => now.offline = value.as_i64().expect("offline"),
            "listed" => now.listed = value.as_bool().expect("listed"),
            "page" => now.page = value == "text",
            "state" => now.state = value.as_f64(),
            "urp" => now.urp = value.as_f64(),
            "link" => now.answers = value == "answers",
            _ => {}
        }
    }
    now
}

fn look(cluster: &Cluster) -> Seen {
    let response = metadata(cluster, 1);
    let partitions = &response.topics[0].partitions;
    let count = |wanted: &dyn Fn(usize) -> bool| {
        i64::try_from((0..partitions.len()).filter(|index| wanted(*index)).count()).unwrap()
    };
    let text = matches!(cluster.jmx_page(TARGET), Page::Text { .. });
    let series = if text {
        page(cluster, TARGET)
    } else {
        BTreeMap::new()
    };
    let gauge = |name: &str| series.get(name).copied();
    Seen {
        short: count(&|i| partitions[i].isr_nodes.len() < partitions[i].replica_nodes.len()),
        led: count(&|i| *partitions[i].leader_id == TARGET),
        offline: count(&|i| *partitions[i].leader_id == -1),
        listed: response
            .brokers
            .iter()
            .any(|broker| *broker.node_id == TARGET),
        page: text,
        state: gauge("kafka_server_KafkaServer_Value{name=\"BrokerState\"}"),
        urp: gauge("kafka_server_ReplicaManager_Value{name=\"UnderReplicatedPartitions\"}"),
        answers: cluster.link(TARGET, Listener::Broker) == Link::Accepts,
    }
}

/// Watches the model for `seconds`, every 40 ms.
fn watch(cluster: &mut Cluster, seconds: f64) -> Run {
    let begin = cluster.elapsed();
    let mut run: Run = Vec::new();
    while cluster.elapsed() < begin + secs(seconds) {
        let seen = look(cluster);
        let at = i64::try_from(cluster.elapsed().saturating_sub(begin).as_millis()).unwrap();
        if run.last().is_none_or(|(_, before)| *before != seen) {
            run.push((at, seen));
        }
        cluster.advance(cluster.elapsed() + Duration::from_millis(40));
    }
    run
}

/// The same cluster as the lab's, over the seeds; `prepare` brings it to the beginning.
fn modelled(seconds: f64, prepare: impl Fn(&mut Cluster)) -> Vec<Run> {
    let run = |seed| {
        let topics = vec![TopicSpec::new("orders", 15, 3)];
        let mut spec = Spec::kraft(3, 3, Release::V3_9).topics(topics).seed(seed);
        spec.settings.offsets_partitions = 0;
        let mut cluster = Cluster::new(spec).unwrap();
        cluster.advance(secs(5.0));
        prepare(&mut cluster);
        watch(&mut cluster, seconds)
    };
    (0..SEEDS).map(run).collect()
}

/// The first moment from `from` on at which `wanted` holds; by 50 ms everything was looked at.
fn first(run: &Run, from: i64, wanted: impl Fn(&Seen) -> bool) -> i64 {
    let before = run.iter().rev().find(|(at, _)| *at <= from);
    if before.is_some_and(|(_, seen)| wanted(seen)) {
        return from;
    }
    let mut after = run.iter().filter(|(at, seen)| *at >= from && wanted(seen));
    after.next().unwrap_or_else(|| panic!("never: {run:#?}")).0
}

/// Every recorded time lies within the model's, give or take `tolerance`.
fn compare(what: &str, real: &[Run], model: &[Run], tolerance: i64, time: impl Fn(&Run) -> i64) {
    let times = |runs: &[Run]| runs.iter().map(&time).collect::<Vec<_>>();
    let (real, model) = (times(real), times(model));
    let low = model.iter().min().unwrap() - tolerance;
    let high = model.iter().max().unwrap() + tolerance;
    for time in &real {
        assert!(
            (low..=high).contains(time),
            "{what}: {real:?} against {model:?}"
        );
    }
}

#[test]
fn a_kill_is_refused_at_once_and_seen_by_survivors_when_the_session_ends() {
    let real = recorded(include_str!("../../../tests/fixtures/traces/kill.json"));
    let model = modelled(14.0, |cluster| cluster.kill(TARGET).unwrap());
    for run in real.iter().chain(&model) {
        let gone = first(run, 50, |seen| !seen.page && !seen.answers);
        assert!(gone <= TOGETHER, "{gone}");
        // Nothing in the metadata changes before; then all of it changes at once.
        let noticed = first(run, TOGETHER, |seen| seen.short > 0);
        let moved = first(run, TOGETHER, |seen| seen.led == 0);
        let unlisted = first(run, TOGETHER, |seen| !seen.listed);
        assert!((moved - noticed).abs() <= TOGETHER && (unlisted - noticed).abs() <= TOGETHER);
        assert!(run.iter().all(|(_, seen)| seen.offline == 0));
    }
    let noticed = |run: &Run| first(run, TOGETHER, |seen| seen.short == 15);
    compare("noticed", &real, &model, WAITS, noticed);
}

#[test]
fn a_controlled_stop_moves_leaders_before_it_closes_and_ends() {
    let real = recorded(include_str!("../../../tests/fixtures/traces/stop.json"));
    let model = modelled(8.0, |cluster| cluster.stop(TARGET).unwrap());
    let moved = |run: &Run| first(run, TOGETHER, |seen| seen.led == 0 && seen.short == 15);
    let mute = |run: &Run| first(run, 50, |seen| seen.page && seen.urp.is_none());
    let closed = |run: &Run| first(run, TOGETHER, |seen| !seen.answers);
    let unlisted = |run: &Run| first(run, TOGETHER, |seen| !seen.listed);
    let ended = |run: &Run| first(run, 1_000, |seen| !seen.page);
    for run in &real {
        assert!(moved(run) < closed(run) && closed(run) <= ended(run));
        assert!(unlisted(run) - closed(run) < 2 * WAITS);
    }
    for run in &model {
        assert!(moved(run) < closed(run) && closed(run) <= ended(run));
        assert!((unlisted(run) - closed(run)).abs() <= TOGETHER);
    }
    compare("leaders moved", &real, &model, WAITS, moved);
    compare("own series gone", &real, &model, WAITS, mute);
    compare("listener closed", &real, &model, WAITS, closed);
    compare("unlisted", &real, &model, WAITS, unlisted);
    compare("ended", &real, &model, WAITS, ended);
}

#[test]
fn a_broker_that_leads_nothing_is_let_go_at_once() {
    let real = recorded(include_str!(
        "../../../tests/fixtures/traces/stop-idle.json"
    ));
    let model = modelled(6.0, |cluster| {
        cluster.kill(TARGET).unwrap();
        cluster.advance(cluster.elapsed() + secs(20.0));
        cluster.start(TARGET, None).unwrap();
        cluster.advance(cluster.elapsed() + secs(10.0));
        cluster.stop(TARGET).unwrap();
    });
    let unlisted = |run: &Run| first(run, 50, |seen| !seen.listed && seen.short == 15);
    compare("unlisted", &real, &model, WAITS, unlisted);
    compare("closed", &real, &model, WAITS, |run| {
        first(run, 50, |seen| !seen.answers)
    });
    assert!(model.iter().all(|run| unlisted(run) < 1_000));
}

#[test]
fn a_return_is_silent_on_its_own_page_until_isrs_are_full() {
    let real = recorded(include_str!("../../../tests/fixtures/traces/return.json"));
    let model = modelled(14.0, |cluster| {
        cluster.kill(TARGET).unwrap();
        cluster.advance(cluster.elapsed() + secs(25.0));
        cluster.start(TARGET, None).unwrap();
    });
    let page = |run: &Run| first(run, 0, |seen| seen.page);
    let starting = |run: &Run| first(run, 0, |seen| seen.state == Some(1.0));
    let answers = |run: &Run| first(run, 0, |seen| seen.answers);
    let listed = |run: &Run| first(run, 0, |seen| seen.listed);
    let full = |run: &Run| first(run, listed(run), |seen| seen.short == 0);
    for run in real.iter().chain(&model) {
        assert!(page(run) < starting(run) && starting(run) < full(run));
        assert!(answers(run) <= listed(run) + WAITS && listed(run) < full(run));
        // Its own count of under-replicated partitions is never anything but 0 or absent.
        assert!(
            run.iter()
                .all(|(_, seen)| seen.urp.is_none_or(|urp| urp == 0.0))
        );
        assert!(run.iter().all(|(_, seen)| seen.led == 0));
    }
    compare("page", &real, &model, WORKS, page);
    compare("listed", &real, &model, WORKS, listed);
    let joining = |run: &Run| full(run) - listed(run);
    compare(
        "from listed to full ISRs",
        &real,
        &model,
        2 * WAITS,
        joining,
    );
}

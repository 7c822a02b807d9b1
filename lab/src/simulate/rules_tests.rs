use upgrade_gate::model::{Release, TopicSpec};

use super::super::setup::Target;

use super::*;

/// Brokers (from 1) and controllers (101 to 103), looked at for 30 s.
struct Asked {
    world: Arc<World>,
    sight: Sight,
    follower: Follower,
    now: Duration,
}

impl Asked {
    /// Three brokers and a topic of three replicas.
    fn new(rule: (&'static str, Rule, u64)) -> Self {
        let topic = TopicSpec::new("orders", 3, 3).rate(10).min_isr(2);
        Self::of(Spec::kraft(3, 3, Release::V4_1).topics(vec![topic]), rule)
    }

    /// Four brokers and nothing but one partition, on the first three of them.
    fn with_a_spare(rule: (&'static str, Rule, u64)) -> Self {
        let topic = TopicSpec::new("orders", 1, 3).rate(10).min_isr(2);
        let mut spec = Spec::kraft(3, 4, Release::V4_1).topics(vec![topic]);
        spec.settings.offsets_partitions = 0;
        Self::of(spec, rule)
    }

    fn of(spec: Spec, rule: (&'static str, Rule, u64)) -> Self {
        let mut asked = Self {
            sight: Sight::new(&spec),
            world: World::standing(Cluster::new(spec).unwrap()),
            follower: Follower::new(rule),
            now: Duration::ZERO,
        };
        asked.look_for(30_250);
        asked
    }

    /// Looks every 250 ms for so many milliseconds; how long it was until it said open.
    fn look_for(&mut self, millis: u64) -> Option<Duration> {
        let from = self.now;
        let mut open = None;
        for _ in 0..millis / 250 {
            self.world.set_elapsed(self.now);
            let cluster = self.world.cluster();
            self.follower
                .look(self.now, &mut self.sight, &cluster, &self.world);
            if self.follower.open {
                open.get_or_insert(self.now.saturating_sub(from));
            }
            self.now += Duration::from_millis(250);
        }
        open
    }

    /// Nodes whose pages are read, smallest id first, and topics that metadata has, if there is any.
    fn sees(&self) -> (Vec<NodeId>, Option<usize>) {
        let cluster = self.world.cluster();
        let is_read = |id: &NodeId| self.sight.page(*id, &cluster, &self.world).is_some();
        let nodes: BTreeSet<_> = self.sight.nodes.iter().copied().collect();
        let pages = nodes.into_iter().filter(is_read).collect();
        let image = self.sight.metadata(&cluster, &self.world);
        (pages, image.map(|image| image.topics.len()))
    }
}

#[test]
fn nobody_is_told_of_what_was_read_before_he_asked() {
    for rule in RULES {
        let mut asked = Asked::new(rule);
        // Some time after the last reading.
        asked.look_for(500);
        let now = asked.now;
        asked.follower.asked(now);
        asked.look_for(250);
        let read = asked.follower.due.saturating_sub(asked.follower.every);
        let scraped = matches!(rule.1, Rule::PromQl);
        assert_eq!(read == now, !scraped, "{}: {read:?} at {now:?}", rule.0);
    }
}

#[test]
fn a_script_that_looks_every_30_s_does_not_go_by_what_it_saw_before_its_own_stop() {
    let mut asked = Asked::new(("", Rule::SumOfUrp, 30_000));
    assert!(asked.follower.open);
    asked.look_for(1_000);
    asked.world.cluster().kill(3).unwrap();
    // The controller has fenced it, and the next reading is far away.
    asked.look_for(15_000);
    assert!(asked.follower.open, "nobody has looked yet");
    asked.follower.asked(asked.now);
    assert_eq!(asked.look_for(29_000), None);
    let mut scraped = Asked::new(("", Rule::PromQl, 20_000));
    scraped.world.cluster().kill(3).unwrap();
    scraped.follower.asked(scraped.now);
    scraped.look_for(250);
    assert!(scraped.follower.open, "what was scraped stands");
}

#[test]
fn twelve_times_in_a_row_begins_with_each_question() {
    for (every, least) in [(5_000, 55), (10_000, 110)] {
        let mut asked = Asked::new(("", Rule::TwelveTimes, every));
        for _ in 0..2 {
            asked.look_for(120_000);
            assert!(asked.follower.open, "it has seen enough by itself");
            asked.follower.asked(asked.now);
            let open = asked.look_for(120_000);
            assert_eq!(open, Some(Duration::from_secs(least)));
        }
    }
}

const ALL: [NodeId; 6] = [1, 2, 3, 101, 102, 103];

#[test]
fn pages_go_by_the_cuts_of_pages_and_metadata_by_those_of_listeners() {
    let asked = Asked::new(("", Rule::BrokerUp, 5_000));
    let (pages, topics) = asked.sees();
    assert_eq!(pages, ALL);
    assert!(topics.is_some());
    for id in ALL {
        asked.world.set_kafka_cut(id, true);
    }
    assert_eq!(asked.sees(), (ALL.to_vec(), None));
    for id in ALL {
        asked.world.set_cut_off(id, false);
        asked.world.set_pages_cut(id, true);
    }
    assert_eq!(asked.sees(), (Vec::new(), topics));
}

#[test]
fn a_broker_is_up_where_both_its_listener_and_its_page_are_reached() {
    let mut asked = Asked::new(("", Rule::BrokerUp, 500));
    assert!(asked.follower.open);
    asked.world.set_kafka_cut(2, true);
    asked.look_for(1_000);
    assert!(!asked.follower.open, "its listener is not reached");
    asked.world.set_kafka_cut(2, false);
    asked.world.set_pages_cut(2, true);
    asked.look_for(1_000);
    assert!(!asked.follower.open, "its page is not reached");
    asked.world.set_pages_cut(2, false);
    assert!(asked.look_for(1_000).is_some());
}

#[test]
fn pages_that_come_too_late_are_not_read_and_wrong_targets_are_believed() {
    let asked = Asked::new(("", Rule::SumOfUrp, 5_000));
    let takes = |id, seconds| {
        let time = Duration::from_secs(seconds);
        asked.world.cluster().set_page_time(id, time).unwrap();
    };
    takes(1, 11);
    takes(2, 9);
    assert_eq!(asked.sees().0, ALL[1..]);
    asked.world.cluster().kill(3).unwrap();
    assert!(!asked.sees().0.contains(&3));
    let targets = BTreeMap::from([(1, Target::Node(2)), (3, Target::AnotherCluster)]);
    asked.world.set_targets(targets);
    assert_eq!(asked.sees().0, ALL);
}

#[test]
fn metadata_lacks_hidden_topics_and_comes_of_no_broker_whose_answers_are_cut() {
    let asked = Asked::new(("", Rule::IsrFull, 500));
    let topics = asked.sees().1.unwrap();
    asked.world.cluster().hide_topic("orders", true);
    assert_eq!(asked.sees().1, Some(topics - 1));
    asked.world.cluster().hide_topics(true);
    assert_eq!(asked.sees().1, Some(0));
    for id in [1, 2, 3] {
        assert!(asked.sees().1.is_some(), "broker {id} answers");
        asked.world.cluster().set_answers_cut(id, true).unwrap();
    }
    assert_eq!(asked.sees().1, None);
}

#[test]
fn who_has_left_for_good_is_not_expected() {
    for left in [Op::Retire(4), Op::Unregister(4)] {
        for rule in [Rule::TwelveTimes, Rule::BrokerUp, Rule::PromQl] {
            let mut asked = Asked::with_a_spare(("", rule, 1_000));
            assert!(asked.follower.open, "{rule:?}");
            asked.world.cluster().kill(4).unwrap();
            asked.sight.notice(&Op::Kill(4), asked.now);
            asked.look_for(20_000);
            // A series that has ended is in no sum.
            let scraped = matches!(rule, Rule::PromQl);
            assert_eq!(asked.follower.open, scraped, "{rule:?}");
            asked.sight.notice(&left, asked.now);
            assert!(asked.look_for(20_000).is_some(), "{rule:?} after {left}");
            assert!(!asked.follower.samples.contains_key(&4));
            assert!(!asked.sees().0.contains(&4));
        }
    }
}

/// One replica of three is gone: no other one may go, and whoever holds none may.
#[test]
fn min_isr_is_told_of_each_broker_by_itself() {
    let mut asked = Asked::with_a_spare(("", Rule::MinIsr, 500));
    let said = asked.follower.says();
    assert_eq!((said.open, said.nodes), (true, vec![1, 2, 3, 4]));
    asked.world.cluster().kill(1).unwrap();
    asked.look_for(40_000);
    let said = asked.follower.says();
    assert_eq!((said.open, said.nodes), (false, vec![1, 4]));
    asked.follower.asked(asked.now);
    assert!(asked.follower.says().nodes.is_empty(), "read before");
}

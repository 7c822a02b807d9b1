//! Two brokers' partition tables made one, the careful way.
//!
//! For one partition a higher leader epoch wins. At equal leader epoch the ISR is the
//! *intersection* and the offline replicas are the *union* of what the brokers say: since
//! metadata.version 3.6 an ISR shrink no longer raises the leader epoch, so two brokers may
//! differ at the same epoch and either may be behind. An entry below an epoch already seen is
//! old news and is not used (DESIGN 4.2).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::facts::TopicConfigs;
use super::ids::NodeId;
use super::memory::SeenLeader;
use super::partitions::{Partition, PartitionTable, Topic, TopicKey, TopicKeyBuf};

/// All partitions as all fresh tables together tell them, in order of topic key and partition.
#[derive(Clone, Debug, Default)]
pub struct Merged<'a> {
    /// One row per partition that some usable entry tells of.
    pub rows: Vec<MergedPartition<'a>>,
    /// Partitions of which every entry is older than one already seen.
    pub outdated: Vec<(Topic<'a>, i32)>,
    /// Brokers whose tables went in.
    pub sources: Vec<NodeId>,
}

/// One partition as all tables together tell it.
#[derive(Clone, Debug)]
pub struct MergedPartition<'a> {
    /// Its topic.
    pub topic: Topic<'a>,
    /// Partition number.
    pub index: i32,
    /// The leader, `None` when it is offline by any entry of the highest epoch.
    pub leader: Option<NodeId>,
    /// The highest leader epoch.
    pub leader_epoch: Option<i32>,
    /// Assigned replicas.
    pub replicas: &'a [NodeId],
    /// In sync by every entry of the highest epoch.
    pub isr: Cow<'a, [NodeId]>,
    /// Offline by any entry of the highest epoch.
    pub offline: Cow<'a, [NodeId]>,
    /// In sync by some entry of the highest epoch and not by every one. A copy that may be there must not be
    /// counted on, and must not be taken away as if it were not there.
    pub doubtful: Vec<NodeId>,
    /// How many tables have the partition; tables may differ while a topic is made or deleted.
    pub told_by: usize,
    /// Whether the entries of the highest epoch agree in leader and replicas.
    pub agreed: bool,
    /// Its topic's `min.insync.replicas`, the largest that any answer tells: a broker answers with
    /// its own defaults, and these differ while a change is being rolled out.
    pub min_isr: Option<i32>,
}

/// `min.insync.replicas` by topic, looked up once per topic: its partitions follow each other.
struct MinIsr<'c, 'a> {
    configs: &'c [&'c TopicConfigs],
    last: Option<(TopicKey<'a>, Option<i32>)>,
}

impl<'a> MinIsr<'_, 'a> {
    fn of(&mut self, key: TopicKey<'a>, entries: &[(Topic<'a>, Partition<'a>)]) -> Option<i32> {
        match self.last {
            Some((last, value)) if last == key => value,
            Some(_) | None => {
                let name = entries.first()?.0.name();
                let told = self.configs.iter();
                let told = told.filter_map(|configs| configs.min_insync_replicas.get(name));
                let value = told.max().copied();
                self.last = Some((key, value));
                value
            }
        }
    }
}

impl<'a> Merged<'a> {
    /// Merges tables, each sorted by topic key and partition as [`PartitionTable`] is.
    pub fn of(
        tables: &[(NodeId, &'a PartitionTable)],
        seen: &BTreeMap<(TopicKeyBuf, i32), SeenLeader>,
        configs: &[&TopicConfigs],
    ) -> Self {
        let mut cursors: Vec<_> = tables
            .iter()
            .map(|(_, table)| table.partitions().peekable())
            .collect();
        let mut merged = Self {
            rows: Vec::with_capacity(tables.iter().map(|(_, t)| t.len()).max().unwrap_or(0)),
            outdated: Vec::new(),
            sources: tables.iter().map(|(node, _)| *node).collect(),
        };
        let mut entries: Vec<(Topic<'a>, Partition<'a>)> = Vec::with_capacity(tables.len());
        let mut min_isr = MinIsr {
            configs,
            last: None,
        };
        loop {
            let next = cursors
                .iter_mut()
                .filter_map(|cursor| cursor.peek().map(|(topic, p)| (topic.key(), p.index)))
                .min();
            let Some(next) = next else { break };
            entries.clear();
            for cursor in &mut cursors {
                let same = cursor.next_if(|(topic, p)| (topic.key(), p.index) == next);
                entries.extend(same);
            }
            let min_isr = min_isr.of(next.0, &entries);
            merged.add(&entries, seen, min_isr);
        }
        merged
    }

    fn add(
        &mut self,
        entries: &[(Topic<'a>, Partition<'a>)],
        seen: &BTreeMap<(TopicKeyBuf, i32), SeenLeader>,
        min_isr: Option<i32>,
    ) {
        let Some((topic, first)) = entries.first() else {
            return;
        };
        let newest = entries.iter().map(|(_, p)| p.leader_epoch).max().flatten();
        let floor = seen
            .get(&(topic.key().to_buf(), first.index))
            .map(|seen| seen.epoch);
        if floor > newest {
            self.outdated.push((*topic, first.index));
            return;
        }
        let mut usable = entries.iter().filter(|(_, p)| p.leader_epoch == newest);
        let Some((topic, first)) = usable.next() else {
            return;
        };
        let mut row = MergedPartition {
            topic: *topic,
            index: first.index,
            leader: first.leader,
            leader_epoch: newest,
            replicas: first.replicas,
            isr: Cow::Borrowed(first.isr),
            offline: Cow::Borrowed(first.offline),
            doubtful: Vec::new(),
            told_by: entries.len(),
            agreed: true,
            min_isr,
        };
        for (_, other) in usable {
            row.take_in(other);
        }
        self.rows.push(row);
    }

    /// Every node to which some partition is assigned.
    pub fn assigned(&self) -> BTreeSet<NodeId> {
        self.rows
            .iter()
            .flat_map(|row| row.replicas.iter().copied())
            .collect()
    }
}

impl<'a> MergedPartition<'a> {
    fn take_in(&mut self, other: &Partition<'a>) {
        if self.leader != other.leader {
            self.agreed = false;
            // Leaderless by one of two entries of the same epoch: believe the worse one.
            if other.leader.is_none() {
                self.leader = None;
            }
        }
        if self.replicas != other.replicas {
            self.agreed = false;
        }
        if *self.isr == *other.isr && *self.offline == *other.offline {
            return;
        }
        let told = |node: &&NodeId| other.isr.contains(node) && !other.offline.contains(node);
        let mine = self.isr.iter().filter(|node| self.in_sync(**node));
        let theirs = other.isr.iter().filter(told);
        let mut by_any: BTreeSet<NodeId> = mine.chain(theirs).copied().collect();
        by_any.extend(&self.doubtful);
        self.isr.to_mut().retain(|node| other.isr.contains(node));
        for node in other.offline {
            if !self.offline.contains(node) {
                self.offline.to_mut().push(*node);
            }
        }
        by_any.retain(|node| !self.in_sync(*node));
        self.doubtful = by_any.into_iter().collect();
    }

    /// Whether the replica is in sync by all that is known and its broker is not known to have
    /// it offline.
    pub fn in_sync(&self, node: NodeId) -> bool {
        self.isr.contains(&node) && !self.offline.contains(&node)
    }

    /// Whether the replica is in sync by anything that is known.
    pub fn may_be_in_sync(&self, node: NodeId) -> bool {
        self.in_sync(node) || self.doubtful.contains(&node)
    }

    /// `topic-partition`, as Kafka prints it.
    pub fn name(&self) -> String {
        format!("{}-{}", self.topic.name(), self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::ids::Uuid;
    use crate::evidence::partitions::Builder;

    fn table(
        topic: u128,
        epoch: i32,
        leader: Option<i32>,
        isr: &[i32],
        off: &[i32],
    ) -> PartitionTable {
        let ids = |list: &[i32]| list.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let mut builder = Builder::default();
        builder.topic(Uuid::new(topic), "orders", false, 0);
        builder.partition(Partition {
            index: 0,
            leader: leader.map(NodeId),
            leader_epoch: Some(epoch),
            error: 0,
            replicas: &ids(&[1, 2, 3]),
            isr: &ids(isr),
            offline: &ids(off),
        });
        builder.finish()
    }

    fn merge<'a>(a: &'a PartitionTable, b: &'a PartitionTable) -> Merged<'a> {
        Merged::of(&[(NodeId(1), a), (NodeId(2), b)], &BTreeMap::new(), &[])
    }

    #[test]
    fn at_equal_epoch_the_isr_is_the_intersection_and_offline_the_union() {
        let a = table(1, 5, Some(1), &[1, 2, 3], &[]);
        let b = table(1, 5, Some(1), &[1, 2], &[3]);
        for merged in [merge(&a, &b), merge(&b, &a)] {
            assert_eq!(*merged.rows[0].isr, [NodeId(1), NodeId(2)]);
            assert_eq!(*merged.rows[0].offline, [NodeId(3)]);
            assert!(merged.rows[0].agreed);
        }
    }

    #[test]
    fn whoever_is_in_sync_by_one_table_alone_may_be() {
        let doubtful = |one: &PartitionTable, other: &PartitionTable| {
            let merged = [merge(one, other), merge(other, one)];
            let doubtful = merged.map(|merged| {
                let row = &merged.rows[0];
                let may_be = (1..=3).map(NodeId).filter(|node| row.may_be_in_sync(*node));
                let may_be: Vec<_> = may_be.collect();
                assert!(row.doubtful.iter().all(|node| !row.in_sync(*node)));
                (row.doubtful.clone(), may_be)
            });
            assert_eq!(doubtful[0], doubtful[1]);
            let [(doubtful, may_be), _] = doubtful;
            let ids = |list: Vec<NodeId>| list.iter().map(|id| id.0).collect::<Vec<_>>();
            (ids(doubtful), ids(may_be))
        };
        let full = table(1, 5, Some(1), &[1, 2, 3], &[]);
        let short = table(1, 5, Some(1), &[1, 2], &[]);
        assert_eq!(doubtful(&full, &full), (vec![], vec![1, 2, 3]));
        assert_eq!(doubtful(&full, &short), (vec![3], vec![1, 2, 3]));
        // Online by one of them.
        let broken = table(1, 5, Some(1), &[1, 2, 3], &[3]);
        assert_eq!(doubtful(&full, &broken), (vec![3], vec![1, 2, 3]));
        assert_eq!(doubtful(&broken, &broken), (vec![], vec![1, 2]));
        assert_eq!(doubtful(&broken, &short), (vec![], vec![1, 2]));
        // Of an older epoch nothing counts.
        let newer = table(1, 6, Some(2), &[2], &[]);
        assert_eq!(doubtful(&full, &newer), (vec![], vec![2]));
        // Of three tables the first and the last have it.
        let tables = [(NodeId(1), &full), (NodeId(2), &short), (NodeId(3), &full)];
        let merged = Merged::of(&tables, &BTreeMap::new(), &[]);
        assert_eq!(merged.rows[0].doubtful, [NodeId(3)]);
    }

    #[test]
    fn a_higher_epoch_wins_alone() {
        let a = table(1, 5, Some(1), &[1], &[]);
        let b = table(1, 6, Some(2), &[1, 2, 3], &[]);
        let merged = merge(&a, &b);
        assert_eq!(merged.rows[0].leader, Some(NodeId(2)));
        assert_eq!(merged.rows[0].isr.len(), 3);
    }

    #[test]
    fn leaderless_by_one_is_leaderless() {
        let a = table(1, 5, Some(1), &[1], &[]);
        let b = table(1, 5, None, &[1], &[]);
        assert_eq!(merge(&a, &b).rows[0].leader, None);
        assert_eq!(merge(&b, &a).rows[0].leader, None);
    }

    #[test]
    fn an_entry_below_an_epoch_already_seen_is_not_used() {
        let a = table(1, 5, Some(1), &[1, 2, 3], &[]);
        let key = (TopicKeyBuf::Id(Uuid::new(1).unwrap()), 0);
        let seen = BTreeMap::from([(
            key,
            SeenLeader {
                epoch: 6,
                leader: Some(NodeId(2)),
            },
        )]);
        let merged = Merged::of(&[(NodeId(1), &a)], &seen, &[]);
        assert!(merged.rows.is_empty());
        assert_eq!(merged.outdated.len(), 1);
    }

    #[test]
    fn each_partition_is_held_to_its_own_epoch_and_no_other() {
        // By id, then by name, as keys are ordered; memory also knows what is no longer there.
        let topics = [
            (Uuid::new(1), "orders"),
            (Uuid::new(3), "bills"),
            (None, "old"),
            (None, "older"),
        ];
        let mut builder = Builder::default();
        for (id, name) in topics {
            builder.topic(id, name, false, 0);
            for index in 0..3 {
                builder.partition(Partition {
                    index,
                    leader: Some(NodeId(1)),
                    leader_epoch: Some(5),
                    error: 0,
                    replicas: &[NodeId(1)],
                    isr: &[NodeId(1)],
                    offline: &[],
                });
            }
        }
        let table = builder.finish();
        let key = |id: Option<Uuid>, name: &str, index| {
            let topic = id.map_or_else(|| TopicKeyBuf::Name(name.to_owned()), TopicKeyBuf::Id);
            (topic, index)
        };
        let gone = [
            key(Uuid::new(2), "", 0),
            key(None, "a", 1),
            key(None, "z", 0),
        ];
        for (id, name) in topics {
            for index in 0..3 {
                let mut seen: BTreeMap<_, _> = topics
                    .iter()
                    .flat_map(|(id, name)| (0..5).map(|index| key(*id, name, index)))
                    .chain(gone.clone())
                    .map(|key| {
                        let leader = Some(NodeId(1));
                        (key, SeenLeader { epoch: 5, leader })
                    })
                    .collect();
                seen.get_mut(&key(id, name, index)).unwrap().epoch = 6;
                let merged = Merged::of(&[(NodeId(1), &table)], &seen, &[]);
                let outdated: Vec<_> = merged
                    .outdated
                    .iter()
                    .map(|(t, i)| (t.name(), *i))
                    .collect();
                assert_eq!(outdated, [(name, index)]);
                assert_eq!(merged.rows.len(), 11);
            }
        }
    }

    #[test]
    fn min_isr_is_the_largest_told_of_the_topic() {
        let table = table(1, 5, Some(1), &[1], &[]);
        let told = |value: Option<i32>| TopicConfigs {
            min_insync_replicas: value
                .map(|value| (String::from("orders"), value))
                .into_iter()
                .chain([(String::from("bills"), 9)])
                .collect(),
            hidden: Vec::new(),
        };
        let cases = [
            ([Some(2), Some(3)], Some(3)),
            ([Some(3), None], Some(3)),
            ([None, Some(2)], Some(2)),
            ([None, None], None),
        ];
        for (values, expected) in cases {
            let configs = values.map(told);
            let configs: Vec<_> = configs.iter().collect();
            let merged = Merged::of(&[(NodeId(1), &table)], &BTreeMap::new(), &configs);
            assert_eq!(merged.rows[0].min_isr, expected, "{values:?}");
        }
    }

    #[test]
    fn topics_that_only_one_table_has_stay() {
        let a = table(1, 5, Some(1), &[1], &[]);
        let b = table(2, 5, Some(1), &[1], &[]);
        let merged = merge(&a, &b);
        assert_eq!(
            merged
                .rows
                .iter()
                .map(|row| row.told_by)
                .collect::<Vec<_>>(),
            [1, 1]
        );
        assert_eq!(merged.assigned().len(), 3);
    }
}

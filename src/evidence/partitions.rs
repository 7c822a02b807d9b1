//! The partition table: flat arrays, a dozen allocations for any number of partitions.

use core::convert::Infallible;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::ids::{MOST_NODES, NodeId, Uuid};

/// Node ids below this are counted without a search.
const SMALL_IDS: usize = 4_096;

/// Which topic: by id where it has one, else by name (ZooKeeper mode below 2.8 formats, KRaft
/// always has ids). A re-created topic is another topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKey<'a> {
    /// By id.
    Id(Uuid),
    /// By name, where the release has no ids.
    Name(&'a str),
}

/// An owned [`TopicKey`], for what is remembered between snapshots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKeyBuf {
    /// By id.
    Id(Uuid),
    /// By name.
    Name(String),
}

impl TopicKey<'_> {
    /// The owned form.
    pub fn to_buf(self) -> TopicKeyBuf {
        match self {
            Self::Id(id) => TopicKeyBuf::Id(id),
            Self::Name(name) => TopicKeyBuf::Name(name.to_owned()),
        }
    }
}

/// All topics and partitions as one broker's Metadata tells them, sorted by topic key and
/// partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionTable {
    names: String,
    topics: Vec<TopicRow>,
    partitions: Vec<PartitionRow>,
    nodes: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicRow {
    id: Option<Uuid>,
    name: Range<usize>,
    internal: bool,
    error: i16,
    partitions: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PartitionRow {
    index: i32,
    leader: Option<NodeId>,
    leader_epoch: Option<i32>,
    error: i16,
    lists: Lists,
}

/// Where a partition's three lists stand among all node ids: one behind the other. Small numbers,
/// because there are as many of these as partitions; a frame's length is 31 bits, so they fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lists {
    start: u32,
    replicas: u32,
    isr: u32,
    offline: u32,
}

/// One topic, borrowed from a table.
#[derive(Clone, Copy, Debug)]
pub struct Topic<'a> {
    table: &'a PartitionTable,
    row: &'a TopicRow,
}

/// One partition, borrowed from a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition<'a> {
    /// Partition number.
    pub index: i32,
    /// The leader, `None` when there is none (-1 on the wire): the partition is offline.
    pub leader: Option<NodeId>,
    /// The leader's epoch, `None` where the release does not say (-1 on the wire).
    pub leader_epoch: Option<i32>,
    /// Kafka's error code for this partition, 0 for none. 5 LEADER_NOT_AVAILABLE comes with an
    /// offline partition and 9 REPLICA_NOT_AVAILABLE is harmless (old releases).
    pub error: i16,
    /// Assigned replicas, those being added included.
    pub replicas: &'a [NodeId],
    /// In sync.
    pub isr: &'a [NodeId],
    /// On dead brokers or failed log dirs.
    pub offline: &'a [NodeId],
}

/// What is said of one partition beside its lists; the fields are those of [`Partition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Partition`")]
pub struct Numbers {
    pub index: i32,
    pub leader: Option<NodeId>,
    pub leader_epoch: Option<i32>,
    pub error: i16,
}

/// A partition's lists, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Assigned replicas.
    Replicas,
    /// In sync.
    Isr,
    /// On dead brokers or failed log dirs.
    Offline,
}

impl PartitionTable {
    /// Number of partitions.
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Whether there is no partition at all. Proves nothing by itself: without ACLs Metadata
    /// answers zero topics and no error.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// All topics, in order of their keys.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = Topic<'_>> {
        self.topics.iter().map(|row| Topic { table: self, row })
    }

    /// All partitions with their topics, in order.
    pub fn partitions(&self) -> impl Iterator<Item = (Topic<'_>, Partition<'_>)> {
        self.topics()
            .flat_map(|topic| topic.partitions().map(move |partition| (topic, partition)))
    }

    /// Whether it names more than [`MOST_NODES`] different nodes. In one pass over what can be a
    /// million ids: those that Kafka makes itself are small, and one bit each.
    pub fn has_too_many_nodes(&self) -> bool {
        let mut small = [false; SMALL_IDS];
        let mut count = 0_usize;
        let mut large = BTreeSet::new();
        self.nodes.iter().any(|node| {
            let at = usize::try_from(node.0).ok();
            let new = match at.and_then(|at| small.get_mut(at)) {
                Some(seen) => !std::mem::replace(seen, true),
                None => large.insert(*node),
            };
            count = count.saturating_add(usize::from(new));
            count > MOST_NODES
        })
    }

    /// Replicas, ISR and offline replicas of a partition.
    fn lists(&self, lists: Lists) -> Option<[&[NodeId]; 3]> {
        let rest = self.nodes.get(usize::try_from(lists.start).ok()?..)?;
        let (replicas, rest) = rest.split_at_checked(usize::try_from(lists.replicas).ok()?)?;
        let (isr, rest) = rest.split_at_checked(usize::try_from(lists.isr).ok()?)?;
        let offline = rest.get(..usize::try_from(lists.offline).ok()?)?;
        Some([replicas, isr, offline])
    }
}

impl<'a> Topic<'a> {
    /// Its key: the id where it has one.
    pub fn key(&self) -> TopicKey<'a> {
        self.row
            .id
            .map_or_else(|| TopicKey::Name(self.name()), TopicKey::Id)
    }

    /// Its id, where the release has ids.
    pub const fn id(&self) -> Option<Uuid> {
        self.row.id
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.table
            .names
            .get(self.row.name.clone())
            .unwrap_or_default()
    }

    /// Kafka's own topic (`__consumer_offsets`, `__transaction_state`).
    pub const fn is_internal(&self) -> bool {
        self.row.internal
    }

    /// Kafka's error code for the topic as a whole, 0 for none.
    pub const fn error(&self) -> i16 {
        self.row.error
    }

    /// Its partitions, in order of number.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = Partition<'a>> + use<'a> {
        let table = self.table;
        let rows = table
            .partitions
            .get(self.row.partitions.clone())
            .unwrap_or_default();
        rows.iter().map(move |row| {
            let [replicas, isr, offline] = table.lists(row.lists).unwrap_or_default();
            Partition {
                index: row.index,
                leader: row.leader,
                leader_epoch: row.leader_epoch,
                error: row.error,
                replicas,
                isr,
                offline,
            }
        })
    }
}

/// Builds a table from rows in any order; [`Builder::finish`] sorts.
#[derive(Debug, Default)]
pub struct Builder {
    table: PartitionTable,
}

impl Builder {
    /// A builder with room for about so many topics and partitions (an upper bound that the
    /// caller trusts, never a count from the wire).
    pub fn with_room(topics: usize, partitions: usize) -> Self {
        Self {
            table: PartitionTable {
                names: String::with_capacity(topics.saturating_mul(16)),
                topics: Vec::with_capacity(topics),
                partitions: Vec::with_capacity(partitions),
                nodes: Vec::with_capacity(partitions.saturating_mul(6)),
            },
        }
    }

    /// Begins a topic; the partitions that follow belong to it.
    pub fn topic(&mut self, id: Option<Uuid>, name: &str, internal: bool, error: i16) {
        let start = self.table.names.len();
        self.table.names.push_str(name);
        let at = self.table.partitions.len();
        self.table.topics.push(TopicRow {
            id,
            name: start..self.table.names.len(),
            internal,
            error,
            partitions: at..at,
        });
    }

    /// Adds a partition to the topic begun last; without one it is dropped.
    pub fn partition(&mut self, partition: Partition<'_>) {
        let numbers = Numbers {
            index: partition.index,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            error: partition.error,
        };
        let added = self.partition_with(numbers, |list, nodes| {
            nodes.extend_from_slice(match list {
                List::Replicas => partition.replicas,
                List::Isr => partition.isr,
                List::Offline => partition.offline,
            });
            Ok::<(), Infallible>(())
        });
        match added {
            Ok(()) => {}
        }
    }

    /// The same, from a reader that appends each list itself, without a copy in between.
    ///
    /// # Errors
    /// The reader's own; the table is then good for nothing.
    #[inline]
    pub fn partition_with<E>(
        &mut self,
        numbers: Numbers,
        mut append: impl FnMut(List, &mut Vec<NodeId>) -> Result<(), E>,
    ) -> Result<(), E> {
        let nodes = &mut self.table.nodes;
        let start = nodes.len();
        append(List::Replicas, nodes)?;
        let replicas = nodes.len();
        append(List::Isr, nodes)?;
        let isr = nodes.len();
        append(List::Offline, nodes)?;
        let offline = nodes.len();
        let Some(topic) = self.table.topics.last_mut() else {
            nodes.truncate(start);
            return Ok(());
        };
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let Numbers {
            index,
            leader,
            leader_epoch,
            error,
        } = numbers;
        self.table.partitions.push(PartitionRow {
            index,
            leader,
            leader_epoch,
            error,
            lists: Lists {
                start: small(start),
                replicas: small(replicas.saturating_sub(start)),
                isr: small(isr.saturating_sub(replicas)),
                offline: small(offline.saturating_sub(isr)),
            },
        });
        topic.partitions.end = self.table.partitions.len();
        Ok(())
    }

    /// The table, topics in order of key and partitions in order of number.
    pub fn finish(mut self) -> PartitionTable {
        for topic in &self.table.topics {
            if let Some(rows) = self.table.partitions.get_mut(topic.partitions.clone()) {
                // Kafka nearly always sends them in order.
                if !rows.is_sorted_by_key(|row| row.index) {
                    rows.sort_unstable_by_key(|row| row.index);
                }
            }
        }
        let names = &self.table.names;
        let name = |row: &TopicRow| names.get(row.name.clone()).unwrap_or_default();
        // The order of `TopicKey`, without making keys of which only the ids matter nearly always.
        self.table.topics.sort_by(|a, b| match (a.id, b.id) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => name(a).cmp(name(b)),
        });
        self.table
    }
}

/// The highest leader epoch seen per partition: an entry below it is old news.
pub type SeenEpochs = BTreeMap<(TopicKeyBuf, i32), i32>;

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<NodeId> {
        list.iter().map(|id| NodeId(*id)).collect()
    }

    #[test]
    fn a_table_gives_back_what_was_put_in_sorted() {
        let mut builder = Builder::with_room(2, 3);
        let (replicas, isr) = (ids(&[1, 2, 3]), ids(&[1, 3]));
        let row = |index| Partition {
            index,
            leader: Some(NodeId(1)),
            leader_epoch: Some(4),
            error: 0,
            replicas: &replicas,
            isr: &isr,
            offline: &[],
        };
        builder.topic(Uuid::new(9), "b", false, 0);
        builder.partition(row(1));
        builder.partition(row(0));
        builder.topic(Uuid::new(3), "a", true, 0);
        builder.partition(row(0));
        let table = builder.finish();
        let seen: Vec<_> = table
            .partitions()
            .map(|(t, p)| (t.name(), p.index, p.isr.to_vec()))
            .collect();
        let isr = ids(&[1, 3]);
        assert_eq!(
            seen,
            [("a", 0, isr.clone()), ("b", 0, isr.clone()), ("b", 1, isr)]
        );
        assert!(table.topics().next().is_some_and(|t| t.is_internal()));
    }

    #[test]
    fn nodes_are_counted_once_each_whatever_their_ids() {
        let with = |ids: &mut dyn Iterator<Item = i32>| {
            let mut builder = Builder::default();
            builder.topic(Uuid::new(1), "a", false, 0);
            let replicas: Vec<_> = ids.map(NodeId).collect();
            builder.partition(Partition {
                index: 0,
                leader: None,
                leader_epoch: None,
                error: 0,
                replicas: &replicas,
                isr: &replicas,
                offline: &[],
            });
            builder.finish().has_too_many_nodes()
        };
        let most = i32::try_from(MOST_NODES).unwrap();
        assert!(!with(&mut (1..=most)));
        assert!(with(&mut (0..=most)));
        assert!(!with(&mut (i32::MAX - most + 1..=i32::MAX)));
        assert!(with(&mut (-1..most)));
        assert!(with(&mut (0..=most).map(|id| id * 7 - 9)));
    }
}

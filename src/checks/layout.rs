//! The partitions with what the other answers say about them: min ISR and running moves.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::facts::Move;
use crate::evidence::ids::{NodeId, Version};
use crate::evidence::merged::MergedPartition;
use crate::evidence::snapshot::Snapshot;

/// From here on brokers compare with min(`min.insync.replicas`, replication factor)
/// (KAFKA-15583, Kafka's `Partition.effectiveMinIsr`).
const CAPPED_SINCE: Version = Version { major: 3, minor: 7 };

/// What is known beside the partition tables.
pub(super) struct Layout<'a> {
    moves: BTreeMap<(&'a str, i32), &'a Move>,
    capped: bool,
}

/// One partition, ready to be judged.
pub(super) struct Held<'l, 'a> {
    /// As the tables tell it.
    pub(super) row: &'l MergedPartition<'a>,
    /// Its running reassignment.
    pub(super) moving: Option<&'a Move>,
    /// Replicas that count: the assigned ones without those being added.
    pub(super) required: usize,
    /// How many of those are in sync, not offline, and not on a node that counts as down.
    pub(super) in_sync: usize,
    /// `min.insync.replicas` as the brokers apply it; `None` when no answer has it.
    pub(super) min_isr: Option<usize>,
}

impl<'a> Layout<'a> {
    /// Takes every move that any fresh answer tells of, and what the brokers' releases say.
    pub(super) fn of(snapshot: &Snapshot<'a>) -> Self {
        let mut moves = BTreeMap::new();
        for read in snapshot.all_moves().filter_map(|(_, read)| read.ok()) {
            for one in &read.facts.list {
                moves.insert((one.topic.as_str(), one.partition), one);
            }
        }
        let brokers: Vec<_> = snapshot.brokers().collect();
        let capped = !brokers.is_empty()
            && brokers.iter().all(|node| {
                let floor = snapshot
                    .link(*node)
                    .ok()
                    .and_then(|r| r.facts.release.floor());
                floor.is_some_and(|floor| floor >= CAPPED_SINCE)
            });
        Self { moves, capped }
    }

    /// Every partition, in the order of the merged table.
    pub(super) fn rows<'l>(
        &'l self,
        snapshot: &'l Snapshot<'a>,
    ) -> impl Iterator<Item = Held<'l, 'a>> {
        let rows = snapshot.merged.rows.iter();
        rows.map(move |row| self.held(snapshot, row))
    }

    fn held<'l>(&'l self, snapshot: &Snapshot<'a>, row: &'l MergedPartition<'a>) -> Held<'l, 'a> {
        let moving = self.moving(row);
        let (mut required, mut in_sync) = (0_usize, 0_usize);
        let added = |node| moving.is_some_and(|m| m.adding.contains(node));
        for node in row.replicas.iter().filter(|node| !added(*node)) {
            let copy = row.in_sync(*node) && !snapshot.down.contains(node);
            required = required.saturating_add(1);
            in_sync = in_sync.saturating_add(usize::from(copy));
        }
        Held {
            row,
            moving,
            required,
            in_sync,
            min_isr: row.min_isr.map(|raw| self.applied(raw, row.replicas.len())),
        }
    }

    fn moving(&self, row: &MergedPartition<'a>) -> Option<&'a Move> {
        if self.moves.is_empty() {
            return None;
        }
        self.moves.get(&(row.topic.name(), row.index)).copied()
    }

    fn applied(&self, raw: i32, replicas: usize) -> usize {
        let raw = usize::try_from(raw).unwrap_or_default();
        if self.capped { raw.min(replicas) } else { raw }
    }
}

impl Held<'_, '_> {
    /// Whether this replica counts: assigned and not just being added.
    pub(super) fn counts(&self, node: NodeId) -> bool {
        let adding = self.moving.is_some_and(|m| m.adding.contains(&node));
        self.row.replicas.contains(&node) && !adding
    }

    /// Whether this replica is a copy that would be there if its leader went.
    pub(super) fn is_copy(&self, snapshot: &Snapshot<'_>, node: NodeId) -> bool {
        self.counts(node) && self.row.in_sync(node) && !snapshot.down.contains(&node)
    }

    /// Whether it is one by anybody's word: what must not be taken away as if it were none.
    pub(super) fn may_be_copy(&self, snapshot: &Snapshot<'_>, node: NodeId) -> bool {
        let is_up = !snapshot.down.contains(&node);
        is_up && self.counts(node) && self.row.may_be_in_sync(node)
    }

    /// Whether a node holds this partition or takes part in its move.
    pub(super) fn touches(&self, node: NodeId) -> bool {
        self.row.replicas.contains(&node)
            || self.moving.is_some_and(|m| {
                m.replicas.contains(&node) || m.adding.contains(&node) || m.removing.contains(&node)
            })
    }

    /// Whether every replica that counts is in sync, and there is a leader.
    pub(super) fn is_full(&self) -> bool {
        self.required > 0 && self.in_sync == self.required && self.row.leader.is_some()
    }
}

/// How many partitions have one of these nodes as a replica that counts and is not in sync.
pub(crate) fn out_of_sync(snapshot: &Snapshot<'_>, nodes: &BTreeSet<NodeId>) -> usize {
    let layout = Layout::of(snapshot);
    let rows = snapshot.merged.rows.iter();
    let out = rows.filter(|row| {
        let held = row.replicas.iter().filter(|node| nodes.contains(node));
        let mut out = held.filter(|node| !row.in_sync(**node)).peekable();
        // Most rows have none: their moves need not be looked up.
        let moving = out.peek().and_then(|_| layout.moving(row));
        out.any(|node| moving.is_none_or(|moving| !moving.adding.contains(node)))
    });
    out.count()
}

/// The merged rows by topic name, for answers that know no ids.
pub(super) struct Names<'m, 'a> {
    rows: &'m [MergedPartition<'a>],
    /// Name and range of rows, in order of name.
    topics: Vec<(&'a str, usize, usize)>,
}

/// Looks rows up one after another; cheap when the questions come in order of topic.
pub(super) struct Look<'n, 'm, 'a> {
    names: &'n Names<'m, 'a>,
    last: Option<(&'a str, usize, usize)>,
}

impl<'m, 'a> Names<'m, 'a> {
    /// The index of a snapshot's partitions.
    pub(super) fn of(snapshot: &'m Snapshot<'a>) -> Self {
        let rows = snapshot.merged.rows.as_slice();
        let mut topics: Vec<(&str, usize, usize)> = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let end = at.saturating_add(1);
            match topics.last_mut() {
                Some((name, _, last)) if *name == row.topic.name() => *last = end,
                Some(_) | None => topics.push((row.topic.name(), at, end)),
            }
        }
        topics.sort_unstable();
        Self { rows, topics }
    }

    /// Begins to look up.
    pub(super) fn look(&self) -> Look<'_, 'm, 'a> {
        Look {
            names: self,
            last: None,
        }
    }
}

impl<'m, 'a> Look<'_, 'm, 'a> {
    /// The row of a partition and its place among the merged rows.
    pub(super) fn find(
        &mut self,
        topic: &str,
        index: i32,
    ) -> Option<(usize, &'m MergedPartition<'a>)> {
        let (name, start, end) = match self.last {
            Some(last) if last.0 == topic => last,
            Some(_) | None => {
                let topics = &self.names.topics;
                let at = topics
                    .binary_search_by(|(name, _, _)| name.cmp(&topic))
                    .ok()?;
                *topics.get(at)?
            }
        };
        self.last = Some((name, start, end));
        let rows = self.names.rows.get(start..end)?;
        // Partitions are numbered from 0 without gaps, unless some of them are not usable.
        let guess = usize::try_from(index).ok()?;
        let at = match rows.get(guess) {
            Some(row) if row.index == index => guess,
            Some(_) | None => rows.binary_search_by_key(&index, |row| row.index).ok()?,
        };
        Some((start.saturating_add(at), rows.get(at)?))
    }
}

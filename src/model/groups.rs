//! Consumer groups: who coordinates them and how far they have read.
//!
//! Assumed: members commit without pause and are always the same time behind what can be read (the
//! high watermark); joining, rebalancing and the members themselves are not played.

use std::collections::BTreeMap;

use super::life::OperationError;
use super::state::{Millis, OFFSETS_TOPIC};
use super::{Cluster, GroupSpec, NodeId};

impl Cluster {
    /// The partition of `__consumer_offsets` that holds `group`: Java's `String.hashCode`, made
    /// positive, modulo the number of partitions (`GroupCoordinator.partitionFor`).
    pub(super) fn offsets_partition(&self, group: &str) -> Option<u32> {
        let count = self.image.topics.get(OFFSETS_TOPIC)?.partitions.len();
        let hash = group.encode_utf16().fold(0_i32, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        });
        let positive = u32::try_from(hash & i32::MAX).ok()?;
        positive.checked_rem(u32::try_from(count).ok()?)
    }

    /// Since when `node` leads the group's offsets partition in the truth, if it does: its leader
    /// is the coordinator (`GroupCoordinator.onElection`).
    pub(super) fn coordinates(&self, node: NodeId, group: &str) -> Option<Millis> {
        let index = self.offsets_partition(group)?;
        let partition = self.image.partition(OFFSETS_TOPIC, index)?;
        let log = self.logs.get(&(OFFSETS_TOPIC.into(), index))?;
        (partition.leader == Some(node)).then_some(log.led_since)
    }

    pub(super) fn group(&self, name: &str) -> Option<&GroupSpec> {
        self.spec.groups.iter().find(|group| group.name == name)
    }

    /// The group's committed offset in every partition of its topic.
    pub(super) fn committed(&self, group: &GroupSpec) -> BTreeMap<u32, i64> {
        if let Some(stalled) = self.stalled_groups.get(&group.name) {
            return stalled.clone();
        }
        let count = self
            .image
            .topics
            .get(group.topic.as_str())
            .map_or(0, |t| t.partitions.len());
        let mut offsets = BTreeMap::new();
        for index in 0..u32::try_from(count).unwrap_or(0) {
            if let Some(log) = self.log_now(&(group.topic.as_str().into(), index)) {
                let behind = log.rate.saturating_mul(group.behind_ms);
                let read = log.high_watermark.saturating_sub(behind) / 1_000;
                offsets.insert(index, i64::try_from(read).unwrap_or(i64::MAX));
            }
        }
        offsets
    }

    /// The group stops committing, as one whose members hang does.
    ///
    /// # Errors
    /// When the spec has no such group.
    pub fn stall_group(&mut self, name: &str) -> Result<(), OperationError> {
        let Some(group) = self.group(name) else {
            return Err(OperationError::NoName("group", name.to_owned()));
        };
        let offsets = self.committed(group);
        self.stalled_groups.insert(name.to_owned(), offsets);
        Ok(())
    }

    /// The group commits again and is back at its usual distance at once.
    ///
    /// # Errors
    /// When the spec has no such group.
    pub fn resume_group(&mut self, name: &str) -> Result<(), OperationError> {
        if self.group(name).is_none() {
            return Err(OperationError::NoName("group", name.to_owned()));
        }
        self.stalled_groups.remove(name);
        Ok(())
    }
}

//! How far each node has published the metadata log to itself. Brokers tell it with their finalized
//! features (`KRaftMetadataCache.features`), and idle records count: every batch makes a new image
//! (`MetadataLoader`).

use std::collections::BTreeSet;
use std::time::Duration;

use super::image::Image;
use super::life::millis;
use super::state::{IDLE_RECORD, Millis, Node, Position};
use super::{Cluster, NodeId};

/// Moments that are kept; a node that is further behind has long stopped reading.
const MOST: usize = 4_096;

/// The metadata log's end at a moment at which more than an idle record moved it, or from which on
/// nothing does.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub at: Millis,
    pub offset: i64,
    /// Idle records follow.
    pub grows: bool,
    /// The image is another one since then.
    pub commit: bool,
}

impl Cluster {
    /// To be called whenever the log's end has moved, or stands still from now on.
    pub(super) fn note_end(&mut self, commit: bool) {
        let end = End {
            at: self.now,
            offset: self.quorum.end,
            grows: self.quorum.leader.is_some(),
            commit,
        };
        let ends = &mut self.quorum.ends;
        if ends.len() >= MOST {
            ends.pop_front();
        }
        ends.push_back(end);
    }

    /// Where the log ended at that moment.
    fn end_at(&self, at: Millis) -> i64 {
        let ends = &self.quorum.ends;
        let after = ends.partition_point(|end| end.at <= at);
        let last = after.checked_sub(1).and_then(|last| ends.get(last));
        last.map_or(0, |last| {
            let idle = if last.grows {
                (at - last.at) / IDLE_RECORD
            } else {
                0
            };
            last.offset + i64::try_from(idle).unwrap_or(0)
        })
    }

    /// Since when the log has had something that is not in this image.
    fn first_missing(&self, image: &Image) -> Option<Millis> {
        if image.offset >= self.image.offset {
            return None;
        }
        let ends = self.quorum.ends.iter().rev();
        let newer = ends.take_while(|end| end.offset > image.offset);
        newer.filter(|end| end.commit).last().map(|first| first.at)
    }

    /// The node has published what the log had at this moment.
    fn published_until(&self, node: &Node) -> Millis {
        let delay = node.metadata_lag + self.spec.timing.publish.1;
        let newest = self.now.saturating_sub(delay);
        let read = match node.position {
            Position::Following => newest,
            Position::Stopped { at, .. } => newest.min(at),
            Position::Never => return node.published_until,
        };
        // An image that is on its way since the loader was slow comes when it comes.
        let missing = self.first_missing(&node.image);
        let read = missing.map_or(read, |at| read.min(at.saturating_sub(1)));
        read.max(node.published_until)
    }

    /// What a node has published stays, whatever becomes of the way there. To be called before that
    /// changes.
    pub(super) fn keep_published(&mut self, id: NodeId) {
        let node = self.nodes.get(&id).filter(|node| node.loaded);
        let until = node.map(|node| self.published_until(node));
        if let (Some(until), Some(node)) = (until, self.nodes.get_mut(&id)) {
            node.published_until = until;
        }
    }

    /// The offset of the newest record that the node has published to itself; `None` before the first
    /// image.
    #[must_use]
    pub fn published_offset(&self, id: NodeId) -> Option<i64> {
        let node = self.nodes.get(&id).filter(|node| node.loaded)?;
        let end = self.end_at(self.published_until(node));
        // Ends, and those of images, are told as high watermarks: one more than the newest offset.
        Some(end.max(node.image.offset) - 1)
    }

    /// The high watermark of the metadata log, which every node that follows it knows.
    #[must_use]
    pub fn metadata_watermark(&self) -> i64 {
        self.metadata_end()
    }

    /// Brokers that follow the metadata log and have published nothing of the last `limit` of it: they
    /// know late what they lead. On ZooKeeper none: leaders are told apart from the rest there
    /// (LeaderAndIsr).
    #[must_use]
    pub fn late_brokers(&self, limit: Duration) -> BTreeSet<NodeId> {
        if self.spec.zookeeper {
            return BTreeSet::new();
        }
        let limit = millis(limit);
        let nodes = self.nodes.values().filter(|node| {
            node.spec.roles.broker && node.loaded && node.position == Position::Following
        });
        let late = nodes.filter(|node| self.now - self.published_until(node) > limit);
        late.map(|node| node.spec.id).collect()
    }
}

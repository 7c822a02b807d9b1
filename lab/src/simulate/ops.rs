//! What people and accidents can do in a trial.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::model::{Fault, NodeId};

use super::setup::Setup;

/// SplitMix64, as in the model.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform over both ends.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let last = u64::try_from(from.len() - 1).expect("short lists");
        from[usize::try_from(self.between(0, last)).expect("short lists")].clone()
    }

    /// One of these, by its share.
    pub fn weighted<T: Copy>(&mut self, shares: &[(T, u64)]) -> T {
        let mut drawn = self.between(1, shares.iter().map(|(_, share)| share).sum());
        let last = shares.last().expect("a share");
        let found = shares.iter().find(|(_, share)| {
            let here = drawn <= *share;
            drawn = drawn.saturating_sub(*share);
            here
        });
        found.unwrap_or(last).0
    }

    /// A time in milliseconds, uniform over both ends.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}

/// A broken exporter, in words.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Fault")]
enum FaultText {
    Dead,
    Hangs,
    Html,
    Empty,
    Error,
    Cut,
    NotANumber,
    Stale,
    Of(NodeId),
}

/// A fault or none, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Broken(#[serde(with = "FaultText")] pub Fault);

/// A right that the gate's user may lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Right {
    /// To describe topics.
    Topics,
    /// To describe this topic.
    Topic(String),
    /// To describe the cluster.
    Cluster,
}

/// One thing done to the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// `kill -9`.
    Kill(NodeId),
    /// SIGTERM.
    Stop(NodeId),
    /// Starts it again, if it is down.
    Start(NodeId),
    /// SIGSTOP.
    Freeze(NodeId),
    /// SIGCONT.
    Thaw(NodeId),
    /// Cuts two nodes from each other.
    Cut(NodeId, NodeId),
    /// Mends that.
    Mend(NodeId, NodeId),
    /// Cuts the gate from a node.
    GateCut(NodeId),
    /// Mends that.
    GateMend(NodeId),
    /// Cuts the gate from a node's listeners and not from its exporter, or mends that.
    GateCutKafka(NodeId, bool),
    /// Cuts the gate from a node's exporter and not from its listeners, or mends that.
    GateCutPages(NodeId, bool),
    /// Breaks an exporter, or mends it.
    Exporter(NodeId, Option<Broken>),
    /// Every answer takes longer.
    Latency(NodeId, u64),
    /// Big answers take longer: metadata, offsets, log dirs and the like; small ones do not.
    BigAnswers(NodeId, u64),
    /// Answers end in the middle, or are whole again.
    CutAnswers(NodeId, bool),
    /// Takes a right from the gate's user, or gives it back.
    Hide(Right, bool),
    /// SIGTERM to whoever leads the quorum then.
    StopActiveController,
    /// `kill -9` of whoever leads the quorum then.
    KillActiveController,
    /// Starts whatever is down.
    StartAll,
    /// Followers of this node copy this many records per second and partition.
    CatchUp(NodeId, u64),
    /// This node's copy of the metadata comes so many milliseconds late, without a sign of it.
    MetadataLag(NodeId, u64),
    /// The disk under a broker's log dir fails; the first one is 0.
    FailLogDir(NodeId, u32),
    /// It gets a new one, which is taken into use at the next start.
    ReplaceLogDir(NodeId, u32),
    /// Topic `events` is deleted and made anew.
    Recreate,
    /// A topic is deleted.
    Delete(String),
    /// A topic of the plan is made anew.
    Create(String),
    /// Disks of a node need so many times as long.
    SlowDisk(NodeId, u64),
    /// Every replica of a broker is asked to move to brokers that lack it.
    Drain(NodeId),
    /// The registration of a broker that is down is forgotten.
    Unregister(NodeId),
    /// The gate is told that this node is gone for good.
    Retire(NodeId),
    /// The metadata disk of a controller that is down is formatted.
    Format(NodeId),
    /// A controller's present directory gets the vote that an earlier one had.
    ReplaceVoter(NodeId),
    /// Replica lists of partitions of `orders` are asked to become these.
    Reassign(u32, Vec<NodeId>),
    /// The gate's process does nothing for this many milliseconds; its view is still there.
    GateStop(u64),
    /// The gate's process ends and starts again after so many milliseconds. It keeps what it had
    /// stored, and nothing else.
    GateRestart(u64),
    /// The gate's configuration is read again.
    Reload(Box<Setup>),
    /// Starts a node that is down with the binary of this release.
    Upgrade(NodeId, String),
    /// After each answer the node reads nothing from that connection for so many milliseconds.
    Throttle(NodeId, u64),
    /// The node's exporter needs so many milliseconds for a page.
    PageTime(NodeId, u64),
    /// Producers send so many records per second into each partition of `orders`.
    Rate(u64),
    /// Cuts a broker off from ZooKeeper, or mends that.
    ZooKeeperCut(NodeId, bool),
    /// Somebody sets a node's wall clock this many milliseconds forward, or back.
    NodeClock(NodeId, i64),
    /// ZooKeeper's ensemble loses its quorum, or has one again.
    ZooKeeperDown(bool),
    /// Somebody sets the gate's wall clock this many milliseconds forward, or back.
    WallStep(i64),
}

impl Op {
    /// Whether a node's process ends.
    pub const fn stops_a_node(&self) -> bool {
        matches!(
            self,
            Self::Kill(_) | Self::Stop(_) | Self::StopActiveController | Self::KillActiveController
        )
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Cuts that stand, smaller id first.
pub type Cuts = BTreeSet<(NodeId, NodeId)>;

//! D: how long a gate may take to notice.

use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;

/// Why a truth may be new to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A process was killed: its connections close.
    Kill,
    /// The same of a controller that is not asked itself: none closes.
    KillOfRemote,
    /// A process stands still.
    Freeze,
    /// A network is cut.
    Cut,
    /// A process ends as it was asked to.
    ControlledStop,
    /// Everything else.
    Other,
    /// Anything in mode `jmx`, which sees nothing but pages: so old a page may be.
    InModeJmx,
}

impl Cause {
    /// Its name in a report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillOfRemote => "kill of a controller that is not asked itself",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
            Self::ControlledStop => "controlled stop",
            Self::Other => "everything else",
            Self::InModeJmx => "anything in mode jmx",
        }
    }
}

/// D, in milliseconds: what each may take to be noticed. The oracle judges by this table; the
/// proofs on real Kafka allow the same. Nothing here is for tuning.
pub const ALLOWANCES: [(Cause, u64); 7] = [
    (Cause::Kill, 100),
    (Cause::KillOfRemote, 2_000),
    (Cause::Freeze, 2_000),
    (Cause::Cut, 2_000),
    (Cause::ControlledStop, 2_000),
    (Cause::Other, 2_000),
    (Cause::InModeJmx, 20_000),
];

/// Without ZooKeeper nothing that a node says changes, but pages, which are read every 5 s, and that it
/// owes an answer about topics: asked for 5 s after the last one, and missed after 5 s. Pages that are
/// late or old leave the second sign alone. D comes on top.
pub const ZOOKEEPER_SHOWS: Duration = Duration::from_secs(10);

impl Cause {
    /// D for this.
    pub fn allowance(self) -> Duration {
        allowed(&[self])
    }
}

/// What these causes may take: the longest of them.
fn allowed(causes: &[Cause]) -> Duration {
    let rows = ALLOWANCES.iter();
    let own = rows.filter(|(cause, _)| causes.contains(cause));
    let longest = own.map(|(_, millis)| *millis).max();
    Duration::from_millis(longest.expect("a row for every cause"))
}

/// What a gate that reads so much may take for a kill, and for everything else.
pub(in crate::simulate) fn allowances(mode: Mode) -> (Duration, Duration) {
    match mode {
        Mode::KafkaJmx | Mode::Kafka => (
            Cause::Kill.allowance(),
            allowed(&[
                Cause::KillOfRemote,
                Cause::Freeze,
                Cause::Cut,
                Cause::ControlledStop,
                Cause::Other,
            ]),
        ),
        Mode::Jmx => {
            let page = Cause::InModeJmx.allowance();
            (page, page)
        }
    }
}

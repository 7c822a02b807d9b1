//! The JSON bodies of the API. Fields are only ever added within `v1`.
//!
//! - `verdict`: the verdict and its reasons, which every body begins with;
//! - `gate`: everything a gate says;
//! - `plan`: what each node may do;
//! - `history`: what was decided, and when;
//! - `lease`: leases and holds.

mod gate;
mod history;
mod lease;
mod plan;
mod verdict;

use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::gate::lease::Action;
use crate::gate::state::State;
use crate::time::{Now, Timestamp};

pub use gate::{
    BlindSpotBody, CheckRowBody, ClusterBody, FactsBody, GateBody, GroupBody, SourceBody,
    WindowBody,
};
pub use history::{EntryBody, HistoryBody};
pub use lease::{ChangedBody, EnterBody, HoldBody, LeaseBody, LeasesBody, LeaveBody, SlotsBody};
pub use plan::{HostBody, NodeBody, PlanBody};
pub use verdict::{CheckBody, GatesBody, Head, ReasonBody};

/// Seconds with milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "an age in milliseconds, for display"
)]
fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1000.0
}

/// How long ago a wall time is; zero when the clock was set back since.
fn wall_age(since: Timestamp, now: Now) -> f64 {
    let nanos = now.wall.as_nanos().saturating_sub(since.as_nanos());
    seconds(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

fn state_schema(_: &mut SchemaGenerator) -> Schema {
    words(&State::ALL.map(State::as_str))
}

fn action_schema(_: &mut SchemaGenerator) -> Schema {
    words(&[Action::Restart, Action::Repair].map(Action::as_str))
}

fn words(list: &[&'static str]) -> Schema {
    json_schema!({ "type": "string", "enum": list })
}

//! `doctor`: looks at a cluster as a gate would, and says what is there, what is missing, and what
//! the gate's word would rest on.
//!
//! [`gather`] runs the gate's own collectors and a Machine for some seconds; [`report`] says what
//! came of it, and [`rights`] which ACL is missing. So what is examined is exactly what a gate would see: the same addresses,
//! questions, rights and rules.

pub mod gather;
pub mod report;
pub mod rights;
mod text;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::settings::GateSettings;
use crate::config::settings::Limits;
use crate::gate::state::GateName;

/// What is to be examined.
#[derive(Clone, Debug)]
pub struct Patient {
    /// The gate's name.
    pub gate: GateName,
    /// Its settings.
    pub settings: GateSettings,
    /// What the program bounds.
    pub limits: Limits,
    /// Where the durable state is to be.
    pub data_dir: Option<PathBuf>,
    /// How long to look at most.
    pub patience: Duration,
}

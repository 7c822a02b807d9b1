//! `doctor`: looks at a cluster as a gate would, and says what is there, what is missing, and what
//! the gate's word would rest on.
//!
//! [`gather`] runs the gate's own collectors and a Machine for some seconds; [`report`] says what
//! came of it: [`rights`] which ACL is missing, [`window`] what the window is built from, [`store`] what
//! the gate would go on from, [`guarantee`] what its word is worth. So what is examined is exactly
//! what a gate would see: the same addresses, questions, rights, rules, and the same memory.

pub mod gather;
pub mod guarantee;
pub mod report;
pub mod rights;
mod secrets;
pub mod store;
mod text;
pub mod window;

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

//! upgrade-gate

pub mod clock;
pub mod evidence;
pub mod jmx;
pub mod time;

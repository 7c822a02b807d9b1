//! upgrade-gate

pub mod clock;
pub mod evidence;
pub mod kafka;
pub mod time;

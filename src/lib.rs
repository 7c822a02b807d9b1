//! upgrade-gate

pub mod checks;
pub mod clock;
pub mod evidence;
pub mod time;

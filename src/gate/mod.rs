//! From judgements to a verdict, over time. Pure: [`machine::Machine`] takes `now` and inputs and
//! returns effects; it reads no clock, awaits nothing and does no I/O.
//!
//! - [`state`]: open, closed, unknown; the gate's name;
//! - [`window`]: the unbroken healthy window before opening;
//! - [`view`]: the published judgement, readable only through its expiry;
//! - [`doc`]: what has to survive a restart;
//! - [`machine`]: inputs, effects, and the machine between them.

pub mod build;
pub mod doc;
pub mod machine;
pub mod state;
pub mod view;
pub mod window;

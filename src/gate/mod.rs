//! From judgements to a verdict, over time. Pure: [`machine::Machine`] takes `now` and inputs and
//! returns effects; it reads no clock, awaits nothing and does no I/O.
//!
//! - [`state`]: open, closed, unknown; the gate's name;
//! - [`window`]: the unbroken healthy window before opening;
//! - [`view`]: the published judgement, readable only through its expiry; [`parts`]: what it is
//!   made of;
//! - [`basis`]: what that window is built from;
//! - [`doc`]: what has to survive a restart; [`keep`]: its writes, one at a time; [`event`]: the
//!   history;
//! - [`lease`]: permission to stop nodes, and holds; `desk`: everybody who asks for one;
//! - [`question`]: what the published view does not answer;
//! - `seen`: what is judged; `judgement`: what follows from it;
//! - [`machine`]: inputs, effects, and the machine between them.

pub mod basis;
pub mod build;
#[cfg(test)]
mod build_tests;
mod desk;
pub mod doc;
pub mod event;
mod judgement;
pub mod keep;
pub mod lease;
pub mod machine;
pub mod parts;
pub mod question;
mod seen;
pub mod state;
pub mod view;
pub mod window;

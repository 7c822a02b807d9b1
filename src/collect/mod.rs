//! What to ask whom, how often, with which deadline; the answers go to the [`board`].

pub mod board;

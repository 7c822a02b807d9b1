//! One task per gate owns its Machine: drain the board, step, carry out effects.

pub mod handle;

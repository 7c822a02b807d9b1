//! Decoders: one per answer, from a frame's bytes straight to what is kept.
//!
//! Each takes the message body (behind the response header) and the version asked with, checks
//! every count against the bytes that are there, and refuses bytes left over. The oracle of the
//! tests is the `kafka-protocol` crate's encoder.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

pub mod api_versions;
pub mod cluster;
pub mod configs;
pub mod groups;
pub mod list_offsets;
pub mod log_dirs;
pub mod metadata;
pub mod moves;
pub mod quorum;
pub mod sasl;

#[cfg(test)]
mod tests;

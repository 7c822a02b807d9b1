//! Fast tests from the outside.

mod cli;
mod config;

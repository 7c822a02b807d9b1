//! Quick tests of everything that needs no cluster. One binary; a module per subject.

mod architecture;
mod packages;
//! Fast tests from the outside.

mod cli;
mod config;

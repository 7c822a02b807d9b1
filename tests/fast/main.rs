//! Quick tests of everything that needs no cluster. One binary; a module per subject.

mod architecture;
mod cli;
mod config;
mod packages;

//! Pure judgements: from a snapshot to findings. One file per check, one row per check in
//! [`table`], one row per reason in [`reason`].

pub mod finding;
pub mod reason;
pub mod table;
pub mod what_if;

//! Pure judgements: from a snapshot to findings. One file per check, one row per check in
//! [`table`], one row per reason in [`reason`].
//!
//! What several checks need is beside them: [`needs`] (which evidence a row cannot do without),
//! `layout` (partitions with their min ISR and moves), `sets` (which sets of nodes have a replica), `gauges` (numbers of JMX pages), `jmx_sums` (the cluster as the pages add it up).

pub mod apart;
pub mod barred;
pub mod blind_spots;
pub mod finding;
pub mod needs;
pub mod reason;
pub mod reason_doc;
pub mod table;
pub mod unheard;
pub mod what_if;

mod broker_state;
mod controller;
mod evidence;
mod fetchers;
pub(crate) mod gauges;
mod groups;
mod heartbeat;
mod identity;
mod jmx_sums;
mod jmx_view;
mod kind;
pub(crate) mod layout;
mod leadership;
mod log_dirs;
mod metadata;
mod moves;
pub(crate) mod nodes;
mod old_pages;
mod partitions;
mod progress;
mod quorum;
mod release;
mod risk;
mod sets;
mod topics;
mod unclean;
mod unseen;
mod zookeeper;

#[cfg(test)]
mod bounds_of_nodes_tests;
#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod what_if_properties;
#[cfg(test)]
mod what_if_tests;
#[cfg(test)]
mod what_if_words_tests;

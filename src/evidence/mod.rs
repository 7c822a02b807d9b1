//! What is known, from whom, and how old it is. Pure values only.
//!
//! - [`ids`]: nodes, topics, clusters, releases;
//! - [`known`]: a fact that may not be known, and why;
//! - [`report`]: what one source said about one kind of fact;
//! - [`facts`]: the facts themselves, in the flat form in which they are kept;
//! - [`partitions`]: the partition table, and how two brokers' tables become one;
//! - [`merged`]: two tables made one;
//! - [`aggregate`]: what several JMX pages say together;
//! - [`exported`]: which node has which number on its JMX page;
//! - [`policy`]: what the user wants judged, and how strictly;
//! - [`memory`]: what one snapshot cannot say: lives, epochs, known nodes, first sightings;
//! - [`snapshot`]: the newest report per source and fact at one moment;
//! - [`step`]: at which step a source failed;
//! - [`tide`]: how high something stood that only rises.

pub mod aggregate;
pub mod exported;
pub mod facts;
pub mod ids;
pub mod jmx;
pub mod known;
pub mod memory;
pub mod merged;
pub mod partitions;
pub mod policy;
pub mod report;
#[cfg(test)]
pub mod scene;
pub mod snapshot;
pub mod step;
pub mod tide;
pub mod voters;

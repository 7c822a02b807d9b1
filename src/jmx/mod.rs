//! JMX exporters as a source: their pages fetched, recognised and reduced to
//! [`JmxFacts`](crate::evidence::jmx::JmxFacts).
//!
//! - [`scan`]: the text format, and only the wanted lines of it;
//! - [`recognise`]: which series is which MBean, under every common rules file;
//! - [`table`]: the wanted MBeans and the keys of their names;
//! - [`page`]: one page to facts;
//! - [`scrape`]: one target asked over HTTP; [`client`]: with which TLS, login and headers;
//! - [`template`]: the targets of discovered nodes from one pattern;
//! - [`found`]: what a node's page has and lacks, for people to see at start.
//!
//! What several pages say together is [`crate::evidence::aggregate`]'s.

pub mod client;
pub mod found;
pub mod page;
pub mod recognise;
pub mod scan;
pub mod scrape;
pub mod table;
pub mod template;

#[cfg(test)]
mod tests;

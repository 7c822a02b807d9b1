//! `/metrics`: what the views say at the moment of the scrape, and what the process counted.
//!
//! One collector over the views (DESIGN.md 6): nothing has to be reset, a series that vanished is
//! gone, and an expired view reads as unknown here like everywhere. A fact that is not known has
//! no series: never 0, never NaN.

mod collector;
pub mod counters;
mod http;
mod page;
mod process;
mod text;
pub mod untaken;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::clock::Clock;
use crate::engine::handle::GateHandle;
use crate::gate::state::GateName;
use collector::Views;
use counters::Counters;

/// Every gate of this process; replaced as a whole when the configuration is loaded anew.
pub type Gates = Arc<ArcSwap<BTreeMap<GateName, GateHandle>>>;

/// Which program this is.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// Its version.
    pub version: &'static str,
    /// The commit it was built from, or `unknown`.
    pub revision: &'static str,
}

/// The two text formats a scraper can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4: what everybody reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format's exact media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes the metrics page.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    counters: Arc<Counters>,
}

impl Metrics {
    /// Metrics over these gates. The process counts as started now.
    pub fn new(
        gates: Gates,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        build: BuildInfo,
    ) -> Self {
        let started = clock.now().wall;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Views {
            gates,
            clock,
            counters: Arc::clone(&counters),
            build,
            started,
        }));
        Self { registry, counters }
    }

    /// What is counted as it happens.
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The page as of now.
    ///
    /// # Errors
    /// Fails when a value cannot be written, which would be a defect of this program.
    pub fn render(&self, format: Format) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(match format {
            Format::Text => text::to_0_0_4(&page),
            Format::OpenMetrics => page,
        })
    }
}

//! Logging: text or JSON on standard error, with a filter that can be changed while running.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::settings::{LogFormat, LogSettings};

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is no filter.
    #[error("log filter: {0}")]
    Filter(#[from] ParseError),
    /// Logging was set up before.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
    /// The subscriber is gone.
    #[error("log filter could not be changed: {0}")]
    Gone(#[from] reload::Error),
}

/// Changes the filter of the running process.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Replaces the filter.
    ///
    /// # Errors
    /// The filter does not parse; then the old one stays.
    pub fn set(&self, text: &str) -> Result<(), TelemetryError> {
        Ok(self.filter.reload(filter(text)?)?)
    }
}

/// Reads a filter as the configuration writes it: `info`, `warn,upgrade_gate::kafka=debug`.
///
/// # Errors
/// It does not parse.
pub fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(text)
}

/// Sets up logging for the whole process. To be called once, by a program, not a library.
///
/// # Errors
/// The filter does not parse, or logging was set up before.
pub fn start(settings: &LogSettings) -> Result<LogHandle, TelemetryError> {
    let (filter, handle) = reload::Layer::new(filter(&settings.filter)?);
    let lines = match settings.format {
        LogFormat::Text => fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(stderr).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(LogHandle { filter: handle })
}

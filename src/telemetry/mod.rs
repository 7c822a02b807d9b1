//! Logging: text or JSON on standard error, with a filter that can be changed while running.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::settings::{LogFormat, LogSettings};

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A part of the filter that is neither a level nor a module with its level.
    #[error(
        "log filter: {0:?} is no level; use error, warn, info, debug, trace, off or module=level"
    )]
    NoLevel(String),
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
    filter: reload::Handle<Targets, Registry>,
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
/// Read here and not by `EnvFilter`: its reader panics on some texts (`tracing-subscriber` 0.3.23,
/// found by a property test), and takes a misspelt level for the name of a module.
///
/// # Errors
/// A part is neither a level nor `module=level`.
pub fn filter(text: &str) -> Result<Targets, TelemetryError> {
    let mut targets = Targets::new();
    for part in text.split(',').map(str::trim) {
        let no_level = || TelemetryError::NoLevel(String::from(part));
        let (module, level) = match part.split_once('=') {
            Some((module, level)) => (Some(module.trim()), level.trim()),
            None => (None, part),
        };
        let level = level_of(level).ok_or_else(no_level)?;
        targets = match module {
            Some(module) if is_module(module) => targets.with_target(module, level),
            Some(_) => return Err(no_level()),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

fn level_of(word: &str) -> Option<LevelFilter> {
    let levels = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    levels
        .into_iter()
        .find_map(|(name, level)| name.eq_ignore_ascii_case(word).then_some(level))
}

fn is_module(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
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
        // `timestamp`, `level`, `target`, `message`, and what the event names beside them.
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(stderr)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(LogHandle { filter: handle })
}

#[cfg(test)]
impl LogHandle {
    /// One without a subscriber, of which a process can have but one.
    pub(crate) fn of_nobody() -> Self {
        let (_, filter) = reload::Layer::<Targets, Registry>::new(Targets::new());
        Self { filter }
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};

    use super::*;

    #[test]
    fn filters_are_strict() {
        for good in [
            "info",
            "off",
            "warn,upgrade_gate::kafka=debug",
            "WARN,hyper=trace",
        ] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "info,", "kafka", "a=b=c", "=info", "a[b]=info"] {
            assert!(filter(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_filter_of_a_running_process_changes() {
        let settings = LogSettings {
            format: LogFormat::Json,
            filter: String::from("error"),
        };
        let handle = start(&settings).unwrap();
        assert!(!enabled!(Level::DEBUG));
        handle.set("debug").unwrap();
        assert!(enabled!(Level::DEBUG));
        assert!(handle.set("inof").is_err());
        assert!(enabled!(Level::DEBUG));
        handle.set("off").unwrap();
        assert!(matches!(start(&settings), Err(TelemetryError::Twice(_))));
    }
}

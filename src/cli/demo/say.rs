//! The demo's lines: when, what kind, what.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use tokio::time::Instant;

use super::super::out;

/// Writes lines to standard output, with the time since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Say {
    began: Instant,
    colour: bool,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// The gate's verdict.
    Open,
    /// The gate's verdict.
    Closed,
    /// The gate's verdict, or none.
    Unknown,
    /// What the script does.
    Step,
    /// What goes wrong on purpose.
    Fault,
    /// What the simple rule says.
    Naive,
}

impl Tag {
    const fn word(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Closed => "CLOSED",
            Self::Unknown => "UNKNOWN",
            Self::Step => "script",
            Self::Fault => "FAULT",
            Self::Naive => "naive",
        }
    }

    /// As ANSI terminals count colours.
    const fn colour(self) -> u8 {
        match self {
            Self::Open => 32,
            Self::Closed | Self::Fault => 31,
            Self::Unknown => 33,
            Self::Step => 36,
            Self::Naive => 35,
        }
    }
}

impl Say {
    /// Time begins now; colour only where somebody sees it.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            colour: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// How long ago the demo began.
    pub(super) fn elapsed(self) -> Duration {
        self.began.elapsed()
    }

    /// One event.
    pub(super) fn event(self, tag: Tag, text: &str) -> anyhow::Result<()> {
        let at = self.began.elapsed().as_secs_f64();
        let (word, text) = (tag.word(), out::plain(text));
        if self.colour {
            out::data(&format!(
                "{at:>6.1}s  \x1b[{}m{word:<8}\x1b[0m {text}\n",
                tag.colour()
            ))
        } else {
            out::data(&format!("{at:>6.1}s  {word:<8} {text}\n"))
        }
    }
}

/// Text without a time.
pub(super) fn plain(text: &str) -> anyhow::Result<()> {
    out::data(&format!("{text}\n"))
}

//! What a command leaves behind: its exit code and its lines.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::problem::ConfigError;
use crate::files::BadFile;
use crate::store::folder::Held;

/// How a command ends. All but `Open` mean: do not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: the gate is open; for commands that do not ask a gate: done.
    Open,
    /// 1: the gate is closed, or still closed at the deadline.
    Closed,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: not enough is known, or the answer contradicts itself.
    Unknown,
    /// 4: the gate was not reached, or did not let us ask.
    Unreachable,
    /// What `exec` says: the command's own code, or one of its own above 119.
    Other(u8),
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Closed => 1,
            Self::Usage => 2,
            Self::Unknown => 3,
            Self::Unreachable => 4,
            Self::Other(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Writes to standard output. A reader that has gone away is its own business, not a failure.
pub fn data(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Writes a line to standard error. What cannot be written there can be told nowhere.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Tells why a command could not do its work.
pub fn failed(error: &anyhow::Error) -> Exit {
    note(&format!("error: {error:#}"));
    if error.is::<ConfigError>() || error.is::<Held>() || error.is::<BadFile>() {
        Exit::Usage
    } else {
        Exit::Unknown
    }
}

/// Text from elsewhere without control characters, which a terminal would obey.
pub fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

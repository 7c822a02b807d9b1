//! Signals that end `exec` before the command runs, and are the command's while it does.

use std::io::{self, IsTerminal};

use rustix::process::{Pid, Signal as Number, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Everything that is passed on.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    quit: Signal,
    usr1: Signal,
    usr2: Signal,
}

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came(Number);

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn recv(&mut self) -> Came {
        Came(tokio::select! {
            _ = self.term.recv() => Number::TERM,
            _ = self.int.recv() => Number::INT,
            _ = self.hup.recv() => Number::HUP,
            _ = self.quit.recv() => Number::QUIT,
            _ = self.usr1.recv() => Number::USR1,
            _ = self.usr2.recv() => Number::USR2,
        })
    }
}

impl Came {
    /// What a shell makes of a process that this signal ended.
    pub(super) fn exit_code(self) -> u8 {
        u8::try_from(self.0.as_raw().saturating_add(128)).unwrap_or(255)
    }

    /// Gives it to the command. What a terminal sends, it has sent to the command as well.
    pub(super) fn pass_on(self, pid: Option<u32>) {
        let keys = self.0 == Number::INT || self.0 == Number::QUIT;
        if keys && io::stdin().is_terminal() {
            return;
        }
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended in this moment; then there is nothing to tell it.
            let _ = kill_process(pid, self.0);
        }
    }
}

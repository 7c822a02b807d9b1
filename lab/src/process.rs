//! Child processes that cannot outlive the lab.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How often an exit is looked for.
const EXIT_POLL: Duration = Duration::from_millis(10);

struct Job {
    command: Command,
    reply: mpsc::Sender<io::Result<Child>>,
}

/// The one thread that starts children.
///
/// Children ask the kernel for SIGKILL when their parent dies (`PR_SET_PDEATHSIG`). "Parent" is
/// the *thread* that forked, not the process: a child started from a worker of a tokio runtime or
/// from a test's thread would be killed when that thread ends. This thread never ends before the
/// process does, and it dies with the process even on SIGKILL.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (jobs, inbox) = mpsc::channel::<Job>();
    let serve = move || {
        for mut job in inbox {
            // The asker may have given up; the child is then dropped with the reply and dies with us.
            let _ = job.reply.send(job.command.spawn());
        }
    };
    // Without the thread every `spawn` below fails with the closed channel's error.
    let _ = thread::Builder::new()
        .name("lab-spawner".into())
        .spawn(serve);
    Mutex::new(jobs)
});

/// `program` wrapped so that it is killed together with the lab.
///
/// `setpriv` (util-linux, always there on Debian) makes the prctl call and then becomes the
/// program, with the same process id: the same as a `pre_exec` hook, but without `unsafe`.
pub(crate) fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// A running, frozen or ended child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Mutex<Child>,
    pid: u32,
}

impl Process {
    /// Starts a command made by [`mortal`].
    pub(crate) fn spawn(command: Command) -> io::Result<Self> {
        let (reply, answer) = mpsc::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        lock(&SPAWNER)
            .send(Job { command, reply })
            .map_err(|_| gone())?;
        let child = answer.recv().map_err(|_| gone())??;
        Ok(Self {
            pid: child.id(),
            child: Mutex::new(child),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status once it has ended.
    pub(crate) fn exit(&self) -> io::Result<Option<ExitStatus>> {
        lock(&self.child).try_wait()
    }

    /// Sends a signal; nothing happens when the process has ended. Its id cannot have been
    /// given to another process meanwhile: it is ours until `try_wait` has seen the end.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut child = lock(&self.child);
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        Ok(kill_process(Pid::from_child(&child), signal)?)
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.exit()? {
                return Ok(status);
            }
            tokio::time::sleep(EXIT_POLL).await;
        }
    }

    /// SIGKILL, and waits for the kernel to take it away (frozen processes die too).
    pub(crate) fn destroy(&self) {
        let mut child = lock(&self.child);
        // Both fail only when it is gone already, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// A lock whose holder panicked still guards usable data here: plain handles, no invariants.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        let mut command = mortal("sleep");
        command.arg("60");
        Process::spawn(command).unwrap()
    }

    #[tokio::test]
    async fn signals_reach_the_program_itself() {
        let process = sleeper();
        assert!(process.exit().unwrap().is_none());
        process.signal(Signal::STOP).unwrap();
        process.signal(Signal::CONT).unwrap();
        process.signal(Signal::TERM).unwrap();
        let status = process.ended().await.unwrap();
        assert!(!status.success());
        process.signal(Signal::TERM).unwrap();
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let process = thread::spawn(sleeper).join().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(process.exit().unwrap().is_none());
        process.destroy();
        assert!(process.exit().unwrap().is_some());
    }
}

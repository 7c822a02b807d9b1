//! The real program, serving: its log, line by line, and where it listens.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// How long something may take that comes by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that serves; it ends with this.
pub(crate) struct Started {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    reads: Option<JoinHandle<()>>,
}

impl Started {
    /// `upgrade-gate serve` with these arguments, and its log as JSON.
    pub(crate) fn serve(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
        command.arg("serve").args(args).env_clear();
        command.args(["--log-format", "json"]).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        let reads = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // What is no JSON is an error on the way out, or a panic.
                let said = serde_json::from_str(&line).unwrap_or(Value::String(line));
                kept.lock().unwrap().push(said);
            }
        });
        Self {
            child,
            log,
            reads: Some(reads),
        }
    }

    /// Everything that was logged so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// The first line of this kind, once it is there.
    pub(crate) fn line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let found = self
                .log
                .lock()
                .unwrap()
                .iter()
                .find(|line| is_it(line))
                .cloned();
            if let Some(line) = found {
                return line;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "no such line in {:#?}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens first.
    pub(crate) fn address(&self) -> SocketAddr {
        let line = self.line(|line| line["message"] == "listening");
        line["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let mut kill = Command::new("kill");
        let done = kill.args([&format!("-{name}"), &pid]).status();
        assert!(done.unwrap().success());
    }

    /// Ends it as a service manager does; everything that it has logged.
    pub(crate) fn end(mut self) -> Vec<Value> {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
        self.reads.take().unwrap().join().unwrap();
        self.log()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

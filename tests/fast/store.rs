//! The store and the program around it: one process per folder, a kill at any moment, a database
//! that cannot be read.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use upgrade_gate::clock::SystemClock;
use upgrade_gate::gate::doc::{GateDoc, Revision, Stored};
use upgrade_gate::gate::event::{Event, What};
use upgrade_gate::gate::lease::{Hold, LeaseId, Owner, Token};
use upgrade_gate::gate::state::GateName;
use upgrade_gate::store::sqlite::{DATABASE, Retention};
use upgrade_gate::store::{SqliteStore, Store};
use upgrade_gate::time::Timestamp;

/// Where the child of the kill test works.
const FOLDER: &str = "UPGRADE_GATE_TEST_STORE";

/// Events that go with each commit.
const EVENTS: u64 = 2;

fn open(folder: &Path) -> SqliteStore {
    let keep = Retention {
        age: Duration::from_hours(24),
        entries: 1_000_000,
    };
    SqliteStore::open(folder, keep, Arc::new(SystemClock)).unwrap()
}

/// What commit number `n` writes.
fn doc(n: u64) -> GateDoc {
    GateDoc {
        last_token: Token(n),
        last_event: n * EVENTS,
        ..GateDoc::default()
    }
}

fn event(number: u64) -> Event {
    Event {
        number,
        at: Timestamp::from_nanos(i64::try_from(number).unwrap()),
        what: What::Leaving {
            lease: LeaseId(number),
        },
    }
}

fn events(n: u64) -> Vec<Event> {
    ((n - 1) * EVENTS + 1..=n * EVENTS).map(event).collect()
}

/// Not a test of its own: the child that [`a_kill_at_any_moment_loses_nothing_acknowledged`]
/// kills. Commits for ever and says each number once it is durable.
#[test]
#[ignore = "started by another test"]
fn child_that_commits() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let mut store = open(Path::new(&folder));
    let gate = GateName::default();
    let (Revision(mut n), _) = store.load(&gate).unwrap();
    loop {
        let stored = store.commit(&gate, Revision(n), &doc(n + 1), &events(n + 1));
        assert_eq!(stored, Stored::Written(Revision(n + 1)));
        n += 1;
        writeln!(std::io::stdout().lock(), "\nwritten {n}").unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let gate = GateName::default();
    let mut acknowledged = 0;
    let mut ahead = 0;
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::child_that_commits",
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut numbers = out
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("written ")?.parse::<u64>().ok());
        // Some kills hit the first writes after opening, others the middle of a long log.
        let at_least = [1, 2, 30, 150][usize::try_from(round % 4).unwrap()];
        let first = numbers.by_ref().take(at_least).last().unwrap();
        thread::sleep(Duration::from_micros(round * 137));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = numbers.last().unwrap_or(first);

        let mut store = open(folder.path());
        let (Revision(found), stands) = store.load(&gate).unwrap();
        let more = found.checked_sub(acknowledged);
        assert!(
            matches!(more, Some(0 | 1)),
            "{acknowledged} acknowledged, {found} found"
        );
        ahead += u64::from(found > acknowledged);
        assert_eq!(stands, doc(found));
        let history = store.history(&gate, None, 1_000_000).unwrap();
        let whole: Vec<Event> = (1..=found * EVENTS).rev().map(event).collect();
        assert_eq!(history, whole);
    }
    assert!(acknowledged > 500, "only {acknowledged} commits in all");
    println!("{acknowledged} commits; {ahead} of 20 kills between COMMIT and its answer");
}

/// A running `serve` of a cluster that is not there. It ends with this.
struct Gate {
    child: Child,
    url: String,
    log: Vec<String>,
    rest: BufReader<ChildStderr>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folder: Option<&Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    command
        .args(["serve", "--bootstrap", "127.0.0.1:1", "--mode", "kafka"])
        .args(["--listen", "127.0.0.1:0"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(folder) = folder {
        command.arg("--data-dir").arg(folder);
    }
    command
}

impl Gate {
    /// Starts and waits until it listens.
    #[expect(
        clippy::zombie_processes,
        reason = "the test fails where it is not waited for"
    )]
    fn start(folder: Option<&Path>) -> Self {
        let mut child = serve(folder).spawn().unwrap();
        let mut rest = BufReader::new(child.stderr.take().unwrap());
        let mut log = Vec::new();
        loop {
            let mut line = String::new();
            assert!(rest.read_line(&mut line).unwrap() > 0, "it ended: {log:?}");
            let address = line.split("address=").nth(1).map(|at| at.trim().to_owned());
            let listens = line.contains("listening");
            log.push(line);
            if let Some(address) = address.filter(|_| listens) {
                return Self {
                    child,
                    url: format!("http://{address}"),
                    log,
                    rest,
                };
            }
        }
    }

    /// The program with this gate's address.
    fn ask(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"))
            .args(args)
            .args(["--url", &self.url])
            .env_clear()
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    }

    /// Asks for the history until the answer is wanted, and fails after a while.
    fn history_until(&self, wanted: impl Fn(i32, &str) -> bool) {
        for _ in 0..400 {
            let (code, out, err) = self.ask(&["history"]);
            if wanted(code, &format!("{out}{err}")) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let last = self.ask(&["history"]);
        panic!("never as wanted: {last:?}");
    }

    /// Ends it in order and returns everything it logged.
    fn end(mut self) -> Vec<String> {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut log = std::mem::take(&mut self.log);
        log.extend(self.rest.by_ref().lines().map_while(Result::ok));
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        log
    }
}

#[test]
fn a_folder_has_one_process_and_a_killed_one_leaves_it_free() {
    let folder = tempfile::tempdir().unwrap();
    let first = Gate::start(Some(folder.path()));
    let second = serve(Some(folder.path())).output().unwrap();
    let err = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(2), "{err}");
    let pid = format!("pid {}:", first.child.id());
    assert!(err.contains("error: ") && err.contains(&pid), "{err}");
    assert!(err.contains(&folder.path().display().to_string()), "{err}");
    // Drop kills it.
    drop(first);
    let third = Gate::start(Some(folder.path()));
    let log = third.end();
    assert!(
        !log.iter().any(|line| line.contains("do NOT survive")),
        "{log:?}"
    );
    assert!(
        log.iter().any(|line| line.contains("the store is open")),
        "{log:?}"
    );
}

#[test]
fn without_a_folder_it_says_loudly_that_nothing_survives() {
    let log = Gate::start(None).end();
    let loud = |line: &String| line.contains("WARN") && line.contains("do NOT survive a restart");
    assert!(log.iter().any(loud), "{log:?}");
}

/// A gate that was removed or renamed while no process ran that could have refused that.
#[test]
fn what_a_gate_holds_that_is_not_configured_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let hold = Hold {
        author: Owner::try_from(String::from("ann")).unwrap(),
        reason: String::from("disks"),
        since: Timestamp::default(),
        until: None,
    };
    let held = GateDoc {
        hold: Some(hold),
        ..GateDoc::default()
    };
    for (name, doc) in [("default", &held), ("old", &held), ("idle", &doc(1))] {
        let gate = GateName::try_from(String::from(name)).unwrap();
        let stored = store.commit(&gate, Revision(0), doc, &[]);
        assert_eq!(stored, Stored::Written(Revision(1)));
    }
    drop(store);
    let log = Gate::start(Some(folder.path())).end();
    let warned = |line: &&String| line.contains("NOT configured any more");
    let warned: Vec<_> = log.iter().filter(warned).collect();
    assert_eq!(warned.len(), 1, "{log:?}");
    assert!(
        warned[0].contains("gate=old") && warned[0].contains("ann holds it (disks)"),
        "{warned:?}"
    );
}

#[test]
fn a_damaged_database_is_told_left_alone_and_read_again_once_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let gate = GateName::default();
    let mut store = open(folder.path());
    store.commit(&gate, Revision(0), &doc(1), &events(1));
    drop(store);
    let path = folder.path().join(DATABASE);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[100..2000].fill(0xff);
    fs::write(&path, &bad).unwrap();

    let running = Gate::start(Some(folder.path()));
    let (code, out, err) = running.ask(&["history"]);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(
        err.contains(DATABASE) && err.contains("is damaged"),
        "{err}"
    );
    let (code, out, _) = running.ask(&["check"]);
    assert!(
        matches!((code, out.as_str()), (3, "unknown\n") | (1, "closed\n")),
        "{code} {out}"
    );
    // No lease either, for the same reason and in the same words.
    let (code, out, err) = running.ask(&["enter", "--node", "1", "--owner", "me"]);
    assert_eq!((code, out.as_str()), (3, "unknown\n"), "{err}");
    assert!(
        err.contains("store_unavailable") && err.contains("is damaged"),
        "{err}"
    );
    assert!(!err.contains("engine_failed"), "{err}");
    assert_eq!(fs::read(&path).unwrap(), bad);

    fs::write(&path, &good).unwrap();
    running.history_until(|code, text| code == 0 && text.contains("#2 "));
    let log = running.end();
    assert!(
        log.iter()
            .any(|line| line.contains("ERROR") && line.contains("is damaged"))
    );
    assert_eq!(open(folder.path()).load(&gate), Ok((Revision(1), doc(1))));
}

#[test]
fn a_folder_that_cannot_be_made_is_told_and_used_once_it_can() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("data");
    fs::write(&folder, "in the way").unwrap();
    let running = Gate::start(Some(&folder));
    let (code, _, err) = running.ask(&["history"]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("make it a folder"), "{err}");
    fs::remove_file(&folder).unwrap();
    running.history_until(|code, _| code == 0);
    drop(running);
    assert!(folder.join(DATABASE).exists());
}

#[test]
fn the_history_is_printed_for_people_and_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for n in 1..=3 {
        store.commit(&GateName::default(), Revision(n - 1), &doc(n), &events(n));
    }
    drop(store);
    let running = Gate::start(Some(folder.path()));
    running.history_until(|code, _| code == 0);
    let (code, out, err) = running.ask(&["history", "--limit", "2", "--before", "7"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        "1970-01-01T00:00:00.000Z #6      leaving      lease=6\n\
         1970-01-01T00:00:00.000Z #5      leaving      lease=5\n"
    );
    assert_eq!(err, "older entries: --before 5\n");
    let (code, out, _) = running.ask(&["history", "--limit", "1", "--before", "2", "--json"]);
    let body: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &body["entries"][0]["lease"]),
        (0, &serde_json::json!(1))
    );
    assert_eq!(body["next_before"], 1);
    let (code, out, err) = running.ask(&["history", "--gate", "other"]);
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(err.contains("no gate is called other"), "{err}");
    assert_eq!(running.ask(&["history", "--limit", "501"]).0, 2);
}

/// Says that [`a_disk_that_is_full_or_read_only_refuses_loses_nothing_and_heals`] shall be left out.
const NO_MOUNTS: &str = "UPGRADE_GATE_TEST_NO_MOUNTS";

/// A small file system of its own; unmounted with this.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Self {
        let disk = Self(at);
        assert!(
            disk.run(&["mount", "-t", "tmpfs", "-o", "size=1m", "small"]),
            "this process may not mount: run the tests as root (in a container with CAP_SYS_ADMIN), or \
             set {NO_MOUNTS}=1 to leave this one out"
        );
        disk
    }

    fn run(&self, command: &[&str]) -> bool {
        let mut run = Command::new(command[0]);
        run.args(&command[1..]).arg(self.0);
        let run = run.stdout(Stdio::null()).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        self.run(&["umount"]);
    }
}

/// The same with a page limit and with `query_only` is tried in the library, where nobody needs
/// to mount anything.
#[test]
fn a_disk_that_is_full_or_read_only_refuses_loses_nothing_and_heals() {
    if std::env::var_os(NO_MOUNTS).is_some() {
        println!("not tried: {NO_MOUNTS} is set");
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(base.path());
    let ballast = base.path().join("ballast");
    fs::write(&ballast, vec![0; 400 << 10]).unwrap();
    let folder = base.path().join("data");
    let mut store = open(&folder);
    let gate = GateName::default();
    let mut n = 0;
    let failed = loop {
        match store.commit(&gate, Revision(n), &doc(n + 1), &events(n + 1)) {
            Stored::Written(_) => n += 1,
            other => break other,
        }
        assert!(n < 10_000, "the disk never fills");
    };
    let (Stored::Refused(why) | Stored::Unclear(why)) = &failed else {
        panic!("{failed:?}");
    };
    assert!(why.contains(DATABASE) && why.contains("full"), "{why}");
    // As a gate that tries again does; nothing it was told stood is gone.
    for _ in 0..5 {
        match store.commit(&gate, Revision(n), &doc(n + 1), &events(n + 1)) {
            Stored::Written(_) => n += 1,
            Stored::Lost(Revision(found), stands) => {
                assert_eq!((found, &stands), (n + 1, &doc(n + 1)));
                n = found;
            }
            Stored::Refused(_) | Stored::Unclear(_) => {}
        }
    }
    fs::remove_file(&ballast).unwrap();
    let (Revision(found), stands) = store.load(&gate).unwrap();
    assert!(
        (n..=n + 1).contains(&found),
        "{n} acknowledged, {found} found"
    );
    assert_eq!(stands, doc(found));
    let stored = store.commit(&gate, Revision(found), &doc(found + 1), &events(found + 1));
    assert_eq!(stored, Stored::Written(Revision(found + 1)));
    let history = store.history(&gate, None, 1_000_000).unwrap();
    let whole: Vec<Event> = (1..=(found + 1) * EVENTS).rev().map(event).collect();
    assert_eq!(history, whole);

    drop(store);
    assert!(disk.run(&["mount", "-o", "remount,ro"]));
    let mut store = open(&folder);
    let why = store.load(&gate).unwrap_err();
    assert!(why.contains("Read-only file system"), "{why}");
    let stored = store.commit(&gate, Revision(found + 1), &doc(0), &[]);
    assert!(matches!(stored, Stored::Refused(_)), "{stored:?}");
    assert!(disk.run(&["mount", "-o", "remount,rw"]));
    assert_eq!(store.load(&gate), Ok((Revision(found + 1), doc(found + 1))));
}

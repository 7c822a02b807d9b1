//! Reloads that come to nothing, come again, or come at the same time.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::engine::handle::GateHandle;
use crate::evidence::ids::NodeId;
use crate::files::{pipe, release};
use crate::gate::doc::{GateDoc, Revision, Stored};
use crate::gate::lease::{Action, Lease, LeaseId, Owner, Stage, Token};
use crate::gate::question::{Change, Changed, Command, Reply};
use crate::gate::state::State;
use crate::time::Timestamp;

const DEFAULT: &str =
    "gates:\n  default:\n    mode: kafka\n    kafka: {bootstrap: \"127.0.0.1:1\"}\n";
const OTHER: &str = "gates:\n  other:\n    mode: kafka\n    kafka: {bootstrap: \"127.0.0.1:1\"}\n";

const LONG: Duration = Duration::from_secs(30);

/// A gate that logs in with the password in this file.
fn logs_in(name: &str, password: &Path) -> String {
    format!(
        "  {name}:\n    mode: kafka\n    kafka:\n      bootstrap: 127.0.0.1:1\n      \
         security.protocol: SASL_PLAINTEXT\n      sasl:\n        mechanism: PLAIN\n        \
         username: gate\n        password_file: {}\n",
        password.display()
    )
}

/// The gate of [`DEFAULT`] with another source, and one that logs in.
fn with_another(password: &Path) -> String {
    DEFAULT.replace("127.0.0.1:1", "127.0.0.1:2") + &logs_in("waits", password)
}

/// The other end of a pipe, once somebody reads it; whoever reads it again finds a file.
async fn other_end(path: &Path) -> File {
    let pipe = path.to_owned();
    let open = tokio::task::spawn_blocking(move || File::options().write(true).open(pipe));
    let opened = open.await.unwrap().unwrap();
    fs::remove_file(path).unwrap();
    fs::write(path, "secret").unwrap();
    opened
}

fn owner(name: &str) -> Owner {
    Owner::try_from(String::from(name)).unwrap()
}

/// A folder with a configuration, and the gates of what stood in it first.
struct World {
    folder: TempDir,
    app: Arc<App>,
}

fn source(file: PathBuf) -> Sources {
    Sources {
        file: Some(file),
        ..Sources::default()
    }
}

impl World {
    fn new(text: impl FnOnce(&Path) -> String, store: MemoryStore) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gate.yaml");
        fs::write(&file, text(folder.path())).unwrap();
        let loaded = source(file).load().unwrap();
        let common = Common {
            clock: Arc::new(SystemClock),
            dial: Arc::new(TcpDial),
            store: Writer::spawn(Box::new(store)).unwrap(),
            limits: loaded.settings.limits,
            counters: Arc::default(),
        };
        let app = App::start(common, LogHandle::of_nobody(), Arc::default(), loaded);
        Self {
            folder,
            app: Arc::new(app),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn reload(&self, text: &str) -> String {
        let file = self.path("gate.yaml");
        fs::write(&file, text).unwrap();
        self.app.reload(source(file)).await.unwrap()
    }

    fn handle(&self, name: &str) -> GateHandle {
        let name = GateName::try_from(String::from(name)).unwrap();
        self.app.gates.load()[&name].clone()
    }

    fn served(&self) -> Vec<String> {
        let gates = self.app.gates.load();
        gates.keys().map(ToString::to_string).collect()
    }
}

/// What was not applied is told as long as it is not in force.
#[tokio::test]
async fn a_reload_says_again_what_needs_a_restart() {
    let token = |folder: &Path| {
        let file = folder.join("token");
        let file = file.display();
        format!("auth: {{tokens: {{ci: {{file: {file}, rights: admin}}}}}}\n{DEFAULT}")
    };
    let world = World::new(token, MemoryStore::default());
    for _ in 0..3 {
        let said = world.reload(DEFAULT).await;
        assert!(
            said.contains("needs restart: auth.tokens.ci.file"),
            "{said}"
        );
    }
    let as_at_the_start = token(world.folder.path());
    let said = world.reload(&as_at_the_start).await;
    assert!(!said.contains("needs restart"), "{said}");
}

/// The file that was read last is the one that counts.
#[tokio::test]
async fn of_two_reloads_the_later_one_wins() {
    let world = World::new(|_| String::from(DEFAULT), MemoryStore::default());
    let slow = world.path("slow.yaml");
    pipe(&slow);
    let app = Arc::clone(&world.app);
    let from = source(slow.clone());
    let first = tokio::spawn(async move { app.reload(from).await });
    while world.app.reloading.try_lock().is_ok() {
        tokio::task::yield_now().await;
    }
    let mut second = Box::pin(world.reload(OTHER));
    let early = timeout(Duration::from_millis(100), &mut second).await;
    assert!(
        early.is_err(),
        "the second one waits for the first: {early:?}"
    );
    // Whoever feeds the watchdog does not wait.
    assert_eq!(world.app.pulses().await.len(), 1);
    release(&slow, DEFAULT).await;
    first.await.unwrap().unwrap();
    second.await;
    assert_eq!(world.served(), ["other"]);
}

/// One engine at a time: what the one before is told while another gate's files are read is known to the
/// one that follows, and nobody hears the one before again.
#[tokio::test]
async fn what_is_held_while_files_are_read_is_held_after_the_reload() {
    let world = World::new(|_| String::from(DEFAULT), MemoryStore::default());
    let (file, password) = (world.path("gate.yaml"), world.path("password"));
    pipe(&password);
    fs::write(&file, with_another(&password)).unwrap();
    let before = world.handle("default");
    let app = Arc::clone(&world.app);
    let reload = tokio::spawn(async move { app.reload(source(file)).await });
    let mut writes = other_end(&password).await;

    let hold = Change::Hold {
        node: None,
        author: owner("ann"),
        reason: String::from("disk being changed"),
        ttl: None,
    };
    let held = before.ask(Command::Change(hold), LONG).await;
    assert!(
        matches!(held, Ok(Reply::Changed(Changed::Hold(Some(_))))),
        "{held:?}"
    );
    writes.write_all(b"secret").unwrap();
    drop(writes);
    let said = reload.await.unwrap().unwrap();
    assert!(said.contains("2 gates started, 1 ended"), "{said}");

    let lift = Change::Lift {
        node: None,
        by: owner("ben"),
    };
    let gate = world.handle("default");
    let lifted = gate.ask(Command::Change(lift), LONG);
    assert_eq!(lifted.await, Ok(Reply::Changed(Changed::Hold(None))));
    let last = before.published().load();
    let last = last.at(SystemClock.now().mono);
    assert_eq!(last.state(), State::Unknown);
    let reasons = last.reasons();
    assert!(reasons[0].observed.contains("has ended"), "{reasons:?}");
    world.app.end().await;
}

/// Nothing is started or ended for a configuration that is refused.
#[tokio::test]
async fn a_reload_that_is_refused_leaves_every_gate_as_it_is() {
    let world = World::new(|_| String::from(DEFAULT), MemoryStore::default());
    let file = world.path("gate.yaml");
    fs::write(&file, with_another(&world.path("nowhere"))).unwrap();
    let before = world.handle("default");
    let refused = world.app.reload(source(file)).await.unwrap_err();
    assert!(refused.contains("failed to start gate waits"), "{refused}");
    let after = world.handle("default");
    assert!(Arc::ptr_eq(before.published(), after.published()));
    assert_eq!(world.served(), ["default"]);
    world.app.end().await;
}

/// A read that hangs is waited for by whoever wants the same files, and by nobody else.
#[tokio::test]
async fn a_secret_that_hangs_costs_one_thread_for_all_reloads() {
    let world = World::new(|_| String::from(DEFAULT), MemoryStore::default());
    let (file, password) = (world.path("gate.yaml"), world.path("password"));
    let wanted = |password: &Path| {
        fs::write(password, "secret").unwrap();
        fs::write(&file, format!("gates:\n{}", logs_in("waits", password))).unwrap();
        source(file.clone()).load().unwrap().settings.gates
    };
    let gates = wanted(&password);
    let (name, settings) = gates.iter().next().unwrap();
    let mut reads = Reads::default();
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let hangs = reads.of(name, settings);
    let hung = hangs.read(Duration::from_millis(50), move || told.recv());
    assert!(hung.await.is_err());

    for _ in 0..2 {
        let again = world.app.prepare_others(&mut reads, &gates);
        let again = timeout(Duration::from_millis(100), again).await;
        assert!(again.is_err(), "it waits for its turn: {again:?}");
    }
    let others = wanted(&world.path("another"));
    let read = world.app.prepare_others(&mut reads, &others).await;
    assert_eq!(read.unwrap().len(), 1);
    drop(go_on);
    let read = world.app.prepare_others(&mut reads, &gates).await;
    assert_eq!(read.unwrap().len(), 1);
    world.app.end().await;
}

/// A gate that was to go and stays is there, whatever has become of its files meanwhile.
#[tokio::test]
async fn gates_that_stay_after_all_are_all_there() {
    let gates = |folder: &Path| {
        let mut text = String::from("gates:\n");
        for name in ["a", "b"] {
            fs::write(folder.join(name), "secret").unwrap();
            text += &logs_in(name, &folder.join(name));
        }
        text
    };
    let names = ["a", "b"].map(|name| GateName::try_from(String::from(name)).unwrap());
    let mut store = MemoryStore::default();
    let doc = with_a_lease(SystemClock.now().wall.plus(Duration::from_hours(1)));
    let stored = store.commit(&names[1], Revision(0), &doc, &[]);
    assert_eq!(stored, Stored::Written(Revision(1)));
    let world = World::new(gates, store);
    fs::remove_file(world.path("a")).unwrap();

    let mut running = world.app.running.lock().await;
    let refused = world.app.remove(&mut running, &names).await.unwrap_err();
    assert!(
        refused.to_string().contains("b: it holds lease 1"),
        "{refused}"
    );
    assert_eq!(running.keys().cloned().collect::<Vec<_>>(), names);
    drop(running);
    world.app.end().await;
}

/// A gate of another name would open after one window.
#[tokio::test]
async fn a_gate_that_is_held_is_neither_removed_nor_renamed() {
    let world = World::new(|_| String::from(DEFAULT), MemoryStore::default());
    let gate = world.handle("default");
    let hold = Change::Hold {
        node: None,
        author: owner("ann"),
        reason: String::from("disk being changed"),
        ttl: None,
    };
    let held = gate.ask(Command::Change(hold), LONG).await;
    assert!(matches!(held, Ok(Reply::Changed(Changed::Hold(Some(_))))));
    let file = world.path("gate.yaml");
    fs::write(&file, OTHER).unwrap();
    let refused = world.app.reload(source(file)).await.unwrap_err();
    let why = "failed to remove gate default: ann holds it (disk being changed)";
    assert!(refused.contains(why), "{refused}");
    assert_eq!(world.served(), ["default"]);

    let by = owner("ben");
    let lifted = gate.ask(Command::Change(Change::Lift { node: None, by }), LONG);
    assert_eq!(lifted.await, Ok(Reply::Changed(Changed::Hold(None))));
    world.reload(OTHER).await;
    assert_eq!(world.served(), ["other"]);
    world.app.end().await;
}

fn with_a_lease(expires_at: Timestamp) -> GateDoc {
    let lease = Lease {
        id: LeaseId(1),
        token: Token(1),
        owner: Some(owner("roll-47")),
        nodes: [NodeId(1)].into(),
        action: Action::Restart,
        stage: Stage::Held,
        granted_at: Timestamp::default(),
        stage_since: Timestamp::default(),
        expires_at,
        starts: BTreeMap::new(),
        gone: [].into(),
        retired: [].into(),
        took_over: false,
    };
    let mut doc = GateDoc::default();
    doc.leases.insert(lease.id, lease);
    doc
}

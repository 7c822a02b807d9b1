//! What an operating system gets: the unit, the package, completions, and the words with systemd.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::started::Started;

const PROGRAM: &str = env!("CARGO_BIN_EXE_upgrade-gate");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[test]
fn the_unit_gives_away_little() {
    let unit = root().join("packaging/upgrade-gate.service");
    let mut analyze = Command::new("systemd-analyze");
    let told = run(analyze
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit));
    let level = told
        .split("Overall exposure level for upgrade-gate.service: ")
        .nth(1);
    let level = level
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap();
    assert!(level.parse::<f64>().unwrap() <= 2.0, "{told}");
}

#[test]
fn the_package_installs_runs_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut build = Command::new(root().join("packaging/build-deb"));
    build.env("DEB_COMPRESSION", "none");
    let package = run(build.arg(PROGRAM).arg(folder.path()));
    let package = package.trim();

    // A root of its own, so that nothing of this machine changes.
    let system = folder.path().join("root");
    let admin = system.join("var/lib/dpkg");
    for folder in ["updates", "info", "triggers"] {
        fs::create_dir_all(admin.join(folder)).unwrap();
    }
    fs::write(admin.join("status"), "").unwrap();
    let dpkg = |args: &[&str]| {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", system.display()));
        dpkg.args([
            "--force-script-chrootless",
            "--force-depends",
            "--force-not-root",
        ]);
        run(dpkg.args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    };
    dpkg(&["--install", package]);
    let program = system.join("usr/bin/upgrade-gate");
    let version = run(Command::new(&program).arg("--version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let config = system.join("etc/upgrade-gate/upgrade-gate.yaml");
    run(Command::new(&program)
        .args(["config", "check"])
        .arg(&config));
    depends_on_its_libc(package, &program);
    needs_nothing_but_the_libc(&program);
    serves_as_the_unit_says(&system);
    for file in [
        "lib/systemd/system/upgrade-gate.service",
        "usr/share/doc/upgrade-gate/copyright",
        "usr/share/doc/upgrade-gate/jmx-exporter.yml",
        "usr/share/doc/upgrade-gate/docs/runbook.md",
        "usr/share/bash-completion/completions/upgrade-gate",
        "usr/share/zsh/vendor-completions/_upgrade-gate",
        "usr/share/fish/vendor_completions.d/upgrade-gate.fish",
    ] {
        assert!(system.join(file).exists(), "{file}");
    }
    let data = system.join("var/lib/private/upgrade-gate");
    fs::create_dir_all(&data).unwrap();

    dpkg(&["--remove", "upgrade-gate"]);
    assert!(!program.exists());
    assert!(config.exists(), "what was edited stays");
    assert!(data.exists(), "leases and history stay");
    dpkg(&["--purge", "upgrade-gate"]);
    assert!(!config.exists() && !data.exists());
}

/// Nothing to install beside the program (docs/operations.md): of shared libraries it needs the C
/// library's own parts and the compiler's.
fn needs_nothing_but_the_libc(program: &Path) {
    let told = run(Command::new("readelf").arg("--dynamic").arg(program));
    let needed = told.lines().filter(|line| line.contains("(NEEDED)"));
    let names = needed.filter_map(|line| line.split(['[', ']']).nth(1));
    let names: Vec<_> = names.collect();
    assert!(names.contains(&"libc.so.6"), "{told}");
    for name in names {
        let known = ["libc.so.6", "libm.so.6", "libgcc_s.so.1"].contains(&name);
        assert!(known || name.starts_with("ld-linux"), "{name}");
    }
}

/// The package asks for the libc whose newest symbols the program uses.
fn depends_on_its_libc(package: &str, program: &Path) {
    let depends = run(Command::new("dpkg-deb").args(["--field", package, "Depends"]));
    let libc = depends.trim().strip_prefix("libc6 (>= ");
    let libc = libc.and_then(|rest| rest.split_once(')')).unwrap().0;
    let bytes = fs::read(program).unwrap();
    let mark = b"GLIBC_";
    let newest = memchr::memmem::find_iter(&bytes, mark).filter_map(|at| {
        let rest = &bytes[at + mark.len()..];
        let text = rest.split(|b| !b.is_ascii_digit() && *b != b'.').next()?;
        version(std::str::from_utf8(text).ok()?)
    });
    assert_eq!(version(libc), newest.max(), "{depends}");
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The installed unit's own command serves the installed configuration, and ends.
fn serves_as_the_unit_says(system: &Path) {
    let unit = system.join("lib/systemd/system/upgrade-gate.service");
    let unit = fs::read_to_string(unit).unwrap();
    let says = |key: &str| {
        let mut lines = unit.lines().filter_map(|line| line.strip_prefix(key));
        let said = lines.next().unwrap_or_else(|| panic!("no {key}"));
        assert!(lines.next().is_none(), "{key} is there twice");
        said
    };
    assert_eq!(says("Type="), "notify");
    assert_eq!(says("ExecReload="), "/bin/kill -HUP $MAINPID");
    // What StateDirectory= makes.
    fs::create_dir_all(system.join("var/lib").join(says("StateDirectory="))).unwrap();
    let words = says("ExecStart=").split_whitespace();
    let mut words = words.map(|word| match word.strip_prefix('/') {
        Some(path) => system.join(path).into_os_string(),
        None => word.into(),
    });
    let mut command = Command::new(words.next().unwrap());
    // This machine's own gate may have the packaged port.
    command
        .args(words)
        .env_clear()
        .env("UPGRADE_GATE_LISTEN", "127.0.0.1:0");
    let mut served = Served::of(command);
    served.wait_for("READY=1");
    served.wait_for("WATCHDOG=1");
    assert!(system.join("var/lib/upgrade-gate/upgrade-gate.db").exists());
    served.signal("HUP");
    while !served.next_line().contains("reloaded") {}
    served.signal("TERM");
    served.wait_for("STOPPING=1");
    assert!(served.gate.wait().unwrap().success());
}

#[test]
fn shells_learn_every_command() {
    let help = run(Command::new(PROGRAM).arg("--help"));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let names: Vec<_> = commands
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.contains(&"doctor"));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(Command::new(PROGRAM).args(["completions", shell]));
        for name in &names {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
}

/// A gate, its log and its service manager.
struct Served {
    gate: Child,
    log: BufReader<ChildStderr>,
    manager: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Served {
    /// Without a cluster.
    fn start(log: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut gate = Command::new(PROGRAM);
        gate.arg("serve")
            .arg(folder.path().join("gate.yaml"))
            .env_clear();
        write(folder.path(), log);
        Self::managed(gate, folder)
    }

    fn of(gate: Command) -> Self {
        Self::managed(gate, tempfile::tempdir().unwrap())
    }

    fn managed(mut gate: Command, folder: tempfile::TempDir) -> Self {
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        gate.env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "600000");
        gate.stderr(Stdio::piped()).stdin(Stdio::null());
        let mut gate = gate.spawn().unwrap();
        let log = BufReader::new(gate.stderr.take().unwrap());
        Self {
            gate,
            log,
            manager,
            folder,
        }
    }

    fn told(&self) -> String {
        let mut word = [0; 256];
        let length = self.manager.recv(&mut word).expect("a word in time");
        String::from_utf8_lossy(&word[..length]).trim().to_owned()
    }

    fn wait_for(&self, word: &str) {
        // A manager that is told nothing fails by its own timeout.
        let other = (0..100).find(|_| self.told() == word);
        assert!(other.is_some(), "no {word}");
    }

    fn signal(&self, name: &str) {
        run(Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.gate.id().to_string()));
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        assert!(
            self.log.read_line(&mut line).unwrap() > 0,
            "the log has ended"
        );
        line
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.gate.kill();
        let _ = self.gate.wait();
    }
}

/// Nobody listens at the bootstrap address.
fn write(folder: &Path, log: &str) {
    let text = format!(
        "listen: 127.0.0.1:0\nlog: {{format: json, filter: {log}}}\ngates:\n  default:\n    \
         mode: kafka\n    kafka: {{bootstrap: \"127.0.0.1:1\"}}\n"
    );
    fs::write(folder.join("gate.yaml"), text).unwrap();
}

#[test]
fn the_service_manager_is_told_and_the_watchdog_is_fed() {
    let mut served = Served::start("warn");
    served.wait_for("READY=1");
    for _ in 0..3 {
        served.wait_for("WATCHDOG=1");
    }
    served.signal("TERM");
    served.wait_for("STOPPING=1");
    assert!(served.gate.wait().unwrap().success());
}

#[test]
fn log_lines_are_json_with_stable_fields_and_the_level_changes_on_reload() {
    let mut served = Served::start("error");
    served.wait_for("READY=1");
    write(served.folder.path(), "info");
    served.signal("HUP");
    // At level error nothing is said before the reload, which says so itself.
    loop {
        let line = served.next_line();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(said[field].is_string(), "{field}: {line}");
        }
        assert!(
            said["target"].as_str().unwrap().starts_with("upgrade_gate"),
            "{line}"
        );
        if said["message"].as_str().unwrap().starts_with("reloaded") {
            assert_eq!(said["level"], "INFO");
            break;
        }
    }
}

/// An exporter with the page of a broker that runs, and is the active controller; its port.
fn exporter() -> u16 {
    let page =
        root().join("tests/fixtures/jmx/recorded/default-3.9.2-zkbroker-active-running-1.prom");
    let page = fs::read_to_string(page).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever asks may be gone already.
            let Ok(1..) = stream.read(&mut [0; 4096]) else {
                continue;
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    port
}

/// What an event names stands beside `message` under the names that docs/operations.md promises.
#[test]
fn what_events_name_are_fields_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\ngates:\n  default:\n    mode: kafka\n    \
         kafka: {{bootstrap: \"127.0.0.1:1\"}}\n  pages:\n    mode: jmx\n    nodes: {{1: broker}}\n    \
         jmx: {{targets: {{1: \"127.0.0.1:{}\"}}}}\n",
        exporter()
    );
    fs::write(&file, text).unwrap();
    let gate = Started::serve(&[file.to_str().unwrap()]);
    let says = |words: &'static str| {
        gate.line(move |line| {
            line["message"]
                .as_str()
                .is_some_and(|it| it.contains(words))
        })
    };
    let lost = says("failed to find the cluster here");
    assert_eq!(lost["address"], "127.0.0.1:1");
    // Which of several gates it is about, in what its collectors say, too.
    assert_eq!(lost["gate"], "default");
    assert!(
        lost["failure"].as_str().unwrap().contains("refused"),
        "{lost}"
    );
    let found = says("metrics found");
    assert_eq!(found["node"], "1");
    assert_eq!(found["gate"], "pages");
    // A hold closes whatever else is known.
    let url = format!("http://{}", gate.address());
    run(Command::new(PROGRAM)
        .env_clear()
        .args(["hold", "--url", &url, "test"]));
    let changed = gate.line(|line| line["state"] == "closed" && line["gate"] == "default");
    assert_eq!(changed["message"], "the verdict changed");
    let reasons = match &changed["reasons"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    assert!(reasons.contains("hold"), "{changed}");
}

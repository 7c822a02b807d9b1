//! What an operating system gets: the unit, the package, completions, and the words with systemd.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

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
    for file in [
        "lib/systemd/system/upgrade-gate.service",
        "usr/share/doc/upgrade-gate/copyright",
        "usr/share/doc/upgrade-gate/jmx-exporter.yml",
        "usr/share/doc/upgrade-gate/docs/runbook.md",
        "usr/share/bash-completion/completions/upgrade-gate",
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

/// The rules of `config/jmx-exporter.yml` let through everything that the gate looks for.
#[test]
fn the_small_rules_have_every_bean_that_is_read() {
    let rules = fs::read_to_string(root().join("config/jmx-exporter.yml")).unwrap();
    let listed: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .collect();
    for bean in [
        "kafka.controller:type=KafkaController,*",
        "kafka.controller:type=ControllerStats,*",
        "kafka.server:type=ReplicaManager,*",
        "kafka.server:type=ReplicaFetcherManager,*",
        "kafka.server:type=KafkaServer,*",
        "kafka.server:type=MetadataLoader,*",
        "kafka.server:type=raft-metrics",
        "kafka.server:type=broker-metadata-metrics",
        "kafka.log:type=LogManager,*",
    ] {
        assert!(listed.contains(bean), "{bean}");
    }
}

/// A gate without a cluster, its log and its service manager.
struct Served {
    gate: Child,
    log: BufReader<ChildStderr>,
    manager: UnixDatagram,
    config: PathBuf,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(log: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let config = folder.path().join("gate.yaml");
        write(&config, log);
        let mut gate = Command::new(PROGRAM);
        gate.arg("serve").arg(&config).env_clear();
        gate.env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "600000");
        gate.stderr(Stdio::piped()).stdin(Stdio::null());
        let mut gate = gate.spawn().unwrap();
        let log = BufReader::new(gate.stderr.take().unwrap());
        Self {
            gate,
            log,
            manager,
            config,
            _folder: folder,
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
        self.log.read_line(&mut line).unwrap();
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
fn write(config: &Path, log: &str) {
    let text = format!(
        "listen: 127.0.0.1:0\nlog: {{format: json, filter: {log}}}\ngates:\n  default:\n    \
         mode: kafka\n    kafka: {{bootstrap: \"127.0.0.1:1\"}}\n"
    );
    fs::write(config, text).unwrap();
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
    write(&served.config, "info");
    served.signal("HUP");
    // At level error nothing is said before the reload, which says so itself.
    loop {
        let line = served.next_line();
        let said: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
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

//! The configuration: the committed files, and what is said about bad ones.

use std::fs;
use std::path::{Path, PathBuf};

use upgrade_gate::config::settings::{Controllers, Settings};
use upgrade_gate::config::{Flag, Sources, reference, schema};
use upgrade_gate::evidence::ids::{NodeId, Role};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn file(path: &str) -> Sources {
    Sources {
        file: Some(PathBuf::from(path)),
        ..Sources::default()
    }
}

fn load(path: &str) -> Settings {
    file(path)
        .load()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .settings
}

/// Text of a golden file; written anew where `UPDATE_GOLDEN` is set.
pub(crate) fn golden(path: &Path, now: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, now).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(kept, now, "{} (UPDATE_GOLDEN=1 writes it)", path.display());
}

#[test]
fn the_reference_is_what_the_table_says() {
    golden(
        &root().join("config/reference.yaml"),
        &reference::reference(),
    );
}

#[test]
fn the_committed_files_load() {
    let example = load("config/example.yaml");
    let gate = example.gates.values().next().unwrap();
    assert_eq!(gate.policy.expected.len(), 6);
    assert_eq!(gate.policy.jmx_nodes, None);
    let jmx = gate.jmx.as_ref().unwrap();
    assert_eq!(jmx.template.as_deref(), Some("http://{host}:7071/metrics"));
    let kafka = gate.kafka.as_ref().unwrap();
    assert_eq!(kafka.controllers, Controllers::Discover);
    let reference = load("config/reference.yaml");
    assert_eq!(reference.gates.len(), 1);
    assert_eq!(reference.limits, example.limits);
}

/// Every file under `bad-config/` is wrong in one way; the message stands beside it.
#[test]
fn bad_files_are_told_what_is_wrong() {
    let folder = "tests/fast/bad-config";
    let mut files: Vec<_> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end != "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    for name in files {
        let error = file(&format!("{folder}/{name}")).load().expect_err(&name);
        let text = format!("{error}\n");
        golden(&root().join(folder).join(format!("{name}.txt")), &text);
    }
}

#[test]
fn the_schema_agrees_with_the_walk() {
    let validator = jsonschema::validator_for(&schema::schema()).unwrap();
    let read = |path: &str| -> serde_json::Value {
        yaml_serde::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
    };
    for good in ["config/example.yaml", "config/reference.yaml"] {
        let errors: Vec<_> = validator
            .iter_errors(&read(good))
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{good}: {errors:?}");
    }
    for bad in [
        "unknown-key.yaml",
        "no-unit.yaml",
        "bad-word.yaml",
        "wrong-type.yaml",
    ] {
        let value = read(&format!("tests/fast/bad-config/{bad}"));
        assert!(!validator.is_valid(&value), "{bad}");
    }
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, text): &(&str, &str)| (String::from(*name), String::from(*text));
    pairs.iter().map(own).collect()
}

fn flag(name: &str, path: &[&str], text: &str) -> Flag {
    Flag {
        name: String::from(name),
        path: path.iter().copied().map(String::from).collect(),
        text: String::from(text),
    }
}

#[test]
fn flags_win_over_environment_over_file_and_each_is_named() {
    let mut sources = file("config/example.yaml");
    sources.env = env(&[
        ("UPGRADE_GATE_LOG__FILTER", "debug"),
        ("UPGRADE_GATE_LIMITS__DRAIN", "1m30s"),
        ("UPGRADE_GATE_GATES__DEFAULT__KAFKA__BOOTSTRAP", "a:1,b:2"),
        ("UPGRADE_GATE_GATES__DEFAULT__KAFKA__CLIENT_ID", "123456"),
        ("UPGRADE_GATE_PORT", "tcp://10.0.0.1:10190"),
        ("UPGRADE_GATE_SERVICE_HOST", "10.0.0.1"),
        ("UPGRADE_GATE_PORT_10190_TCP_ADDR", "10.0.0.1"),
        ("OTHER", "x"),
    ]);
    sources.flags = vec![flag("--log-filter", &["log", "filter"], "warn")];
    let loaded = sources.load().unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.log.filter, "warn");
    assert_eq!(settings.limits.drain.as_secs(), 90);
    let kafka = settings
        .gates
        .values()
        .next()
        .unwrap()
        .kafka
        .clone()
        .unwrap();
    assert_eq!(kafka.bootstrap.len(), 2);
    assert_eq!(kafka.client_id, "123456");
    let origin = |path: &str| {
        let found = loaded.effective.iter().find(|(known, ..)| known == path);
        found.unwrap().2.to_string()
    };
    assert_eq!(origin("log.filter"), "--log-filter");
    assert_eq!(origin("limits.drain"), "UPGRADE_GATE_LIMITS__DRAIN");
    assert_eq!(origin("gates.default.jmx.template"), "config/example.yaml");
    assert_eq!(origin("log.format"), "default");
}

#[test]
fn names_with_dots_and_capitals_are_reached_from_the_environment() {
    let flags = vec![
        flag(
            "--bootstrap",
            &["gates", "Prod-eu.1", "kafka", "bootstrap"],
            "a:1",
        ),
        flag(
            "--jmx",
            &["gates", "Prod-eu.1", "jmx", "template"],
            "{host}:1",
        ),
    ];
    let mut sources = Sources {
        flags,
        ..Sources::default()
    };
    sources.env = env(&[
        ("UPGRADE_GATE_GATES__PROD_EU_1__POLICY__WINDOW", "20s"),
        (
            "UPGRADE_GATE_GATES__PROD_EU_1__KAFKA__SECURITY__PROTOCOL",
            "PLAINTEXT",
        ),
        (
            "UPGRADE_GATE_GATES__PROD_EU_1__JMX__METRICS__METADATA_LOAD_ERROR_COUNT",
            "x",
        ),
    ]);
    let settings = sources.load().unwrap().settings;
    let (name, gate) = settings.gates.iter().next().unwrap();
    assert_eq!((settings.gates.len(), name.as_str()), (1, "Prod-eu.1"));
    assert_eq!(gate.policy.window.unwrap().as_secs(), 20);
    assert_eq!(gate.jmx.as_ref().unwrap().metrics.len(), 1);
}

#[test]
fn values_of_the_environment_are_never_repeated() {
    let mut sources = file("config/example.yaml");
    sources.env = env(&[
        ("UPGRADE_GATE_LIMITS__DRAIN", "canary-1"),
        ("UPGRADE_GATE_GATES__DEFAULT__MODE", "canary-2"),
        (
            "UPGRADE_GATE_GATES__DEFAULT__KAFKA__SASL__PASSWORD",
            "canary-3",
        ),
        ("UPGRADE_GATE_LITSEN", "canary-4"),
        (
            "UPGRADE_GATE_GATES__DEFAULT__JMX__TARGETS__1",
            "http://canary-5:x@h",
        ),
        (
            "UPGRADE_GATE_GATES__DEFAULT__KAFKA__SECURITY__PROTOCOL",
            "canary-6",
        ),
        ("UPGRADE_GATE_LOG__FILTER", "canary=7=8"),
    ]);
    let text = sources.load().expect_err("seven problems").to_string();
    assert!(!text.contains("canary"), "{text}");
    assert!(text.starts_with("7 problems"), "{text}");
    for (name, _) in &sources.env {
        assert!(text.contains(name.as_str()), "{name} in {text}");
    }
    assert!(text.contains("did you mean UPGRADE_GATE_LISTEN?"), "{text}");
}

#[test]
fn controllers_that_are_named_are_expected() {
    let mut sources = file("config/example.yaml");
    let path = ["gates", "default", "kafka", "controllers", "104"];
    sources.flags = vec![flag("--x", &path, "c:9093")];
    let settings = sources.load().unwrap().settings;
    let gate = settings.gates.values().next().unwrap();
    let role = gate.policy.expected.get(&NodeId(104)).copied();
    assert_eq!(role, Some(Role::CONTROLLER));
    let Controllers::At(at) = &gate.kafka.as_ref().unwrap().controllers else {
        panic!("controllers were given");
    };
    assert_eq!(at.len(), 1);
}

#[test]
fn toml_means_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.toml");
    let text = "[gates.default]\nkafka.bootstrap = ['a:1']\nkafka.security.protocol = 'PLAINTEXT'\n\
                jmx.template = '{host}:1'\n[gates.default.nodes]\n1 = 'broker'\n";
    fs::write(&path, text).unwrap();
    let settings = load(path.to_str().unwrap());
    assert_eq!(
        settings
            .gates
            .values()
            .next()
            .unwrap()
            .policy
            .expected
            .len(),
        1
    );
}

/// Found by fuzzing: texts that look like numbers were shown without quotes, and characters that
/// YAML refuses as they are.
#[test]
fn what_is_shown_can_be_read_back() {
    let mut sources = file("config/example.yaml");
    let gate = "UPGRADE_GATE_GATES__DEFAULT__KAFKA";
    sources.env = env(&[
        (&format!("{gate}__CLIENT_ID"), "123456"),
        (
            "UPGRADE_GATE_GATES__DEFAULT__POLICY__GROUPS",
            "1e3,true,~,\u{2028}a\u{feff}\"\\b",
        ),
        ("UPGRADE_GATE_DATA_DIR", "007"),
    ]);
    let shown = sources.load().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shown.yaml");
    fs::write(&path, shown.effective.to_yaml()).unwrap();
    assert_eq!(load(path.to_str().unwrap()), shown.settings);
}

#[test]
fn what_needs_a_restart_is_named() {
    let old = file("config/example.yaml").load().unwrap().effective;
    let mut sources = file("config/example.yaml");
    sources.flags = vec![
        flag("--listen", &["listen"], ":1"),
        flag("--data-dir", &["data_dir"], "/x"),
        flag("--window", &["gates", "default", "policy", "window"], "1m"),
    ];
    let new = sources.load().unwrap().effective;
    assert_eq!(old.needs_restart(&new), ["data_dir", "listen"]);
    assert!(new.needs_restart(&new).is_empty());
}

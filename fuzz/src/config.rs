//! The configuration: a file and the environment, to settings or to problems.
//!
//! Parts are separated by zero bytes: one byte of choices, the file's text, then names and values
//! of variables in turn. Every variable's name gets the prefix that ours have.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use upgrade_gate::config::problem::{ConfigError, Origin};
use upgrade_gate::config::{Loaded, Sources};

/// Variables of one input: what more of them do, these do, too.
const VARIABLES: usize = 8;

/// Put behind values of the environment, to see that no message repeats them.
const CANARY: &str = "q7Zx9kW3";

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Loads one configuration.
///
/// # Panics
/// When something does not hold.
pub fn run(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder"));
        let toml = choice & 1 != 0;
        let file = folder
            .path()
            .join(if toml { "gate.toml" } else { "gate.yaml" });
        let mut parts = rest.split(|byte| *byte == 0);
        write(&file, parts.next().unwrap_or_default());
        let sources = Sources {
            file: Some(file),
            env: variables(parts, choice & 2 != 0),
            flags: Vec::new(),
        };
        let load = || sources.load();
        match super::bounded(4 << 20, 16 << 10, input.len(), load) {
            Ok(loaded) => read_back(&loaded, folder.path().join("shown.yaml")),
            Err(error) => explained(&error, &sources),
        }
    });
}

/// Anew, not over the file before: ext4 brings a file that is written over to the disk at once.
fn write(file: &Path, text: &[u8]) {
    let _ = fs::remove_file(file);
    fs::write(file, text).expect("a file");
}

fn variables<'i>(parts: impl Iterator<Item = &'i [u8]>, canary: bool) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut parts = parts.map(|part| String::from_utf8_lossy(part).into_owned());
    while variables.len() < VARIABLES
        && let (Some(name), Some(mut value)) = (parts.next(), parts.next())
    {
        if canary {
            value.push_str(CANARY);
        }
        variables.push((format!("UPGRADE_GATE_{name}"), value));
    }
    variables
}

/// What `config show` prints means the same when it is read again.
fn read_back(loaded: &Loaded, file: PathBuf) {
    let shown = loaded.effective.to_yaml();
    write(&file, shown.as_bytes());
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    match sources.load() {
        Ok(again) => assert_eq!(again.settings, loaded.settings, "{shown}"),
        Err(error) => panic!("{error}\n{shown}"),
    }
}

/// Every problem says where it is, in one line, and repeats nothing of the environment.
fn explained(error: &ConfigError, sources: &Sources) {
    assert!(!error.0.is_empty());
    for problem in &error.0 {
        assert!(!problem.what.is_empty());
        let place = match &problem.origin {
            Some(Origin::File(file)) => sources.file.as_ref() == Some(file),
            Some(Origin::Env(name)) => sources.env.iter().any(|(known, _)| known == name),
            Some(Origin::Flag(_)) => false,
            Some(Origin::Default) | None => !problem.path.is_empty(),
        };
        assert!(place, "a problem without a place: {problem:?}");
        let line = problem.to_string();
        assert!(!line.contains(CANARY), "a value of the environment: {line}");
        assert!(!problem.what.contains(['\n', '\r']), "{line:?}");
    }
}

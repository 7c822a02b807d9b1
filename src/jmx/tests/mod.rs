//! The whole way from a page to facts, on fixtures: recorded from the real exporter by the lab
//! and cut by `scripts/cut-pages`, or written by hand from the reference's name tables where no
//! agent here can produce them.

mod oracle;
mod recorded;
mod scrape;
mod secure;
mod synthetic;

use std::fs;
use std::path::PathBuf;

use super::page::{PageError, read};
use super::recognise::Recogniser;
use super::scan::Format;
use crate::evidence::aggregate::Mode;
use crate::evidence::ids::Role;
use crate::evidence::jmx::JmxFacts;

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/jmx", name]
        .iter()
        .collect()
}

/// Name (without `.prom`) and text of every page in a folder of fixtures, in order.
fn pages(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut pages: Vec<_> = fs::read_dir(folder(name))
        .expect("fixtures")
        .map(|entry| entry.expect("fixture").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "prom"))
        .map(|path| {
            let name = path
                .file_stem()
                .expect("name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(&path).expect("page"))
        })
        .collect();
    pages.sort();
    pages
}

fn facts(page: &[u8]) -> Result<JmxFacts, PageError> {
    read(page, Format::Text, &Recogniser::default())
}

/// Role and mode as the fixture's name says them.
fn role(name: &str) -> (Role, Mode) {
    if name.contains("zk-broker") || name.contains("zkbroker") {
        (Role::BROKER, Mode::ZooKeeper)
    } else if name.contains("combined") {
        (Role::COMBINED, Mode::Kraft)
    } else if name.contains("controller") {
        (Role::CONTROLLER, Mode::Kraft)
    } else {
        (Role::BROKER, Mode::Kraft)
    }
}

//! What exporters and brokers say to a gate.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::broker::{Lie, Says};
use super::demands::{CROWD, DESCRIPTORS_OF_A_CROWD, NODES};
use super::stand::Stand;
use super::watch::Caller;
use super::{OPENS, Row, Should, descriptors_of, row};
use crate::prove::exporter::{Exporter, Page};

/// After so long a page that cannot be read any more keeps the gate shut: pages count up to 20 s.
const BY_PAGES: Duration = Duration::from_secs(21);
/// The same of a broker's answers: the allowance of the simulation, and what a question takes.
const BY_BROKER: Duration = Duration::from_secs(3);
/// How long a page is said that is to shut the gate.
const UNTIL_SHUT: Duration = Duration::from_secs(75);

/// What exporters can do, for a moment each.
///
/// # Errors
/// When something cannot be started, or the gate cannot be asked.
pub async fn pages_for(stand: &Stand, span: Duration) -> Result<Vec<Row>> {
    pages(stand, Some(span)).await
}

/// What exporters can do; where it is not for a moment, until it shuts the gate.
pub(super) async fn pages(stand: &Stand, moment: Option<Duration>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let caller = Caller::new(stand.gate.port(), None)?;
    let elsewhere = Exporter::start(Page::Endless(Bytes::from_static(b"# elsewhere\n"))).await?;
    let line = Bytes::from_static(b"some_metric{label=\"value\"} 1\n");
    let pages = [
        ("a gzip bomb as a page", Page::Gzip(bomb()?)),
        ("an endless page", Page::Endless(line.clone())),
        ("a dripping page", Page::Dripping(line)),
        (
            "a redirect to another host",
            Page::Redirect(elsewhere.url()),
        ),
    ];
    for (name, page) in pages {
        stand.gate.wait_open(OPENS).await?;
        let asked = stand.exporter.asked();
        stand.exporter.say(page);
        let shuts = (UNTIL_SHUT, Should::shut(name, BY_PAGES)?);
        let how = moment.map_or(shuts, |span| (span, Should::Answer));
        rows.push(row(name, &stand.gate, &caller, how, std::future::pending()).await?);
        ensure!(stand.exporter.asked() > asked, "{name}: nobody has read it");
        stand.heal();
    }
    ensure!(elsewhere.asked() == 0, "a redirect was followed");
    Ok(rows)
}

/// What brokers can do, each for `span`.
///
/// # Errors
/// When the gate cannot be asked.
pub async fn brokers(stand: &Stand, span: Duration) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let caller = Caller::new(stand.gate.port(), None)?;
    for (name, lie) in [
        ("a frame of 2 GB", Lie::HugeFrame),
        ("a short frame with a huge count", Lie::HugeCount),
        ("an answer to another question", Lie::OtherAnswer),
        ("a broker that never answers", Lie::Nothing),
    ] {
        stand.gate.wait_open(OPENS).await?;
        stand.let_broker_say(Says::Instead(lie));
        let shuts = (span, Should::shut(name, BY_BROKER)?);
        rows.push(row(name, &stand.gate, &caller, shuts, std::future::pending()).await?);
        stand.heal();
    }
    rows.push(crowd(stand, &caller, span).await?);
    Ok(rows)
}

/// A broker names a hundred thousand others: none of them is dialled, waited for or remembered.
async fn crowd(stand: &Stand, caller: &Caller, span: Duration) -> Result<Row> {
    stand.gate.wait_open(OPENS).await?;
    let before = descriptors_of(&stand.gate)?;
    stand.let_broker_say(Says::Instead(Lie::Crowd));
    let shuts = (span, Should::shut(CROWD, BY_BROKER)?);
    let none = std::future::pending();
    let mut row = row(CROWD, &stand.gate, caller, shuts, none).await?;
    let document = stand.gate.json("/api/v1/gates/default").await?;
    let nodes = document["nodes"].as_array().context("nodes")?.len();
    let descriptors = descriptors_of(&stand.gate)?;
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    row.ok &= number(nodes) == NODES;
    row.ok &= number(descriptors) <= number(before) + DESCRIPTORS_OF_A_CROWD;
    row.measured = BTreeMap::from([
        ("nodes_known", number(nodes)),
        ("descriptors_before", number(before)),
        ("descriptors", number(descriptors)),
    ]);
    stand.heal();
    Ok(row)
}

/// A page of 1 GiB in about 1 MB.
fn bomb() -> Result<Bytes> {
    let made = Command::new("sh")
        .args(["-c", "head -c 1073741824 /dev/zero | gzip -1"])
        .output()
        .context("make a gzip bomb with sh, head and gzip")?;
    ensure!(made.stdout.len() > 100_000, "no gzip here");
    Ok(Bytes::from(made.stdout))
}

/// An exporter drips for `span`, which is less than its page is good for: the gate stays open, and as
/// quick as ever.
///
/// # Errors
/// When the gate cannot be asked.
pub async fn dripping(stand: &Stand, span: Duration) -> Result<Row> {
    stand.gate.wait_open(OPENS).await?;
    let caller = Caller::new(stand.gate.port(), None)?;
    let line = Bytes::from_static(b"some_metric{label=\"value\"} 1\n");
    stand.exporter.say(Page::Dripping(line));
    let stays = (span, Should::StayOpen);
    let none = std::future::pending();
    let row = row(
        "a dripping page, for a moment",
        &stand.gate,
        &caller,
        stays,
        none,
    )
    .await;
    stand.heal();
    row
}

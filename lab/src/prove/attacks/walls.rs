//! Somebody sets the wall clock: while the verdict is asked for, while an exporter hangs, while a
//! lease runs. The gate's wall clock alone goes; this machine's stays as it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::time::sleep;

use super::stand::Stand;
use super::watch::{Caller, Look};
use super::{OPENS, Row, Should, row};
use crate::http;
use crate::prove::exporter::Page;

/// How far the clock goes, seconds.
const HOUR: i64 = 3600;
/// After so long a step has been noticed.
const NOTICED: Duration = Duration::from_secs(1);
/// The window of the gate: that long after a step nothing is open.
const WINDOW: Duration = Duration::from_secs(2);
/// What a lease is asked for.
const TTL: Duration = Duration::from_secs(12);
/// How often a lease is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// What a glance, an answer and a busy machine may add.
const SLACK: Duration = Duration::from_millis(750);

/// Moments, by what happened then.
type Moments = Mutex<BTreeMap<&'static str, Instant>>;

fn mark(moments: &Moments, name: &'static str) {
    let mut all = moments.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(name, Instant::now());
}

fn when(moments: &Moments, name: &'static str) -> Option<Instant> {
    let all = moments.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(name).copied()
}

fn after(from: Option<Instant>, to: Option<Instant>) -> Option<f64> {
    let seconds = (to? - from?).as_secs_f64();
    Some((seconds * 1000.0).round() / 1000.0)
}

/// Every row about the wall clock.
///
/// # Errors
/// When the gate cannot be asked.
pub(super) async fn all(stand: &Stand, rows: &mut Vec<Row>) -> Result<()> {
    for seconds in [HOUR, -HOUR] {
        rows.push(there_and_back(stand, seconds, Duration::from_secs(15)).await?);
    }
    rows.push(with_a_hanging_exporter(stand).await?);
    for seconds in [HOUR, -HOUR] {
        rows.push(under_a_lease(stand, seconds).await?);
    }
    Ok(())
}

fn hours(seconds: i64) -> String {
    format!("{:+} h", seconds / HOUR)
}

/// The clock steps, and after `rest` steps back. Each time the gate shuts, says why, and opens once
/// it has been through a window on new evidence.
///
/// # Errors
/// When the gate cannot be asked.
pub async fn there_and_back(stand: &Stand, seconds: i64, rest: Duration) -> Result<Row> {
    stand.gate.wait_open(OPENS).await?;
    let caller = Caller::new(stand.gate.port(), None)?;
    let moments = Moments::default();
    let steps = async {
        sleep(Duration::from_secs(1)).await;
        for (name, ahead) in [("step", seconds), ("back", 0)] {
            mark(&moments, name);
            stand.set_wall_ahead(ahead)?;
            sleep(rest).await;
        }
        std::future::pending().await
    };
    let name = format!("the wall clock steps by {} and back", hours(seconds));
    let span = (Duration::from_secs(1) + 2 * rest, Should::Answer);
    let mut row = row(&name, &stand.gate, &caller, span, steps).await?;
    let begins = row.seen.looks.first().map(|look| look.asked);
    let (step, back) = (when(&moments, "step"), when(&moments, "back"));
    let looks = |from: Option<Instant>, to: Option<Instant>| {
        let within = move |look: &&Look| {
            from.is_some_and(|from| look.asked >= from) && to.is_none_or(|to| look.seen < to)
        };
        row.seen.looks.iter().filter(within)
    };
    let open_before = looks(begins, step).all(|look| look.is_open);
    let mut measured = BTreeMap::new();
    let mut good = open_before;
    for (names, from, to) in [
        (["noticed_s", "open_again_s"], step, back),
        (["back_noticed_s", "back_open_again_s"], back, None),
    ] {
        let mut seen = looks(from, to).skip_while(|look| look.is_open);
        let first = seen.next();
        let opens = seen.find(|look| look.is_open);
        let [noticed, again] = [first, opens].map(|look| after(from, look.map(|look| look.seen)));
        let settled = seen.all(|look| look.is_open);
        // Why it shuts (`clock_jumped`) is said until all evidence is there anew, which may be less
        // than the time between two looks.
        good &= settled && noticed.is_some_and(|it| it < NOTICED.as_secs_f64());
        good &= again > Some(WINDOW.as_secs_f64());
        for (name, value) in names.into_iter().zip([noticed, again]) {
            measured.extend(value.map(|value| (name, value)));
        }
    }
    row.measured = measured;
    row.ok &= good;
    Ok(row)
}

/// A page that was read before the step would still count for ten seconds and more: it does not.
async fn with_a_hanging_exporter(stand: &Stand) -> Result<Row> {
    stand.gate.wait_open(OPENS).await?;
    let caller = Caller::new(stand.gate.port(), None)?;
    let moments = Moments::default();
    let line = Bytes::from_static(b"some_metric{label=\"value\"} 1\n");
    stand.exporter.say(Page::Dripping(line));
    let steps = async {
        sleep(Duration::from_secs(1)).await;
        mark(&moments, "step");
        stand.set_wall_ahead(HOUR)?;
        std::future::pending().await
    };
    let name = "the wall clock steps while an exporter hangs";
    // The step is after a second; how soon it is noticed is looked at below.
    let by = Duration::from_secs(1) + NOTICED;
    let shuts = (Duration::from_secs(9), Should::shut(name, by)?);
    let mut row = row(name, &stand.gate, &caller, shuts, steps).await?;
    let step = when(&moments, "step");
    let looks = &row.seen.looks;
    let before = looks.iter().filter(|look| Some(look.seen) < step);
    // Without the step it would have stayed open: it was, until then.
    let was_open = before.clone().count() > 0 && before.clone().all(|look| look.is_open);
    let since = looks.iter().filter(|look| Some(look.asked) >= step);
    let mut shut = since.skip_while(|look| look.is_open);
    let noticed = after(step, shut.next().map(|look| look.seen));
    let stays = shut.all(|look| !look.is_open);
    row.measured = noticed.map(|it| ("noticed_s", it)).into_iter().collect();
    row.ok &= was_open && stays && noticed.is_some_and(|it| it < NOTICED.as_secs_f64());
    stand.heal();
    stand.set_wall_ahead(0)?;
    Ok(row)
}

/// A lease lasts as long as it was asked for, by a clock that nobody sets.
async fn under_a_lease(stand: &Stand, seconds: i64) -> Result<Row> {
    stand.gate.wait_open(OPENS).await?;
    let port = stand.gate.port();
    let caller = Caller::new(port, None)?;
    // The wall clock was set a moment ago: the gate may have been open for the last time before that.
    let path = format!(
        "/api/v1/gates/default/enter?node=2&owner=prove&ttl={}s&wait=30",
        TTL.as_secs()
    );
    let (status, _) = http::post_for(port, &path, Duration::from_secs(40)).await?;
    ensure!(status == 200, "no lease: status {status}");
    let granted = Instant::now();
    let moments = Moments::default();
    let steps = async {
        sleep(Duration::from_secs(2)).await;
        stand.set_wall_ahead(seconds)?;
        while is_held(stand).await? {
            sleep(GLANCE).await;
        }
        mark(&moments, "over");
        std::future::pending().await
    };
    let name = format!(
        "a lease runs while the wall clock steps by {}",
        hours(seconds)
    );
    let span = (TTL + Duration::from_secs(2), Should::Answer);
    let mut row = row(&name, &stand.gate, &caller, span, steps).await?;
    let over = when(&moments, "over");
    let lasted = after(Some(granted), over);
    let taken = row.seen.looks.iter().filter(|look| Some(look.seen) < over);
    row.ok &= taken.clone().count() > 0 && taken.clone().all(|look| !look.is_open);
    row.ok &= lasted.is_some_and(|it| (it - TTL.as_secs_f64()).abs() < SLACK.as_secs_f64());
    row.measured = lasted.map(|it| ("lease_s", it)).into_iter().collect();
    stand.set_wall_ahead(0)?;
    Ok(row)
}

async fn is_held(stand: &Stand) -> Result<bool> {
    let body = stand.gate.json("/api/v1/gates/default/leases").await?;
    let leases = body["leases"].as_array().context("leases")?;
    Ok(leases.iter().any(|lease| lease["stage"] == "held"))
}

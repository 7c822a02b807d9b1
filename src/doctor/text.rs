//! The report for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::guarantee::Guarantee;
use super::report::{Fact, Node, Problem, Report};
use super::rights::RightRow;
use super::store::Store;
use super::window::Window;
use crate::time::Human;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        match count {
            0 => writeln!(f, "gate {}: no problem found", self.gate)?,
            1 => writeln!(f, "gate {}: 1 problem", self.gate)?,
            _ => writeln!(f, "gate {}: {count} problems", self.gate)?,
        }
        section(f, "problems", &self.problems, problem)?;
        let cluster = &self.cluster;
        writeln!(f, "\ncluster")?;
        writeln!(
            f,
            "  id {}, {}, active controller {}, metadata.version {}",
            or_dash(cluster.id.as_ref()),
            cluster.kind,
            or_dash(cluster.controller),
            or_dash(cluster.metadata_version)
        )?;
        section(f, "nodes", &self.nodes, node)?;
        section(f, "what was asked", &self.facts, fact)?;
        section(f, "rights at the authorizer", &self.rights, right)?;
        section(f, "risks and warnings", &self.warnings, problem)?;
        window(f, &self.window)?;
        writeln!(f, "\nthis machine")?;
        let drift = self.clock.drift_ms;
        writeln!(f, "  clock: {drift} ms of drift while it looked")?;
        store(f, &self.store)?;
        guarantee(f, &self.guarantee)
    }
}

fn window(f: &mut Formatter<'_>, window: &Window) -> fmt::Result {
    writeln!(f, "\nwindow")?;
    writeln!(f, "  {} s: {}", window.required_seconds, window.basis)?;
    // Nodes with the same word on a setting stand in one line.
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in &window.settings {
        let same = rows.entry((row.setting, row.read, row.ms)).or_default();
        same.push(row.node.to_string());
    }
    for ((setting, read, ms), nodes) in rows {
        let nodes = nodes.join(", ");
        if read {
            writeln!(f, "  {setting}: {ms} ms, read from {nodes}")?;
        } else {
            writeln!(
                f,
                "  {setting}: {ms} ms, ASSUMED of {nodes}: Kafka's default"
            )?;
        }
    }
    match window.metadata_interval_ms {
        Some(ms) => writeln!(f, "  metadata: asked for every {ms} ms"),
        None => writeln!(f, "  metadata: not asked for"),
    }
}

fn store(f: &mut Formatter<'_>, store: &Store) -> fmt::Result {
    let folder = store.folder.as_deref().unwrap_or("data_dir");
    writeln!(f, "  {folder}: {}", store.says)?;
    if let Some(who) = &store.used_by {
        writeln!(f, "    in use by {who}")?;
    }
    if store.known_nodes.is_empty() && store.leases == 0 && store.holds == 0 {
        return Ok(());
    }
    let nodes: Vec<_> = store.known_nodes.iter().map(ToString::to_string).collect();
    writeln!(
        f,
        "    remembered: nodes {}; {} leases, {} holds",
        nodes.join(", "),
        store.leases,
        store.holds
    )
}

fn guarantee(f: &mut Formatter<'_>, guarantee: &Guarantee) -> fmt::Result {
    writeln!(
        f,
        "\nguarantee: {}, mode {}",
        guarantee.name, guarantee.mode
    )?;
    writeln!(f, "  \"open\" says: {}", guarantee.open_means)?;
    writeln!(f, "  it is shut again when")?;
    for row in &guarantee.noticed {
        let within = match row.within_ms {
            0 => String::from("at once"),
            ms => format!("within {}", Human(Duration::from_millis(ms))),
        };
        writeln!(f, "    {}: {within}, by {}", row.what, row.by)?;
    }
    writeln!(f, "  it cannot promise")?;
    for limit in &guarantee.limits {
        writeln!(f, "    {}: {}", limit.id, limit.what)?;
    }
    Ok(())
}

fn section<T>(
    f: &mut Formatter<'_>,
    title: &str,
    rows: &[T],
    write: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    rows.iter().try_for_each(|row| write(f, row))
}

fn problem(f: &mut Formatter<'_>, problem: &Problem) -> fmt::Result {
    writeln!(f, "  {}: {}", problem.code, problem.what)?;
    writeln!(f, "    {}", problem.hint)
}

fn node(f: &mut Formatter<'_>, node: &Node) -> fmt::Result {
    write!(
        f,
        "  {:>4} {:<10} {:<7}",
        node.node, node.role, node.release
    )?;
    match (&node.advertised, &node.dialled) {
        (Some(advertised), Some(dialled)) if advertised != dialled => {
            write!(f, " advertises {advertised}, reached at {dialled}")?;
        }
        (Some(advertised), _) => write!(f, " advertises {advertised}")?,
        (None, _) => write!(f, " no address")?,
    }
    if let Some(identity) = &node.identity {
        write!(f, ", identity {identity}")?;
    }
    writeln!(f)?;
    match &node.versions {
        Ok(versions) => {
            let spoken = versions.iter().map(|(name, version)| {
                let spoken = version.spoken.map(|spoken| format!("v{spoken}"));
                format!("{name} {}", spoken.as_deref().unwrap_or("none"))
            });
            let spoken: Vec<_> = spoken.collect();
            writeln!(f, "       speaks {}", spoken.join(", "))?;
        }
        Err(why) => writeln!(f, "       speaks: {why}")?,
    }
    let Some(page) = &node.page else {
        return Ok(());
    };
    if let Some(why) = &page.failed {
        return writeln!(f, "       page: {why}");
    }
    write!(f, "       page: {} facts found", page.found.len())?;
    for (title, names) in [
        ("missing", &page.missing),
        ("missing but optional", &page.missing_optional),
    ] {
        if !names.is_empty() {
            write!(f, "; {title}: {}", names.join(", "))?;
        }
    }
    if !page.start_time {
        write!(f, "; no start time: a restart is seen by connections only")?;
    }
    writeln!(f)
}

fn fact(f: &mut Formatter<'_>, fact: &Fact) -> fmt::Result {
    let told: Vec<_> = fact.told_by.iter().map(ToString::to_string).collect();
    let told = match told.as_slice() {
        [] if fact.failed.is_empty() => String::from("not asked here"),
        [] => String::from("told by nobody"),
        told => format!("told by {}", told.join(", ")),
    };
    writeln!(f, "  {} ({}): {told}", fact.fact, fact.request)?;
    for (source, why) in &fact.failed {
        writeln!(f, "    {source}: {why}")?;
    }
    Ok(())
}

fn right(f: &mut Formatter<'_>, row: &RightRow) -> fmt::Result {
    writeln!(
        f,
        "  {}: {} on {} ({})",
        row.standing.words(),
        row.operation,
        row.resource.as_str(),
        row.requests.join(", ")
    )?;
    let Some(grant) = &row.grant else {
        return Ok(());
    };
    writeln!(f, "    grant it: {grant}")
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| String::from("-"), |value| value.to_string())
}

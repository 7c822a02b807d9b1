//! What the healthy window is built from: each node's settings, and whether it told them.

use std::time::Duration;

use serde::Serialize;

use super::gather::Gathered;
use crate::evidence::facts::{Facts, NodeConfigs};
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, SourceId};
use crate::evidence::snapshot::Reports;
use crate::gate::basis::settings_of;
use crate::gate::parts::ViewParts;

/// The healthy window.
#[derive(Debug, Serialize)]
pub struct Window {
    /// How long it has to be, in seconds.
    pub required_seconds: f64,
    /// Where its length comes from.
    pub basis: String,
    /// Every setting that it is built from, of every node that has it; the largest counts.
    pub settings: Vec<SettingRow>,
    /// How often metadata is asked for now, in milliseconds; null: it is not asked for.
    pub metadata_interval_ms: Option<u64>,
}

/// One setting of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingRow {
    /// Its name.
    pub setting: &'static str,
    /// Whose.
    pub node: i32,
    /// Its value, in milliseconds.
    pub ms: u64,
    /// Whether the node told it; else it is Kafka's default, which is assumed.
    pub read: bool,
}

impl Window {
    pub(super) fn of(gathered: &Gathered, parts: &ViewParts) -> Self {
        let mut settings = Vec::new();
        for node in &parts.nodes {
            let configs = configs(&gathered.reports, node.node);
            for setting in settings_of(parts.cluster.kind, node.role) {
                let read = configs.and_then(|configs| setting.read(configs));
                settings.push(SettingRow {
                    setting: setting.key,
                    node: node.node.0,
                    ms: millis(read.unwrap_or(setting.default)),
                    read: read.is_some(),
                });
            }
        }
        settings.sort_by_key(|row| (row.setting, row.node));
        Self {
            required_seconds: parts.window.required.as_secs_f64(),
            basis: parts.window.basis.clone(),
            settings,
            metadata_interval_ms: every(&gathered.reports, FactKind::Partitions).map(millis),
        }
    }
}

fn configs(reports: &Reports, node: NodeId) -> Option<&NodeConfigs> {
    let slot = (SourceId::Kafka(node), FactKind::NodeConfigs);
    match reports.get(&slot)?.facts.as_ref() {
        Ok(Facts::NodeConfigs(configs)) => Some(configs),
        // A slot holds its own kind; a failure tells nothing.
        Ok(_) | Err(_) => None,
    }
}

/// How often facts of this kind are asked for now, by whoever is asked least often.
pub(super) fn every(reports: &Reports, kind: FactKind) -> Option<Duration> {
    let of_kind = reports.values().filter(|report| report.kind == kind);
    of_kind.map(|report| report.every).max()
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

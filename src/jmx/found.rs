//! What a node's page has and what it lacks, for people to see at start: absence is normal, but
//! must be known.

use std::fmt;

use crate::evidence::aggregate::Mode;
use crate::evidence::exported::{Need, need};
use crate::evidence::ids::Role;
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;

/// What one page has and lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The role and mode it was compared with.
    pub role: Role,
    /// See `role`.
    pub mode: Mode,
    /// Wanted and there.
    pub found: Vec<Metric>,
    /// Required and absent, or not a number.
    pub missing: Vec<Metric>,
    /// Optional and absent, or not a number.
    pub missing_optional: Vec<Metric>,
    /// Whether a start time is there, by which a restart is seen.
    pub start_time: bool,
}

impl Found {
    /// Compares a page with what a node in this role should export.
    pub fn compare(facts: &JmxFacts, role: Role, mode: Mode) -> Self {
        let mut report = Self {
            role,
            mode,
            found: Vec::new(),
            missing: Vec::new(),
            missing_optional: Vec::new(),
            start_time: facts.start_time.value().is_some(),
        };
        for metric in Metric::ALL.iter().copied() {
            match (facts.value(metric), need(metric, role, mode)) {
                (Known::Is(_), _) => report.found.push(metric),
                (_, Need::Required) => report.missing.push(metric),
                (_, Need::Optional) => report.missing_optional.push(metric),
                (_, Need::AtTimes | Need::NotThere) => {}
            }
        }
        report
    }

    /// Whether everything required is there.
    pub fn complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} page: {} metrics found",
            self.role.as_str(),
            self.found.len()
        )?;
        list(f, "missing", &self.missing)?;
        list(f, "missing but optional", &self.missing_optional)?;
        if !self.start_time {
            f.write_str("; no start time: a restart is seen by connections only")?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, metrics: &[Metric]) -> fmt::Result {
    for (index, metric) in metrics.iter().enumerate() {
        if index == 0 {
            write!(f, "; {title}: {metric}")?;
        } else {
            write!(f, ", {metric}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jmx::page::read;
    use crate::jmx::recognise::Recogniser;
    use crate::jmx::scan::Format;

    #[test]
    fn the_report_reads_as_one_line() {
        let page = b"kafka_server_replicamanager_underreplicatedpartitions 0\n\
            kafka_server_replicamanager_underminisrpartitioncount NaN\n\
            kafka_server_replicamanager_leadercount 0\n";
        let facts = read(page, Format::Text, &Recogniser::default()).expect("page");
        let found = Found::compare(&facts, Role::BROKER, Mode::ZooKeeper);
        assert_eq!(
            found.found,
            [Metric::UnderReplicatedPartitions, Metric::LeaderCount]
        );
        let text = found.to_string();
        let start = "broker page: 2 metrics found; missing: UnderMinIsrPartitionCount, \
            PartitionCount, BrokerState, OfflinePartitionsCount, ActiveControllerCount, GlobalPartitionCount; \
            missing but optional: OfflineReplicaCount, ";
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.ends_with("; no start time: a restart is seen by connections only"),
            "{text}"
        );
        assert!(!text.contains("current-leader"), "not on ZooKeeper: {text}");
    }
}

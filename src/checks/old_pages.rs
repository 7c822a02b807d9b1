//! Pages that are older than they look. A standalone exporter, or whatever keeps pages between it and us,
//! may go on showing the last one of a node that has died or hangs (`scrapeTimeoutSeconds`): status
//! 200, and all is well on it. The metadata log gives it away: it moves twice a second for every node
//! alike.

use std::sync::Arc;
use std::time::Duration;

use crate::evidence::ids::NodeId;
use crate::evidence::jmx::JmxFacts;
use crate::evidence::report::SourceId;
use crate::evidence::snapshot::{Read, Snapshot};
use crate::time::Human;

use super::finding::{Finding, Subject};
use super::gauges;
use super::reason::Reason;

/// How long before its question another page must have come that shows more. A living node is half a
/// second behind, and pages take time to make, each its own.
const APART: Duration = Duration::from_secs(5);

/// One finding per page whose metadata log ends before what some page had shown as committed when
/// this one was asked for. Where nobody's log moves, and on pages without these metrics, nothing
/// is to be seen.
///
/// Only the high watermark is held against others: what is committed stays, while an end may be cut off
/// after a change of leaders. A quorum that was made anew begins again, and then no page shows
/// more.
pub(super) fn old_pages(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let pages = gauges::pages(snapshot);
    let ends: Vec<(NodeId, Read<'_, Arc<JmxFacts>>, i64)> = pages
        .filter_map(|(node, _, page)| Some((node, page, page.facts.metadata_end()?)))
        .collect();
    let Some(newest) = ends.iter().map(|(_, _, end)| *end).max() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (node, page, end) in ends {
        let asked = page.report.asked;
        let committed = snapshot.memory.committed_by_pages.by(asked.minus(APART));
        let Some(committed) = committed.filter(|committed| end < committed.height.min(newest))
        else {
            continue;
        };
        let source = SourceId::Jmx(node);
        let observed = format!(
            "the page shows the metadata log up to offset {end}, another one had shown {} {} before",
            committed.height,
            Human(asked.since(committed.at))
        );
        let required = "a page as new as its question";
        findings.push(
            Finding::new(
                Reason::EvidenceStale,
                Subject::Source(source.clone()),
                observed,
                required,
            )
            .from_source(source, asked),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::jmx::Metric;
    use crate::evidence::scene::Scene;
    use crate::evidence::tide::Tide;

    /// Pages of a while ago had this high watermark.
    fn shown(scene: &mut Scene, ago: Duration, height: i64) {
        let mut tide = Tide::default();
        tide.rise(scene.now.mono.minus(ago), height);
        scene.memory.committed_by_pages = tide;
    }

    fn found(scene: &Scene) -> Vec<Subject> {
        let findings = scene.snapshot(old_pages);
        findings.into_iter().map(|it| it.subject).collect()
    }

    /// The page of controller 102 comes again and again while all others move.
    fn stands_still(mut scene: Scene) -> Scene {
        for id in [1, 2, 3, 101, 103] {
            scene.metric(id, Metric::RaftHighWatermark, 4_030.0);
            scene.metric(id, Metric::RaftLogEndOffset, 4_030.0);
        }
        shown(&mut scene, Duration::from_secs(6), 4_010);
        scene
    }

    #[test]
    fn a_page_that_stands_still_while_others_move_is_old() {
        let old = Subject::Source(SourceId::Jmx(NodeId(102)));
        for scene in [Scene::healthy_jmx(), Scene::healthy_kraft()] {
            assert_eq!(found(&scene), []);
            assert_eq!(found(&stands_still(scene)), std::slice::from_ref(&old));
        }
    }

    /// All pages were asked for 0.3 s ago.
    #[test]
    fn what_others_showed_just_before_says_nothing() {
        let mut scene = stands_still(Scene::healthy_jmx());
        shown(&mut scene, Duration::from_millis(5_299), 4_010);
        assert_eq!(found(&scene), []);
        shown(&mut scene, Duration::from_millis(5_300), 4_010);
        assert_eq!(found(&scene).len(), 1);
        // As much as it shows itself.
        shown(&mut scene, Duration::from_secs(60), 4_000);
        assert_eq!(found(&scene), []);
    }

    #[test]
    fn either_number_will_do_and_without_both_nothing_is_shown() {
        let mut scene = stands_still(Scene::healthy_jmx());
        scene.page(102, |page| {
            page.values.remove(&Metric::RaftLogEndOffset);
        });
        assert_eq!(found(&scene).len(), 1);
        // It does not know the high watermark, and its log is as long as the others'.
        scene.metric(102, Metric::RaftHighWatermark, -1.0);
        scene.metric(102, Metric::RaftLogEndOffset, 4_030.0);
        assert_eq!(found(&scene), []);
        for value in [-1.0, f64::NAN, f64::INFINITY] {
            scene.metric(102, Metric::RaftHighWatermark, value);
            scene.metric(102, Metric::RaftLogEndOffset, value);
            assert_eq!(found(&scene), [], "{value}");
        }
    }

    /// The quorum was made anew: nobody shows what was committed once.
    #[test]
    fn what_no_page_shows_any_more_does_not_count() {
        let mut scene = Scene::healthy_jmx();
        shown(&mut scene, Duration::from_secs(60), 9_000_000);
        assert_eq!(found(&scene), []);
    }

    /// The whole way: pages come, are remembered, and are held against each other.
    #[test]
    fn reports_are_remembered() {
        let mut scene = Scene::healthy_jmx();
        scene.memory.committed_by_pages = Tide::default();
        for (second, height) in [(20, 4_000.0), (10, 4_020.0), (0, 4_040.0)] {
            for id in [101, 103] {
                scene.metric(id, Metric::RaftHighWatermark, height);
                scene.metric(id, Metric::RaftLogEndOffset, height);
            }
            let reports = scene.reports.values().cloned();
            for mut report in reports.collect::<Vec<_>>() {
                report.seen = scene.now.mono.minus(Duration::from_secs(second));
                scene.memory.observe(&report);
            }
        }
        let mut old = found(&scene);
        old.retain(|subject| *subject == Subject::Source(SourceId::Jmx(NodeId(102))));
        assert_eq!(old.len(), 1);
    }
}

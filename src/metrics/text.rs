//! The Prometheus text format 0.0.4, made from OpenMetrics text.
//!
//! prometheus-client writes OpenMetrics only (reference `rust-stack-measured.md` 5), and promtool's
//! linter and old scrapers read only 0.0.4. The two differ, for gauges and counters without
//! exemplars, in the names of counter families and in three kinds of line.

use std::collections::BTreeSet;

/// Rewrites OpenMetrics text of gauges and counters as text 0.0.4.
pub(super) fn to_0_0_4(open_metrics: &str) -> String {
    let counters: BTreeSet<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        match about_family(line) {
            Some((word, family, rest)) if counters.contains(family) => {
                text.extend(["# ", word, " ", family, "_total ", rest]);
            }
            Some(("TYPE", family, "unknown")) => {
                text.extend(["# TYPE ", family, " untyped"]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// `# HELP family rest` or `# TYPE family rest`, taken apart.
fn about_family(line: &str) -> Option<(&str, &str, &str)> {
    let (word, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (family, rest) = rest.split_once(' ')?;
    matches!(word, "HELP" | "TYPE").then_some((word, family, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_their_suffix_in_the_comments_and_the_rest_stays() {
        let open_metrics = "# HELP a_decisions Said.\n# TYPE a_decisions counter\n\
            a_decisions_total{gate=\"# TYPE a\"} 3\n# HELP b_seconds Age.\n# TYPE b_seconds gauge\n\
            # UNIT b_seconds seconds\nb_seconds 1.5\n# EOF\n";
        assert_eq!(
            to_0_0_4(open_metrics),
            "# HELP a_decisions_total Said.\n# TYPE a_decisions_total counter\n\
             a_decisions_total{gate=\"# TYPE a\"} 3\n# HELP b_seconds Age.\n\
             # TYPE b_seconds gauge\nb_seconds 1.5\n"
        );
    }
}

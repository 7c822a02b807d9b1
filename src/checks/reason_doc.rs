//! `docs/reasons.md`, written from the table of reasons.

use super::reason::{Clears, Reason, Severity, SubjectKind};

const HEAD: &str = "\
# Reasons

Written from the table in `src/checks/reason.rs`; a test keeps the two the same.

A code is the same everywhere: in the API (`reasons[].code`), in the label `reason` of
`upgrade_gate_reason` and `upgrade_gate_warning`, and as the anchor of a section here. Codes are
only ever added; none changes its meaning.

- `block` makes the verdict `closed`; else `unknown` makes it `unknown`; `warn` changes nothing.
- The policy keys `structural` and `degraded` can turn risks of a node's stop (`would_*`,
  `single_replica` and the like) into warnings or into blocks; the answer carries the severity in
  force.
- \"By itself\" goes away when the cluster is well again. \"Needs a person\" waits for somebody.

";

/// The whole document.
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    text.push_str("| code | severity | clears | about |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let row = reason.row();
        text.extend([
            "| [",
            row.code,
            "](#",
            row.code,
            ") | ",
            row.severity.as_str(),
            " | ",
            clears(row.clears),
            " | ",
            about(row.subject),
            " |\n",
        ]);
    }
    for reason in Reason::ALL {
        let row = reason.row();
        text.extend([
            "\n## ",
            row.code,
            "\n\n",
            severity(row.severity),
            "; ",
            match row.clears {
                Clears::ByItself => "goes away by itself",
                Clears::NeedsPerson => "needs a person",
            },
            "; is about ",
            about(row.subject),
            ".\n\n",
            row.meaning,
            "\n\nWhat to do: ",
            row.hint,
            "\n",
        ]);
    }
    text
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Block => "Blocks",
        Severity::Unknown => "Makes the verdict unknown",
        Severity::Warn => "Warns",
    }
}

const fn clears(clears: Clears) -> &'static str {
    match clears {
        Clears::ByItself => "by itself",
        Clears::NeedsPerson => "needs a person",
    }
}

const fn about(subject: SubjectKind) -> &'static str {
    match subject {
        SubjectKind::Cluster => "the cluster or the gate",
        SubjectKind::Node => "one node",
        SubjectKind::Partitions => "partitions",
        SubjectKind::Group => "a consumer group",
        SubjectKind::Source => "a source",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_row_and_its_section() {
        let text = markdown();
        for reason in Reason::ALL {
            let (code, row) = (reason.code(), reason.row());
            assert!(text.contains(&format!("| [{code}](#{code}) | ")), "{code}");
            let section = format!("\n## {code}\n");
            assert_eq!(text.matches(&section).count(), 1, "{code}");
            assert!(
                text.contains(row.meaning) && text.contains(row.hint),
                "{code}"
            );
        }
    }
}

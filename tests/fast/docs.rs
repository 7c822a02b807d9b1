//! `docs/` and the other pages: what is generated is up to date, and links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lab::principals::{GROUP, LEAST};
use schemars::JsonSchema;
use serde_json::Value;
use upgrade_gate::checks::reason::Reason;
use upgrade_gate::checks::reason_doc;
use upgrade_gate::evidence::step::Step;
use upgrade_gate::kafka::rights::RIGHTS;
use upgrade_gate::server::body::{
    ChangedBody, CheckBody, EnterBody, GateBody, GatesBody, HistoryBody, LeasesBody, LeaveBody,
    PlanBody,
};
use upgrade_gate::server::problem::ProblemBody;

use crate::config::golden;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown page at the top and below `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                pages.push(path);
            }
        }
    }
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    pages.extend(top.map(|name| root().join(name)));
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages
}

/// Targets of `[text](target)`.
fn links(page: &str) -> Vec<&str> {
    page.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect()
}

/// The anchors that GitHub and GitLab give to the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    page.lines()
        .filter_map(|line| {
            line.trim_start_matches('#')
                .strip_prefix(' ')
                .filter(|_| line.starts_with('#'))
        })
        .map(|title| {
            let title: String = title.to_lowercase().chars().filter(|c| kept(*c)).collect();
            title.replace(' ', "-")
        })
        .collect()
}

#[test]
fn the_page_of_reasons_is_up_to_date() {
    golden(&root().join("docs/reasons.md"), &reason_doc::markdown());
}

/// What the page says, what the gate asks for, and what the lab's clusters grant: the same rights, and
/// no others.
#[test]
fn the_least_rights_are_the_same_everywhere() {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, section) = page.split_once("\n### The least rights\n").unwrap();
    let is_row = |line: &&str| line.starts_with('|');
    let table = section.lines().skip_while(|line| !is_row(line));
    let told = table.take_while(is_row).skip(2).map(|line| {
        let cells: Vec<_> = line
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        (cells[1], cells[2])
    });
    let told: Vec<_> = told.collect();
    let asked = RIGHTS.map(|right| (right.operation, right.resource.as_str()));
    assert_eq!(told, asked);
    let granted = LEAST.map(|(kind, name, operation)| {
        let operation = match operation {
            8 => "Describe",
            10 => "DescribeConfigs",
            other => panic!("operation {other}"),
        };
        let resource = match (kind, name) {
            (4, "kafka-cluster") => "Cluster kafka-cluster",
            (2, "*") => "Topic *",
            // Each group that is watched by its name is enough.
            (3, GROUP) => "Group *",
            other => panic!("resource {other:?}"),
        };
        (operation, resource)
    });
    assert_eq!(granted, asked);
}

#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                _ => page.parent().unwrap_or_else(|| Path::new("")).join(path),
            };
            let shown = page.display();
            assert!(target.exists(), "{shown}: {link} is not there");
            if !anchor.is_empty() {
                let target = fs::read_to_string(&target).unwrap();
                let found = anchors(&target).iter().any(|known| known == anchor);
                assert!(found, "{shown}: {link} has no such heading");
            }
            checked += 1;
        }
    }
    assert!(checked > Reason::ALL.len(), "{checked}");
}

/// Every name under `properties`, at any depth.
fn properties(schema: &Value, names: &mut BTreeSet<String>) {
    if let Some(here) = schema.get("properties").and_then(Value::as_object) {
        names.extend(here.keys().cloned());
    }
    match schema {
        Value::Object(parts) => parts.values().for_each(|part| properties(part, names)),
        Value::Array(parts) => parts.iter().for_each(|part| properties(part, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fields<T: JsonSchema>() -> BTreeSet<String> {
    let settings = schemars::generate::SchemaSettings::default().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut names = BTreeSet::new();
    properties(&serde_json::to_value(schema).unwrap(), &mut names);
    names
}

#[test]
fn the_api_page_names_every_parameter_and_field() {
    let api = fs::read_to_string(root().join("docs/api.md")).unwrap();
    let parameters = [
        "node",
        "host",
        "closed_status",
        "wait",
        "fresh",
        "owner",
        "ttl",
        "action",
        "token",
        "by",
        "author",
        "reason",
        "before",
        "limit",
    ]
    .map(String::from);
    let all = [
        BTreeSet::from(parameters),
        fields::<CheckBody>(),
        fields::<GateBody>(),
        fields::<PlanBody>(),
        fields::<HistoryBody>(),
        fields::<GatesBody>(),
        fields::<EnterBody>(),
        fields::<LeaveBody>(),
        fields::<LeasesBody>(),
        fields::<ChangedBody>(),
        fields::<ProblemBody<'static>>(),
    ];
    let names: BTreeSet<String> = all.into_iter().flatten().collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(api.contains(&format!("| `{name}` |")), "{name}");
    }
}

/// The steps at which a source can fail, each with what is said of it.
#[test]
fn the_security_page_names_every_step() {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    for step in Step::ALL {
        let cell = format!(" | `{step}` | ");
        assert!(page.contains(&cell), "docs/security.md lacks {step}");
    }
}

#[test]
fn the_facts_are_what_the_table_says() {
    golden(
        &root().join("docs/facts.md"),
        &upgrade_gate::collect::schedule::markdown(),
    );
}
